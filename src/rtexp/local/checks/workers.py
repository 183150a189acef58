"""The workers: whether each job has one that says it does its work."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rtexp.errors import RtexpError
from rtexp.local.checks.findings import Finding, in_thread
from rtexp.local.checks.ports import get_json
from rtexp.local.system import JOBS
from rtexp.store.engine import make_engine, reading
from rtexp.store.migrate import check_revision
from rtexp.store.operations import read_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rtexp.settings import Settings
    from rtexp.store.operations import WorkerRow

SPOKE_MS = 30_000
"""They report every five seconds, and the leader writes that down as often."""
AHEAD_MS = 2_000
ANSWER_SECONDS = 5.0
_POLL_SECONDS = 1.0
_AT_ONCE = 16


def workers(
    settings: Settings, ask: Callable[[str], Mapping[str, object] | None] = get_json
) -> list[Finding]:
    """Judge the workers that SQL knows, each by what it says itself; it blocks."""
    engine = make_engine(settings.store, busy_seconds=1, answer_seconds=ANSWER_SECONDS)
    try:
        check_revision(engine)
        with reading(engine) as connection:
            rows = read_workers(connection)
    finally:
        engine.dispose()
    now_ms = time.time_ns() // 1_000_000
    lately = [row for row in rows if row.updated_ms > now_ms - SPOKE_MS]
    asked = [row for row in lately if row.url.startswith("http://")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda row: ask(f"{row.url}/health/ready"), asked)
        said = {row.worker: answer for row, answer in zip(asked, answers, strict=True)}
    return judge(lately, said, now_ms)


def judge(
    lately: Sequence[WorkerRow], said: Mapping[str, Mapping[str, object] | None], now_ms: int
) -> list[Finding]:
    """Return a finding for each job, and for each worker that isn't ready or has another time."""
    found = []
    for job in JOBS:
        mine = [row for row in lately if row.job == job]
        if not mine:
            start = f"start one: `rtexp up`, or `faust -A rtexp.apps.{job} worker -l info`"
            found.append(
                Finding("workers", "fail", f"no {job} worker has spoken within {SPOKE_MS // 1000} s: {start}")
            )
            continue
        faults = [_fault(row, said.get(row.worker)) for row in mine]
        found += [Finding("workers", "fail", fault) for fault in faults if fault]
        if not any(faults):
            found.append(Finding("workers", "ok", f"{job}: {len(mine)} ready"))
        for row in mine:
            if row.updated_ms > now_ms + AHEAD_MS:
                ahead = (row.updated_ms - now_ms) / 1000
                text = f"the clock of {row.worker} ({job}) is {ahead:,.1f} s ahead of this machine's: run NTP on both"
                found.append(Finding("clocks", "fail", text))
    return found


def _fault(row: WorkerRow, said: Mapping[str, object] | None) -> str:
    whose = f"{row.worker} ({row.job})"
    if not row.url.startswith("http://"):
        return ""  # it serves nothing, and has spoken
    if said is None:
        return f"{whose} doesn't answer at {row.url}: see its log, and whether this machine reaches it"
    if said.get("ready") is True:
        return ""
    reasons = said.get("reasons")
    told = ", ".join(map(str, reasons)) if isinstance(reasons, list) else "no reason"
    return f"{whose} isn't ready ({told}): wait with `rtexp check --wait 60`, then see its log"


async def wait_for_workers(settings: Settings, seconds: float) -> None:
    """Return when all workers are ready, or the time is over: what isn't well is found afterwards."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            async with asyncio.timeout(max(0.1, until - loop.time())):
                found = await in_thread(lambda: workers(settings))
        except (RtexpError, TimeoutError):
            found = []  # no tables yet, perhaps
        if found and all(finding.level == "ok" for finding in found):
            return
        await asyncio.sleep(min(_POLL_SECONDS, max(0.0, until - loop.time())))
