"""Simulations that say what the rules do where formulas can't: A/A and A/B tests through the real counters."""
