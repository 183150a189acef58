"""One module per agent: decode, core, encode."""
