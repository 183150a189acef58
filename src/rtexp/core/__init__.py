"""Pure: what counts, knows no clock and no I/O."""
