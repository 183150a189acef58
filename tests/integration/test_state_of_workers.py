"""What real workers serve: a key asked from the wrong one, sizes and owners, and readiness while state comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from tests.faults.cluster import make_settings
from tests.integration.pipelines import WAIT_SECONDS, Pipeline, action, activation, experiment

from rtexp.bootstrap.common import worker_name
from rtexp.local.raw_records import partition_of
from rtexp.store.engine import opened, reading
from rtexp.store.operations import read_workers
from rtexp.web.worker_client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

START_MS = 1_700_000_100_000
USERS = [f"u{number}" for number in range(40)]
CLIENT = WorkerClient(None)


@pytest.fixture
def pipeline(tmp_path: Path, broker: str) -> Iterator[Pipeline]:
    settings = make_settings(tmp_path, broker, f"s{uuid4().hex[:8]}", partitions=4, checkpoint_seconds=600)
    web = settings.web.model_copy(update={"user_lookup": True})
    made = Pipeline(
        tmp_path / "workers",
        settings.model_copy(update={"web": web}),
        {"ingest": 1, "aggregate": 2, "results": 1},
    )
    try:
        yield made
    finally:
        made.stop()


def urls(pipeline: Pipeline) -> dict[str, str]:
    """Where each worker serves, by the names of the test."""
    names = {worker_name(worker.datadir): name for name, worker in pipeline.workers.items()}
    with opened(pipeline.settings.store) as engine, reading(engine) as connection:
        return {names[row.worker]: row.url for row in read_workers(connection) if row.url}


async def known_urls(pipeline: Pipeline) -> dict[str, str]:
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found := urls(pipeline)) < len(pipeline.workers):
        assert time.monotonic() < deadline, f"SQL knows {found} alone"
        await asyncio.sleep(0.2)
    return found


def ready(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(f"{url}/health/ready", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as answer:
        with answer:
            return answer.code, json.load(answer)


def faults_of(pipeline: Pipeline) -> tuple[int, list[str]]:
    """What `rtexp check` says of a pipeline that runs, other than that all is well; the disk may be small."""
    environ = pipeline.workers["results-1"].environ | {"RTEXP_WEB__PORT": "0", "RTEXP_WEB__WORKER_PORT": "0"}
    command = [sys.executable, "-c", "from rtexp.cli import main; main()", "check", "--wait", "60"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    return done.returncode, [*lines, *done.stderr.splitlines()]


async def test_workers_answer_for_each_other_and_say_when_they_are_ready(pipeline: Pipeline) -> None:
    await pipeline.begin([experiment("exp", START_MS)])
    await pipeline.send([activation(user, "exp", START_MS + 1) for user in USERS])
    actions = [action(user, START_MS + 1000 + number) for number in range(50) for user in USERS]
    await pipeline.send(actions, marker_ms=START_MS + 100_000)
    await pipeline.counted()
    shared = await pipeline.shared("aggregate-1", "aggregate-2")
    at = await known_urls(pipeline)
    assert {ready(url)[0] for url in at.values()} == {200}
    assert await asyncio.to_thread(faults_of, pipeline) == (0, [])

    # Any user from any worker, whichever has it.
    for user in USERS[:6]:
        partition = partition_of(user.encode(), 4)
        (owner,) = (name for name, partitions in shared.items() if partition in partitions)
        for name in at:
            found = CLIENT.entry(at[name], "users", {"key": user})
            assert found["worker"] == worker_name(pipeline.workers[owner].datadir), f"{user} asked of {name}"
            assert found["partition"] == partition
            assert found["triggers"][0]["counts"] == {"search": 20}, "the cap"

    # What they have of the tables adds up.
    told = [CLIENT.tables(at[name]) for name in ("aggregate-1", "aggregate-2")]
    partitions = [found for said in told for found in said["partitions"]]
    assert sorted(found["partition"] for found in partitions) == [0, 1, 2, 3]
    assert sum(found["entries"] for found in partitions) == len(USERS)
    assert sum(found["triggers"] for found in partitions) == len(USERS)
    cells = CLIENT.entry(at["ingest-1"], "buckets", {"key": "exp"})
    assert [period["period_start_ms"] for period in cells["periods"]] == [START_MS]

    # The command line shows the same, in one form or the other.
    shown = json.loads(await pipeline.command("tables", "--json"))
    assert shown["silent"] == []
    assert sorted(
        (said["worker"], len(said["partitions"])) for said in shown["workers"] if said["job"] == "aggregate"
    ) == (sorted((worker_name(pipeline.workers[name].datadir), len(found)) for name, found in shared.items()))
    lines = (await pipeline.command("tables")).splitlines()
    assert sorted(line.split()[1] for line in lines if line.startswith("users ")) == ["0", "1", "2", "3"]
    assert json.loads(await pipeline.command("tables", "get", "users", USERS[0], "--json"))["key"] == USERS[0]
    assert "search 20" in await pipeline.command("tables", "get", "users", USERS[0])

    # Nothing of Faust's own is served.
    for path in ("/table/", "/router/", "/graph/", "/stats/", "/metrics/"):
        with pytest.raises(HTTPError, match="404"):
            await asyncio.to_thread(urlopen, f"{at['aggregate-1']}{path}", timeout=5)

    # One dies without a checkpoint: while the other rewinds its partitions, it says how far it is.
    pipeline.workers["aggregate-1"].end(signal.SIGKILL)
    reasons: set[str] = set()
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert time.monotonic() < deadline, f"the other never took over; it said {reasons}"
        with suppress(URLError):
            status, said = ready(at["aggregate-2"])
            reasons.update(said["reasons"])
            if status == 503:
                assert said["ready"] is False
            if "recovering" in said["reasons"]:
                assert said["recovery"]["partitions"] == 4
            if status == 200 and reasons:
                break
        await asyncio.sleep(0.01)
    assert "recovering" in reasons
    for user in USERS[:6]:
        found = CLIENT.entry(at["ingest-1"], "users", {"key": user})
        assert found["worker"] == worker_name(pipeline.workers["aggregate-2"].datadir)
        assert found["triggers"][0]["counts"] == {"search": 20}
