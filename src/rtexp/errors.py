"""What can go wrong, as a tree; catch a branch by what should happen next.

::

    RtexpError
    ├── ConfigError       start-up: one readable line, exit code 2
    ├── UsageError        a command was asked for something that it refuses: one line, exit code 2
    ├── ContractError     input breaks the contract: dead letter, go on (within its limits)
    ├── StateError        stored bytes can't be read, or belong to another history: stop, never overwrite
    │   ├── UnsupportedVersion   a record of a newer version: stop, and upgrade this worker first
    │   ├── SemanticsChanged     settings or step changed in mid-flight: stop, and say how to go on
    │   └── StoreDamaged         the local copy of a changelog: wiped at the next start, and read again
    ├── FatalError        sending, committing or storing failed: end the process, the marker makes that safe
    │   ├── DiskUnusable         the disk is full, or refuses files: people must make room
    │   └── TooMuchBadInput      nearly all of a raw topic is bad: people must correct paths or producers
    └── StoreUnavailable  SQL or a broker doesn't answer: retry with back-off, report not ready
        └── StoreRefused         SQL or a broker answers, but not to us: at start one line and the end, later retried
"""

from __future__ import annotations


class RtexpError(Exception):
    """Base of everything that rtexp raises on purpose; ``code`` is stable and countable."""

    code = "error"


class ConfigError(RtexpError):
    """A setting is unknown, of the wrong type or contradicts another; the message names key and source."""

    code = "config"


class UsageError(RtexpError):
    """A command refuses what was asked; the message says what to do instead."""

    code = "usage"


class ContractError(RtexpError):
    """A raw record is bad input; ``reason`` is its dead-letter reason, ``detail`` says more to a person."""

    code = "contract"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class StateError(RtexpError):
    """Stored bytes can't be read, or are those of another history; nothing may be written over them."""

    code = "state"


class UnsupportedVersion(StateError):  # noqa: N818 - the tree above reads better without nine times "Error"
    """A record carries a version that this program doesn't know."""

    code = "unsupported-version"

    def __init__(self, topic: str, found: int, known: int) -> None:
        super().__init__(
            f"{topic} holds a record of version {found}, this worker knows up to {known}: "
            "upgrade this worker, or stop the newer one that wrote it"
        )


class SemanticsChanged(StateError):  # noqa: N818
    """Settings that decide what counts differ from those under which rows still to be rewound were counted."""

    code = "semantics-changed"


class StoreDamaged(StateError):  # noqa: N818
    """The local store, a cache of the changelog, can't be read or written, and its disk isn't why."""

    code = "store-damaged"


class FatalError(RtexpError):
    """Sending, committing or storing failed or timed out; its outcome is unknown, so the process must end."""

    code = "fatal"


class DiskUnusable(FatalError):  # noqa: N818
    """Files can't be written or opened because the disk is full, read-only or not ours; the message says which."""

    code = "disk-unusable"


class TooMuchBadInput(FatalError):  # noqa: N818
    """More of a raw topic is bad input than the limits allow; the message says which, why, and what to do."""

    code = "too-much-bad-input"


class StoreUnavailable(RtexpError):  # noqa: N818
    """SQL, or a broker, doesn't answer now; try again later."""

    code = "store-unavailable"


class StoreRefused(StoreUnavailable):
    """SQL or a broker refuses login, certificate, database or right; people must change something, here or there."""

    code = "store-refused"
