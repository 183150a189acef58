"""What to do when a child ends, and in which order all of them stop: decisions only, time is told.

::

    waiting ──Start──► running ──exit──► waiting (back-off) … ──stop──► ended
                          └──stop──► terminated ──grace──► killed ──exit──► ended
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a child that ended is started again."""

    first_s: float = 0.5
    limit_s: float = 30.0
    healthy_s: float = 60.0
    """A child that has lived this long is started again as if it had never ended before."""

    def delay_s(self, ends_in_a_row: int) -> float:
        """Return the wait after so many early ends, the newest included.

        >>> [BackOff().delay_s(ends) for ends in (1, 2, 3, 7, 100)]
        [0.5, 1.0, 2.0, 30.0, 30.0]
        """
        # Bounded before doubling: a child that fails for a year must not overflow a float.
        return min(self.limit_s, self.first_s * 2.0 ** min(ends_in_a_row - 1, 32))


class Do(Enum):
    """What the shell is to do with a child."""

    START = auto()
    TERMINATE = auto()
    KILL = auto()


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do now."""

    do: Do
    name: str


class _Phase(Enum):
    WAITING = auto()
    RUNNING = auto()
    TERMINATED = auto()
    KILLED = auto()
    ENDED = auto()


@dataclass(slots=True)
class _Child:
    stage: int
    grace_s: float
    phase: _Phase
    due_s: float
    """When to start it (waiting), or to kill it (terminated)."""
    started_s: float = 0.0
    ends_in_a_row: int = 0


@dataclass(slots=True)
class Supervision:
    """Children that should run, until told to stop: then stage by stage, the lowest first.

    Tell it what happens (`add`, `ended`, `stop`); carry out what `orders` returns; ask it again at `wake_s`.
    Times are seconds of any clock that doesn't go back.
    """

    back_off: BackOff = field(default_factory=BackOff)
    stopping: bool = False
    _children: dict[str, _Child] = field(default_factory=dict)

    def add(self, name: str, *, stage: int, grace_s: float, now_s: float) -> None:
        """Have a child started at once. ``grace_s`` is its time to end before it is killed."""
        phase = _Phase.ENDED if self.stopping else _Phase.WAITING
        self._children[name] = _Child(stage, grace_s, phase, due_s=now_s)

    def ended(self, name: str, *, now_s: float) -> float | None:
        """Note that a child ended; return in how many seconds it starts again, or None if it doesn't."""
        child = self._children[name]
        if self.stopping:
            child.phase = _Phase.ENDED
            return None
        healthy = now_s - child.started_s >= self.back_off.healthy_s
        child.ends_in_a_row = 1 if healthy else child.ends_in_a_row + 1
        delay_s = self.back_off.delay_s(child.ends_in_a_row)
        child.phase, child.due_s = _Phase.WAITING, now_s + delay_s
        return delay_s

    def stop(self) -> None:
        """From now on nothing starts, and every stage ends once those below it have ended."""
        self.stopping = True
        for child in self._children.values():
            if child.phase is _Phase.WAITING:
                child.phase = _Phase.ENDED

    @property
    def finished(self) -> bool:
        """Whether all have ended and none will start."""
        return self.stopping and all(child.phase is _Phase.ENDED for child in self._children.values())

    def orders(self, now_s: float) -> list[Order]:
        """Return what to do now; each order is given once, and counts as carried out."""
        if self.stopping:
            return self._stop_orders(now_s)
        orders = []
        for name, child in self._children.items():
            if child.phase is _Phase.WAITING and child.due_s <= now_s:
                child.phase, child.started_s = _Phase.RUNNING, now_s
                orders.append(Order(Do.START, name))
        return orders

    def _stop_orders(self, now_s: float) -> list[Order]:
        alive = {name: child for name, child in self._children.items() if child.phase is not _Phase.ENDED}
        stage = min((child.stage for child in alive.values()), default=0)
        orders = []
        for name, child in alive.items():
            if child.stage != stage:
                continue
            if child.phase is _Phase.RUNNING:
                child.phase, child.due_s = _Phase.TERMINATED, now_s + child.grace_s
                orders.append(Order(Do.TERMINATE, name))
            elif child.phase is _Phase.TERMINATED and child.due_s <= now_s:
                child.phase = _Phase.KILLED
                orders.append(Order(Do.KILL, name))
        return orders

    def wake_s(self) -> float | None:
        """Return when there will be an order if nothing else happens until then."""
        timed = _Phase.TERMINATED if self.stopping else _Phase.WAITING
        return min((child.due_s for child in self._children.values() if child.phase is timed), default=None)
