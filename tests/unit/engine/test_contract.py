"""The engine leans on methods of Faust and aiokafka that nobody promised to keep: a change must be noticed."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from tests.unit.engine import pins

PINNED = json.loads(pins.FILE.read_text())


@pytest.mark.parametrize("name", pins.READ_AGAIN)
def test_what_the_engine_leans_on_is_what_it_was_written_for(name: str) -> None:
    assert pins.fingerprint(name) == PINNED["sources"].get(name), (
        f"{name} has changed. Read it again ({pins.READ_AGAIN[name]}), then rtexp.engine.transport with it in mind; "
        "if all is well: python -m tests.unit.engine.pins"
    )


@pytest.mark.parametrize("distribution", pins.DISTRIBUTIONS)
def test_the_version_is_the_pinned_one(distribution: str) -> None:
    assert version(distribution) == PINNED["versions"][distribution], (
        f"{distribution} was upgraded: read its release notes for consumers and rebalancing, run the integration "
        "and fault tests, then: python -m tests.unit.engine.pins"
    )


def test_no_pin_is_left_of_something_that_is_no_longer_watched() -> None:
    assert sorted(PINNED["sources"]) == sorted(pins.READ_AGAIN)
