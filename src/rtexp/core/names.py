"""Rows by name: what a dictionary from text to row would be, on columns, for whole batches.

A dictionary takes 0.2 us to find a name that it hasn't just been asked for, most of it waiting for memory: for the
text asked for, its place in the dictionary, the text stored there, and the number beside it, each of which is an
object somewhere. Here a name is some words of 8 bytes, stored one column a word, and a hash table of row numbers is
probed for all names of a batch at once: 0.07 us, and 140 bytes less of memory a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.core.columns import grown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rtexp.core.columns import Ints

    Words = NDArray[np.uint64]

MOST_WORDS = 8
"""Names of more than 64 bytes are rare, and kept in a dictionary after all."""

_WORD = 8
_FREE = np.uint16(0xFFFF)
_LONG = np.uint16(0xFFFE)
_EMPTY = -1
_FIRST_SLOTS = 64
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], np.uint64)
"""By number of bytes: those of a word that belong to a name."""

# Python's own hash of a text differs from process to process: nobody can know which names would fall together.
_FACTORS = [np.uint64(hash(f"word {place}") & (1 << 64) - 1 | 1) for place in range(MOST_WORDS)]
_SIZE_FACTOR = np.uint64(hash("size") & (1 << 64) - 1 | 1)
_LAST_FACTOR = np.uint64(0x94D0_49BB_1331_11EB)
_HALF = np.uint64(32)


class Names:
    """Distinct names, each with a row that the caller chose. Rows are small whole numbers."""

    def __init__(self) -> None:
        self._words: list[Words] = []
        """Column j has bytes 8j to 8j + 7 of the name in each row, zeros behind its end."""
        self._sizes = np.empty(0, np.uint16)
        """By row: how many bytes the name has; `_LONG` where it is in the dictionary, `_FREE` where there is none."""
        self._slots = np.full(_FIRST_SLOTS, _EMPTY, np.int32)
        """Rows, at or behind the place that the hash of their name points to."""
        self._count = 0
        self._long_rows: dict[str, int] = {}
        self._long_names: dict[int, str] = {}

    def __len__(self) -> int:
        return self._count + len(self._long_rows)

    def rows(self) -> Ints:
        """Return all rows that have a name, ascending."""
        return np.flatnonzero(self._sizes != _FREE)

    def find(self, names: Sequence[str]) -> Ints:
        """Return the row of each name; -1 where it has none."""
        found = np.full(len(names), _EMPTY, np.int64)
        if not names:
            return found
        words, sizes = _words_of(names)
        self._probe(words, sizes, found)
        if len(words) == MOST_WORDS:
            for place in np.flatnonzero(sizes > MOST_WORDS * _WORD).tolist():
                found[place] = self._long_rows.get(names[place], _EMPTY)
        return found

    def add(self, names: Sequence[str], rows: Ints) -> None:
        """Give rows that are free to names that are distinct and new."""
        if not names:
            return
        words, sizes = _words_of(names)
        high = int(rows.max()) + 1
        self._sizes = grown(self._sizes, high, _FREE)
        while len(self._words) < len(words):
            self._words.append(np.zeros(0, np.uint64))
        self._words = [grown(column, len(self._sizes), 0) for column in self._words]
        is_long = sizes > MOST_WORDS * _WORD
        for place in np.flatnonzero(is_long).tolist():
            row = int(rows[place])
            self._long_rows[names[place]] = row
            self._long_names[row] = names[place]
        self._sizes[rows] = np.where(is_long, _LONG, sizes)
        for place, column in enumerate(self._words):
            column[rows] = words[place] if place < len(words) else 0
        short = rows[~is_long]
        self._count += len(short)
        if 2 * self._count > len(self._slots):
            self._rebuild()
        else:
            self._insert(short)

    def remove(self, rows: Ints) -> None:
        """Take the names of these rows away; the rows are free then."""
        if rows.size == 0:
            return
        is_long = self._sizes[rows] == _LONG
        for row in rows[is_long].tolist():
            del self._long_rows[self._long_names.pop(row)]
        self._sizes[rows] = _FREE
        self._count -= len(rows) - int(is_long.sum())
        # All anew, as a gap would hide what stands behind it: 0.05 us a name that stays.
        self._rebuild()

    def of(self, rows: Ints) -> list[str]:
        """Return the names of these rows; all must have one."""
        if rows.size == 0:
            return []
        width = _WORD * len(self._words)
        raw = np.stack([column[rows] for column in self._words], axis=1).astype("<u8").tobytes()
        sizes = self._sizes[rows]
        is_long = sizes == _LONG
        # What the columns have of long names may end within a character.
        ends = zip(range(0, width * len(rows), width), np.where(is_long, 0, sizes).tolist(), strict=True)
        if raw.isascii():
            text = raw.decode("ascii")
            names = [text[start : start + size] for start, size in ends]
        else:
            names = [raw[start : start + size].decode() for start, size in ends]
        for place in np.flatnonzero(is_long).tolist():
            names[place] = self._long_names[int(rows[place])]
        return names

    def _probe(self, words: list[Words], sizes: Ints, found: Ints) -> None:
        """Look for names in the table; their rows go to ``found``."""
        if not self._words or not self._count:
            return
        last = len(self._slots) - 1
        slots = self._home(words, sizes)
        asked = np.arange(len(sizes))
        common = min(len(words), len(self._words))  # of equal sizes, the others are zeros on both sides
        while True:
            rows = self._slots[slots]
            taken = rows != _EMPTY
            # An empty slot gives row -1, the last one, which is no match as `taken` is False there.
            same = taken & (self._sizes[rows] == sizes[asked])
            for column, word in zip(self._words[:common], words[:common], strict=True):
                same &= column[rows] == word[asked]
            found[asked[same]] = rows[same]
            on = taken & ~same
            if not on.any():
                return
            asked = asked[on]
            slots = (slots[on] + 1) & last

    def _insert(self, rows: Ints) -> None:
        """Put rows whose names stand in the columns into free slots."""
        last = len(self._slots) - 1
        slots = self._home([column[rows] for column in self._words], self._sizes[rows].astype(np.int64))
        while rows.size:
            free = self._slots[slots] == _EMPTY
            # Where several want one slot, the last of them gets it, and the others go on from there.
            self._slots[slots[free]] = rows[free]
            on = self._slots[slots] != rows
            rows, slots = rows[on], (slots[on] + 1) & last

    def _rebuild(self) -> None:
        size = _FIRST_SLOTS
        while size <= 2 * self._count:
            size *= 2
        self._slots = np.full(size, _EMPTY, np.int32)
        self._insert(np.flatnonzero(self._sizes < _LONG))

    def _home(self, words: list[Words], sizes: Ints) -> Ints:
        """Return the slot where to begin looking for each name; words of zeros change nothing."""
        mixed = sizes.astype(np.uint64) * _SIZE_FACTOR
        for word, factor in zip(words, _FACTORS, strict=False):
            mixed += (word ^ (word >> _HALF)) * factor
        mixed ^= mixed >> _HALF
        mixed *= _LAST_FACTOR
        mixed ^= mixed >> _HALF
        return (mixed & np.uint64(len(self._slots) - 1)).astype(np.int64)


def _words_of(names: Sequence[str]) -> tuple[list[Words], Ints]:
    """Return names as columns of words, as many as the longest needs but no more than `MOST_WORDS`; and their sizes.

    >>> words, sizes = _words_of(["u1", "user-10"])
    >>> [hex(word) for word in words[0].tolist()], sizes.tolist()
    (['0x3175', '0x30312d72657375'], [2, 7])
    """
    text = "".join(names).encode()
    sizes = np.fromiter(map(len, names), np.int64, len(names))
    if int(sizes.sum()) != len(text):  # not ASCII: some characters have more bytes than one
        sizes = np.array([len(name.encode()) for name in names], np.int64)
    starts = np.cumsum(sizes) - sizes
    # A word may begin at any byte: a view of the text in which element i is bytes i to i + 7.
    padded = np.frombuffer(text + bytes(_WORD), np.uint8)
    at_byte: Words = np.ndarray((len(text) + 1,), "<u8", padded, strides=(1,))
    longest = int(sizes.max(initial=0))
    words = []
    for place in range(min(-(-longest // _WORD), MOST_WORDS)):
        left = sizes - _WORD * place
        words.append(at_byte[np.minimum(starts + _WORD * place, len(text))] & _MASKS[np.clip(left, 0, _WORD)])
    return words, sizes
