"""Settings as text: for people with secrets masked, and as a file that says the same.

Passwords stand in files of their own; a URL is the one setting that may hold one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtexp.settings.models import Settings

MASK = "***"

_LOGIN = re.compile(r"([A-Za-z0-9+]+://[^:]*(:?))")
_PASSWORD_IN_QUERY = re.compile(r"(?i)([?&][^=&]*(?:password|passwd|pwd|secret|token)[^=&]*=)[^&#]*")


def masked_url(url: str) -> str:
    """Return ``url`` with any password in it replaced.

    >>> masked_url("mysql+pymysql://me:s3cret@host/rtexp?ssl_key_password=x")
    'mysql+pymysql://me:***@host/rtexp?ssl_key_password=***'
    """
    # A password may hold an unescaped @: the last one ends it. Without a scheme, all in front may be secret.
    login, at, place = url.rpartition("@")
    if at:
        known = _LOGIN.match(login)
        url = f"{known[1]}{MASK if known[2] else ''}@{place}" if known else f"{MASK}@{place}"
    return _PASSWORD_IN_QUERY.sub(rf"\1{MASK}", url)


def shown(key: str, value: object) -> str:
    """Return a setting's value, right or wrong, as a message may show it."""
    if "url" in key and isinstance(value, str):
        value = masked_url(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def masked(settings: Settings) -> dict[str, dict[str, object]]:
    """Return all settings by section and key, as plain values with secrets masked."""
    tree = settings.model_dump(mode="json")
    for table in tree.values():
        for key, value in table.items():
            if "url" in key and isinstance(value, str):
                table[key] = masked_url(value)
    return tree


def as_toml(settings: Settings) -> str:
    """Return a configuration file that loads as ``settings``; secrets in it are not masked."""
    lines: list[str] = []
    for section, table in settings.model_dump().items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(item)}' for key, item in value.items() if item is not None)}}}"
    # JSON writes texts and numbers as TOML does, but for one control character that it leaves bare.
    plain = str(value) if isinstance(value, Path) else value
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
