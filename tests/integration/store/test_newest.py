"""The same suite as on SQLite, on this directory's `store`."""

from tests.unit.store.test_newest import *
