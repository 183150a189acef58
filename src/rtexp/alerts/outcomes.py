"""How an attempt to deliver ended; reasons hold no secret, so they may be logged and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rtexp.alerts.notices import Notice


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""

    answer: str


@dataclass(frozen=True, slots=True)
class Later:
    """It may succeed another time."""

    reason: str
    after_s: float | None = None
    """How long the receiver asked to wait."""


@dataclass(frozen=True, slots=True)
class Never:
    """The receiver refused it, and would again."""

    reason: str


Outcome = Delivered | Later | Never


class Sender(Protocol):
    """One target as something that takes notices."""

    async def send(self, notice: Notice) -> Outcome:
        """Try once; whatever goes wrong on the way is an outcome. Takes no longer than half a minute."""

    async def close(self) -> None:
        """Let go of connections."""
