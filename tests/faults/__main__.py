"""``python -m tests.faults --seconds S --seed N``: random faults for as long as it is told."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.random_run import RandomRun


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--directory", type=Path, default=None, help="where data and logs are kept")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="rtexp-faults-"))
    print(f"seed {seed}, {options.seconds:.0f} s; data and logs in {directory}", flush=True)
    report = asyncio.run(RandomRun(directory, seed, seconds=options.seconds, say=_say).run())
    print(report)
    assert report.comparison is not None
    for key, (expected, found) in list(report.comparison.differing.items())[:20]:
        print(f"  {key}: expected {expected}, found {found}")
    return 1 if report.comparison.differing else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
