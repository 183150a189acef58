"""One-machine things: broker, supervisor, demo, generator."""
