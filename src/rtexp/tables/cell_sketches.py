"""Sketches of many cells, each merged only when someone looks: most grow many times between two looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.core import sketches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtexp.core.sketches import Entries, Registers

WAITING_ENTRIES = 1_000_000
"""So many entries may wait to be merged: 8 MB."""

_ROW_SHIFT = np.uint64(32)
_ENTRY = np.uint64((1 << 32) - 1)
_INDEX_SHIFT = np.uint64(sketches.RANK_BITS)


class CellSketches:
    """One sketch a row; rows are small whole numbers that the caller gives out and takes back."""

    def __init__(self, lg_k: int) -> None:
        self._lg_k = lg_k
        self._sparse: dict[int, Entries] = {}
        self._dense: dict[int, Registers] = {}
        """Sketches whose registers are shorter than their entries."""
        self._waiting: list[NDArray[np.uint64]] = []
        self._waiting_entries = 0

    def add(self, rows: NDArray[np.int64], entries: Entries) -> None:
        """Put each entry into the sketch of its row."""
        if not len(entries):
            return
        self._waiting.append(_keys(rows, entries))
        self._waiting_entries += len(entries)
        if self._waiting_entries > WAITING_ENTRIES:
            self._settle()

    def sketch(self, row: int) -> Entries:
        """Return the sketch of a row."""
        self._settle()
        if (registers := self._dense.get(row)) is not None:
            return sketches.from_dense(registers)
        return self._sparse.get(row, _NOBODY)

    def stored(self, row: int) -> bytes:
        """Return the sketch of a row in its stored form, as `rtexp.core.sketches.to_bytes` makes it."""
        self._settle()
        if (registers := self._dense.get(row)) is not None:
            return sketches.registers_to_bytes(registers, self._lg_k)
        return sketches.sketch_to_bytes(self._sparse.get(row, _NOBODY), self._lg_k)

    def remove(self, row: int) -> None:
        """Empty the sketch of a row, so that the row can be given to another cell."""
        self._settle()
        self._sparse.pop(row, None)
        self._dense.pop(row, None)

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Give every row that has a sketch another number: ``numbers[row]``."""
        self._settle()
        self._sparse = {int(numbers[row]): entries for row, entries in self._sparse.items()}
        self._dense = {int(numbers[row]): registers for row, registers in self._dense.items()}

    def _settle(self) -> None:
        """Merge what waits, all rows in one sort."""
        if not self._waiting:
            return
        keys = np.concatenate(self._waiting)
        self._waiting.clear()
        self._waiting_entries = 0
        keys.sort()
        owners = keys >> _ROW_SHIFT
        rows = owners[np.append([True], owners[1:] != owners[:-1])].tolist()
        resting = {row: self._sparse[row] for row in rows if row in self._sparse}
        if resting:
            of_resting = np.repeat(list(resting), [len(entries) for entries in resting.values()])
            keys = np.concatenate((keys, _keys(of_resting, np.concatenate(list(resting.values())))))
            keys.sort(kind="stable")  # two sorted runs: it merges them
        # Entries are ordered by register, then rank: the last of each (row, register) has its greatest rank.
        registers = keys >> _INDEX_SHIFT
        keys = keys[np.append(registers[1:] != registers[:-1], [True])]
        starts = np.searchsorted(keys, np.array(rows, np.uint64) << _ROW_SHIFT)
        entries = (keys & _ENTRY).astype(np.uint32)
        for row, mine in zip(rows, np.split(entries, starts[1:]), strict=True):
            self._rest(row, mine)

    def _rest(self, row: int, entries: Entries) -> None:
        if (registers := self._dense.get(row)) is not None:
            np.maximum(registers, sketches.dense(entries, self._lg_k), out=registers)
        elif entries.nbytes >= 1 << self._lg_k:
            self._sparse.pop(row, None)
            self._dense[row] = sketches.dense(entries, self._lg_k)
        else:
            # A copy: a slice would keep the whole sort in memory for as long as any of its rows rests.
            self._sparse[row] = entries.copy()


_NOBODY = sketches.no_entries()


def _keys(rows: NDArray[np.int64], entries: Entries) -> NDArray[np.uint64]:
    return rows.astype(np.uint64) << _ROW_SHIFT | entries
