"""One `rtexp up` a data directory: a lock that the system lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rtexp.errors import ConfigError, RtexpError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "rtexp.lock"


class AlreadyRunning(RtexpError):  # noqa: N818 - the tree in rtexp.errors does without "Error" as well
    """Another process holds the data directory; the message says which."""

    code = "already-running"


@contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Hold ``directory`` (made if missing) for this process; AlreadyRunning if another one does.

    ConfigError if it can't be made or written to.
    """
    path = directory / LOCK_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise ConfigError(f"the data directory {directory} can't be used: {exc}") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"rtexp is already running in {directory.resolve()}, as process {holder}: "
                "stop that one, or set [data] directory to another place"
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        # The file stays: removing it would let two processes lock two files of the same name.
        yield
    finally:
        os.close(descriptor)
