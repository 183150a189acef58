"""What results workers keep in memory while SQL takes nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtexp.local.status_board import StatusFollower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.faults.cluster import Cluster

WATCH_SECONDS = 1.0
PAGE_BYTES = 4096
MOST_GROWTH_MB = 64.0
"""During one fault, however long: RocksDB's memory tables may fill up, and blocks of cold pages come to its cache."""
MOST_CELLS = 10_000
"""In memory: those of some hours of the generator's time, of which a second of ours has half of one; and, while a
worker that was started again catches up, all between two checkpoints. The generator makes 15,000 in five minutes."""


class Sample(NamedTuple):
    """Of the results workers."""

    rss_mb: float
    """Of the largest."""
    in_memory: int
    """Cells, of all together."""
    unpublished: int
    """Cells that SQL lacks, in memory or not."""


@dataclass
class MemoryWatch:
    """Samples over a run, and over each of its faults."""

    samples: list[Sample] = field(default_factory=list)
    faults: list[tuple[str, Sample, Sample]] = field(default_factory=list)
    """By fault what was there when it began, and the most of each while it lasted."""

    @asynccontextmanager
    async def watching(self, cluster: Cluster) -> AsyncIterator[None]:
        async def watch() -> None:
            async with StatusFollower(cluster.settings.kafka) as follower:
                while True:
                    board = await follower.read()
                    # The newest of each partition, whoever had it.
                    told = {
                        found.partition: found.details["buckets"]
                        for found in board.live_partitions("results", int(time.time() * 1000))
                    }
                    cells = [
                        sum(details.get(name, 0) for details in told.values())
                        for name in ("cells_in_memory", "unpublished_cells")
                    ]
                    self.samples.append(Sample(resident_mb(cluster), *cells))
                    await asyncio.sleep(WATCH_SECONDS)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()

    @contextmanager
    def during(self, fault: str) -> Iterator[None]:
        since = max(len(self.samples) - 1, 0)
        yield
        seen = self.samples[since:]
        self.faults.append((fault, seen[0], Sample(*map(max, zip(*seen, strict=True)))))

    @property
    def excess(self) -> list[str]:
        """Say during which faults results workers took more than the bounds."""
        return [
            f"{fault}: {first} came to {most}"
            for fault, first, most in self.faults
            if most.rss_mb - first.rss_mb > MOST_GROWTH_MB or most.in_memory > MOST_CELLS
        ]

    @property
    def last(self) -> str:
        _, first, most = self.faults[-1]
        return (
            f"{first.rss_mb:.0f} to {most.rss_mb:.0f} MB, {most.in_memory} cells in memory, "
            f"{most.unpublished} not in SQL"
        )

    def __str__(self) -> str:
        growth = max((most.rss_mb - first.rss_mb for _, first, most in self.faults), default=0.0)
        return f"memory grew by at most {growth:.0f} MB in one of them"


def resident_mb(cluster: Cluster) -> float:
    """What the largest of the results workers that run has in RAM."""
    return max(
        (_resident_mb(w.process.pid) for w in cluster.workers.values() if w.job == "results" and w.process),
        default=0.0,
    )


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES / 1e6
    except (OSError, IndexError):  # it has just ended
        return 0.0
