"""What open pages cost: 100 streams over 200 experiments with 50 events each, while results are published.

Example: python -m tests.integration.live_load --seconds 30
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import click
from tests.look_samples import plan
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.web.servers import serving
from tests.unit.web.sites import BUCKET, START, experiment, look

from rtexp.settings import PipelineSettings
from rtexp.statistics.plans import DecisionMetric
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import upsert_looks
from rtexp.store.metadata import load
from rtexp.store.plans import freeze_plans

if TYPE_CHECKING:
    from sqlalchemy import Engine

EXPERIMENTS, EVENTS, STREAMS = 200, 50, 100
PAGES = 4
"""Of single experiments that are open, beside the overview; a tenth of the streams each."""
PUBLISH_SECONDS = 2.0
NAMES = [f"experiment-{number:03}" for number in range(EXPERIMENTS)]
EVENT_NAMES = [f"event-{number:02}" for number in range(EVENTS)]


class Load(NamedTuple):
    """What was measured."""

    cpu_share: float
    """Of one core, of the web process while streams were open and results came."""
    delays: list[float]
    """Seconds from a commit until a browser had it, of every commit and browser."""
    bytes_per_second: float
    """To one browser, on average."""


def fill(engine: Engine, *, buckets: int) -> None:
    """Write 200 experiments with 50 events each, an hour's looks for every four buckets."""
    frozen = plan(
        control="control",
        treatments=["treatment"],
        weights={"control": 0.5, "treatment": 0.5},
        events=EVENT_NAMES,
        decision=[DecisionMetric(EVENT_NAMES[0], "propensity")],
        good={EVENT_NAMES[0]: "up"},
    )
    with writing_alone(engine) as connection:
        load(connection, [experiment(name) for name in NAMES], pipeline=PipelineSettings(), now_ms=START)
    for name in NAMES:
        with writing(engine) as connection:
            freeze_plans(connection, [(name, START, frozen)])
            upsert_cells(
                connection,
                [
                    CellRow(name, START, group, event, START + bucket * BUCKET, 7, 5, 11, 0, 0, None, 1)
                    if event
                    else CellRow(name, START, group, event, START + bucket * BUCKET, 0, 0, 0, 20, 0, None, 1)
                    for group in ("control", "treatment")
                    for event in ("", *EVENT_NAMES)
                    for bucket in range(buckets)
                ],
            )
            upsert_looks(
                connection,
                [
                    look(
                        number,
                        experiment=name,
                        event=event,
                        metric=metric,
                        role="decision"
                        if (event, metric) == (EVENT_NAMES[0], "propensity")
                        else "exploratory",
                        state="no_difference_yet",
                        crossed=False,
                    )
                    for event in EVENT_NAMES
                    for metric in ("propensity", "volume")
                    for number in range(1, buckets // 4 + 1)
                ],
            )


async def measure(engine: Engine, pid: int, port: int, *, seconds: float) -> Load:
    """Publish every two seconds what every experiment's newest cells and one look of each say, and watch."""
    seen: dict[str, list[float]] = {}
    size = [0]
    pages = ["/"] * (STREAMS - 10 * PAGES) + [
        f"/experiments/{name}" for name in NAMES[:PAGES] for _ in range(10)
    ]
    ready = [asyncio.Event() for _ in pages]
    tasks = [asyncio.create_task(_watch(port, page, ready[i], seen, size)) for i, page in enumerate(pages)]
    await asyncio.gather(*(event.wait() for event in ready))
    await asyncio.sleep(2)
    size[0] = 0
    cpu, began = _cpu_seconds(pid), time.monotonic()
    commits: dict[str, float] = {}
    number = 0
    while time.monotonic() - began < seconds:
        number += 1
        mark = f"+{number}.{number % 10}%"
        await asyncio.to_thread(_publish, engine, number)
        commits[mark] = time.monotonic()
        await asyncio.sleep(PUBLISH_SECONDS)
    await asyncio.sleep(2)
    spent = time.monotonic() - began
    share = (_cpu_seconds(pid) - cpu) / spent
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    delays = [at - commits[mark] for mark, times in seen.items() for at in times if mark in commits]
    return Load(share, delays, size[0] / spent / len(pages))


def _publish(engine: Engine, number: int) -> None:
    """Write one cell of each experiment, and the first experiments' look with a lift that tells the commit."""
    lift = number + number % 10 / 10
    with writing(engine) as connection:
        upsert_cells(
            connection,
            [
                CellRow(name, START, "treatment", "", START, 0, 0, 0, 20 + number, 0, None, 1 + number)
                for name in NAMES
            ],
        )
        upsert_looks(
            connection,
            [
                look(
                    1000,
                    experiment=name,
                    event=EVENT_NAMES[0],
                    state="no_difference_yet",
                    crossed=False,
                    lift=lift / 100,
                    sequence=number,
                )
                for name in NAMES[:PAGES]
            ],
        )


async def _watch(
    port: int, page: str, ready: asyncio.Event, seen: dict[str, list[float]], size: list[int]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(f"GET /api/v1/events?page={quote(page)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    try:
        while line := await reader.readline():
            size[0] += len(line)
            if not line.startswith(b"data: "):
                continue
            ready.set()
            text = line.decode()
            found = text.find("%", text.find("+"))
            mark = text[text.rfind("+", 0, found) : found + 1]
            seen.setdefault(mark, []).append(time.monotonic())
    finally:
        writer.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(directory: Path, *, seconds: float, buckets: int) -> Load:
    """Fill a database, serve it, and measure."""
    with open_database(SqliteFile(directory / "x.db")) as engine:
        fill(engine, buckets=buckets)
        with serving(directory) as server:
            return asyncio.run(measure(engine, server.process.pid, server.port, seconds=seconds))


def main() -> None:
    """Measure, and say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--buckets", type=int, default=24)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        load = run(Path(directory), seconds=given.seconds, buckets=given.buckets)
    late = sorted(load.delays)
    click.echo(
        f"{100 * load.cpu_share:.1f} % of a core; {len(late)} updates, median {late[len(late) // 2]:.2f} s, "
        f"95 % within {late[len(late) * 95 // 100]:.2f} s, longest {late[-1]:.2f} s; "
        f"{load.bytes_per_second / 1000:.1f} kB/s a page"
    )


if __name__ == "__main__":
    main()
