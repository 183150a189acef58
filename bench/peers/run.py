"""rtexp, and others that do its job, one after the other on the same topics of one broker: `make bench-peers`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.build import build
from bench.peers.comparison import Comparison
from bench.peers.measuring import Course, measure_peer
from bench.peers.variants import PEERS

from rtexp.bench.cpu import measure_cpu
from rtexp.bench.pipeline import Stage, bench_settings
from rtexp.bench.report import machine, plain
from rtexp.bench.standing_broker import standing_broker
from rtexp.bench.workload import Workload
from rtexp.errors import FatalError, RtexpError
from rtexp.local.broker_files import find_java

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers.measuring import PeerFigures

    from rtexp.bench.standing_broker import StandingBroker

CHECKPOINT_SECONDS = 10.0
"""Of rtexp, as all peers have it. `rtexp bench cpu` takes one per 600,000 actions, which is far more often."""
_BEGAN = time.monotonic()


def main(arguments: Sequence[str]) -> int:
    """Return 0 if all cells of all systems are right, 1 if not, 2 if nothing can be measured."""
    options = _parser().parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs what it raises as well
    try:
        _say("building the peers")
        build()
        workload = Workload(users=options.users, actions=options.actions)
        with tempfile.TemporaryDirectory(prefix="rtexp-peers-") as temporary:
            place = options.directory or Path(temporary)
            place.mkdir(parents=True, exist_ok=True)
            found = asyncio.run(_measure(workload, place, options.only))
    except RtexpError as exc:
        print(exc, file=sys.stderr)
        return 2
    for line in found.table():
        print(line)
    if options.json is not None:
        figures = plain({**found._asdict(), "times_rtexp": found.times_rtexp()})
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0 if found.is_right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.run", description=__doc__)
    parser.add_argument("--actions", type=int, default=4_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="these peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures as well")
    parser.add_argument("--directory", type=Path, help="a new one, where data and logs stay")
    return parser


async def _measure(workload: Workload, place: Path, names: Sequence[str]) -> Comparison:
    java = find_java(os.environ)
    peers: list[PeerFigures] = []
    failed: dict[str, str] = {}
    with (place / "broker.log").open("a", encoding="utf-8") as log:
        async with standing_broker(place, os.environ, lambda _name, line: print(line, file=log)) as broker:
            # rtexp's measurement fills the topics; its workers have stopped when it returns.
            own = await measure_cpu(
                workload, Stage(place, os.environ, _say, broker), checkpoint_seconds=CHECKPOINT_SECONDS
            )
            course = _course(workload, place, broker)
            for name in names:
                _say(f"{workload.actions:,} actions: {PEERS[name].title}")
                try:
                    peers.append(await measure_peer(PEERS[name], course, java, place / "peers"))
                except FatalError as exc:  # the others may do better
                    failed[name] = str(exc)
    return Comparison(machine(), workload.users, workload.actions, course.pairs, own, peers, failed)


def _course(workload: Workload, place: Path, broker: StandingBroker) -> Course:
    settings = bench_settings(place)
    return Course(
        broker,
        activations_topic=settings.activations.topic,
        actions_topic=settings.actions.topic,
        activations=len(workload.activations()[0]),
        actions=workload.actions,
        wanted=workload.cells(),
    )


def _say(line: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.0f} s  {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
