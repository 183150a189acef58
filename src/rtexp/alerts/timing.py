"""When a notice may be sent, and when to try again: decisions only, time is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time
from enum import Enum, auto
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.alerts.notices import Notice
    from rtexp.settings import AlertSettings

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Two times of the day on the clock of a place; equal ones: never.

    The clock on the wall decides: in the night in which it goes back, the hour that comes twice is quiet twice if
    it is quiet at all, and the one that is left out in spring can't be.
    """

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def of(cls, alerts: AlertSettings) -> QuietHours:
        """Return those of the settings."""
        start, _, end = (alerts.quiet or "00:00-00:00").partition("-")
        return cls(time.fromisoformat(start), time.fromisoformat(end), ZoneInfo(alerts.time_zone))

    def holds(self, at_ms: int) -> bool:
        """Return whether it is quiet; the start is, the end isn't."""
        wall = datetime.fromtimestamp(at_ms / 1000, self.zone).time()
        if self.start <= self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end


class Users(NamedTuple):
    """How many users a period's looks have seen."""

    users: int
    """Of the comparison that has the most."""
    is_final: bool
    """There will be no later look."""


class Do(Enum):
    """What is to be done with a notice now."""

    SEND = auto()
    WAIT = auto()
    LEAVE = auto()
    """It will never have the users that it needs."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What must hold before a notice is sent."""

    quiet: QuietHours
    critical_passes: bool
    minimum_age_ms: float
    minimum_users: int

    @classmethod
    def of(cls, alerts: AlertSettings) -> Rules:
        """Return those of the settings."""
        return cls(
            QuietHours.of(alerts),
            critical_passes=alerts.quiet_passes == "critical",
            minimum_age_ms=alerts.minimum_age_hours * _HOUR_MS,
            minimum_users=alerts.minimum_users,
        )

    def decide(self, notice: Notice, now_ms: int, users: Users | None) -> Do:
        """Say what to do; ``users`` is what is known of the notice's period by now, None if nothing."""
        if self.lacks_users(notice):
            if users is None or (users.users < self.minimum_users and not users.is_final):
                return Do.WAIT
            if users.users < self.minimum_users:
                return Do.LEAVE
        if notice.experiment and now_ms - notice.period_start_ms < self.minimum_age_ms:
            return Do.WAIT
        if self.quiet.holds(now_ms) and not (notice.is_critical and self.critical_passes):
            return Do.WAIT
        return Do.SEND

    def lacks_users(self, notice: Notice) -> bool:
        """Return whether its own look had too few users, so that later ones must be asked."""
        return notice.users is not None and notice.users < self.minimum_users


@dataclass(frozen=True, slots=True)
class RetryPace:
    """How long to wait after a failed attempt: twice as long each time, and a random part of that.

    Random, so that several senders don't come back to a receiver at the same moments.
    """

    first_s: float = 1.0
    limit_s: float = 300.0
    most_asked_s: float = 3600.0
    """A receiver may ask for more than the limit, but for no more than this."""
    random: Callable[[], float] = field(default_factory=lambda: Random().random)  # noqa: S311 - no secret

    def delay_s(self, attempts: int, asked_s: float | None = None) -> float:
        """Return the wait after so many failed attempts; at least what the receiver asked for.

        >>> [RetryPace(random=lambda: 1.0).delay_s(n) for n in (1, 2, 3, 9, 10, 1000)]
        [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
        >>> RetryPace(random=lambda: 0.0).delay_s(3), RetryPace().delay_s(1, asked_s=60.0)
        (2.0, 60.0)
        """
        # Bounded before doubling: who fails for a year must not overflow a float.
        full = min(self.limit_s, self.first_s * 2.0 ** min(attempts - 1, 32))
        delay = full * (0.5 + 0.5 * self.random())
        return max(delay, min(asked_s or 0.0, self.most_asked_s))
