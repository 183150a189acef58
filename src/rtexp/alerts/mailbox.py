"""What one target still has to get, and how far it is: a position a topic, and what went ahead of it.

::

    offset   4    5    6    7    8
             got  held got  got  next      position 5, ahead {6, 7}

A notice that is held, by quiet hours say, doesn't hold those that aren't. After a crash all from the position on are
read again but for those ahead of it; what was sent and not yet committed is sent again, under the same key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rtexp.alerts.notices import Notice

CAPACITY = 500
"""So many may be held; then nothing more is read until one is done."""
MAX_METADATA_BYTES = 4_000
"""Brokers keep 4,096 with an offset, unless `offset.metadata.max.bytes` says otherwise."""


@dataclass(slots=True)
class Entry:
    """A notice that one target hasn't got yet."""

    topic: str
    offset: int
    appended_ms: int
    notice: Notice
    attempts: int = 0
    first_tried_ms: int | None = None


class Position(NamedTuple):
    """How far a target is in one topic."""

    offset: int
    """All below are done."""
    ahead: frozenset[int] = frozenset()
    """Those above that are done as well."""

    def metadata(self) -> str:
        """Return ``ahead`` as it is kept beside the offset.

        Of too many the highest are left out, which would be sent again after a crash.

        >>> Position(3, frozenset({5, 9})).metadata()
        '5,9'
        """
        text = ",".join(map(str, sorted(self.ahead)))
        return text if len(text) <= MAX_METADATA_BYTES else text[:MAX_METADATA_BYTES].rpartition(",")[0]

    @classmethod
    def read(cls, offset: int, metadata: str) -> Position:
        """Return what was kept; of metadata that somebody else wrote, only the offset."""
        numbers = [part for part in metadata.split(",") if part.isascii() and part.isdigit()]
        return cls(offset, frozenset(n for n in map(int, numbers) if n > offset))


@dataclass(slots=True)
class _Lane:
    """One topic."""

    position: int
    """All below are done."""
    read_to: int
    """All below have been read, here or before a restart."""
    done: set[int]
    """Of those from the position on."""
    open: dict[int, Entry] = field(default_factory=dict)


class Mailbox:
    """All topics of one target."""

    def __init__(self, positions: Mapping[str, Position]) -> None:
        self._lanes = {topic: _Lane(at.offset, at.offset, set(at.ahead)) for topic, at in positions.items()}

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        return sum(len(lane.open) for lane in self._lanes.values()) < CAPACITY

    def put(self, entry: Entry) -> bool:
        """Take in what was read next from a topic; False if it is done already."""
        lane = self._lanes[entry.topic]
        lane.read_to = max(lane.read_to, entry.offset + 1)
        if entry.offset < lane.position or entry.offset in lane.done:
            return False
        lane.open[entry.offset] = entry
        return True

    def open(self) -> Iterator[Entry]:
        """Yield what isn't done, in the order in which it came."""
        entries = (entry for lane in self._lanes.values() for entry in lane.open.values())
        return iter(sorted(entries, key=lambda entry: (entry.appended_ms, entry.topic, entry.offset)))

    def finish(self, entry: Entry) -> Position:
        """Note that an entry is done; return the position to keep for its topic."""
        lane = self._lanes[entry.topic]
        del lane.open[entry.offset]
        lane.done.add(entry.offset)
        position = min(lane.open, default=lane.read_to)
        while position in lane.done:  # went ahead before a restart, and hasn't been read again yet
            position += 1
        lane.position = position
        lane.done = {done for done in lane.done if done > position}
        return Position(position, frozenset(lane.done))
