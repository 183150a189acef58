"""The same suite as on SQLite, on this directory's `store`."""

from tests.unit.agents.test_write_operations import *
