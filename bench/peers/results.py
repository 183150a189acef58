"""What a peer says of cells, and how that compares with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rtexp.bench.workload import CellKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.bench.workload import CellCounts


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message of a results topic: what the cell holds so far."""

    experiment: str
    group: str
    event: str
    bucket_start_ms: int
    volume: int
    actors: int


_DECODER = msgspec.json.Decoder(Message)


class Results:
    """The newest message of each cell; messages of one cell must be taken in their order."""

    def __init__(self) -> None:
        self._newest: dict[CellKey, tuple[int, int]] = {}
        self.messages = 0
        self.volume = 0
        """Of all cells together."""

    def take(self, raw: bytes) -> None:
        """Take over a message; msgspec.DecodeError if it is none."""
        found = _DECODER.decode(raw)
        key = CellKey(found.experiment, found.group, found.event, found.bucket_start_ms)
        before, _ = self._newest.get(key, (0, 0))
        self._newest[key] = (found.volume, found.actors)
        self.volume += found.volume - before
        self.messages += 1

    def differing(self, wanted: Mapping[CellKey, CellCounts]) -> int:
        """Count the cells whose volume or actors aren't what they must be, missing and strange ones included."""
        truth = counted_cells(wanted)
        return sum(self._newest.get(key) != truth.get(key) for key in self._newest.keys() | truth.keys())


def counted_cells(wanted: Mapping[CellKey, CellCounts]) -> dict[CellKey, tuple[int, int]]:
    """Return volume and actors of the cells that peers count: exposures they don't."""
    return {key: (counts.volume, counts.actors) for key, counts in wanted.items() if key.event}
