"""A disk of some megabytes that can be filled to its last byte: a tmpfs, mounted on a directory."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

REFILL_SECONDS = 0.02
BLOCK = bytes(64 << 10)


def why_none() -> str:
    """Say why no disk can be mounted here; empty: it can."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with small_disk(Path(directory), 1):
                return ""
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error)
            return f"a tmpfs can't be mounted: {said!r} (needs root, and CAP_SYS_ADMIN in a container)"


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[SmallDisk]:
    directory.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "rtexp-tests"]
    subprocess.run(["mount", *options, str(directory)], check=True, capture_output=True)
    try:
        yield SmallDisk(directory)
    finally:
        # Lazily: what a worker that was killed had open goes with it.
        subprocess.run(["umount", "-l", str(directory)], check=True, capture_output=True)


class SmallDisk:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filler = directory / "filler"

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Keep it full: what others remove meanwhile is taken at once."""
        self._fill()
        filling = asyncio.create_task(self._go_on())
        try:
            assert self.free_bytes == 0
            yield
        finally:
            filling.cancel()
            self._filler.unlink()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(REFILL_SECONDS)
            self._fill()

    def _fill(self) -> None:
        # Not by Python's buffers, which would try to write once more when the file is closed.
        filler = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(filler, BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(filler)
