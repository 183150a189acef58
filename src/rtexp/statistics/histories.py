"""What earlier looks left behind: all that the next look of a period needs of them, small enough to be kept."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rtexp.statistics.looks import Role  # noqa: TC001 - msgspec reads it when it decodes
from rtexp.statistics.methods import Path


class ComparisonKey(NamedTuple):
    """One test: a treatment against the control, by one metric of one event, in one role."""

    group: str
    event: str
    metric: str
    role: Role


class ComparisonHistory(msgspec.Struct):
    """The path of one comparison, and its verdict once there is one."""

    path: Path = msgspec.field(default_factory=Path)
    direction: int = 0
    """Sign of the effect at the first crossing; it never changes again. 0: none yet."""
    level: float = 0.0
    """At which it crossed."""
    evaluated: bool = False


class PeriodHistory(msgspec.Struct):
    """What holds for all comparisons of a period."""

    look: int = 0
    """The last one that was evaluated; later ones may have been missed, none before is ever filled in."""
    scheduled_ms: int = 0
    srm_p: float = 1.0
    srm_first_p: float = 1.0
    srm_alarm: bool = False
