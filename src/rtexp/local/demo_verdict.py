"""How the cells in SQL compare with the truth of a generated stream."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtexp.core import sketches
from rtexp.local.truth import CellKey, Counts, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.local.demo_states import FoundState
    from rtexp.local.truth import Truth
    from rtexp.store.cells import CellRow

SHOWN_CELLS = 10
ALLOWED_ERRORS = 5.0
"""Standard errors by which an estimate of uniques may be off; by chance it is once in millions."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison has shown."""

    cells: int
    differing: Mapping[CellKey, tuple[Counts, Counts]]
    """Cells that differ: (true, found)."""
    estimates: int
    worst_errors: float
    """The largest distance of an estimate from the exact uniques, in standard errors."""
    states: Sequence[FoundState] = ()
    """Of the periods whose end is known beforehand; none where the stream was stopped before that."""

    @property
    def is_right(self) -> bool:
        """Tell whether everything is as it must be."""
        right_states = all(state.is_right for state in self.states)
        return not self.differing and self.worst_errors <= ALLOWED_ERRORS and right_states

    def numbers(self) -> dict[str, float]:
        """Say it to a program."""
        return {
            "cells": self.cells,
            "differing": len(self.differing),
            "estimates": self.estimates,
            "worst_errors": round(self.worst_errors, 3),
            "states": len(self.states),
            "wrong_states": sum(not state.is_right for state in self.states),
        }

    def lines(self) -> list[str]:
        """Say it to a person."""
        shown = [
            f"  {'/'.join(map(str, key))}: true {tuple(true)}, found {tuple(found)}"
            for key, (true, found) in list(self.differing.items())[:SHOWN_CELLS]
        ]
        return [
            f"{len(self.differing):,} cells differ from the truth (of {self.cells:,})",
            *shown,
            (
                f"HyperLogLog: of {self.estimates:,} counts of unique users over whole periods, the worst estimate "
                f"is {self.worst_errors:.1f} standard errors from the exact number"
            ),
            *map(_state_line, self.states),
        ]


def _state_line(found: FoundState) -> str:
    expected = found.expected
    verdict = "as planted" if found.is_right else f"but it must be {' or '.join(expected.states)}"
    return f"{expected.experiment}: {found.state} at look {found.look}, {verdict} ({expected.planted})"


def compare(truth: Truth, rows: Iterable[CellRow], lg_k: int) -> Verdict:
    """Compare all cells, and the uniques of each experiment, period, group and event."""
    found: dict[CellKey, Counts] = {}
    estimated: defaultdict[tuple[str, int, str, str], list[sketches.Entries]] = defaultdict(list)
    for row in rows:
        key = CellKey(*row[:5])
        found[key] = Counts(*row[5:10])
        if row.sketch is not None:
            estimated[key[:4]].append(sketches.from_bytes(row.sketch, lg_k))
    exact: defaultdict[tuple[str, int, str, str], set[str]] = defaultdict(set)
    for key, users in truth.users().items():
        exact[key[:4]] |= users
    true = truth.cells()
    relative_error = 1.04 / math.sqrt(1 << lg_k)
    errors = [
        abs(sketches.estimate(sketches.union(*estimated[key]), lg_k) - len(users))
        / (relative_error * len(users))
        for key, users in exact.items()
    ]
    return Verdict(len(true), differences(true, found), len(errors), float(np.max(errors, initial=0.0)))
