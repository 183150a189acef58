"""Numbers for groups in periods, given out while anyone has a trigger there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from rtexp.core.columns import grown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.core.columns import Ints


class GroupName(NamedTuple):
    """A group in a period: what triggers belong to."""

    experiment: str
    period_start_ms: int
    group: str


class KindLike(Protocol):
    """What activations have in common: the group, and the period in which it is measured."""

    @property
    def experiment(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def period_start_ms(self) -> int: ...  # noqa: D102
    @property
    def period_end_ms(self) -> int: ...  # noqa: D102


class Groups:
    """From (experiment, period, group) to a small number and back; numbers of forgotten groups come again."""

    def __init__(self) -> None:
        self._numbers: dict[GroupName, int] = {}
        self._names: list[GroupName | None] = []
        self._periods: dict[tuple[str, int], int] = {}
        self._next_period = 0
        self._free: list[int] = []
        self.period = np.empty(0, np.int64)
        """By number of group: a number that all groups of the same experiment and period share."""

    def number(self, name: GroupName) -> int:
        """Return the group's number; it gets one if it has none."""
        known = self._numbers.get(name)
        if known is not None:
            return known
        if self._free:
            number = self._free.pop()
        else:
            number = len(self._names)
            self._names.append(None)
            self.period = grown(self.period, number + 1, 0)
        self._names[number] = name
        self._numbers[name] = number
        self.period[number] = self._period(name)
        return number

    def name(self, number: int) -> GroupName:
        """Return the group that has this number; KeyError if none has."""
        name = self._names[number]
        if name is None:
            raise KeyError(number)
        return name

    def ranks(self) -> Ints:
        """Return by number of group its place among all groups in order of their names; -1 where there is none."""
        ranks = np.full(len(self._names), -1, np.int64)
        ranks[[self._numbers[name] for name in sorted(self._numbers)]] = np.arange(len(self._numbers))
        return ranks

    def forget(self, numbers: Iterable[int]) -> None:
        """Take numbers back; nothing may refer to them any longer."""
        for number in numbers:
            name = self.name(number)
            del self._numbers[name]
            self._names[number] = None
            self._free.append(number)
        in_use = {name[:2] for name in self._numbers}
        self._periods = {key: number for key, number in self._periods.items() if key in in_use}

    def _period(self, name: GroupName) -> int:
        key = (name.experiment, name.period_start_ms)
        if key not in self._periods:
            self._periods[key] = self._next_period
            self._next_period += 1
        return self._periods[key]
