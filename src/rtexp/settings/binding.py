"""Where something may listen."""

from __future__ import annotations

import re


def bind_host(text: str) -> str:
    """Return an address or name to listen at; ValueError, as pydantic wants it, for what can be none."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", text):
        raise ValueError("an address or name to listen at, such as 127.0.0.1 or ::1")
    return text
