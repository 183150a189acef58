"""Files in, results out, by the command line alone: what a person does with last month's data, on real servers."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.faults.cluster import ROOT, make_settings
from tests.faults.compare import compare, read_raw, stored
from tests.faults.random_run import experiments_of
from tests.integration.pipelines import Pipeline
from tests.oracle import cells as oracle

from rtexp.local.generator import Generator
from rtexp.local.replaying import closing_ms
from rtexp.local.story import Story
from rtexp.local.truth import Action, Activation, Rules
from rtexp.store.cells import CellRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rtexp.store.definitions import Experiment

pytestmark = pytest.mark.integration

START_MS = 1_420_416_000_000
STORY = Story(START_MS, 72 * 3_600_000)


@dataclass(frozen=True)
class Row:
    """A row of a file: when it came, and what it says."""

    arrived_ms: int
    user: str
    told: Action | Activation


class CommandLine:
    """`rtexp` as a process, with the configuration of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __call__(self, *words: str, within_s: float = 240.0) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        command = [sys.executable, "-m", "rtexp", "--config", str(self._pipeline.config), *words]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, env=self._pipeline.environ, cwd=ROOT, stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def json(self, *words: str) -> Any:
        """Return what a command prints with ``--json``, which must be all that it prints."""
        code, out, err = await self(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    async def text(self, *words: str) -> str:
        """Return what a command prints for people."""
        code, out, err = await self(*words)
        assert code == 0, err
        return out


@pytest.fixture
def pipeline(tmp_path: Path, broker: str) -> Iterator[Pipeline]:
    settings = make_settings(tmp_path, broker, f"f{uuid4().hex[:8]}", partitions=3)
    web = settings.web.model_copy(update={"user_lookup": True})
    jobs = {"ingest": 1, "aggregate": 1, "results": 1}
    made = Pipeline(tmp_path / "workers", settings.model_copy(update={"web": web}), jobs)
    try:
        yield made
    finally:
        made.stop()


def rows_of(pipeline: Pipeline) -> list[Row]:
    generator = Generator(STORY, Rules.of(pipeline.settings), seed=5, users=300, records_per_cycle=6000)
    return [
        Row(told.record.arrival_ms, told.meaning.user, told.meaning)
        for told in generator.cycle(0)
        if isinstance(told.meaning, Action | Activation)
    ]


def columns_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Columns as a warehouse has them: a nested user, times with a zone and without, names by dictionary."""
    times = pa.array([row.told.at_ms for row in rows], pa.int64())
    named = (
        {"event": pa.array([row.told.event for row in rows if isinstance(row.told, Action)])}
        if isinstance(rows[0].told, Action)
        else {
            name: pa.array([getattr(row.told, name) for row in rows]).dictionary_encode()
            for name in ("experiment", "group")
        }
    )
    return named | {
        "who": pa.array([{"id": row.user, "age": 40} for row in rows]),
        "when": times.cast(pa.timestamp("ms")),
        "arrived": pa.array([row.arrived_ms * 1000 for row in rows], pa.timestamp("us", "UTC")),
    }


def write_files(directory: Path, rows: Sequence[Row]) -> tuple[list[str], int]:
    """Spread the rows over files of every kind; return the arguments that name them, and how many can be sent."""
    triggers = [row for row in rows if isinstance(row.told, Activation)]
    actions = [row for row in rows if isinstance(row.told, Action)]
    tuples = [
        (row.arrived_ms, row.user, told.event, told.at_ms)
        for row in actions
        if isinstance(told := row.told, Action)
    ]
    pq.write_table(pa.table(columns_of(triggers)), directory / "triggers.parquet", row_group_size=500)
    shuffled = actions[::3]
    random.Random(1).shuffle(shuffled)
    pq.write_table(pa.table(columns_of(shuffled)), directory / "actions.parquet")
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["arrived", "who.id", "event", "more", "when"])
    lines.writerows([arrived_ms, user, event, 1, at_ms] for arrived_ms, user, event, at_ms in tuples[1::3])
    lines.writerow(["too", "few"])
    (directory / "actions.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    objects = [
        {"who": {"id": user}, "event": event, "when": at_ms, "arrived": arrived_ms}
        for arrived_ms, user, event, at_ms in tuples[2::3]
    ]
    objects.append({"who": {"id": ""}, "event": "search", "when": START_MS, "arrived": START_MS})
    packed = zstandard.ZstdCompressor().compress("\n".join(map(json.dumps, objects)).encode())
    (directory / "actions.jsonl.zst").write_bytes(packed)
    arguments = ["--activations", str(directory / "triggers.parquet")]
    for name in ("actions.parquet", "actions.csv.gz", "actions.jsonl.zst"):
        arguments += ["--actions", str(directory / name)]
    return arguments, len(rows) + 1


def write_experiments(path: Path, experiments: Sequence[Experiment]) -> None:
    defined = [
        {
            "name": each.name,
            "control": each.control,
            "groups": list(each.groups),
            "allocations": [
                {
                    "group": a.group,
                    "percent": a.percent,
                    "at": datetime.fromtimestamp(a.at_ms / 1000, UTC).isoformat(),
                }
                for a in each.allocations
            ],
        }
        for each in experiments
    ]
    path.write_text(json.dumps({"experiments": defined}))


def period_ends_ms(experiments: Sequence[Experiment]) -> list[int]:
    found = [
        oracle.Experiment(
            each.name,
            each.groups,
            tuple(oracle.Allocation(a.group, a.percent, a.at_ms) for a in each.allocations),
        )
        for each in experiments
    ]
    return [end_ms for each in found for _, end_ms in oracle.periods(each, 72 * 3_600_000)]


async def test_files_of_every_kind_become_the_cells_of_the_oracle_and_leave_as_files_again(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    rtexp, settings, rows = CommandLine(pipeline), pipeline.settings, rows_of(pipeline)
    arguments, sendable = write_files(tmp_path, rows)
    experiments = experiments_of(STORY, 1)
    write_experiments(tmp_path / "experiments.yaml", experiments)

    made = await rtexp.json("topics", "create")
    assert all(topic["made"] for topic in made)
    assert (await rtexp.json("db", "upgrade"))["before"] is None
    pipeline.start()
    checked = await rtexp.json("check", "--wait", "100")
    assert [f"{f['check']}: {f['text']}" for f in checked["findings"] if f["level"] == "fail"] == []
    report = await rtexp.json(
        "replay", "--experiments", str(tmp_path / "experiments.yaml"), *arguments,
        "--columns", "user=who.id,time=when", "--arrival", "arrived", "--final",
    )  # fmt: skip
    refused = tmp_path / "actions.csv.gz.refused.jsonl"
    assert report == {"sent": sendable, "refused": {str(refused): 1}}
    assert json.loads(refused.read_text())["reason"] == "2 columns, where the header has 5"

    # What stands in the topics is what stood in the files, and the history is closed.
    records = await read_raw(settings, settings.actions.topic)
    sent = [record for record in records if record.value is not None]
    assert Counter(
        (r.timestamp_ms, v["user_id"], v["event"], v["ts"])
        for r in sent
        for v in [json.loads(r.value or b"")]
    ) == Counter(
        [
            (row.arrived_ms, row.user, row.told.event, row.told.at_ms)
            for row in rows
            if isinstance(row.told, Action)
        ]
        + [(START_MS, "", "search", START_MS)]
    )
    records += [
        replace(r, partition=r.partition + 3) for r in await read_raw(settings, settings.activations.topic)
    ]
    ends = {record.partition: int(value) for record in records for _, value in record.headers}
    assert sorted(ends) == list(range(6))
    last_ms = max(row.arrived_ms for row in rows)
    assert set(ends.values()) == {
        closing_ms(last_ms, period_ends_ms(experiments), grace_ms=3_600_000, join_delay_ms=10_000)
    }

    listed = (await rtexp.json("experiments", "list"))["experiments"]
    assert {found["name"] for found in listed} == {each.name for each in experiments}
    waited = await rtexp.json("wait")
    assert (waited["held_actions"], waited["seconds"] > 0) == (0, True)
    assert (await rtexp.text("wait")).startswith("counted and published after")
    compared = await compare(settings)
    assert not compared.differing, compared
    assert compared.cells > 500
    assert [letter.reason for letter in await pipeline.dead_letters()] == ["empty-field"]

    # Out again.
    code, _, err = await rtexp(
        "export", "cells", "--format", "parquet", "--output", str(tmp_path / "cells.parquet")
    )
    assert (code, err) == (0, "")
    exported = pq.read_table(tmp_path / "cells.parquet").to_pylist()
    assert {tuple(row.values())[:5]: tuple(row.values())[5:10] for row in exported} == stored(settings)
    assert list(exported[0]) == [name for name in CellRow._fields if name != "sketch"]
