"""``python -m tests.faults --seconds S --seed N --rounds R``: faults for as long as it is told.

First damaged local stores and looks under kills, then faults of SQL, then random faults of everything for S seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.brokers import PrivateBroker
from tests.faults.damage_run import DamageRun
from tests.faults.full_disk_run import FullDiskRun
from tests.faults.looks_run import KILLS, LooksRun
from tests.faults.random_run import RandomRun
from tests.faults.small_disk import why_none
from tests.faults.sql_run import SqlRun, rounds_of

if TYPE_CHECKING:
    from tests.faults.compare import Comparison
    from tests.faults.compare_looks import LooksComparison

DAMAGED_STORES = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long random faults go on")
    parser.add_argument(
        "--rounds", type=int, default=20, help="how many faults of SQL, one of them 5 minutes long"
    )
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--directory", type=Path, default=None, help="where data and logs are kept")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="rtexp-faults-"))
    print(
        f"seed {seed}: {DAMAGED_STORES} damaged stores, full disks, kills at looks, {options.rounds} faults of SQL, "
        f"then {options.seconds:.0f} s of random faults; data and logs in {directory}",
        flush=True,
    )
    lines = asyncio.run(_stores(directory / "stores", seed))
    # The broker is started outside of an event loop: it runs one of its own meanwhile.
    with PrivateBroker(directory / "kafka") as broker:
        lines += asyncio.run(_disks(directory / "disks", broker.address))
        lines += asyncio.run(_looks(directory / "looks", broker.address, seed))
        lines += asyncio.run(_sql(directory / "sql", broker.address, seed, options.rounds))
    lines += asyncio.run(_random(directory / "random", seed, options.seconds))
    print("".join(f"  {line}\n" for line in lines[:40]), end="")
    return 1 if lines else 0


async def _stores(directory: Path, seed: int) -> list[str]:
    report = await DamageRun(directory, seed, DAMAGED_STORES, _say).run()
    _say(str(report))
    return report.differing


async def _disks(directory: Path, broker: str) -> list[str]:
    if why := why_none():
        _say(f"NOT RUN, full disks: {why}")
        return []
    report = await FullDiskRun(directory, broker).run()
    _say(str(report))
    return _cells(report.comparison)


async def _looks(directory: Path, broker: str, seed: int) -> list[str]:
    report = await LooksRun(directory, broker, seed, KILLS, _say).run()
    _say(str(report))
    return _of_looks(report.comparison)


async def _sql(directory: Path, broker: str, seed: int, rounds: int) -> list[str]:
    if not rounds:
        return []
    report = await SqlRun(
        directory, broker, seed, lambda chance: rounds_of(chance, rounds), _say, results=2
    ).run()
    _say(str(report))
    found = [*_cells(report.comparison), *_of_looks(report.looks), *report.differing_counters]
    return [*found, *report.memory.excess]


async def _random(directory: Path, seed: int, seconds: float) -> list[str]:
    report = await RandomRun(directory, seed, seconds=seconds, say=_say).run()
    _say(str(report))
    return [*_cells(report.comparison), *_of_looks(report.looks)]


def _cells(comparison: Comparison | None) -> list[str]:
    assert comparison is not None
    return [
        f"{key}: expected {expected}, found {found}"
        for key, (expected, found) in comparison.differing.items()
    ]


def _of_looks(comparison: LooksComparison | None) -> list[str]:
    assert comparison is not None
    return comparison.differing


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
