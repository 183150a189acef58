"""Whether a process runs, and whether it does its work; open to everybody, so it tells codes, names and counts only."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from rtexp.worker_web.answers import answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from rtexp.engine.sensors import Standing, TaskStatus

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Readiness(NamedTuple):
    """Why a process isn't ready, as stable codes; none when it is."""

    reasons: Sequence[str]
    recovery: Mapping[str, int]
    """How far the partitions are that aren't live yet; empty when all are."""
    failing: Mapping[str, str] = MappingProxyType({})
    """Since when targets of alerts fail, by name; empty when none does."""


def readiness(
    standing: Standing, tasks: Iterable[TaskStatus], checks: Mapping[str, Callable[[], bool]]
) -> Readiness:
    """Judge a worker; ``checks`` tell by code whether something else that it needs is there."""
    reasons, recovery = [], {}
    if not standing.has_started:
        reasons.append("not-started")
    elif not standing.is_assigned:
        reasons.append("rebalancing")
    elif standing.live < standing.partitions:
        reasons.append("recovering")
        inputs = [source for task in tasks if not task.ready for source in task.inputs.values()]
        recovery = {
            "partitions": standing.partitions,
            "live": standing.live,
            "rewind_done": sum(source.rewind_done for source in inputs),
            "rewind_total": sum(source.rewind_total for source in inputs),
        }
    reasons += [code for code, is_well in checks.items() if not is_well()]
    return Readiness(reasons, recovery)


async def live(_: web.Request) -> web.StreamResponse:
    """Answer as long as the worker's event loop does."""
    return web.json_response({"live": True})


def ready(judge: Callable[[], Readiness]) -> Handler:
    """Return what answers 200 if the worker does its work, otherwise 503 with the reasons."""

    async def handler(request: web.Request) -> web.StreamResponse:
        found = judge()
        said: dict[str, Any] = {"ready": not found.reasons, "reasons": list(found.reasons)}
        if found.recovery:
            said["recovery"] = dict(found.recovery)
        if found.failing:
            said["failing"] = dict(found.failing)
        given = answer(request, "Ready" if not found.reasons else "Not ready", said)
        if found.reasons:
            given.set_status(503)
            given.headers["Retry-After"] = "5"
        return given

    return handler
