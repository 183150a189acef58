"""A worker that can be made to fail at a chosen step, or that lacks one of the engine's safeguards.

``python -m tests.faults.worker JOB DATADIR FAULTDIR [SABOTAGE]`` runs `faust -A rtexp.apps.JOB worker`. A file
named like a failpoint in FAULTDIR makes the process fail there, once: it removes the file and ends, or stops.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faust.cli.faust import cli

from rtexp.agents.aggregate import AggregateState
from rtexp.agents.merge import MergeState
from rtexp.agents.publish import Publisher
from rtexp.engine.forwarding import ForwardRunner
from rtexp.engine.task import PartitionTask, Phase
from rtexp.engine.transactions import FencedProducer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.engine.api import Output
    from rtexp.engine.forwarding import CommitOffsets
    from rtexp.engine.store import Head

BEFORE_COMMIT, AFTER_COMMIT, BEFORE_STORE = 86, 87, 88
EXIT_CODES = {"before-commit": BEFORE_COMMIT, "after-commit": AFTER_COMMIT, "before-store": BEFORE_STORE}
BEFORE_LOOKS, AFTER_LOOKS, LOOKS_IN_SQL = "before-looks", "after-looks", "looks-in-sql"
"""Of results, killed there: just before and just after a commit that has looks, and when SQL has looks of which
the state doesn't know it yet."""
STOP_BEFORE_COMMIT = "stop-before-commit"
STOP_BEFORE_OFFSETS = "stop-before-offsets"
"""Of ingest: what it has read is delivered, and its offsets aren't committed yet."""


class Failpoints:
    """Files in a directory that say where to fail, each once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def is_armed(self, name: str) -> bool:
        try:
            (self._directory / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def end_if_armed(self, name: str) -> None:
        if self.is_armed(name):
            os._exit(EXIT_CODES[name])

    def kill_if_armed(self, name: str) -> None:
        if self.is_armed(name):
            os.kill(os.getpid(), signal.SIGKILL)

    def stop_if_armed(self, name: str) -> None:
        if self.is_armed(name):
            os.kill(os.getpid(), signal.SIGSTOP)


def install_failpoints(points: Failpoints) -> None:
    commit, save, make_runner = FencedProducer._commit, PartitionTask._save, ForwardRunner.__init__

    async def failing_commit(self: FencedProducer) -> None:
        points.end_if_armed("before-commit")
        points.stop_if_armed(STOP_BEFORE_COMMIT)
        await commit(self)
        points.end_if_armed("after-commit")

    async def failing_save(self: PartitionTask, *arguments: Any) -> None:
        points.end_if_armed("before-store")
        await save(self, *arguments)

    def make_failing_runner(self: ForwardRunner, agent: Any, config: Any, commit: CommitOffsets) -> None:
        async def failing_commit_of_offsets(commits: Any) -> bool:
            points.stop_if_armed(STOP_BEFORE_OFFSETS)
            return await commit(commits)

        make_runner(self, agent, config, failing_commit_of_offsets)

    FencedProducer._commit = failing_commit  # type: ignore[method-assign]
    PartitionTask._save = failing_save  # type: ignore[method-assign, assignment]
    ForwardRunner.__init__ = make_failing_runner  # type: ignore[method-assign]


def install_failpoints_of_looks(points: Failpoints) -> None:
    """Only looks have outputs in results: cells go to SQL and not through a topic."""
    transact, write = FencedProducer._transact, Publisher._write_looks

    async def failing_transact(self: FencedProducer, outputs: Iterable[Output]) -> list[Any]:
        sent = list(outputs)
        has_looks = any(output.topic.endswith(".results") for output in sent)
        commit = self._commit

        async def failing_commit() -> None:
            if has_looks:
                points.kill_if_armed(BEFORE_LOOKS)
            await commit()
            if has_looks:
                points.kill_if_armed(AFTER_LOOKS)

        self._commit = failing_commit  # type: ignore[method-assign]
        try:
            return await transact(self, sent)
        finally:
            self._commit = commit  # type: ignore[method-assign]

    def failing_write(self: Publisher, *arguments: Any) -> None:
        write(self, *arguments)
        points.kill_if_armed(LOOKS_IN_SQL)

    FencedProducer._transact = failing_transact  # type: ignore[method-assign]
    Publisher._write_looks = failing_write  # type: ignore[method-assign, assignment]


def break_marker() -> None:
    """Start at the checkpoint as if nothing behind it had been sent."""
    positions = PartitionTask._positions

    def forgetful(self: PartitionTask, head: Head) -> tuple[dict[str, int], dict[str, int]]:
        base, _ = positions(self, head)
        return base, base

    PartitionTask._positions = forgetful  # type: ignore[method-assign]


def break_fencing() -> None:
    """Give each process a transactional id of its own: nobody fences anybody."""
    made = FencedProducer.__init__

    def unfenced(self: FencedProducer, config: Any, transactional_id: str) -> None:
        made(self, config, f"{transactional_id}-{os.getpid()}")

    FencedProducer.__init__ = unfenced  # type: ignore[method-assign]


def break_hold_back() -> None:
    """Count actions as soon as they are read."""
    AggregateState.is_due = lambda *_: True  # type: ignore[method-assign]
    AggregateState._check_held_back = lambda *_: None  # type: ignore[method-assign]


def break_rewinding() -> None:
    """Send what rewinding puts out together with what follows."""
    transact = FencedProducer.transact
    kept: dict[str, list[Output]] = {}
    make = PartitionTask.open

    async def open_keeping(self: PartitionTask) -> None:
        await make(self)
        collect = self._state.collect

        def collecting() -> Sequence[Output]:
            outputs = collect()
            if self.phase is Phase.REWINDING:
                kept.setdefault(self.agent.table, []).extend(outputs)
            return outputs

        self._state.collect = collecting  # type: ignore[method-assign]

    async def transact_more(self: FencedProducer, outputs: Any) -> list[Any]:
        more = [output for kept_outputs in kept.values() for output in kept_outputs]
        kept.clear()
        return await transact(self, [*more, *outputs])

    PartitionTask.open = open_keeping  # type: ignore[method-assign]
    FencedProducer.transact = transact_more  # type: ignore[method-assign]


def break_journal() -> None:
    """Send looks, and keep nothing of them."""
    collect = MergeState.collect

    def forgetful(self: MergeState) -> Sequence[Output]:
        outputs = collect(self)
        self.looks.journal()
        return outputs

    MergeState.collect = forgetful  # type: ignore[method-assign]


SABOTAGES = {
    "marker": break_marker,
    "fencing": break_fencing,
    "hold-back": break_hold_back,
    "rewinding": break_rewinding,
    "journal": break_journal,
}


def main(job: str, datadir: str, faults: str, sabotage: str = "") -> None:
    points = Failpoints(Path(faults))
    install_failpoints(points)
    install_failpoints_of_looks(points)
    if sabotage:
        SABOTAGES[sabotage]()
    sys.argv = ["faust", "-A", f"rtexp.apps.{job}", "--datadir", datadir, "worker", "-l", "info"]
    cli()


if __name__ == "__main__":
    main(*sys.argv[1:])
