"""Where something may listen."""

from __future__ import annotations

import ipaddress
import re


def bind_host(text: str) -> str:
    """Return an address or name to listen at; ValueError, as pydantic wants it, for what can be none."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", text):
        raise ValueError("an address or name to listen at, such as 127.0.0.1 or ::1")
    return text


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address; a name other than localhost counts as any address.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("example.org")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
