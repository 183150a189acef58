"""The wire: one module per topic, with versions."""
