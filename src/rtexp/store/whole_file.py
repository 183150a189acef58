"""A file that readers see whole: the old one until the new one is complete."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 file that takes the place of ``path`` at the end; after an exception ``path`` is as before.

    Its directory must be there. Line ends are written as given. OSError as of any file.
    """
    with replacing_bytes(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        yield text


@contextmanager
def replacing_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Do the same with a file of bytes."""
    if path.exists() and not path.is_file():
        # A pipe, or a device: who may do all would replace /dev/null by a file.
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # of a link, what it leads to is replaced
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes must not share one
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
