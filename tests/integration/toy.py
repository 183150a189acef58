"""A toy batch agent: how the engine is used, and the worker that engine tests run as a process.

Counts words of two topics: `left` must be read before `right` may (a record of `right` waits until as many
records of `left` have been applied as it says). Environment: TOY_BROKER, TOY_PREFIX.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.engine.api import Output, Page, PartitionStatus
from rtexp.engine.app import EngineApp
from rtexp.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtexp.engine.api import ReadPage

PREFIX = os.environ.get("TOY_PREFIX", "toy")
LEFT, RIGHT, TABLE, OUT = (f"{PREFIX}.{name}" for name in ("left", "right", "table", "out"))

app = EngineApp(
    EngineConfig(
        group=f"{PREFIX}-toy",
        brokers=(os.environ.get("TOY_BROKER", "127.0.0.1:9092"),),
        data_directory=Path(os.environ.get("TOY_DATA", "data")),
        flush_interval=0.1,
        checkpoint_interval=float(os.environ.get("TOY_CHECKPOINT", "1")),
        session_timeout=6.0,
    )
)


class Words(NamedTuple):
    words: list[str]
    after: int

    @property
    def rows(self) -> int:
        return len(self.words)


@app.batch_agent(inputs=(LEFT, RIGHT), table=TABLE, outputs=(OUT,), semantics="toy-1")
class Count:
    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.counts: Counter[str] = Counter()
        self.delta: Counter[str] = Counter()
        self.changed: set[str] = set()

    def decode(self, topic: str, value: bytes) -> Words:  # noqa: ARG002 - the engine's signature
        return msgspec.json.decode(value, type=Words)

    def is_due(self, topic: str, batch: Words) -> bool:  # noqa: ARG002 - likewise
        return self.counts["records of left"] >= batch.after

    def apply(self, topic: str, batches: Sequence[Words]) -> None:
        for batch in batches:
            words = [*batch.words, "records of left"] if topic == LEFT else batch.words
            for kept in (self.counts, self.delta):
                kept.update(words)
            self.changed.update(words)

    def collect(self) -> Sequence[Output]:
        delta, self.delta = self.delta, Counter()
        return [Output(OUT, self.partition, msgspec.json.encode(delta))] if delta else []

    def journal(self) -> Sequence[Page]:
        return ()

    def changed_pages(self) -> Iterator[Page]:
        changed, self.changed = self.changed, set()
        yield from (Page(word.encode(), b"%d" % self.counts[word]) for word in sorted(changed))

    def load(self, pages: Iterable[Page], read: ReadPage) -> None:  # noqa: ARG002 - the engine's signature
        self.counts.update({page.key.decode(): int(page.value or b"0") for page in pages})

    def status(self) -> PartitionStatus:
        return PartitionStatus(counters={"words": self.counts.total()})
