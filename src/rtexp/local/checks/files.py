"""Files and directories: secrets that others may read, room and right to write."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from rtexp.agents.snapshot_file import csv_place
from rtexp.local.checks.findings import Finding
from rtexp.settings import masked_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtexp.settings import Settings

LITTLE_BYTES, TOO_LITTLE_BYTES = 5 << 30, 512 << 20
"""Of free space: a local broker and RocksDB stop in the middle of a write where there is none."""
_MB, _GB = 1_000_000, 1_000_000_000


def secret_files(settings: Settings, config: Path | None) -> list[Finding]:
    """Judge each file that holds a secret, and the configuration where a URL in it holds one."""
    named = list(_secrets(settings))
    urls = (settings.store.url, settings.metadata.url, settings.metadata.csv_url)
    if config is not None and any(masked_url(url) != url for url in urls):
        named.append(("the configuration, whose URL has a password,", config))
    found = [Finding("secrets", "fail", fault) for key, path in named if (fault := _fault(key, path))]
    found += [Finding("secrets", "warn", risk) for key, path in named if (risk := _risk(key, path))]
    if found:
        return found
    number = len(named)
    return [
        Finding(
            "secrets", "ok", f"{number} files, which others can't read" if number else "no files are named"
        )
    ]


def _secrets(settings: Settings) -> Iterator[tuple[str, Path]]:
    files = {
        "[kafka] password_file": settings.kafka.password_file,
        "[store] password_file": settings.store.password_file,
        "[metadata] password_file": settings.metadata.password_file,
        "[web] token_file": settings.web.token_file,
    }
    for target in settings.alerts.targets:
        files[f"url_file of the target {target.name}"] = target.url_file
        files[f"password_file of the target {target.name}"] = target.password_file
    return ((key, path) for key, path in files.items() if path is not None)


def _fault(key: str, path: Path) -> str:
    try:
        is_empty = not path.read_bytes().strip()
    except OSError as error:
        return f"{key}: {path} can't be read: {error.strerror}"
    return f"{key}: {path} is empty" if is_empty else ""


def _risk(key: str, path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""  # told as a fault
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        return f"{key}: others than its owner can read or change {path}: `chmod 600 {path}`"
    return ""


def data_directory(settings: Settings) -> list[Finding]:
    """Judge the data directory, and that of the CSV file: whether one can write there, and how much."""
    directory = settings.data.directory
    found = [_writable("[data] directory", directory)]
    place = csv_place(settings)
    if not isinstance(place, str) and place.parent != directory:
        found.append(_writable("[metadata] csv_url", place.parent))
    if found[0].level == "ok":
        found[0] = _room(directory)
    return found


def _writable(key: str, directory: Path) -> Finding:
    there = _nearest(directory)
    if not there.is_dir():
        return Finding("disk", "fail", f"{key}: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        act = f"`chown` it to the user that runs rtexp, or set {key} to another place"
        return Finding("disk", "fail", f"{key}: {there} can't be written to: {act}")
    return Finding("disk", "ok", f"{key}: {directory} can be written to")


def _room(directory: Path) -> Finding:
    free = shutil.disk_usage(_nearest(directory)).free
    told = f"{free / _GB:,.1f} GB" if free >= _GB else f"{free / _MB:,.0f} MB"
    text = f"{told} free in {directory}"
    if free < TOO_LITTLE_BYTES:
        return Finding("disk", "fail", f"{text}: make room, or set [data] directory to another place")
    if free < LITTLE_BYTES:
        return Finding("disk", "warn", f"{text}: state and a local broker's log may need more")
    return Finding("disk", "ok", text)


def _nearest(path: Path) -> Path:
    """Return the path or what of it is there: what is missing will be made."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
