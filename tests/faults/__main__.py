"""``python -m tests.faults --seconds S --seed N``: looks under kills, then random faults for as long as it is told."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.brokers import PrivateBroker
from tests.faults.looks_run import KILLS, LooksRun
from tests.faults.random_run import RandomRun

if TYPE_CHECKING:
    from tests.faults.compare_looks import LooksComparison


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--directory", type=Path, default=None, help="where data and logs are kept")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="rtexp-faults-"))
    print(f"seed {seed}, {options.seconds:.0f} s; data and logs in {directory}", flush=True)
    # The broker is started outside of an event loop: it runs one of its own meanwhile.
    with PrivateBroker(directory / "looks" / "kafka") as broker:
        looks = asyncio.run(_looks(directory / "looks", broker.address, seed))
    report = asyncio.run(RandomRun(directory / "random", seed, seconds=options.seconds, say=_say).run())
    print(report)
    assert report.comparison is not None
    assert report.looks is not None
    for key, (expected, found) in list(report.comparison.differing.items())[:20]:
        print(f"  {key}: expected {expected}, found {found}")
    lines = [*looks.differing, *report.looks.differing]
    print("".join(f"  {line}\n" for line in lines[:20]), end="")
    return 1 if report.comparison.differing or lines else 0


async def _looks(directory: Path, broker: str, seed: int) -> LooksComparison:
    report = await LooksRun(directory, broker, seed, KILLS, _say).run()
    print(report, flush=True)
    assert report.comparison is not None
    return report.comparison


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
