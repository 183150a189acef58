"""Looks that fall due while rtexp, or its database, is away: none is missing, and each counts its own buckets."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
from tests.faults.cluster import make_settings
from tests.faults.compare import truth
from tests.faults.compare_looks import compare_looks
from tests.integration.pipelines import (
    CONTROL,
    GROUPS,
    TREATMENT,
    Pipeline,
    action,
    activation,
    experiment,
    now_ms,
)
from tests.sql_servers import PrivateMariaDb

from rtexp.local.readiness import wait_for_snapshot
from rtexp.records import partials, snapshot
from rtexp.settings import StatisticsSettings
from rtexp.store.engine import opened, reading
from rtexp.store.looks import read_looks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtexp.local.raw_records import RawRecord
    from rtexp.settings import Settings, StoreSettings
    from rtexp.store.looks import LookRow

pytestmark = pytest.mark.integration

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
BUCKET_MS = 15 * MINUTE_MS
START_MS = 1_420_416_000_000
USERS = 300
SETTLE_MS = 60_000
AHEAD_MS = 40_000
"""Between the start of the test and the look that no snapshot has been taken after; starting takes the most of it."""
JOBS = {"ingest": 1, "aggregate": 1, "results": 1}


def outage_settings(directory: Path, broker: str, store: StoreSettings | None = None) -> Settings:
    made = make_settings(directory, broker, f"o{uuid4().hex[:8]}", partitions=1, store=store)
    return made.model_copy(update={"statistics": StatisticsSettings(look_every_hours=0.25)})


@contextmanager
def pipeline(directory: Path, settings: Settings) -> Iterator[Pipeline]:
    made = Pipeline(directory / "workers", settings, JOBS)
    try:
        yield made
    finally:
        made.stop()


def triggers(name: str, start_ms: int) -> list[RawRecord]:
    return [activation(f"u{n}", name, start_ms + n, GROUPS[n % 2]) for n in range(USERS)]


def searches(start_ms: int, from_minute: int, to_minute: int) -> list[RawRecord]:
    """Two actions a user and quarter of an hour, in order of time."""
    chance = random.Random(from_minute)
    times = [
        (start_ms + chance.randrange(from_minute * MINUTE_MS, to_minute * MINUTE_MS), f"u{n}")
        for n in range(USERS)
        for _ in range((to_minute - from_minute) // 8)
    ]
    return [action(user, at_ms) for at_ms, user in sorted(times)]


def looks(settings: Settings, name: str) -> dict[int, LookRow]:
    """What SQL says of the volume of searches, by look."""
    with opened(settings.store) as engine, reading(engine) as connection:
        rows = read_looks(connection, experiment=name)
        return {row.look: row for row in rows if (row.event, row.metric) == ("search", "volume")}


async def test_a_watermark_that_jumps_over_hours_leaves_no_look_out(broker: str, tmp_path: Path) -> None:
    settings = outage_settings(tmp_path, broker)
    with pipeline(tmp_path, settings) as made:
        await made.begin([experiment("jump", START_MS)])
        await made.send([*triggers("jump", START_MS), *searches(START_MS, 1, 60)])
        await made.send([], marker_ms=START_MS + HOUR_MS + SETTLE_MS + 10_000)
        await made.counted()
        before = set(looks(settings, "jump"))
        for worker in made.workers.values():  # all of rtexp is away
            await asyncio.to_thread(worker.end, signal.SIGTERM)
        await made.send(searches(START_MS, 65, 360), marker_ms=START_MS + 6 * HOUR_MS + 2 * SETTLE_MS)
        made.start()
        await wait_for_snapshot(settings.kafka, 0)
        await made.counted()
        assert largest_step_ms(await watermarks(made)) >= 5 * HOUR_MS, "the watermark jumped"
        assert before == {1, 2, 3, 4}
        found = looks(settings, "jump")
        assert set(found) == set(range(1, 25)), "a look each quarter of an hour, for six hours"
        cells = (await truth(settings)).cells
        for number, row in found.items():
            assert row.scheduled_ms == START_MS + number * BUCKET_MS
            for group, counts in (
                (CONTROL, (row.s1_control, row.s2_control, row.a_control)),
                (TREATMENT, (row.s1_treatment, row.s2_treatment, row.a_treatment)),
            ):
                own = [
                    cell
                    for (_, _, of, event, bucket_ms), cell in cells.items()
                    if (of, event) == (group, "search") and bucket_ms + BUCKET_MS <= row.scheduled_ms
                ]
                assert counts == tuple(
                    sum(getattr(c, n) for c in own) for n in ("volume", "sum_squares", "actors")
                )
        assert found[24].s1_control > found[4].s1_control > 0
        assert (await compare_looks(settings)).differing == []


async def test_looks_that_fell_due_without_sql_are_those_that_would_have_been(
    broker: str, tmp_path: Path
) -> None:
    with PrivateMariaDb(tmp_path / "mariadb") as server:
        settings = outage_settings(tmp_path, broker, server.database().settings)
        with pipeline(tmp_path, settings) as made:
            await made.begin([])
            due_ms = now_ms() + AHEAD_MS
            start_ms = due_ms - HOUR_MS  # so that this is the time of the fourth look
            made.add(experiment("outage", start_ms))
            await wait_for_snapshot(settings.kafka, now_ms())
            await made.send([*triggers("outage", start_ms), *searches(start_ms, 1, 15)])
            await made.send([], marker_ms=start_ms + BUCKET_MS + SETTLE_MS + 15_000)
            await made.counted()
            assert set(looks(settings, "outage")) == {1}
            server.kill()
            known_ms = await newest_snapshot_ms(made)
            assert known_ms < due_ms, "too slow a machine: the look is due before the database is away"
            await made.send(searches(start_ms, 17, 59), marker_ms=due_ms + SETTLE_MS + 15_000)
            await counted_to(made, due_ms + SETTLE_MS)
            await made.send(
                [action("u1", start_ms + 50 * MINUTE_MS + n) for n in range(7)],
                marker_ms=due_ms + 2 * SETTLE_MS,
            )
            await counted_to(made, due_ms + 2 * SETTLE_MS - 15_000)
            assert await sent_looks(made, newest=3) == {1, 2, 3}
            await asyncio.sleep(max(0, due_ms - now_ms()) / 1000)
            assert await newest_snapshot_ms(made) == known_ms, "nobody could read the experiments"
            assert await sent_looks(made, newest=3) == {1, 2, 3}, "an older snapshot vouches for these alone"
            server.start()
            await wait_for_snapshot(settings.kafka, due_ms + 1)
            await made.counted()
            found = looks(settings, "outage")
            assert set(found) == {1, 2, 3, 4}
            assert found[4].scheduled_ms == due_ms
            on_time = len(searches(start_ms, 1, 15) + searches(start_ms, 17, 59))
            assert found[4].s1_control + found[4].s1_treatment <= on_time, (
                "what came after it was due isn't in it"
            )
            assert (await compare_looks(settings)).differing == []


async def watermarks(made: Pipeline) -> list[int]:
    """Watermarks of the one partition of users, as the results job has read them."""
    records = [partials.decode(record.value) for record in await made.records("partials")]
    return sorted({record.watermark_ms for record in records})


async def counted_to(made: Pipeline, watermark_ms: int) -> None:
    """Return when `partials` says that all has been counted up to a time."""
    async with asyncio.timeout(30):
        while (await watermarks(made))[-1] < watermark_ms:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.2)


async def sent_looks(made: Pipeline, *, newest: int) -> set[int]:
    """Return the numbers of the looks that were sent, as soon as the one of this number is among them."""
    async with asyncio.timeout(30):
        while True:
            sent = {msgspec.json.decode(record.value)["look"] for record in await made.records("results")}
            if newest in sent:
                return sent
            await asyncio.sleep(0.2)


async def newest_snapshot_ms(made: Pipeline) -> int:
    values = [record.value for record in await made.records("ramped-groups") if record.value]
    return max(snapshot.decode(value).as_of_ms for value in values)


def largest_step_ms(times: list[int]) -> int:
    known = [at_ms for at_ms in times if at_ms]
    return max(after - before for before, after in pairwise(known))
