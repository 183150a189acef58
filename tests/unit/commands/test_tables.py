"""`rtexp tables`, with workers that really answer."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine, Ended
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.worker_web.servers import TOKEN, serving
from tests.unit.worker_web.workers import (
    PARTITION,
    STRANGER,
    TABLES,
    USER,
    Task,
    buckets,
    said,
    users,
    worker,
)

from rtexp.store.engine import writing
from rtexp.store.operations import WorkerRow, upsert_workers
from rtexp.web.address import TOKEN_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


class Rtexp:
    """The command line, and the workers that SQL knows."""

    def __init__(self, command_line: CommandLine) -> None:
        self._command_line = command_line

    async def __call__(self, *arguments: str) -> Ended:
        return await asyncio.to_thread(self._command_line, *arguments)

    def know(self, *urls: tuple[str, str], silent_ms: int = 0) -> None:
        now_ms = int(time.time() * 1000) - silent_ms
        rows = [
            WorkerRow(f"host-{n}", job, url, 1, 0, 0, 1, 1.0, now_ms) for n, (job, url) in enumerate(urls)
        ]
        with open_database(SqliteFile(self._command_line.database)) as engine, writing(engine) as connection:
            upsert_workers(connection, rows)


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Rtexp:
    command_line = CommandLine(tmp_path, monkeypatch, capfd)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with open_database(SqliteFile(command_line.database)):
        pass
    return Rtexp(command_line)


async def test_tables_lists_the_partitions_of_all_workers_that_answer(rtexp: Rtexp) -> None:
    first, second = worker(Task("users", 1, users())), worker(Task("users", 0, None))
    async with serving(first), serving(second):
        rtexp.know(("aggregate", first.url), ("aggregate", second.url), ("ingest", "http://127.0.0.1:1"))
        ended = await rtexp("tables")
        assert ended.code == 0
        header, *lines = ended.out.splitlines()
        assert header.split() == (
            [
                "table",
                "partition",
                "worker",
                "phase",
                "entries",
                "disk",
                "memory",
                "complete",
                "to",
                "positions",
            ]
        )
        assert [line.split()[:2] for line in lines] == [["users", "0"], ["users", "1"]]
        assert "host-2 (ingest): the worker at http://127.0.0.1:1 doesn't answer" in ended.err
        told = json.loads((await rtexp("tables", "--json")).out)
        assert [said["partitions"][0]["partition"] for said in told["workers"]] == [1, 0]


async def test_a_user_is_found_whichever_worker_is_asked_first(rtexp: Rtexp) -> None:
    owner = worker(Task("users", PARTITION, users()))
    async with serving(owner):
        wrong = worker(statuses=[said("owner", PARTITION, url=owner.url)])
        async with serving(wrong):
            rtexp.know(("aggregate", "http://127.0.0.1:1"), ("aggregate", wrong.url))
            ended = await rtexp("tables", "get", "users", USER)
            assert ended.code == 0, ended.err
            assert ended.out.startswith(f"users / {USER}, partition {PARTITION} of here-1")
            assert "search 3" in ended.out
            found = json.loads((await rtexp("tables", "get", "users", USER, "--json")).out)
            assert found["triggers"][0]["counts"] == {"search": 3}


async def test_periods_of_an_experiment_are_found(rtexp: Rtexp) -> None:
    server = worker(Task("buckets", TABLES["buckets"].partition("exp"), buckets()))
    async with serving(server):
        rtexp.know(("results", server.url))
        ended = await rtexp("tables", "get", "buckets", "exp")
        assert ended.code == 0
        assert "periods: 1" in ended.out


async def test_the_token_of_the_configuration_goes_along(
    rtexp: Rtexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = worker(Task("users", PARTITION, users()), token=TOKEN)
    async with serving(server):
        rtexp.know(("aggregate", server.url))
        refused = await rtexp("tables", "get", "users", USER)
        assert (refused.code, "wants another token" in refused.err) == (1, True)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        assert (await rtexp("tables", "get", "users", USER)).code == 0


async def test_refusals_are_one_line_that_says_what_to_do(rtexp: Rtexp) -> None:
    ended = await rtexp("tables")
    assert ended.code == 1
    assert "no worker has spoken within the last minute: start them with `rtexp up`" in ended.err
    rtexp.know(("aggregate", "http://127.0.0.1:1"), silent_ms=120_000)
    assert "no worker has spoken" in (await rtexp("tables")).err
    server = worker(Task("users", PARTITION, users()), allowed=False)
    async with serving(server):
        rtexp.know(("aggregate", server.url))
        ended = await rtexp("tables", "get", "users", STRANGER)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "[web] user_lookup = true" in ended.err
        assert (await rtexp("tables", "get", "users", USER, "--group", "x")).code == 2
