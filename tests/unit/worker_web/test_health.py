"""Whether a worker is ready, and why not."""

from __future__ import annotations

import json

import pytest
from tests.unit.worker_web.servers import make_server, serving

from rtexp.engine.sensors import InputStatus, Standing, TaskStatus
from rtexp.worker_web.health import Readiness, readiness, ready


def task(done: int, total: int) -> TaskStatus:
    source = InputStatus(
        position=total, end=total, held_rows=0, watermark_ms=0, rewind_done=done, rewind_total=total
    )
    return TaskStatus("users", 0, ready=done == total, phase="", inputs={"x/0": source})


@pytest.mark.parametrize(
    ("standing", "reasons"),
    [
        (Standing(has_started=False, is_assigned=False, partitions=0, live=0), ["not-started"]),
        (Standing(has_started=True, is_assigned=False, partitions=0, live=0), ["rebalancing"]),
        (Standing(has_started=True, is_assigned=True, partitions=4, live=3), ["recovering"]),
        (Standing(has_started=True, is_assigned=True, partitions=4, live=4), []),
        (Standing(has_started=True, is_assigned=True, partitions=0, live=0), []),
    ],
)
def test_a_worker_is_ready_when_all_of_its_partitions_are_live(
    standing: Standing, reasons: list[str]
) -> None:
    assert readiness(standing, [], {}).reasons == reasons


def test_recovery_says_how_far_it_is() -> None:
    standing = Standing(has_started=True, is_assigned=True, partitions=3, live=1)
    found = readiness(standing, [task(7, 7), task(3, 10), task(0, 5)], {})
    assert found.recovery == {"partitions": 3, "live": 1, "rewind_done": 3, "rewind_total": 15}


def test_what_else_is_missing_is_named_by_its_code() -> None:
    standing = Standing(has_started=True, is_assigned=True, partitions=1, live=1)
    checks = {"broker": lambda: True, "store-unavailable": lambda: False}
    assert readiness(standing, [], checks).reasons == ["store-unavailable"]


async def test_ready_is_200_and_anything_else_503_with_the_reasons() -> None:
    found = Readiness(["recovering"], {"live": 0})
    server = make_server()
    server.add("/health/ready", ready(lambda: found))
    async with serving(server) as ask:
        given = await ask("/health/ready")
        assert given.status == 503
        assert json.loads(given.text) == {"ready": False, "reasons": ["recovering"], "recovery": {"live": 0}}
        found = Readiness([], {})
        assert (await ask("/health/ready")).status == 200


async def test_names_of_what_fails_are_told_with_the_time_since_when() -> None:
    server = make_server()
    server.add(
        "/health/ready", ready(lambda: Readiness(["target:ops"], {}, {"ops": "2026-01-01T00:00:00+00:00"}))
    )
    async with serving(server) as ask:
        given = json.loads((await ask("/health/ready")).text)
    assert given["failing"] == {"ops": "2026-01-01T00:00:00+00:00"}
