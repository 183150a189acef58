"""Static files under the hash of what they hold, so that browsers keep them for good."""

from __future__ import annotations

import re
from hashlib import blake2b
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORT = re.compile(rb'(?<= "\./)[\w.]+\.js(?=";)')
FOR_GOOD = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file, and the type that it is served as."""

    body: bytes
    media_type: str


class Assets:
    """All files of the package's folder ``static`` and those below it, read once.

    A script that imports another, ``from "./other.js";``, is served with the other's hash in place of its name:
    so a page never runs scripts of two versions.
    """

    def __init__(self) -> None:
        self._by_path: dict[str, Asset] = {}
        self._paths: dict[str, str] = {}
        self._raw = {file.name: file.read_bytes() for file in _below(files("rtexp.web").joinpath("static"))}
        for name in self._raw:
            self._add(name)

    def path(self, name: str) -> str:
        """Return the name under which a file is served; KeyError if there is none."""
        return self._paths[name]

    def find(self, path: str) -> Asset | None:
        """Return what is served under a name, None if that is nothing or what an older version had."""
        return self._by_path.get(path)

    def _add(self, name: str) -> str:
        """Return the name under which a file is served, after those of what it imports; they form no circle."""
        if name not in self._paths:
            stem, dot, extension = name.rpartition(".")
            body = _IMPORT.sub(lambda found: self._add(found[0].decode()).encode(), self._raw[name])
            path = f"{stem}.{blake2b(body, digest_size=8).hexdigest()}{dot}{extension}"
            self._by_path[path] = Asset(body, _TYPES[dot + extension])
            self._paths[name] = path
        return self._paths[name]


def _below(directory: Traversable) -> Iterator[Traversable]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _below(entry)
        elif f".{entry.name.rpartition('.')[2]}" in _TYPES:
            yield entry
