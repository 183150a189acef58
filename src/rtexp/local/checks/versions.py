"""Versions of Python and of the libraries whose methods the engine overrides."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from rtexp import __version__
from rtexp.local.checks.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OLDEST_PYTHON, FIRST_UNKNOWN_PYTHON = (3, 11), (3, 14)
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^;,\s]+)")


def versions() -> list[Finding]:
    """Judge what runs here."""
    try:
        pins = pinned(metadata.requires("rtexp") or ())
    except metadata.PackageNotFoundError:
        pins = {}  # run from its sources: nothing says what it asks for
    return judge(sys.version_info[:3], pins, {name: _installed(name) for name in pins})


def pinned(requirements: Iterable[str]) -> dict[str, str]:
    """Return the version of each requirement that allows one only.

    >>> pinned(["faust-streaming==0.15.3", "click<8.4,>=8.1", "x==1; extra == 'y'"])
    {'faust-streaming': '0.15.3'}
    """
    found = (_PIN.fullmatch(text.strip()) for text in requirements)
    return {match[1]: match[2] for match in found if match}


def judge(
    python: tuple[int, ...], pins: Mapping[str, str], installed: Mapping[str, str | None]
) -> list[Finding]:
    """Return a finding for each that differs, else one for all."""
    told = ".".join(map(str, python))
    found = []
    if not OLDEST_PYTHON <= python[:2] < FIRST_UNKNOWN_PYTHON:
        found.append(Finding("versions", "fail", f"Python is {told}: expected 3.11, 3.12 or 3.13"))
    for name, pin in pins.items():
        if installed.get(name) != pin:
            act = f"install {pin} alone, as the engine overrides its methods"
            found.append(Finding("versions", "fail", f"{name} is {installed.get(name) or 'missing'}: {act}"))
    libraries = ", ".join(f"{name} {version}" for name, version in pins.items())
    return found or [
        Finding("versions", "ok", ", ".join(filter(None, [f"rtexp {__version__}, Python {told}", libraries])))
    ]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
