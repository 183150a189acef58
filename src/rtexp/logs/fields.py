"""What may stand in a line: plain values, no secret, and nothing that a terminal would obey."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from rtexp.settings import MASK

if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping

MOST_CHARACTERS = 16_000
"""Of one value; a traceback is some thousands."""
_MOST_ITEMS = 50
_LOGIN = re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)")
_BEARER = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]+")
_NAMED = re.compile(r"(?i)(\b[\w-]*(?:password|passwd|secret|token)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)}]+")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\([0B]")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if code not in b"\n\t"}
_CONTROLS |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


class Cleaned:
    """Makes every value of a line plain; ``secrets`` are texts that are masked wherever they stand."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        # The longest first: one may be a part of another.
        self._secrets = sorted((text for text in secrets if text), key=len, reverse=True)

    def __call__(
        self, _logger: Any, _method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Clean the fields of one line, in structlog's chain."""
        for key, value in fields.items():
            fields[key] = self._named(key, value)
        return fields

    def plain(self, value: Any) -> Any:
        """Return a value that JSON knows, without secrets."""
        match value:
            case None | bool() | int():
                return value
            case float():
                return value if math.isfinite(value) else str(value)
            case str():
                return self._masked(value)
            case dict():
                items = list(value.items())[:_MOST_ITEMS]
                return {self._masked(str(key)): self._named(str(key), item) for key, item in items}
            case list() | tuple() | set() | frozenset():
                return [self.plain(item) for item in list(value)[:_MOST_ITEMS]]
        return self._masked(repr(value))

    def _named(self, key: str, value: Any) -> Any:
        return MASK if _SECRET_NAME.search(key) and isinstance(value, str) else self.plain(value)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:  # before a cut, which could leave half of one
            text = text.replace(secret, MASK)
        if len(text) > MOST_CHARACTERS:
            # A traceback says at its end what happened.
            text = f"{text[: MOST_CHARACTERS // 4]} … {text[-MOST_CHARACTERS * 3 // 4 :]}"
        for pattern in (_LOGIN, _BEARER, _NAMED):
            text = pattern.sub(rf"\1{MASK}", text)
        return _COLOURS.sub("", text).translate(_CONTROLS)


_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|authorization|cookie)")
