"""Looking up one key: decoded where it is, and from elsewhere the way to it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests import filtered_records
from tests.filtered_records import Row, segment
from tests.plain_partials import to_record
from tests.unit.worker_web.servers import make_server, serving

from rtexp.agents.aggregate import aggregate_state
from rtexp.agents.merge import merge_state
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.local.raw_records import partition_of
from rtexp.records import partials
from rtexp.records.filtered import Kind
from rtexp.records.status import Process, Status
from rtexp.settings import Settings
from rtexp.worker_web import entries
from rtexp.worker_web.owners import Owners
from rtexp.worker_web.tables import tables_of, what_is_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from rtexp.worker_web.server import WorkerServer

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SETTINGS = Settings()
TABLES = tables_of(SETTINGS)
USER, STRANGER = "u-4711", "nobody"
PARTITION = partition_of(USER.encode(), SETTINGS.kafka.partitions)
KIND = Kind("exp", "control", START, START + 72 * HOUR, START)


def users() -> Any:
    state = aggregate_state(SETTINGS, PARTITION)
    watermark_ms = START + HOUR // 2
    triggered = segment([Row(0, USER, 0, START, START + 5)], first=0, following=1, watermark_ms=watermark_ms)
    given = filtered_records.activations(triggered, kinds=[KIND])
    state.apply("rtexp.filtered-activations", [state.decode("rtexp.filtered-activations", given)])
    rows = [Row(n, USER, 0, START + n, START + n) for n in range(3)]
    acted = filtered_records.actions(segment(rows, first=0, following=3, watermark_ms=START + 10))
    state.apply("rtexp.filtered-actions", [state.decode("rtexp.filtered-actions", acted)])
    return state


def buckets() -> Any:
    state = merge_state(SETTINGS, TABLES["buckets"].partition("exp"))
    cell = Cell(CellCounts(2, 1, 4, 0, 0), {5: 3})
    record = to_record(lg_k=12, cells={CellKey("exp", START, "control", "search", START): cell})
    state.apply("rtexp.partials", [state.decode("rtexp.partials", partials.encode(record))])
    return state


class Task:
    """A partition with a state that is live, as the engine would hand it out."""

    def __init__(self, table: str, partition: int, state: Any, *, paused: bool = False) -> None:
        self.agent = SimpleNamespace(name=table)
        self.partition = partition
        self.paused = paused
        self.live_state = state

    @asynccontextmanager
    async def between_flushes(self) -> AsyncIterator[Any]:
        yield None if self.live_state is None else (self.live_state, {"rtexp.filtered-actions": 3})

    def status(self) -> Any:
        source = SimpleNamespace(
            position=3, end=-1, held_rows=0, watermark_ms=9, rewind_done=40, rewind_total=100
        )
        inputs = {f"rtexp.filtered-actions/{self.partition}": source}
        return SimpleNamespace(phase="live", details={"state_bytes": 4096}, inputs=inputs)


def said(worker: str, partition: int, *, url: str = "http://there:6066") -> Status:
    process = Process(started_ms=0, restarts=0, rss_bytes=0, cpu_seconds=0, url=url)
    return Status(
        1,
        "aggregate",
        worker,
        partition,
        at_ms=1,
        ready=True,
        inputs={},
        counters={},
        details={},
        process=process,
    )


def worker(*tasks: Task, statuses: Iterable[Status] = (), allowed: bool = True) -> WorkerServer:
    server = make_server()

    async def read() -> Iterable[Status]:
        return statuses

    owners = Owners(read)

    def all_tasks() -> Any:
        return list(tasks)

    def here() -> entries.Here:
        return entries.Here("here-1", server.url, all_tasks)

    server.add("/state/owner", entries.owner_of(TABLES, here, owners))
    server.add("/state/users", entries.entry_of(TABLES["users"], here, owners, entries.user, allowed=allowed))
    server.add(
        "/state/buckets",
        entries.entry_of(TABLES["buckets"], here, owners, entries.cells, parameters=entries.CELL_PARAMETERS),
    )
    server.add(
        "/state/tables",
        what_is_here(
            lambda: "here-1", "aggregate", all_tasks, dict, lambda state: {"entries": len(state.users.names)}
        ),
    )
    return server


def decoded(text: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(text)
    return value


async def test_a_user_is_decoded_where_its_partition_is() -> None:
    async with serving(worker(Task("users", PARTITION, users()))) as ask:
        given = await ask(f"/state/users?key={USER}")
        assert given.status == 200
        assert decoded(given.text) == {
            "table": "users", "key": USER, "partition": PARTITION, "worker": "here-1",
            "positions": {"rtexp.filtered-actions": 3},
            "triggers": [{
                "experiment": "exp", "period_start_ms": START, "group": "control", "at_ms": START,
                "arrival_ms": START + 5, "period_end_ms": START + 72 * HOUR, "counts": {"search": 3},
            }],
            "hours": [{"hour_start_ms": START, "kept": 3}],
            "actions": [{"event": "search", "at_ms": START + n} for n in (2, 1, 0)],
            "cap_per_hour": 1000,
        }  # fmt: skip


async def test_users_are_not_looked_up_unless_a_setting_allows_it() -> None:
    async with serving(worker(Task("users", PARTITION, users()), allowed=False)) as ask:
        given = await ask(f"/state/users?key={USER}")
        assert given.status == 403
        assert "[web] user_lookup = true" in given.text
        assert USER not in given.text


async def test_another_worker_leads_to_the_one_that_has_the_key() -> None:
    statuses = [said("there-1", PARTITION, url="http://before:1"), said("there-2", PARTITION)]
    async with serving(worker(statuses=statuses)) as ask:
        given = await ask(f"/state/users?key={USER}")
        assert given.status == 307
        assert given.headers["Location"] == f"http://there:6066/state/users?key={USER}"
        found = decoded(given.text)
        assert (found["worker"], found["url"], found["partition"]) == (
            "there-2",
            "http://there:6066",
            PARTITION,
        )
        owner = decoded((await ask(f"/state/owner?key={USER}")).text)
        assert owner == {
            "table": "users", "partition": PARTITION, "worker": "there-2", "url": "http://there:6066",
            "is_here": False,
        }  # fmt: skip


async def test_the_worker_that_has_a_key_says_so_without_asking_anybody() -> None:
    server = worker(Task("users", PARTITION, users()))
    async with serving(server) as ask:
        owner = decoded((await ask(f"/state/owner?table=users&key={USER}")).text)
        assert (owner["is_here"], owner["worker"], owner["url"]) == (True, "here-1", server.url)


async def test_a_partition_that_nobody_has_is_said_to_be_so() -> None:
    async with serving(worker(statuses=[said("there-1", PARTITION + 1)])) as ask:
        given = await ask(f"/state/users?key={USER}")
        assert (given.status, decoded(given.text)["code"]) == (503, "no-owner")


async def test_a_partition_that_is_recovered_says_how_far_it_is() -> None:
    async with serving(worker(Task("users", PARTITION, None))) as ask:
        given = await ask(f"/state/users?key={USER}")
        assert (given.status, decoded(given.text)["code"]) == (503, "recovering")
        assert "40 of 100 offsets" in given.text


async def test_a_partition_that_may_be_someone_elses_is_not_looked_into() -> None:
    async with serving(worker(Task("users", PARTITION, users(), paused=True))) as ask:
        assert decoded((await ask(f"/state/users?key={USER}")).text)["code"] == "rebalancing"


async def test_what_is_not_kept_is_404() -> None:
    state = users()
    tasks = [Task("users", partition, state) for partition in range(SETTINGS.kafka.partitions)]
    async with serving(worker(*tasks)) as ask:
        assert decoded((await ask(f"/state/users?key={STRANGER}")).text)["code"] == "no-entry"
    assert len(state.users.names) == 1, "a question makes no user"


@pytest.mark.parametrize(
    "query",
    ["", "?key=", f"?key={'x' * 257}", "?key=a&key=b", "?key=a&other=1", "?key=%ff%fe%00" + "%ff" * 300],
)
async def test_questions_that_make_no_sense_are_refused(query: str) -> None:
    async with serving(worker()) as ask:
        given = await ask(f"/state/users{query}")
        assert (given.status, decoded(given.text)["code"]) == (422, "bad-parameter")
        assert len(given.text) < 600


async def test_cells_are_found_by_experiment_then_period_then_bucket() -> None:
    async with serving(worker(Task("buckets", TABLES["buckets"].partition("exp"), buckets()))) as ask:
        periods = decoded((await ask("/state/buckets?key=exp")).text)["periods"]
        assert periods == [{"period_start_ms": START}]
        found = decoded((await ask(f"/state/buckets?key=exp&period={START}")).text)
        assert found["pages"] == [{"event": "search", "hour_start_ms": START, "in_memory": True}]
        cell = f"key=exp&period={START}&group=control&event=search&bucket={START}"
        found = decoded((await ask(f"/state/buckets?{cell}")).text)
        assert found["cell"] == {
            "volume": 2, "actors": 1, "sum_squares": 4, "exposures": 0, "multiple_exposures": 0, "uniques": 1.0,
        }  # fmt: skip
        for none in ("key=other", f"key=exp&period={START + 1}", cell.replace("search", "click")):
            assert (await ask(f"/state/buckets?{none}")).status in {404, 503}
        for bad in ("key=exp&period=x", "key=exp&bucket=1", f"key=exp&period={'9' * 30}", "key=exp&period=²"):
            assert (await ask(f"/state/buckets?{bad}")).status == 422


async def test_tables_tell_entries_bytes_positions_and_watermarks_whatever_the_phase() -> None:
    async with serving(worker(Task("users", 0, users()), Task("users", 1, None))) as ask:
        found = decoded((await ask("/state/tables")).text)
        live, opening = found["partitions"]
        assert (live["entries"], live["disk_bytes"], live["watermark_ms"]) == (1, 4096, 9)
        assert live["inputs"][0] == {
            "topic": "rtexp.filtered-actions", "partition": 0, "position": 3, "end": None, "held": 0,
            "watermark_ms": 9, "rewind_done": 40, "rewind_total": 100,
        }  # fmt: skip
        assert "entries" not in opening


async def test_people_get_a_page_on_which_names_do_nothing() -> None:
    async with serving(worker(Task("users", PARTITION, users()))) as ask:
        page = await ask("/state/tables", headers={"Accept": "text/html,*/*"})
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<th scope=col>partition</th>" in page.text
        nasty = "%3Cscript%3E"
        given = await ask(f"/state/owner?key={nasty}", headers={"Accept": "text/html"})
        assert "<script" not in given.text
