"""Pure: what the counts mean. Effects, tests that stay valid at repeated looks; knows no clock and no I/O."""
