"""Sketches of many cells, each merged only when someone looks: most grow many times between two looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.core import sketches

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._stored: dict[int, bytes] = {}
        """Sketches whose entries are shorter than their registers, in their stored form.

        That is what is wanted of nearly every merged sketch, more than once: for SQL, and whenever its page is saved.
        """
        self._dense: dict[int, Registers] = {}
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

    def load(self, row: int, stored: bytes) -> None:
        """Take over the sketch of a row that has none, in its stored form; StateError if it can't be read."""
        entries = sketches.from_bytes(stored, self._lg_k)
        if sketches.is_sparse(len(entries), self._lg_k):
            self._stored[row] = stored
        else:
            self._dense[row] = sketches.dense(entries, self._lg_k)

    def sketch(self, row: int) -> Entries:
        """Return the sketch of a row."""
        return sketches.from_bytes(self.stored(row), self._lg_k)

    def stored(self, row: int) -> bytes:
        """Return the sketch of a row in its stored form, as `rtexp.core.sketches.to_bytes` makes it."""
        if self._waiting:
            self._settle()
        if (stored := self._stored.get(row)) is not None:
            return stored
        if (registers := self._dense.get(row)) is not None:
            return sketches.registers_to_bytes(registers, self._lg_k)
        return sketches.sketch_to_bytes(sketches.no_entries(), self._lg_k)

    def remove(self, rows: Sequence[int]) -> None:
        """Empty the sketches of some rows, so that the rows can be given to other cells."""
        if rows and self._any_waits(rows):
            self._settle()
        for row in rows:
            self._stored.pop(row, None)
            self._dense.pop(row, None)

    def _any_waits(self, rows: Sequence[int]) -> bool:
        """Tell whether something is to be merged into one of some rows: hardly ever, as cells that rest are removed."""
        is_asked = np.zeros(max(rows) + 1, np.bool_)
        is_asked[rows] = True
        owners = (keys >> _ROW_SHIFT for keys in self._waiting)
        return any(bool(is_asked[found[found < len(is_asked)]].any()) for found in owners)

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Give every row that has a sketch another number: ``numbers[row]``."""
        self._settle()
        self._stored = {int(numbers[row]): stored for row, stored in self._stored.items()}
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
        resting = {row: self._stored[row] for row in rows if row in self._stored}
        if resting:
            bodies = [sketches.entries_in(stored) for stored in resting.values()]
            sizes = [len(body) // sketches.ENTRY_BYTES for body in bodies]
            of_resting = np.repeat(np.array(list(resting), np.int64), sizes)
            keys = np.concatenate((keys, _keys(of_resting, np.frombuffer(b"".join(bodies), "<u4"))))
            keys.sort(kind="stable")  # two sorted runs: it merges them
        # Entries are ordered by register, then rank: the last of each (row, register) has its greatest rank.
        registers = keys >> _INDEX_SHIFT
        keys = keys[np.append(registers[1:] != registers[:-1], [True])]
        bounds = [*np.searchsorted(keys, np.array(rows, np.uint64) << _ROW_SHIFT).tolist(), len(keys)]
        entries = (keys & _ENTRY).astype("<u4")
        body, size = entries.tobytes(), sketches.ENTRY_BYTES
        for row, begin, end in zip(rows, bounds, bounds[1:], strict=False):
            if row not in self._dense and sketches.is_sparse(end - begin, self._lg_k):
                self._stored[row] = sketches.sparse_to_bytes(body[size * begin : size * end], self._lg_k)
            else:
                self._rest_dense(row, entries[begin:end])

    def _rest_dense(self, row: int, entries: Entries) -> None:
        found = sketches.dense(entries, self._lg_k)
        if (registers := self._dense.get(row)) is not None:
            np.maximum(registers, found, out=registers)
        else:
            self._stored.pop(row, None)
            self._dense[row] = found


def _keys(rows: NDArray[np.int64], entries: Entries) -> NDArray[np.uint64]:
    return rows.astype(np.uint64) << _ROW_SHIFT | entries
