"""Acceptance: which activations belong to a period, as a snapshot of the experiments tells it."""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Accepted(NamedTuple):
    """The group and the period to which an activation belongs."""

    experiment: str
    group: str
    period_start_ms: int
    period_end_ms: int
    ramped_ms: int
    """The group's own last ramp at or before the activation; the period's start where it has none."""


class Rejection(StrEnum):
    """Why an activation belongs nowhere; the first that holds, in this order."""

    UNKNOWN_EXPERIMENT = "unknown-experiment"
    UNKNOWN_GROUP = "unknown-group"
    OUTSIDE_PERIOD = "outside-period"
    LATE_ACTIVATION = "late-activation"


class PeriodLike(Protocol):
    """Half open: ``start_ms <= t < end_ms``."""

    @property
    def start_ms(self) -> int: ...  # noqa: D102
    @property
    def end_ms(self) -> int: ...  # noqa: D102


class RampLike(Protocol):
    """An increase of a group's allocation."""

    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def at_ms(self) -> int: ...  # noqa: D102


class ExperimentLike(Protocol):
    """An experiment with its whole history; periods don't overlap."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def groups(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def periods(self) -> Sequence[PeriodLike]: ...  # noqa: D102
    @property
    def ramps(self) -> Sequence[RampLike]: ...  # noqa: D102


class Acceptance:
    """Judges activations by one snapshot.

    Histories only grow, so what one snapshot accepts, or finds too late for its period, every later one does
    too. What none of its periods accepts may yet be accepted by a later one: it waits for a snapshot that was
    taken later than its arrival, by ``wait_ms`` or more, and that one's word is final.
    """

    def __init__(
        self, experiments: Sequence[ExperimentLike], *, as_of_ms: int, wait_ms: int, grace_ms: int
    ) -> None:
        self.as_of_ms = as_of_ms
        self._wait_ms = wait_ms
        self._grace_ms = grace_ms
        self._experiments = {experiment.name: experiment for experiment in experiments}
        # Thousands of experiments, a new snapshot every few seconds: only those that people enter are built.
        # Names that nobody knows aren't kept: in raw input there may be any number of them.
        self._histories: dict[tuple[str, str], _History] = {}

    def judge(self, experiment: str, group: str, at_ms: int, arrival_ms: int) -> Accepted | Rejection | None:
        """Return where an activation belongs, or why nowhere; None: only a later snapshot can tell."""
        history = self._histories.get((experiment, group))
        if history is None:
            found = self._history(experiment, group)
            if isinstance(found, Rejection):
                return found if self._is_final(arrival_ms) else None
            history = self._histories[experiment, group] = found
        accepted = history.at(at_ms)
        if accepted is None:
            return Rejection.OUTSIDE_PERIOD if self._is_final(arrival_ms) else None
        if arrival_ms >= accepted.period_end_ms + self._grace_ms:
            return Rejection.LATE_ACTIVATION
        return accepted

    def _is_final(self, arrival_ms: int) -> bool:
        return self.as_of_ms > arrival_ms and self.as_of_ms >= arrival_ms + self._wait_ms

    def _history(self, name: str, group: str) -> _History | Rejection:
        experiment = self._experiments.get(name)
        if experiment is None:
            return Rejection.UNKNOWN_EXPERIMENT
        if group not in experiment.groups:
            return Rejection.UNKNOWN_GROUP
        return _History(experiment, group)


class _History:
    """One group's time, cut where a period begins or ends and where the group was ramped inside one."""

    def __init__(self, experiment: ExperimentLike, group: str) -> None:
        ramps = sorted(ramp.at_ms for ramp in experiment.ramps if ramp.group == group)
        self._starts_ms: list[int] = []
        self._pieces: list[Accepted | None] = []
        for period in sorted(experiment.periods, key=lambda period: period.start_ms):
            inside = [at_ms for at_ms in ramps if period.start_ms < at_ms < period.end_ms]
            for start_ms in [period.start_ms, *inside]:
                last = bisect_right(ramps, start_ms)
                ramped_ms = ramps[last - 1] if last else period.start_ms
                self._add(
                    start_ms, Accepted(experiment.name, group, period.start_ms, period.end_ms, ramped_ms)
                )
            self._add(period.end_ms, None)

    def _add(self, start_ms: int, piece: Accepted | None) -> None:
        self._starts_ms.append(start_ms)
        self._pieces.append(piece)

    def at(self, at_ms: int) -> Accepted | None:
        # Of pieces with the same start the last one counts: a period that begins where another ends.
        piece = bisect_right(self._starts_ms, at_ms)
        return self._pieces[piece - 1] if piece else None
