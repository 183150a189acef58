"""The experiments that the generator plays, and when: cycles of a period and eight hours more, without end.

::

    hours    0   1           24                    73  74  75       80 = next cycle
    four     .   [--------- measured ---------------)       off      .
    one      [---------- first period -----------)     [--- re-ramped: measured into the next cycle
                             ^ a ramp inside: neither resets nor extends
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rtexp.local.truth import HOUR_MS, Period

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL = "control"
TREATMENT = "treatment"
GROUPS = (CONTROL, TREATMENT)

EXTRA_MS = 8 * HOUR_MS
"""How much longer a cycle is than a period: room for what comes late, and for the re-ramp."""

MIN_PERIOD_MS = 12 * HOUR_MS
"""Below this, the ramp that should lie inside a period wouldn't."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment with two groups, what its treatment does, and when in a cycle it starts."""

    name: str
    shows: str
    """What a person should see."""
    effect: float
    """How much likelier treatment makes an action; 1 for no effect."""
    lost: float
    """Share of treatment's users whose activations never arrive: a sample ratio mismatch."""
    ramp_after_ms: int
    """From the cycle's start; not on the edge of a bucket, as ramps aren't."""
    ends_as: str | None
    """The state in which its first period must end; None where chance may have it either way."""


RE_RAMPED = Experiment("second-try", "re-ramped after its period", 1.15, 0.0, HOUR_MS // 2 + 7_001, None)
EXPERIMENTS = (
    Experiment("bolder-buttons", "a gain", 1.6, 0.0, HOUR_MS + 421_000, "significant_gain"),
    Experiment("heavier-page", "a drop", 0.5, 0.0, HOUR_MS + 60_000, "significant_drop"),
    Experiment("new-icon", "no difference", 1.0, 0.0, HOUR_MS, "final_no_difference"),
    Experiment("broken-split", "a sample ratio mismatch", 1.0, 0.4, HOUR_MS + 899_999, "blocked_srm"),
    RE_RAMPED,
)


class Allocation(NamedTuple):
    """A group's share of users from ``at_ms`` on."""

    experiment: str
    group: str
    percent: float
    at_ms: int


@dataclass(frozen=True, slots=True)
class Story:
    """When the experiments ramp, cycle after cycle, from ``start_ms``; a `rtexp.local.truth.Schedule`."""

    start_ms: int
    period_ms: int

    def __post_init__(self) -> None:
        if self.period_ms < MIN_PERIOD_MS:
            raise ValueError(f"the story's ramps need periods of {MIN_PERIOD_MS // HOUR_MS} hours or more")

    @property
    def cycle_ms(self) -> int:
        """Length of a cycle."""
        return self.period_ms + EXTRA_MS

    def cycle_start_ms(self, cycle: int) -> int:
        """Start of a cycle, which is the end of the one before it; cycles count from 0."""
        return self.start_ms + cycle * self.cycle_ms

    def allocations(self, cycle: int) -> Iterator[Allocation]:
        """Yield the changes of allocation that lie in a cycle, in order of time for each group."""
        start_ms = self.cycle_start_ms(cycle)
        off_ms = start_ms + self.period_ms + 3 * HOUR_MS
        for experiment in EXPERIMENTS[:-1]:
            for group in GROUPS:
                yield Allocation(experiment.name, group, 10, start_ms + experiment.ramp_after_ms)
                yield Allocation(experiment.name, group, 0, off_ms)
        for group in GROUPS:
            if cycle == 0:
                yield Allocation(RE_RAMPED.name, group, 5, start_ms + RE_RAMPED.ramp_after_ms)
            yield Allocation(RE_RAMPED.name, group, 10, start_ms + self.period_ms // 3)
            yield Allocation(RE_RAMPED.name, group, 20, self.re_ramp_ms(cycle))
            yield Allocation(RE_RAMPED.name, group, 5, off_ms)  # less is no ramp

    def groups_of(self, experiment: str) -> tuple[str, ...]:
        """Return the groups; none for an unknown experiment."""
        return GROUPS if any(experiment == known.name for known in EXPERIMENTS) else ()

    def period_at(self, experiment: str, at_ms: int) -> Period | None:
        """Return the period of a known experiment that holds ``at_ms``."""
        cycle = (at_ms - self.start_ms) // self.cycle_ms
        return next((p for p in self._periods(experiment, cycle) if p.start_ms <= at_ms < p.end_ms), None)

    def first_period(self, experiment: Experiment, cycle: int) -> Period:
        """Return the first period of an experiment that begins in a cycle."""
        ramp_ms = self.cycle_start_ms(cycle) + experiment.ramp_after_ms
        if experiment is RE_RAMPED and cycle > 0:
            ramp_ms = self.re_ramp_ms(cycle)
        return Period(ramp_ms, ramp_ms + self.period_ms)

    def re_ramp_ms(self, cycle: int) -> int:
        """Return when, in a cycle, one experiment ramps again, its period being over for an hour or more."""
        return self.cycle_start_ms(cycle) + self.period_ms + 2 * HOUR_MS

    def _periods(self, experiment: str, cycle: int) -> Iterator[Period]:
        """Yield what of an experiment's periods lies, in part at least, in a cycle."""
        if cycle < 0:
            return
        known = next(known for known in EXPERIMENTS if known.name == experiment)
        if known is not RE_RAMPED:
            yield self.first_period(known, cycle)
            return
        before_ms = self.start_ms + known.ramp_after_ms if cycle == 0 else self.re_ramp_ms(cycle - 1)
        yield Period(before_ms, before_ms + self.period_ms)
        yield Period(self.re_ramp_ms(cycle), self.re_ramp_ms(cycle) + self.period_ms)
