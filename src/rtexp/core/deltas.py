"""Deltas of cells: what a partition has counted since it last said so, in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.core.columns import run_starts
from rtexp.core.sketches import RANK_BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rtexp.core.columns import Bools, Ints
    from rtexp.core.groups import GroupName

VOLUME, ACTORS, SUM_SQUARES, EXPOSURES, MULTIPLE_EXPOSURES = range(5)
MEASURES = 5


@dataclass(frozen=True, slots=True, eq=False)
class CellDeltas:
    """Increments of distinct cells; cell i is (``names[experiment[i]]``, ``period_start[i]``, ...).

    Cells are ordered by (experiment, period, group, event, bucket) of when the partition first met them; an event
    of "" means exposures.
    """

    names: list[str]
    experiment: NDArray[np.uint32]
    group: NDArray[np.uint32]
    event: NDArray[np.uint32]
    period_start: Ints
    """Epoch ms, as is ``bucket``."""
    bucket: Ints
    counts: Ints
    """Shape (cells, 5): volume, actors, sum of squares, exposures, multiple exposures."""
    sketch_sizes: NDArray[np.uint32]
    """How many of ``sketches`` belong to each cell."""
    sketches: NDArray[np.uint32]
    """`rtexp.core.sketches` of the users who acted, or were exposed, since the last deltas: cell after cell."""

    def __len__(self) -> int:
        return len(self.bucket)

    def select(self, cells: Bools) -> CellDeltas:
        """Return the cells that the mask names."""
        sizes = self.sketch_sizes.astype(np.int64)
        return CellDeltas(
            names=self.names,
            experiment=self.experiment[cells],
            group=self.group[cells],
            event=self.event[cells],
            period_start=self.period_start[cells],
            bucket=self.bucket[cells],
            counts=self.counts[cells],
            sketch_sizes=self.sketch_sizes[cells],
            sketches=self.sketches[np.repeat(cells, sizes)],
        )


_BUCKET_BITS = 30
_EVENT_BITS = 10
_EXPOSURE = 0
_NONE = np.empty(0, np.int64)
PENDING_SIZE = 2_000_000
"""Cells and entries of sketches that may be pending, in some 60 MB at most, before those of a cell are made one."""


class PendingCells:
    """Gathers increments of cells until they are taken. Groups and events are numbers, buckets epoch ms."""

    def __init__(self, bucket_ms: int) -> None:
        self._bucket_ms = bucket_ms
        self._parts: list[_Part] = []
        self._size = 0
        self._least_size = 0
        """What the parts that were made one took then."""

    def add_exposures(
        self, groups: Ints, at_ms: Ints, is_multiple: Bools, entries: NDArray[np.uint32]
    ) -> None:
        """Count one new trigger a row, in the bucket of its time."""
        if groups.size == 0:
            return
        keys, cell_of = _distinct(groups << _EVENT_BITS | _EXPOSURE, at_ms // self._bucket_ms)
        counts = np.zeros((len(keys), MEASURES), np.int64)
        counts[:, EXPOSURES] = np.bincount(cell_of, minlength=len(keys))
        counts[:, MULTIPLE_EXPOSURES] = np.bincount(cell_of[is_multiple], minlength=len(keys))
        self._add(_Part(keys, counts, cell_of, entries))

    def add_actions(  # noqa: PLR0917 - one column each
        self,
        groups: Ints,
        events: Ints,
        at_ms: Ints,
        before: Ints,
        users: Ints,
        entry_of_user: NDArray[np.uint32],
    ) -> None:
        """Count one joined action a row; ``before`` of the same user, group and event were counted already."""
        if groups.size == 0:
            return
        keys, cell_of = _distinct(groups << _EVENT_BITS | (events + 1), at_ms // self._bucket_ms)
        sum_squares = np.zeros(len(keys), np.int64)
        # In whole numbers: a weighted bincount adds in floats, and sums of squares may pass 2**53.
        np.add.at(sum_squares, cell_of, 2 * before + 1)
        counts = np.zeros((len(keys), MEASURES), np.int64)
        counts[:, VOLUME] = np.bincount(cell_of, minlength=len(keys))
        counts[:, ACTORS] = np.bincount(cell_of[before == 0], minlength=len(keys))
        counts[:, SUM_SQUARES] = sum_squares
        # Rows of a user in a cell mostly stand together; the rest is found when deltas are taken.
        firsts = run_starts(cell_of << 32 | users)
        self._add(_Part(keys, counts, cell_of[firsts], entry_of_user[users[firsts]]))

    def add_actions_of_one(  # noqa: PLR0917 - likewise
        self,
        groups: Ints,
        events: Ints,
        at_ms: Ints,
        ranks: Ints,
        before: Ints,
        entry: np.uint32,
    ) -> None:
        """Count actions of one user, each for all of these distinct groups.

        Of an action's event ``ranks`` stand before it here, and ``before`` were counted already: shape (groups,
        distinct events). Actions are ordered by event.
        """
        keys, cell_of = _distinct(events + 1, at_ms // self._bucket_ms)
        volume = np.bincount(cell_of, minlength=len(keys))
        # Of n actions with ranks r after k others: the sum of 2 (k + r) + 1 is 2 k n + the sum of 2 r + 1.
        sum_squares = np.zeros(len(keys), np.int64)
        np.add.at(sum_squares, cell_of, 2 * ranks + 1)
        has_first = np.bincount(cell_of[ranks == 0], minlength=len(keys)) > 0
        before = before[:, np.searchsorted(np.unique(events), (keys >> _BUCKET_BITS) - 1)]
        counts = np.zeros((*before.shape, MEASURES), np.int64)
        counts[:, :, VOLUME] = volume
        counts[:, :, ACTORS] = (before == 0) & has_first
        counts[:, :, SUM_SQUARES] = 2 * before * volume + sum_squares
        cells = ((groups << (_EVENT_BITS + _BUCKET_BITS))[:, None] | keys).reshape(-1)
        self._add(
            _Part(
                cells,
                counts.reshape(-1, MEASURES),
                np.arange(len(cells)),
                np.full(len(cells), entry, np.uint32),
            )
        )

    def _add(self, part: _Part) -> None:
        """Gather a part; many are made one before they take much more than the cells that they are about."""
        self._parts.append(part)
        self._size += part.size
        if self._size > max(2 * self._least_size, PENDING_SIZE):
            self._parts = [_merged(self._parts)]
            self._size = self._least_size = self._parts[0].size

    def take(self, group_name: Callable[[int], GroupName], event_names: list[str]) -> CellDeltas:
        """Return all increments since the last call, and forget them."""
        keys, counts, cell_of_entry, sketches = _merged(self._parts)
        self._parts, self._size, self._least_size = [], 0, 0
        sketch_sizes = np.bincount(cell_of_entry, minlength=len(keys)).astype(np.uint32)
        names, experiment, group, event, period_start = _named(keys, group_name, event_names)
        return CellDeltas(
            names=names,
            experiment=experiment,
            group=group,
            event=event,
            period_start=period_start,
            bucket=(keys & ((1 << _BUCKET_BITS) - 1)) * self._bucket_ms,
            counts=counts,
            sketch_sizes=sketch_sizes,
            sketches=sketches,
        )

    @property
    def is_empty(self) -> bool:
        """Nothing was counted since the last `take`."""
        return not self._parts


class _Part(NamedTuple):
    """What one batch added: distinct cells, and entries with the position of their cell among these."""

    keys: Ints
    counts: Ints
    cell_of_entry: Ints
    entries: NDArray[np.uint32]

    @property
    def size(self) -> int:
        """How many cells and entries."""
        return len(self.keys) + len(self.entries)


def _distinct(columns: Ints, buckets: Ints) -> tuple[Ints, Ints]:
    """Return the sorted distinct keys ``columns << 30 | buckets``, and where among them each row's key stands."""
    first_bucket, first_column = int(buckets.min()), int(columns.min())
    width = int(buckets.max()) - first_bucket + 1
    places = (columns - first_column) * width + (buckets - first_bucket)
    size = (int(columns.max()) - first_column + 1) * width
    if size > 16 * len(places) + 4096:  # more places than it is worth to look at, as with events of weeks ago
        keys, cell_of = np.unique(columns << _BUCKET_BITS | buckets, return_inverse=True)
        return keys, cell_of
    # Without sorting: 150,000 rows of 4,000 cells in 2.5 ms, against 10 by np.unique.
    is_met = np.zeros(size, np.bool_)
    is_met[places] = True
    met = np.flatnonzero(is_met)
    number = np.empty(size, np.int64)
    number[met] = np.arange(len(met))
    keys = (met // width + first_column) << _BUCKET_BITS | (met % width + first_bucket)
    return keys, number[places]


def _merged(parts: list[_Part]) -> _Part:
    """Return all parts as one; keys, and entries within a cell, are in order."""
    if not parts:
        parts = [_Part(_NONE, np.empty((0, MEASURES), np.int64), _NONE, _NONE.astype(np.uint32))]
    keys, cell_of_key = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    counts = np.zeros((len(keys), MEASURES), np.int64)
    sketched = []
    first = 0
    for part in parts:
        cells = cell_of_key[first : first + len(part.keys)]
        first += len(part.keys)
        counts[cells] += part.counts
        sketched.append(cells[part.cell_of_entry] << 32 | part.entries.astype(np.int64))
    ordered = np.sort(np.concatenate(sketched))
    register = ordered >> RANK_BITS
    ordered = ordered[np.append(register[1:] != register[:-1], True)[: len(ordered)]]
    return _Part(keys, counts, ordered >> 32, (ordered & 0xFFFF_FFFF).astype(np.uint32))


def _named(
    keys: Ints, group_name: Callable[[int], GroupName], event_names: list[str]
) -> tuple[list[str], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32], Ints]:
    """Return names, and columns into them for experiment, group, event; and the periods' starts."""
    numbers: dict[str, int] = {}

    def number(name: str) -> int:
        return numbers.setdefault(name, len(numbers))

    groups, where = np.unique(keys >> (_BUCKET_BITS + _EVENT_BITS), return_inverse=True)
    named = [group_name(group) for group in groups.tolist()]
    experiment = np.array([number(name.experiment) for name in named], np.uint32)[where]
    group = np.array([number(name.group) for name in named], np.uint32)[where]
    period_start = np.array([name.period_start_ms for name in named], np.int64)[where]
    # Column 0 stands for exposures, column i + 1 for event i.
    columns, where = np.unique(keys >> _BUCKET_BITS & ((1 << _EVENT_BITS) - 1), return_inverse=True)
    event = np.array([number(("", *event_names)[i]) for i in columns.tolist()], np.uint32)[where]
    return list(numbers), experiment, group, event, period_start
