"""Lone surrogates in JSON's escapes: a text that was cut in the middle of a character, as JavaScript cuts texts."""

from __future__ import annotations

import re

# Pairs and all other escapes are passed over, so that what follows an escaped backslash isn't taken for an escape.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)


def without_lone(json: bytes, instead: bytes) -> bytes:
    r"""Return JSON with another escape in place of each lone surrogate.

    >>> without_lone(rb'"a\ud83d", "\ud83d\ude00", "\\ud83d"', rb"\ufffd")
    b'"a\\ufffd", "\\ud83d\\ude00", "\\\\ud83d"'
    """
    return _ESCAPE.sub(lambda found: found[0] if found[1] is None else instead, json)
