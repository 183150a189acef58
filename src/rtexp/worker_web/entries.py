"""Looking up one key: here, if this worker has it, or which worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from rtexp.core import sketches
from rtexp.core.cells import CellKey
from rtexp.core.user_entries import find_user
from rtexp.worker_web.answers import Problem, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from rtexp.agents.aggregate import AggregateState
    from rtexp.agents.merge import MergeState
    from rtexp.engine.task import PartitionTask
    from rtexp.worker_web.owners import Owners
    from rtexp.worker_web.tables import Table

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Query = Mapping[str, str]
    LookUp = Callable[[Any, Query], Mapping[str, Any]]
    """Decodes what a live state has of the key asked for; Problem if that is nothing."""

MOST_PAGES = 1_000
MOST_ACTIONS = 100
"""Of the newest that are shown of one user; what the cap leaves out is remembered as well."""
_MOST_MS = 1 << 53
_NOT_ALLOWED = (
    "looking up single users is off: whoever may read what they did sets [web] user_lookup = true, and starts the "
    "workers and the pages again"
)


class Here(NamedTuple):
    """This worker."""

    worker: str
    url: str
    tasks: Callable[[], list[PartitionTask]]
    """All of its tasks, whatever phase they are in."""


def owner_of(tables: Mapping[str, Table], here: Callable[[], Here], owners: Owners) -> Handler:
    """Return what says which worker has a key of a table."""

    async def handler(request: web.Request) -> web.StreamResponse:
        query = checked(request, "table", "key")
        table = tables.get(query.get("table", "users"))
        if table is None:
            raise Problem(422, "bad-parameter", f"table: expected one of {', '.join(tables)}")
        partition = table.partition(query.get("key", ""))
        me = here()
        is_here = _task(me, table, partition) is not None
        owner = (me.worker, me.url) if is_here else await owners.find(table.job, partition)
        said = {"table": table.name, "partition": partition, "worker": owner[0], "url": owner[1]}
        return answer(request, "Owner", said | {"is_here": is_here})

    return handler


def entry_of(
    table: Table,
    here: Callable[[], Here],
    owners: Owners,
    look_up: LookUp,
    *,
    parameters: tuple[str, ...] = (),
    allowed: bool = True,
) -> Handler:
    """Return what decodes one entry of a table, as of the last commit, or leads to the worker that has it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if not allowed:
            raise Problem(403, "user-lookup-off", _NOT_ALLOWED)
        query = checked(request, "key", *parameters)
        partition = table.partition(query.get("key", ""))
        me = here()
        task = _task(me, table, partition)
        if task is None:
            raise await _elsewhere(table, partition, owners, query)
        async with task.between_flushes() as committed:
            if committed is None:
                progress = f"partition {partition} is being recovered: {_progress(task)}; try again"
                raise Problem(503, "recovering", progress)
            if task.paused:  # it may be someone else's by now
                raise Problem(
                    503, "rebalancing", f"partition {partition} is being shared out anew: try again"
                )
            state, positions = committed
            found = look_up(state, query)
        said = {"table": table.name, "key": query["key"], "partition": partition, "worker": me.worker}
        return answer(
            request, f"{table.name} / {query['key']}", said | {"positions": dict(positions)} | dict(found)
        )

    return handler


def checked(request: web.Request, *known: str) -> dict[str, str]:
    """Return the parameters of a request; Problem if one is none of these, or given twice."""
    query: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known or name in query:
            raise Problem(422, "bad-parameter", f"query: expected {', '.join(known)}, each once")
        query[name] = value
    return query


def _task(here: Here, table: Table, partition: int) -> PartitionTask | None:
    found = (task for task in here.tasks() if (task.agent.name, task.partition) == (table.name, partition))
    return next(found, None)


def _progress(task: PartitionTask) -> str:
    inputs = task.status().inputs.values()
    return f"{sum(i.rewind_done for i in inputs)} of {sum(i.rewind_total for i in inputs)} offsets"


async def _elsewhere(table: Table, partition: int, owners: Owners, query: Query) -> Problem:
    worker, url = await owners.find(table.job, partition)
    known = {"table": table.name, "partition": partition, "worker": worker, "url": url}
    if not url:
        return Problem(
            503, "no-owner", f"worker {worker} has partition {partition}, and serves no state", **known
        )
    location = f"{url}/state/{table.name}?{urlencode(query)}"
    return Problem(
        307, "elsewhere", f"worker {worker} has partition {partition}: ask it", location=location, **known
    )


def user(state: AggregateState, query: Query) -> Mapping[str, Any]:
    """Decode a user of the users table."""
    found = find_user(state.users, query["key"])
    if found is None:
        raise Problem(
            404, "no-entry", "nothing is kept of this user: no trigger, and no action that matters still"
        )
    decoded: dict[str, Any] = msgspec.to_builtins(found)
    shown, left_out = found.actions[:MOST_ACTIONS], found.actions[MOST_ACTIONS:]
    return decoded | {
        "actions": msgspec.to_builtins(shown),
        "actions_left_out": len(left_out),
        "cap_per_hour": state.users.rules.cap_per_hour,
    }


CELL_PARAMETERS = ("period", "group", "event", "bucket")


def cells(state: MergeState, query: Query) -> Mapping[str, Any]:
    """Decode what the buckets table has of an experiment: its periods, the pages of one, or a single cell."""
    experiment, table = query["key"], state.table
    periods = table.periods(experiment)
    if not periods:
        raise Problem(404, "no-entry", "there are no cells of this experiment")
    if "period" not in query:
        if len(query) > 1:
            raise Problem(422, "bad-parameter", "period: expected with group, event and bucket")
        return {"periods": [{"period_start_ms": start_ms} for start_ms in periods]}
    period_ms = _ms(query, "period")
    if period_ms not in periods:
        raise Problem(404, "no-entry", f"there are no cells of this period; of these there are: {periods}")
    if "bucket" in query:
        event = query.get("event", "")
        key = CellKey(experiment, period_ms, query.get("group", ""), event, _ms(query, "bucket"))
        try:
            counts, sketch = table.cell(key)
        except KeyError:
            raise Problem(404, "no-entry", "there is no such cell: nothing was counted in it") from None
        uniques = sketches.estimate(sketch, state.table.lg_k)
        return {"cell": msgspec.to_builtins(counts) | {"uniques": round(uniques, 1)}}
    pages = sorted(table.pages((experiment, period_ms)))
    shown = [
        {"event": page.event, "hour_start_ms": page.hour_start_ms, "in_memory": in_memory}
        for page, in_memory in pages
        if query.get("event", page.event) == page.event
    ]
    return {
        "period_start_ms": period_ms,
        "pages": shown[:MOST_PAGES],
        "pages_left_out": len(shown[MOST_PAGES:]),
    }


def _ms(query: Query, name: str) -> int:
    text = query[name]
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_MOST_MS)) or int(text) >= _MOST_MS:
        raise Problem(422, "bad-parameter", f"{name}: expected ms since 1970")
    return int(text)
