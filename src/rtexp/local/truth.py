"""What a generated stream must be counted as, kept in plain dictionaries while the stream is made.

It is told what each record means, never sees a byte of it, and shares no code with what it judges. Records
must be told in order of arrival, which makes it short: arrivals never fall, so only the newest two slots of
repeats and the newest hour of the cap can matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from rtexp.local.raw_records import Kind
    from rtexp.settings import Settings

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what counts; ``cap_per_hour`` 0 is no cap."""

    tracked: frozenset[str]
    cap_per_hour: int
    max_message_bytes: int
    period_ms: int
    bucket_ms: int
    dedup_ms: int
    join_delay_ms: int
    grace_ms: int
    max_ahead_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Take the rules from the settings."""
        pipeline = settings.pipeline
        return cls(
            tracked=frozenset(settings.actions.tracked),
            cap_per_hour=settings.actions.cap_per_hour,
            max_message_bytes=settings.actions.max_message_bytes,
            period_ms=pipeline.period_hours * HOUR_MS,
            bucket_ms=pipeline.bucket_minutes * 60_000,
            dedup_ms=pipeline.dedup_minutes * 60_000,
            join_delay_ms=round(pipeline.join_delay_seconds * 1000),
            grace_ms=round(pipeline.grace_minutes * 60_000),
            max_ahead_ms=round(pipeline.max_ahead_seconds * 1000),
        )


class Action(NamedTuple):
    """A well-formed action."""

    user: str
    event: str
    at_ms: int


class Activation(NamedTuple):
    """A well-formed activation, of a known experiment or not."""

    user: str
    experiment: str
    group: str
    at_ms: int


class Bad(NamedTuple):
    """A record that must go to the dead letters."""

    reason: str


Meaning = Action | Activation | Bad


class Period(NamedTuple):
    """Half open: ``start_ms <= t < end_ms``."""

    start_ms: int
    end_ms: int


class Schedule(Protocol):
    """Which experiments and groups there are, and when they are measured."""

    def groups_of(self, experiment: str) -> tuple[str, ...]:
        """Return the groups; none for an unknown experiment."""

    def period_at(self, experiment: str, at_ms: int) -> Period | None:
        """Return the period of a known experiment that holds ``at_ms``."""


class CellKey(NamedTuple):
    """Which cell; exposures stand under the event ''."""

    experiment: str
    period_start_ms: int
    group: str
    event: str
    bucket_start_ms: int


class Counts(NamedTuple):
    """The exact numbers of one cell, in the order of the SQL columns."""

    volume: int
    actors: int
    sum_squares: int
    exposures: int
    multiple_exposures: int


@dataclass(slots=True)
class _Cell:
    volume: int = 0
    actors: int = 0
    sum_squares: int = 0
    exposures: int = 0
    multiple_exposures: int = 0
    users: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Trigger:
    experiment: str
    period: Period
    group: str
    at_ms: int
    arrival_ms: int
    acted: Counter[str] = field(default_factory=Counter)
    """k: what the user has done since, by event."""


class Truth:
    """The exact cells of everything that was told, and why the other records are in none of them."""

    def __init__(self, rules: Rules, schedule: Schedule) -> None:
        self._rules = rules
        self._schedule = schedule
        self._cells: defaultdict[CellKey, _Cell] = defaultdict(_Cell)
        self._triggers: defaultdict[str, list[_Trigger]] = defaultdict(list)
        self._held: deque[tuple[int, Action]] = deque()
        self._kept: dict[int, set[Action]] = {}
        self._hour = 0
        self._numbered: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """Records by ``kind/reason``: dead letters and drops."""

    def tell(self, kind: Kind, arrival_ms: int, meaning: Meaning) -> None:
        """Count one record. Arrivals must not fall from one call to the next, whatever the kind."""
        self._release(arrival_ms)
        match meaning:
            case Bad(reason):
                self.reasons[f"{kind}/{reason}"] += 1
            case Activation():
                self._activate(arrival_ms, meaning)
            case Action():
                self._keep(arrival_ms, meaning)

    def finish(self) -> None:
        """Count the actions that still waited for activations; nothing more will be told."""
        while self._held:
            self._join(*self._held.popleft())

    def cells(self) -> dict[CellKey, Counts]:
        """Return the exact cells; call `finish` before, or the newest actions are missing."""
        return {
            key: Counts(c.volume, c.actors, c.sum_squares, c.exposures, c.multiple_exposures)
            for key, c in self._cells.items()
        }

    def users(self) -> dict[CellKey, set[str]]:
        """Return who acted in each cell or, under the event '', was exposed in it."""
        return {key: cell.users for key, cell in self._cells.items()}

    def _release(self, arrival_ms: int) -> None:
        """Count the held actions for which no activation can come in time any more."""
        while self._held and self._held[0][0] + self._rules.join_delay_ms < arrival_ms:
            self._join(*self._held.popleft())

    def _activate(self, arrival_ms: int, activation: Activation) -> None:
        groups = self._schedule.groups_of(activation.experiment)
        if not groups:
            self.reasons["activations/unknown-experiment"] += 1
            return
        if activation.group not in groups:
            self.reasons["activations/unknown-group"] += 1
            return
        period = self._schedule.period_at(activation.experiment, activation.at_ms)
        if period is None:
            self.reasons["activations/outside-period"] += 1
        elif arrival_ms >= period.end_ms + self._rules.grace_ms:
            self.reasons["activations/late-activation"] += 1
        else:
            self._expose(arrival_ms, activation, period)

    def _expose(self, arrival_ms: int, activation: Activation, period: Period) -> None:
        triggers = self._triggers[activation.user]
        seen_in = [t.group for t in triggers if t.experiment == activation.experiment and t.period == period]
        if activation.group in seen_in:
            return
        cell = self._cell(activation.experiment, period, activation.group, "", activation.at_ms)
        cell.exposures += 1
        cell.multiple_exposures += 1 if seen_in else 0
        cell.users.add(activation.user)
        triggers.append(
            _Trigger(activation.experiment, period, activation.group, activation.at_ms, arrival_ms)
        )

    def _keep(self, arrival_ms: int, action: Action) -> None:
        """Hold an action back for its activations, unless it is untracked, a repeat, or above the cap."""
        if action.event not in self._rules.tracked:
            self.reasons["actions/untracked"] += 1
        elif self._repeats(arrival_ms, action):
            self.reasons["actions/repeat"] += 1
        elif self._number(arrival_ms, action.user) > self._rules.cap_per_hour > 0:
            self.reasons["actions/capped"] += 1
        else:
            self._held.append((arrival_ms, action))

    def _repeats(self, arrival_ms: int, action: Action) -> bool:
        slot = arrival_ms // self._rules.dedup_ms
        if slot not in self._kept:
            self._kept = {slot: set(), slot - 1: self._kept.get(slot - 1, set())}
        if action in self._kept[slot] or action in self._kept[slot - 1]:
            return True
        self._kept[slot].add(action)
        return False

    def _number(self, arrival_ms: int, user: str) -> int:
        if arrival_ms // HOUR_MS != self._hour:
            self._hour = arrival_ms // HOUR_MS
            self._numbered.clear()
        self._numbered[user] += 1
        return self._numbered[user]

    def _join(self, arrival_ms: int, action: Action) -> None:
        triggers = self._triggers.get(action.user, [])
        for trigger in triggers:
            if not trigger.at_ms <= action.at_ms < trigger.period.end_ms:
                continue
            if trigger.arrival_ms > arrival_ms + self._rules.join_delay_ms:
                continue
            if arrival_ms >= trigger.period.end_ms + self._rules.grace_ms:
                continue
            cell = self._cell(trigger.experiment, trigger.period, trigger.group, action.event, action.at_ms)
            k = trigger.acted[action.event]
            trigger.acted[action.event] += 1
            cell.volume += 1
            cell.sum_squares += 2 * k + 1
            cell.actors += 1 if k == 0 else 0
            cell.users.add(action.user)
        open_ones = [t for t in triggers if arrival_ms < t.period.end_ms + self._rules.grace_ms]
        if len(open_ones) < len(triggers):  # an endless stream must not remember every period
            self._triggers[action.user] = open_ones

    def _cell(self, experiment: str, period: Period, group: str, event: str, at_ms: int) -> _Cell:
        bucket_start_ms = at_ms // self._rules.bucket_ms * self._rules.bucket_ms
        return self._cells[CellKey(experiment, period.start_ms, group, event, bucket_start_ms)]


def differences(
    truth: dict[CellKey, Counts], found: dict[CellKey, Counts]
) -> dict[CellKey, tuple[Counts, Counts]]:
    """Return the cells that differ, as (true, found); a cell that one side lacks has zeros there.

    A cell of nothing but zeros equals one that isn't there.
    """
    nothing = Counts(0, 0, 0, 0, 0)
    pairs = {key: (truth.get(key, nothing), found.get(key, nothing)) for key in truth.keys() | found.keys()}
    return {key: pair for key, pair in sorted(pairs.items()) if pair[0] != pair[1]}
