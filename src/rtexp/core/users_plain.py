"""What counts, one record at a time: the definition that `rtexp.core.users_columns` must equal.

Users of one partition of the filtered topics. Rows of each input come in their order; an action comes only when
the activations' watermark has passed its arrival plus ``join_delay_ms``, and no row arrives below a watermark that
its input has announced. Under these conditions cells and state depend on the rows alone, not on how the two
inputs interleave or when watermarks are announced.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtexp.core.buckets import HOUR_MS, bucket_start_ms, hour_of, oldest_slot, slot_of

if TYPE_CHECKING:
    from rtexp.core.rules import Rules

CellKey = tuple[str, int, str, str, int]
"""(experiment, period_start_ms, group, event, bucket_start_ms); exposures stand under the event ""."""

REASONS = ("untracked", "repeat", "capped", "late-action", "late-activation")
"""What a user's row can be counted as instead of, or besides, being counted in a cell."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A user was triggered into a group, in a period with ``period_start_ms <= at_ms < period_end_ms``."""

    user: str
    experiment: str
    group: str
    period_start_ms: int
    period_end_ms: int
    at_ms: int
    arrival_ms: int


@dataclass(frozen=True, slots=True)
class Action:
    """A user did something."""

    user: str
    event: str
    at_ms: int
    arrival_ms: int


@dataclass(slots=True)
class Cell:
    """Increments of one cell; ``users`` acted in it or, under the event "", were exposed in it."""

    volume: int = 0
    actors: int = 0
    sum_squares: int = 0
    exposures: int = 0
    multiple_exposures: int = 0
    users: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Trigger:
    """The first activation of a user in a (period, group), and how often each event was counted since."""

    at_ms: int
    arrival_ms: int
    period_end_ms: int
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class User:
    """What a partition remembers of one user."""

    hours: dict[int, int] = field(default_factory=dict)
    """Kept actions by hour of arrival, of the two newest such hours."""
    triggers: dict[tuple[str, int, str], Trigger] = field(default_factory=dict)
    """By (experiment, period_start_ms, group)."""


class PlainUsers:
    """Dictionaries of one partition's users."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.users: defaultdict[str, User] = defaultdict(User)
        self.kept: defaultdict[tuple[str, str, int], set[int]] = defaultdict(set)
        """Arrival slots of kept actions, by (user, event, at_ms)."""
        self.cells: defaultdict[CellKey, Cell] = defaultdict(Cell)
        self.counters = dict.fromkeys(REASONS, 0)
        self.actions_watermark_ms = 0
        self.activations_watermark_ms = 0

    def activate(self, activation: Activation) -> None:
        """Make a trigger, unless the user has it already or the activation came too late."""
        if activation.arrival_ms >= activation.period_end_ms + self.rules.grace_ms:
            self.counters["late-activation"] += 1
            return
        triggers = self.users[activation.user].triggers
        key = (activation.experiment, activation.period_start_ms, activation.group)
        if key in triggers:
            return
        # Whether there is another group's trigger is asked before this one stands among them.
        is_multiple = any(other[:2] == key[:2] for other in triggers)
        triggers[key] = Trigger(activation.at_ms, activation.arrival_ms, activation.period_end_ms)
        cell = self._cell(key, "", activation.at_ms)
        cell.exposures += 1
        cell.multiple_exposures += is_multiple
        cell.users.add(activation.user)

    def act(self, action: Action) -> None:
        """Count an action for every trigger of its user that it belongs to."""
        if action.event not in self.rules.tracked:
            self.counters["untracked"] += 1
        elif self._is_repeat(action):
            self.counters["repeat"] += 1
        elif self._is_capped(action):
            self.counters["capped"] += 1
        else:
            self._join(action)

    def _is_repeat(self, action: Action) -> bool:
        slot = slot_of(action.arrival_ms, self.rules.dedup_ms)
        kept_in = self.kept[action.user, action.event, action.at_ms]
        if not kept_in.isdisjoint((slot - 1, slot, slot + 1)):
            return True
        kept_in.add(slot)
        return False

    def _is_capped(self, action: Action) -> bool:
        if self.rules.cap_per_hour == 0:
            return False
        hours, hour = self.users[action.user].hours, hour_of(action.arrival_ms)
        if hour not in hours:
            if len(hours) == 2:  # noqa: PLR2004 - the two newest hours of the user
                if hour < min(hours):
                    return False
                del hours[min(hours)]
            hours[hour] = 0
        hours[hour] += 1
        return hours[hour] > self.rules.cap_per_hour

    def _join(self, action: Action) -> None:
        # No period is longer than period_ms, so nothing that came this late can belong to one.
        if action.arrival_ms >= action.at_ms + self.rules.period_ms + self.rules.grace_ms:
            self.counters["late-action"] += 1
        for key, trigger in self.users[action.user].triggers.items():
            if (
                trigger.at_ms <= action.at_ms < trigger.period_end_ms
                and trigger.arrival_ms <= action.arrival_ms + self.rules.join_delay_ms
                and action.arrival_ms < trigger.period_end_ms + self.rules.grace_ms
            ):
                count = trigger.counts.get(action.event, 0)
                trigger.counts[action.event] = count + 1
                cell = self._cell(key, action.event, action.at_ms)
                cell.volume += 1
                cell.actors += count == 0
                cell.sum_squares += 2 * count + 1
                cell.users.add(action.user)

    def _cell(self, key: tuple[str, int, str], event: str, at_ms: int) -> Cell:
        return self.cells[*key, event, bucket_start_ms(at_ms, self.rules.bucket_ms)]

    def advance(self, actions_watermark_ms: int, activations_watermark_ms: int) -> None:
        """Forget what no row that is still to come can need."""
        self.actions_watermark_ms = max(self.actions_watermark_ms, actions_watermark_ms)
        self.activations_watermark_ms = max(self.activations_watermark_ms, activations_watermark_ms)
        lesser_ms = min(self.actions_watermark_ms, self.activations_watermark_ms)
        for user in self.users.values():
            for key in [
                k for k, t in user.triggers.items() if t.period_end_ms + self.rules.grace_ms <= lesser_ms
            ]:
                del user.triggers[key]
            for hour in [h for h in user.hours if (h + 1) * HOUR_MS <= self.actions_watermark_ms]:
                del user.hours[hour]
        oldest = oldest_slot(self.actions_watermark_ms, self.rules.dedup_ms)
        for slots in self.kept.values():
            slots.difference_update([slot for slot in slots if slot < oldest])

    def take_cells(self) -> dict[CellKey, Cell]:
        """Return the increments since the last call."""
        taken = dict(self.cells)
        self.cells.clear()
        return taken

    def canonical(self) -> dict[str, Any]:
        """Return the state as plain values: equal for equal states, however they are kept."""
        return {
            "watermarks": (self.actions_watermark_ms, self.activations_watermark_ms),
            "counters": self.counters,
            "users": {
                name: {
                    "hours": dict(sorted(user.hours.items())),
                    "triggers": {
                        key: (t.at_ms, t.arrival_ms, t.period_end_ms, dict(sorted(t.counts.items())))
                        for key, t in sorted(user.triggers.items())
                    },
                }
                for name, user in sorted(self.users.items())
                if user.hours or user.triggers
            },
            "repeats": sorted((*key, slot) for key, slots in self.kept.items() for slot in slots),
        }
