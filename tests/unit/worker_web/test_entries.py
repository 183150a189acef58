"""Looking up one key: decoded where it is, and from elsewhere the way to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.worker_web.servers import serving
from tests.unit.worker_web.workers import (
    HOUR,
    PARTITION,
    SETTINGS,
    START,
    STRANGER,
    TABLES,
    USER,
    Task,
    buckets,
    said,
    users,
    worker,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


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
            "actions_left_out": 0, "cap_per_hour": 1000,
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


async def test_people_get_a_page() -> None:
    async with serving(worker(Task("users", PARTITION, users()))) as ask:
        page = await ask("/state/tables", headers={"Accept": "text/html,*/*"})
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<th scope=col>partition</th>" in page.text
