"""JSON that is nested more deeply than its reader can follow."""

from __future__ import annotations

import re

from rtexp.errors import ContractError

# The closing quote may be missing: else each quote behind it would be tried up to the end, one after the other.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_CLOSED_BY = {b"[": b"]", b"{": b"}"}


def flattened(json: bytes, levels: int) -> bytes:
    """Return JSON with null for each array and object that has ``levels`` of them around it.

    Of what is left out only the brackets are checked. A reader that recurses gives up at a depth that depends on
    the interpreter and on who calls it, so that the same record could be good today and bad tomorrow; what this
    leaves can be read by any. ContractError where a bracket closes another one, or none.

    >>> flattened(b'{"a": [1, [2, [3]], "]"]}', 2)
    b'{"a": [1, null, "]"]}'
    """
    parts: list[bytes] = []
    kept_to = begins = 0
    awaited: list[bytes] = []
    for found in _TOKEN.finditer(json):
        token = found[0]
        if token in _CLOSED_BY:
            if len(awaited) == levels:
                begins = found.start()
            awaited.append(_CLOSED_BY[token])
        elif token in (b"]", b"}"):
            if not awaited or awaited.pop() != token:
                raise ContractError("invalid-json", f"brackets don't match (byte {found.start()})")
            if len(awaited) == levels:
                parts += json[kept_to:begins], b"null"
                kept_to = found.end()
    if awaited:
        raise ContractError("invalid-json", f"{len(awaited)} brackets are never closed")
    return b"".join([*parts, json[kept_to:]])
