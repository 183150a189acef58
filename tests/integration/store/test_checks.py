"""The same suite as on SQLite, on this directory's `store`."""

from tests.unit.local.checks.test_sql import *
