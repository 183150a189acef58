"""Static files under the hash of what they hold, so that browsers keep them for good."""

from __future__ import annotations

from hashlib import blake2b
from importlib.resources import files
from typing import NamedTuple

_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
FOR_GOOD = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file, and the type that it is served as."""

    body: bytes
    media_type: str


class Assets:
    """All files of the package's folder ``static``, read once."""

    def __init__(self) -> None:
        self._by_path: dict[str, Asset] = {}
        self._paths: dict[str, str] = {}
        for file in files("rtexp.web").joinpath("static").iterdir():
            stem, dot, extension = file.name.rpartition(".")
            if media_type := _TYPES.get(dot + extension):
                body = file.read_bytes()
                path = f"{stem}.{blake2b(body, digest_size=8).hexdigest()}{dot}{extension}"
                self._by_path[path] = Asset(body, media_type)
                self._paths[file.name] = path

    def path(self, name: str) -> str:
        """Return the name under which a file is served; KeyError if there is none."""
        return self._paths[name]

    def find(self, path: str) -> Asset | None:
        """Return what is served under a name, None if that is nothing or what an older version had."""
        return self._by_path.get(path)
