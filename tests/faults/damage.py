"""What a bad disk, a cut-off copy or a careless hand does to the files of a local store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from pathlib import Path

KINDS = ("flip", "truncate", "delete", "zero", "swap", "older file", "older directory")
"""Without what `append` would do: RocksDB's open never returns from some MANIFESTs with bytes added at their end, so
that the process ends (`rtexp.engine.opening`), and with it these runs."""
TABLES_SHARE = 0.6
"""Of the files that are damaged so many are tables, which hold all pages; the rest is any of them."""


class Damage(NamedTuple):
    kind: str
    file: str

    @property
    def of(self) -> str:
        """The kind of file: `sst`, `MANIFEST`, …"""
        name, _, ending = self.file.partition(".")
        return ending if ending in {"sst", "log"} else name.partition("-")[0]


def damage(store: Path, random: random.Random, *, kind: str, older: Path) -> Damage:
    """Damage a file of a store that nobody has open; ``older`` is a copy of the store as it once was.

    What a kind can't be done to (an empty file has no bits to flip) is deleted instead.
    """
    if kind == "older directory":
        shutil.rmtree(store)
        shutil.copytree(older, store)
        return Damage(kind, "")
    files = sorted(path for path in store.iterdir() if path.name != "LOCK")
    tables = [path for path in files if path.suffix == ".sst"]
    victim = random.choice(tables if tables and random.random() < TABLES_SHARE else files)
    other = random.choice([path for path in files if path != victim])
    then = older / victim.name if (older / victim.name).exists() else None
    before = victim.read_bytes()
    after = _damaged(before, random, kind, other.read_bytes(), then.read_bytes() if then else None)
    if kind == "swap":
        other.write_bytes(before)
    if after is None or after == before:
        victim.unlink()
        return Damage("delete", victim.name)
    victim.write_bytes(after)
    return Damage(kind, victim.name)


def _damaged(
    content: bytes, random: random.Random, kind: str, other: bytes, older: bytes | None
) -> bytes | None:
    """Return what a file holds afterwards; None: it is gone."""
    found = bytearray(content)
    at = random.randrange(len(found)) if found else 0
    if kind == "swap":
        return other
    if kind == "older file":
        return older
    if kind == "append":
        return content + random.randbytes(random.randint(1, 5000))
    if not found or kind == "delete":
        return None
    if kind == "truncate":
        return content[:at]
    if kind == "zero":
        found[at : at + 4096] = bytes(len(found[at : at + 4096]))
    if kind == "flip":
        for _ in range(random.randint(1, 4)):
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)
