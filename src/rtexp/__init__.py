"""Real-time experiment analytics: exact counts of what a treatment changes, seconds after users act."""

__version__ = "0.1.0"
