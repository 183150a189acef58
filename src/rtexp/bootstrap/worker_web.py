"""What each worker serves itself, put together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rtexp.bootstrap.common import worker_name
from rtexp.core.columns import column_bytes
from rtexp.settings import client_options
from rtexp.web.address import read_token
from rtexp.worker_web import entries, health
from rtexp.worker_web.owners import Owners, read_recent
from rtexp.worker_web.server import WorkerServer
from rtexp.worker_web.tables import tables_of, what_is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rtexp.agents.aggregate import AggregateState
    from rtexp.agents.merge import MergeState
    from rtexp.engine.app import EngineApp
    from rtexp.engine.sensors import InputStatus
    from rtexp.records.status import Status
    from rtexp.settings import Settings


def serve(
    app: EngineApp,
    job: str,
    settings: Settings,
    *,
    checks: Mapping[str, Callable[[], bool]],
    measure: Callable[[Any], Mapping[str, int]] = lambda _: {},
) -> WorkerServer:
    """Make a worker serve its health and state; more can be added until it starts.

    ``checks`` say by code whether what it needs beside its partitions is there; ``measure`` counts what the state of
    one has.
    """
    web = settings.web
    server = WorkerServer(
        app.conf, lambda: app.web_port, read_token=lambda host: read_token(web, os.environ, host=host)
    )

    def worker() -> str:
        return worker_name(app.directory)

    async def recent() -> Iterable[Status]:
        return await read_recent(client_options(settings.kafka), settings.kafka.topic("status"))

    def here() -> entries.Here:
        return entries.Here(worker(), server.url, app.all_tasks)

    def judge() -> health.Readiness:
        return health.readiness(app.standing(), app.task_status(), checks)

    tables, owners = tables_of(settings), Owners(recent)
    users, buckets = tables["users"], tables["buckets"]
    server.add("/health/live", health.live)
    server.add("/health/ready", health.ready(judge))
    server.add("/state/tables", what_is_here(worker, job, app.all_tasks, lambda: _forwarded(app), measure))
    server.add("/state/owner", entries.owner_of(tables, here, owners))
    server.add("/state/users", entries.entry_of(users, here, owners, entries.user, allowed=web.user_lookup))
    server.add(
        "/state/buckets",
        entries.entry_of(buckets, here, owners, entries.cells, parameters=entries.CELL_PARAMETERS),
    )
    app.serve(server)
    return server


def _forwarded(app: EngineApp) -> Mapping[str, InputStatus]:
    return {
        name: source
        for status in app.task_status()
        if status.partition < 0
        for name, source in status.inputs.items()
    }


def users_of(state: AggregateState) -> Mapping[str, int]:
    """Count what a partition of the users table has."""
    users = state.users
    return {
        "entries": len(users.names),
        "triggers": users.triggers.alive,
        "memory_bytes": column_bytes(users),
    }


def cells_of(state: MergeState) -> Mapping[str, int]:
    """Count what a partition of the buckets table has."""
    table = state.table
    return {
        "entries": len(table),
        "in_memory": table.in_memory,
        "unpublished": table.unpublished,
        "memory_bytes": column_bytes(table) + column_bytes(state.sums),
    }
