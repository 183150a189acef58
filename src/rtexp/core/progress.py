"""How far the source partitions of a topic have been read, as one reader of its filtered rows sees it.

Both values are state: what they say depends on the order of the records alone, never on how they are cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

PlainWatermarks = tuple[int, int, list[tuple[int, int]]]
"""(sources, watermark of all, [(source, watermark)] in order of source)."""

PlainProgress = tuple[list[tuple[int, int]], PlainWatermarks, int]
"""([(source, next offset)] in order of source, watermarks, ignored segments)."""


class Watermarks:
    """Watermark of every source partition, and of all of them together."""

    def __init__(self) -> None:
        self._sources = 0
        self._carried_ms: dict[int, int] = {}
        self._all_ms = 0

    @property
    def all_ms(self) -> int:
        """The least of all sources, 0 until each was seen; it never goes back, not even for a new source."""
        return self._all_ms

    def expect(self, sources: int) -> None:
        """Wait for this many source partitions; fewer than before is outdated word, and ignored.

        ValueError for none at all: then the first source to speak would speak for all.
        """
        if sources < 1:
            raise ValueError(f"{sources} source partitions")
        self._sources = max(self._sources, sources)

    def floor_ms(self, source: int) -> int:
        """Return the arrival below which no further row of ``source`` may lie."""
        return self._carried_ms.get(source, self._all_ms)

    def carry(self, source: int, watermark_ms: int) -> None:
        """Raise the watermark of ``source``; a lower one than it carries already changes nothing."""
        # A source that was added lately begins at its floor, not at 0: else its next rows could
        # lie below a watermark of all sources that has been acted upon.
        before = self._carried_ms.get(source)
        carried = max(self.floor_ms(source), watermark_ms)
        if carried == before:
            return
        self._carried_ms[source] = carried
        self._sources = max(self._sources, source + 1)
        was_the_least = before is None or before == self._all_ms
        if was_the_least and len(self._carried_ms) == self._sources:
            self._all_ms = max(self._all_ms, min(self._carried_ms.values()))

    def copy(self) -> Watermarks:
        """Return an equal value that goes its own way."""
        made = Watermarks()
        made._sources, made._all_ms, made._carried_ms = self._sources, self._all_ms, self._carried_ms.copy()
        return made

    def to_plain(self) -> PlainWatermarks:
        """Return a value that stands for this state, and only for this."""
        return self._sources, self._all_ms, sorted(self._carried_ms.items())

    @classmethod
    def from_plain(cls, plain: PlainWatermarks) -> Watermarks:
        """Undo `to_plain`."""
        made = cls()
        made._sources, made._all_ms, carried_ms = plain
        made._carried_ms = dict(carried_ms)
        return made


class Fresh(NamedTuple):
    """What is new in a segment: its rows and drops with a raw offset of at least ``from_offset``."""

    from_offset: int
    raised_to_ms: int
    """Arrivals of new rows below this are raised to it."""
    lost: int
    """How many raw offsets before the segment retention removed before anyone had read them."""


class SourceProgress:
    """Which raw offsets of one topic this reader has, by the segments that it was handed.

    A segment says of the raw offsets ``first_offset <= o < next_offset`` of a source partition which rows
    they hold for this reader. Segments may repeat or overlap after a crash (or when a writer that believes
    itself the owner goes on writing), and a writer that lost a record may leave a gap.
    """

    def __init__(self) -> None:
        self._next_offsets: dict[int, int] = {}
        self._watermarks = Watermarks()
        self._ignored = 0

    @property
    def watermark_ms(self) -> int:
        """Every raw record that arrived before this time has been handed to this reader."""
        return self._watermarks.all_ms

    @property
    def ignored(self) -> int:
        """How many segments were ignored, because they start above what this reader has."""
        return self._ignored

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """By source partition, the raw offset below which this reader has everything."""
        return self._next_offsets

    def expect(self, sources: int) -> None:
        """Wait for this many source partitions."""
        self._watermarks.expect(sources)

    def accept(
        self, source: int, *, first_offset: int, next_offset: int, log_start: int, watermark_ms: int
    ) -> Fresh | None:
        """Take over a segment; return what is new in it, or None where it must be ignored altogether.

        ``log_start`` is the oldest raw offset that was still kept when the segment was made: offsets below
        it can't be had any more, so a segment that starts there leaves no gap that someone could fill.
        """
        known = self._next_offsets.get(source)
        have = 0 if known is None else known
        if first_offset > have and log_start < first_offset:
            # Its writer lost what lies between, or wrote to a place of which this reader has no history.
            # Whoever owns the source sends all of it again; this watermark stands on rows that aren't here.
            self._ignored += 1
            return None
        raised_to_ms = self._watermarks.floor_ms(source)
        self._next_offsets[source] = max(have, next_offset)
        # A segment that holds nothing new still moves the watermark: what it claims (that everything which
        # arrived earlier lies below its next_offset) is true for whoever has that. Heartbeats are such.
        self._watermarks.carry(source, watermark_ms)
        lost = first_offset - known if known is not None and first_offset > known else 0
        return Fresh(max(have, first_offset), raised_to_ms, lost)

    def copy(self) -> SourceProgress:
        """Return an equal value that goes its own way."""
        made = SourceProgress()
        made._next_offsets = self._next_offsets.copy()
        made._watermarks = self._watermarks.copy()
        made._ignored = self._ignored
        return made

    def to_plain(self) -> PlainProgress:
        """Return a value that stands for this state, and only for this."""
        return sorted(self._next_offsets.items()), self._watermarks.to_plain(), self._ignored

    @classmethod
    def from_plain(cls, plain: PlainProgress) -> SourceProgress:
        """Undo `to_plain`."""
        next_offsets, watermarks, ignored = plain
        made = cls()
        made._next_offsets = dict(next_offsets)
        made._watermarks = Watermarks.from_plain(watermarks)
        made._ignored = ignored
        return made
