"""The exact edges of every rule, as a short scripted stream with users of its own: chance would miss them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.local.samples import BAD, EARLIEST_MS, encode, fields_for
from rtexp.local.story import CONTROL, EXPERIMENTS, RE_RAMPED, TREATMENT
from rtexp.local.truth import HOUR_MS, Action, Activation, Bad

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.local.raw_records import Kind
    from rtexp.local.story import Story
    from rtexp.local.truth import Meaning, Period, Rules


class Scripted(NamedTuple):
    """A record that is to arrive at a given time."""

    arrival_ms: int
    kind: Kind
    user: str
    value: bytes | None
    meaning: Meaning


def edges(story: Story, rules: Rules, cycle: int) -> Iterator[Scripted]:
    """Yield the edges of one cycle, in no order; none arrives before the cycle's start."""
    # Names differ from cycle to cycle, or one cycle's triggers would be another's.
    script = _Script(f"edge-{cycle}", min(rules.tracked), rules)
    period = story.first_period(EXPERIMENTS[0], cycle)
    noon_ms = (period.start_ms // HOUR_MS + 5) * HOUR_MS
    yield from script.period_edges(period)
    yield from script.grace_edges(period)
    yield from script.trigger_edges(noon_ms)
    yield from script.join_delay_edges(noon_ms)
    yield from script.repeat_edges(noon_ms // rules.dedup_ms)
    yield from script.cap_edges(noon_ms)
    yield from script.time_limits(noon_ms)
    yield from script.bad_input(noon_ms)
    inside_ms = story.cycle_start_ms(cycle) + story.period_ms // 3
    yield from script.ramp_edges(inside_ms, story.re_ramp_ms(cycle))


class _Script:
    """Edges of one cycle; ``event`` is a tracked one."""

    def __init__(self, name: str, event: str, rules: Rules) -> None:
        self._name = name
        self._event = event
        self._rules = rules

    def _act(self, case: str, at_ms: int, arrival_ms: int) -> Scripted:
        user = f"{self._name}-{case}"
        meaning = Action(user, self._event, at_ms)
        return Scripted(arrival_ms, "actions", user, encode(meaning), meaning)

    def _activate(
        self,
        case: str,
        at_ms: int,
        arrival_ms: int,
        group: str = TREATMENT,
        experiment: str = EXPERIMENTS[0].name,
    ) -> Scripted:
        user = f"{self._name}-{case}"
        meaning = Activation(user, experiment, group, at_ms)
        return Scripted(arrival_ms, "activations", user, encode(meaning), meaning)

    def period_edges(self, period: Period) -> Iterator[Scripted]:
        """Start and end of a period, for activations and for actions."""
        for case, at_ms in (
            ("before-start", period.start_ms - 1),
            ("at-start", period.start_ms),
            ("last-moment", period.end_ms - 1),
            ("at-end", period.end_ms),
        ):
            yield self._activate(case, at_ms, at_ms)
            yield self._act(case, at_ms, at_ms)
            yield self._act("at-start", at_ms, at_ms + 1)

    def grace_edges(self, period: Period) -> Iterator[Scripted]:
        """What belongs to a period, but arrives at its grace's end or just before."""
        closes_ms = period.end_ms + self._rules.grace_ms
        yield self._activate("in-grace", period.end_ms - 2, closes_ms - 1)
        yield self._act("in-grace", period.end_ms - 1, closes_ms - 1)
        yield self._act("in-grace", period.end_ms - 2, closes_ms)
        yield self._activate("after-grace", period.end_ms - 2, closes_ms)
        yield self._act("after-grace", period.end_ms - 1, closes_ms)

    def trigger_edges(self, noon_ms: int) -> Iterator[Scripted]:
        """Before and at the trigger; a second activation that is earlier; a user in two groups."""
        case = "trigger"
        yield self._activate(case, noon_ms, noon_ms)
        yield self._act(case, noon_ms - 1, noon_ms + 1)
        yield self._act(case, noon_ms, noon_ms + 2)
        yield self._activate(case, noon_ms - 60_000, noon_ms + 3)  # later in order: changes nothing
        yield self._act(case, noon_ms - 30_000, noon_ms + 4)
        yield self._activate(case, noon_ms + 60_000, noon_ms + 60_000, CONTROL)
        yield self._act(case, noon_ms + 60_000, noon_ms + 60_001)
        yield self._act(case, noon_ms + 59_999, noon_ms + 60_002)

    def join_delay_edges(self, noon_ms: int) -> Iterator[Scripted]:
        """An activation that arrives after its action, just in time and just too late."""
        delay_ms = self._rules.join_delay_ms
        for case, late_ms in (("just-in-time", delay_ms), ("too-late", delay_ms + 1)):
            yield self._act(case, noon_ms, noon_ms)
            yield self._activate(case, noon_ms, noon_ms + late_ms)
            yield self._act(case, noon_ms, noon_ms + late_ms + 2 * self._rules.dedup_ms + 1)

    def repeat_edges(self, slot: int) -> Iterator[Scripted]:
        """Repeats in the same slot, at the end of the next, and in the second next."""
        width_ms = self._rules.dedup_ms
        first_ms = slot * width_ms
        yield self._activate("repeat", first_ms, first_ms)
        for offset_ms in (0, width_ms - 1, 2 * width_ms - 1, 2 * width_ms, 4 * width_ms - 1, 4 * width_ms):
            yield self._act("repeat", first_ms, first_ms + offset_ms)

    def cap_edges(self, noon_ms: int) -> Iterator[Scripted]:
        """One action more than the cap at an hour's very end, and the full cap once more from the next on."""
        cap = self._rules.cap_per_hour
        if cap == 0:
            return
        yield self._activate("cap", noon_ms, noon_ms)
        for number in range(cap + 1):
            yield self._act("cap", noon_ms + number, noon_ms + HOUR_MS - 1)
        yield self._act("cap", noon_ms + cap, noon_ms + HOUR_MS)  # a repeat of one that was capped
        for number in range(cap + 1):
            yield self._act("cap", noon_ms + HOUR_MS + number, noon_ms + HOUR_MS + number)

    def time_limits(self, noon_ms: int) -> Iterator[Scripted]:
        """Times at both limits; what lies beyond them is bad input."""
        yield self._activate("limits", noon_ms, noon_ms)
        yield self._act("limits", noon_ms + self._rules.max_ahead_ms, noon_ms)
        yield self._act("limits", EARLIEST_MS, noon_ms)

    def bad_input(self, noon_ms: int) -> Iterator[Scripted]:
        """Each kind of bad input, in both topics."""
        user = f"{self._name}-bad"
        kinds: tuple[Kind, ...] = ("actions", "activations")
        for kind in kinds:
            for reason, _, make in BAD:
                value = make(fields_for(kind, user, noon_ms), noon_ms, self._rules)
                yield Scripted(noon_ms, kind, user, value, Bad(reason))

    def ramp_edges(self, inside_ms: int, again_ms: int) -> Iterator[Scripted]:
        """A ramp inside a period changes nothing; with one after it, counts start from zero."""
        case = "ramps"
        for at_ms in (inside_ms - 1, inside_ms, again_ms - 1, again_ms):
            yield self._activate(case, at_ms, at_ms, experiment=RE_RAMPED.name)
            yield self._act(case, at_ms, at_ms)
