from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.local.supervision import BackOff
from rtexp.local.supervisor import Child, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEPS = "import signal, time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
QUICK = BackOff(first_s=0.01, limit_s=0.02)


class Log:
    """Collects lines and lets a test wait for one."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._grew = asyncio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._grew.set()

    async def until(self, holds: Callable[[list[tuple[str, str]]], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds(self.lines):
                self._grew.clear()
                await self._grew.wait()

    def positions(self, text: str) -> list[int]:
        return [number for number, (_, line) in enumerate(self.lines) if text in line]


def python(name: str, program: str, *, stage: int = 0, grace_s: float = 20.0) -> Child:
    return Child(name, lambda: [sys.executable, "-c", program], stage=stage, grace_s=grace_s)


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_at_the_end_of_the_block_nothing_is_left() -> None:
    log = Log()
    async with Supervisor(log) as supervisor:
        supervisor.add(python("one", SLEEPS))
        supervisor.add(python("two", SLEEPS))
        await log.until(lambda lines: lines.count(("one", "up")) + lines.count(("two", "up")) == 2)
        pids = supervisor.pids
        assert set(pids) == {"one", "two"}
    assert supervisor.pids == {}
    assert not any(map(is_running, pids.values()))
    assert {(end.name, end.code) for end in supervisor.exits} == {("one", -15), ("two", -15)}


async def test_a_killed_child_is_started_again() -> None:
    log = Log()
    async with Supervisor(log, back_off=QUICK) as supervisor:
        supervisor.add(python("worker", SLEEPS))
        await log.until(lambda lines: lines.count(("worker", "up")) == 1)
        killed = supervisor.pids["worker"]
        os.kill(killed, signal.SIGKILL)
        await log.until(lambda lines: lines.count(("worker", "up")) == 2)
        assert supervisor.pids["worker"] != killed
    assert [end.code for end in supervisor.exits] == [-signal.SIGKILL, -signal.SIGTERM]
    assert ("rtexp", "worker ended (SIGKILL); starts again in 0.01 s") in log.lines


async def test_an_end_on_a_full_disk_says_so_and_the_next_one_without_does_not() -> None:
    """Kafka's own line about it stands in front of hundreds of others."""
    log = Log()
    full = "print('IO: No space left on device', flush=True); " + "print('at');" * 50 + "raise SystemExit(1)"
    programs = iter([full, "raise SystemExit(1)", SLEEPS])
    async with Supervisor(log, back_off=QUICK) as supervisor:
        supervisor.add(Child("broker", lambda: [sys.executable, "-c", next(programs)]))
        await log.until(lambda lines: ("broker", "up") in lines)
    first, second, _ = [line for name, line in log.lines if name == "rtexp" and "broker ended" in line]
    assert first.startswith("broker ended (exit code 1; No space left on device: free some")
    assert second.startswith("broker ended (exit code 1); starts again")


async def test_each_start_asks_for_the_command_again() -> None:
    log = Log()
    starts = iter(range(100))
    child = Child("worker", lambda: [sys.executable, "-c", f"print('start', {next(starts)})"])
    async with Supervisor(log, back_off=QUICK) as supervisor:
        supervisor.add(child)
        await log.until(lambda lines: ("worker", "start 2") in lines)
    assert supervisor.tail("worker")[:3] == ["start 0", "start 1", "start 2"]


async def test_the_broker_is_stopped_when_the_workers_have_ended() -> None:
    slow = (
        "import signal, time, sys\n"
        "def end(*_):\n  time.sleep(0.3); print('bye', flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
    )
    log = Log()
    async with Supervisor(log) as supervisor:
        supervisor.add(python("broker", slow, stage=1))
        supervisor.add(python("worker", slow))
        await log.until(lambda lines: {("broker", "up"), ("worker", "up")} <= set(lines))
    (worker_gone,) = log.positions("worker ended (exit code 0)")
    assert log.lines.index(("worker", "bye")) < worker_gone < log.lines.index(("broker", "bye"))


async def test_a_deaf_child_is_killed_after_its_grace() -> None:
    log = Log()
    async with Supervisor(log) as supervisor:
        supervisor.add(python("deaf", DEAF, grace_s=0.2))
        await log.until(lambda lines: ("deaf", "up") in lines)
    assert [end.code for end in supervisor.exits] == [-signal.SIGKILL]
    assert ("rtexp", "deaf doesn't end by itself: killed") in log.lines


async def test_a_stopped_child_is_killed_too() -> None:
    log = Log()
    async with Supervisor(log) as supervisor:
        supervisor.add(python("frozen", SLEEPS, grace_s=0.2))
        await log.until(lambda lines: ("frozen", "up") in lines)
        pid = supervisor.pids["frozen"]
        os.kill(pid, signal.SIGSTOP)
        # Until it has stopped, a SIGTERM could overtake the SIGSTOP.
        while process_state(pid) != "T":  # noqa: ASYNC110 - the system tells nobody
            await asyncio.sleep(0.01)
    assert [end.code for end in supervisor.exits] == [-signal.SIGKILL]


async def test_a_command_that_cannot_be_made_counts_as_an_end() -> None:
    log = Log()
    attempts = 0

    def command() -> list[str]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("no free port")
        return [sys.executable, "-c", SLEEPS]

    async with Supervisor(log, back_off=QUICK) as supervisor:
        supervisor.add(Child("worker", command))
        await log.until(lambda lines: ("worker", "up") in lines)
    assert ("rtexp", "worker ended (no free port); starts again in 0.01 s") in log.lines


async def test_a_cancelled_stop_still_leaves_nothing() -> None:
    log = Log()
    supervisor = Supervisor(log)
    async with supervisor:
        supervisor.add(python("deaf", DEAF, grace_s=0.3))
        await log.until(lambda lines: ("deaf", "up") in lines)
        pid = supervisor.pids["deaf"]
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)  # it has begun to wait
        stopping.cancel()
        await asyncio.wait([stopping])
        assert stopping.cancelled()
        assert not is_running(pid)


async def test_lines_of_several_children_come_whole_and_in_each_ones_order() -> None:
    chatty = "import time\nfor i in range(2000): print('x' * (i % 200), i, flush=i % 7 == 0)\ntime.sleep(600)"
    log = Log()
    async with Supervisor(log) as supervisor:
        for name in ("a", "b", "c"):
            supervisor.add(python(name, chatty.replace("time.sleep", "print(flush=True); time.sleep")))
        await log.until(lambda lines: sum(line == "" for _, line in lines) == 3)
    for name in ("a", "b", "c"):
        lines = [line for who, line in log.lines if who == name]
        assert lines == [f"{'x' * (i % 200)} {i}" for i in range(2000)] + [""]
