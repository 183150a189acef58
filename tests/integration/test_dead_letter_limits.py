"""Too much bad input stops ingest with one clear line; once a limit is raised it goes on where it stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.faults.cluster import make_settings
from tests.faults.compare import differences, stored, truth
from tests.integration.pipelines import WAIT_SECONDS, Pipeline, action, activation, experiment

from rtexp.local.raw_records import RawRecord
from rtexp.settings import PipelineSettings, Settings, as_toml

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

START_MS = 1_420_416_000_000
RUN, RATIO = 50, 0.05
PARTITIONS = 2
"""Bad records go to one of them."""


def limited(settings: Settings, *, run: int, ratio: float) -> Settings:
    pipeline: PipelineSettings = settings.pipeline.model_copy(
        update={"dead_letter_run": run, "dead_letter_ratio": ratio}
    )
    return settings.model_copy(update={"pipeline": pipeline})


def bad(at_ms: int) -> RawRecord:
    return RawRecord(at_ms, "actions", b"bad", b"{oh no")


async def stopped(pipeline: Pipeline) -> str:
    """Return what ingest said at its end, once it has ended."""
    worker = pipeline.workers["ingest-1"]
    async with asyncio.timeout(WAIT_SECONDS):
        while (code := worker.ended()) is None:  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(0.05)
    assert code != 0
    return worker.said[worker.said_before :]


async def go_on(pipeline: Pipeline, *, run: int, ratio: float) -> None:
    pipeline.config.write_text(as_toml(limited(pipeline.settings, run=run, ratio=ratio)))
    pipeline.start("ingest-1")
    await pipeline.counted()


async def test_a_limit_stops_ingest_and_once_it_is_raised_all_is_counted_and_nothing_twice(
    broker: str, tmp_path: Path
) -> None:
    made = make_settings(tmp_path, broker, f"l{uuid4().hex[:8]}", partitions=PARTITIONS)
    settings = limited(made, run=RUN, ratio=RATIO)
    jobs = {"ingest": 1, "aggregate": 1, "results": 1}
    pipeline = Pipeline(tmp_path / "workers", settings, jobs)
    try:
        await pipeline.begin([experiment("e", START_MS)])
        users = [f"u{number}" for number in range(20)]
        await pipeline.send([activation(user, "e", START_MS) for user in users])

        some = [action(user, START_MS + 1_000 + at) for at, user in enumerate(users)]
        await pipeline.send(
            [*some, *(bad(START_MS + 2_000 + n) for n in range(RUN + 10)), *more(users, 3_000)]
        )
        await pipeline.send([], marker_ms=START_MS + 60_000)
        said = await stopped(pipeline)
        assert f"{RUN} records in a row of the topic {settings.actions.topic} are bad input" in said
        assert f"([pipeline] dead_letter_run = {RUN})" in said
        assert "reading goes on where it stopped. The newest is that of" in said
        await go_on(pipeline, run=10_000, ratio=RATIO)

        mixed = [bad(START_MS + 70_000 + n) if n % 4 == 0 else action(users[n % 20], START_MS + 70_000 + n)
                 for n in range(1_200)]  # fmt: skip
        await pipeline.send(mixed, marker_ms=START_MS + 120_000)
        said = await stopped(pipeline)
        assert f"are bad input ([pipeline] dead_letter_ratio = {RATIO})" in said
        assert "reading goes on where it stopped" in said
        await go_on(pipeline, run=10_000, ratio=1.0)

        expected = await truth(settings)
        assert differences(expected, stored(settings)).differing == {}
        letters = [letter.origin for letter in await pipeline.dead_letters()]
        assert expected.dead == {("actions", "invalid-json"): RUN + 10 + 300}
        assert len(set(letters)) == RUN + 10 + 300
        dropped = {
            name: n for name, n in (await pipeline.drops()).items() if not name.endswith("/seen-offset")
        }
        assert dropped == {
            f"{kind}/{reason}": n for (kind, reason), n in (expected.dead + expected.dropped).items()
        }
    finally:
        pipeline.stop()


def more(users: list[str], after_ms: int) -> list[RawRecord]:
    return [action(user, START_MS + after_ms + at) for at, user in enumerate(users)]
