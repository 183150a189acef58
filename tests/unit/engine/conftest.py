"""Tasks of these tests meet fakes where they would meet a broker; their local store is real."""

from __future__ import annotations

import pytest
from tests.unit.engine.fakes import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("rtexp.engine.task.FencedProducer", made.fenced_producer)
    monkeypatch.setattr("rtexp.engine.task.recover", made.recover)
    return made
