"""A seeded stream of raw records, in order of arrival, each with what it means.

It holds everything that may go wrong with such streams: repeats, late events, activations that come after
their actions, spammers, users in two groups, unknown names, bad input. The story of the experiments, whose
effects it plays, is in `rtexp.local.story`; the exact edges of the rules, which chance would hardly ever hit,
come from `rtexp.local.edges` once a cycle. Pure: the same arguments give the same stream, on every machine.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from rtexp.local.edges import edges
from rtexp.local.raw_records import RawRecord
from rtexp.local.samples import BAD, encode, fields_for
from rtexp.local.story import CONTROL, EXPERIMENTS, GROUPS, TREATMENT
from rtexp.local.truth import HOUR_MS, Action, Activation, Bad

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.local.raw_records import Kind
    from rtexp.local.story import Experiment, Story
    from rtexp.local.truth import Meaning, Rules

MINUTE_MS = 60_000
UNTRACKED = "scroll"
BAD_WEIGHTS = [
    1 if description == "a message of more bytes than allowed" else 20 for _, description, _ in BAD
]
"""The one kind that is large is rare, or it would be most of the stream's bytes."""

RECORDS_PER_SESSION = 3.5  # measured over a cycle; only the density of the stream depends on it
TRIES_PER_SESSION = 6


class Told(NamedTuple):
    """A record of the stream, and what it means."""

    record: RawRecord
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    as_integer: bool
    """Records give the user's name as a JSON integer."""
    eagerness: float
    """Chance of each try at an action, before effects."""
    groups: dict[str, str]
    silent: frozenset[str]
    """Experiments whose activations of this user never arrive."""
    spams: bool


class Generator:
    """The stream of one story: `cycle` yields it, piece by piece.

    Args:
        story: The experiments and their times.
        rules: What will be tracked, capped and so on; the stream goes to these limits and beyond.
        seed: Decides everything else.
        users: How many there are.
        records_per_cycle: About how many records a cycle of the story gets.
    """

    def __init__(
        self,
        story: Story,
        rules: Rules,
        *,
        seed: int = 1,
        users: int = 2000,
        records_per_cycle: int = 100_000,
    ) -> None:
        self._story = story
        self._rules = rules
        self._events = sorted(rules.tracked)  # a set's order differs from run to run
        self._random = Random(seed)  # noqa: S311 - a reproducible stream, not a secret
        self._users = [self._make_user(number) for number in range(users)]
        self._session_gap_ms = story.cycle_ms * RECORDS_PER_SESSION / records_per_cycle
        self._upcoming: list[tuple[int, int, Told]] = []
        self._order = itertools.count()

    def cycle(self, cycle: int) -> Iterator[Told]:
        """Yield one cycle's records in order of arrival. To be called for 0, 1, 2, ..., each to its end.

        What is on its way when the cycle ends arrives in the next.
        """
        for scripted in edges(self._story, self._rules, cycle):
            self._push(*scripted)
        at_ms = float(self._story.cycle_start_ms(cycle))
        end_ms = self._story.cycle_start_ms(cycle + 1)
        while at_ms < end_ms:
            yield from self._due(int(at_ms))
            self._session(int(at_ms))
            at_ms += self._random.expovariate(1 / self._session_gap_ms)
        yield from self._due(end_ms)

    def _due(self, until_ms: int) -> Iterator[Told]:
        while self._upcoming and self._upcoming[0][0] < until_ms:
            yield heapq.heappop(self._upcoming)[-1]

    # --- Users and what they do

    def _make_user(self, number: int) -> _User:
        chance = self._random.random
        as_integer = number % 10 == 0
        groups = {experiment.name: self._random.choice(GROUPS) for experiment in EXPERIMENTS}
        return _User(
            name=str(1_000_000 + number)
            if as_integer
            else f"{'üser' if number % 10 == 1 else 'user'}-{number}",
            as_integer=as_integer,
            eagerness=self._random.choice((0.05, 0.2, 0.6)),
            groups=groups,
            silent=frozenset(
                e.name for e in EXPERIMENTS if groups[e.name] == TREATMENT and chance() < e.lost
            ),
            spams=number % 200 == 7,  # noqa: PLR2004 - one in two hundred, also of few users
        )

    def _session(self, at_ms: int) -> None:
        """Let one user come by at ``at_ms``; everything that follows arrives then or later."""
        user = self._random.choice(self._users)
        for experiment in EXPERIMENTS:
            if self._random.random() < 0.3 and experiment.name not in user.silent:  # noqa: PLR2004 - a chance
                self._trigger(user, experiment, at_ms)
        chance = user.eagerness * self._effect(user, at_ms)
        for _ in range(TRIES_PER_SESSION):
            if self._random.random() < chance:
                self._act(user, at_ms + self._random.randrange(10 * MINUTE_MS))
        self._mishap(user, at_ms)

    def _effect(self, user: _User, at_ms: int) -> float:
        """Return how much likelier this user's groups make an action now."""
        effect = 1.0
        for experiment in EXPERIMENTS:
            if user.groups[experiment.name] == TREATMENT and self._story.period_at(experiment.name, at_ms):
                effect *= experiment.effect
        return effect

    def _trigger(self, user: _User, experiment: Experiment, at_ms: int) -> None:
        group = user.groups[experiment.name]
        chance = self._random.random()
        if chance < 0.01:  # noqa: PLR2004 - a user in two groups
            group = CONTROL if group == TREATMENT else TREATMENT
        activation = Activation(user.name, experiment.name, group, at_ms)
        self._say(user, at_ms + self._delay_ms(), activation)

    def _act(self, user: _User, at_ms: int) -> None:
        chance = self._random.random()
        event = UNTRACKED if chance < 0.1 else self._random.choice(self._events)  # noqa: PLR2004 - a chance
        ahead_ms = self._random.randrange(self._rules.max_ahead_ms + 1) if chance > 0.99 else 0  # noqa: PLR2004
        action = Action(user.name, event, at_ms + ahead_ms)
        arrival_ms = at_ms + self._delay_ms()
        value = self._say(user, arrival_ms, action)
        if self._random.random() < 0.06:  # noqa: PLR2004 - a client that sends again
            dedup_ms = self._rules.dedup_ms
            for pause_ms in self._random.choices(
                (0, dedup_ms // 3, dedup_ms, 2 * dedup_ms, 4 * dedup_ms), k=2
            ):
                self._push(
                    arrival_ms + self._random.randrange(pause_ms + 1), "actions", user.name, value, action
                )

    def _delay_ms(self) -> int:
        """Return how long a record is on its way: mostly under a second, at times minutes, rarely hours."""
        chance = self._random.random()
        if chance < 0.93:  # noqa: PLR2004 - and so on
            return self._random.randrange(800)
        if chance < 0.97:  # noqa: PLR2004 - about the time that actions wait for activations
            return self._random.randrange(2 * self._rules.join_delay_ms + 1)
        if chance < 0.995:  # noqa: PLR2004
            return self._random.randrange(40 * MINUTE_MS)
        return self._random.randrange(6 * HOUR_MS)

    def _mishap(self, user: _User, at_ms: int) -> None:
        chance = self._random.random()
        if chance < 0.03:  # noqa: PLR2004
            self._send_bad(user, at_ms)
        elif chance < 0.04:  # noqa: PLR2004
            known = self._random.choice(EXPERIMENTS).name
            name, group = self._random.choice((("no-such-experiment", CONTROL), (known, "no-such-group")))
            self._say(user, at_ms, Activation(user.name, name, group, at_ms))
        elif user.spams and chance < 0.2 and self._rules.cap_per_hour > 0:  # noqa: PLR2004
            for _ in range(self._rules.cap_per_hour + self._random.randrange(50)):
                self._act(user, at_ms + self._random.randrange(40 * MINUTE_MS))

    def _send_bad(self, user: _User, at_ms: int) -> None:
        kind: Kind = self._random.choice(("actions", "activations"))
        reason, _, make = self._random.choices(BAD, weights=BAD_WEIGHTS)[0]
        self._push(
            at_ms, kind, user.name, make(fields_for(kind, user.name, at_ms), at_ms, self._rules), Bad(reason)
        )

    # --- From meanings to records

    def _say(self, user: _User, arrival_ms: int, meaning: Action | Activation) -> bytes:
        """Let a well-formed record arrive; return its value."""
        value = encode(meaning, as_integer=user.as_integer)
        self._push(
            arrival_ms, "actions" if isinstance(meaning, Action) else "activations", user.name, value, meaning
        )
        return value

    def _push(self, arrival_ms: int, kind: Kind, user: str, value: bytes | None, meaning: Meaning) -> None:
        told = Told(RawRecord(arrival_ms, kind, user.encode(), value), meaning)
        heapq.heappush(self._upcoming, (arrival_ms, next(self._order), told))
