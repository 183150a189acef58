"""Dead letters as people and programs read them: JSON laid out, other text escaped, other bytes in hexadecimal."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from rtexp.commands.text_table import iso_time, printable, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.letters.choosing import Origins
    from rtexp.letters.replaying import Report
    from rtexp.records.letters import Letter, Replayed

MOST_CHARACTERS = 20_000
_LAID_OUT_BYTES = 65_536
"""Larger JSON is shown as it is: with hundreds of levels, each of its elements gets as many times the space."""
_DETAIL_CHARACTERS = 60
_SHOWN_SKIPS = 20
_ROW = 16
_WIDTH = 160


def readable(value: bytes) -> str:
    r"""Return lines that a terminal may show: no control character but line ends.

    JSON keeps its order, its repeated keys and its digits. Longer values are cut, and say so.

    >>> print(readable(b'{"a":1.10,"a":[true]}'))
    {
      "a": 1.10,
      "a": [
        true
      ]
    }
    >>> print(readable(b"not\x1b[2J JSON"))
    not\x1b[2J JSON
    >>> print(readable(b"\xff\x00abc"))
    00000000  ff 00 61 62 63                                   ..abc
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _hexadecimal(value)
    if len(value) <= _LAID_OUT_BYTES:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            text = msgspec.json.format(value, indent=2).decode()
    shown = "\n".join(map(printable, text[:MOST_CHARACTERS].split("\n")))
    return (
        shown
        if len(text) <= MOST_CHARACTERS
        else f"{shown}\n{_cut(len(text) - MOST_CHARACTERS, 'characters')}"
    )


def _hexadecimal(value: bytes) -> str:
    shown = value[: MOST_CHARACTERS // 4]
    lines = []
    for at in range(0, len(shown), _ROW):
        row = shown[at : at + _ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004 - ASCII's own
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {text}")
    if len(value) > len(shown):
        lines.append(_cut(len(value) - len(shown), "bytes"))
    return "\n".join(lines)


def _cut(left_out: int, unit: str) -> str:
    return f"… and {left_out:,} more {unit}; --raw writes all of it"


def letter_as_object(letter: Letter) -> dict[str, Any]:
    """Return what a letter says but for its value."""
    origin = letter.origin
    return {
        "origin": str(origin),
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "reason": letter.reason,
        "detail": letter.detail,
        "time_ms": letter.time_ms,
        "refused_ms": letter.refused_ms,
        "original_bytes": letter.original_bytes,
    }


def values_as_object(letter: Letter) -> dict[str, Any]:
    """Return key and value, each in base64 under another name where it is no UTF-8."""
    return {**_either("key", letter.key), **_either("value", letter.value), "cut": letter.is_cut}


def _either(name: str, value: bytes | None) -> dict[str, str | None]:
    """Return bytes as text, or in base64 under another name where they are no UTF-8."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def note_as_object(note: Replayed | None) -> dict[str, Any] | None:
    """Return when and as what a letter was replayed."""
    return None if note is None else {"at_ms": note.at_ms, "sent_to": note.sent_to}


def letters_as_table(letters: Sequence[Letter], replayed: Origins) -> str:
    """Return a line a letter."""
    rows = [
        (str(letter.origin), letter.reason, iso_time(letter.refused_ms), f"{letter.original_bytes:,}",
         "yes" if letter.origin in replayed else "no", _short(printable(letter.detail)))
        for letter in letters
    ]  # fmt: skip
    return text_table(("origin", "reason", "refused", "bytes", "replayed", "detail"), rows)


def _short(text: str) -> str:
    return text if len(text) <= _DETAIL_CHARACTERS else text[: _DETAIL_CHARACTERS - 1] + "…"


def letter_as_text(letter: Letter, replayed: Replayed | None) -> str:
    """Return all of a letter."""
    again = f"{iso_time(replayed.at_ms)}, as {printable(replayed.sent_to)}" if replayed else "no"
    about = {
        "origin": str(letter.origin),
        "reason": letter.reason,
        "detail": printable(letter.detail),
        "record time": iso_time(letter.time_ms),
        "refused": iso_time(letter.refused_ms),
        "replayed": again,
        "key": "none" if letter.key is None else readable(letter.key).replace("\n", " "),
        "bytes": f"{letter.original_bytes:,}",
    }
    width = max(map(len, about))
    lines = [f"{name:<{width}}  {text}" for name, text in about.items()]
    if letter.is_cut:
        lines.append(cut_as_text(letter))
    lines += ["", "null" if letter.value is None else readable(letter.value)]
    return "\n".join(lines)


def cut_as_text(letter: Letter) -> str:
    """Say how much of a value is left."""
    kept, whole = len(letter.value or b""), letter.original_bytes
    return f"only the first {kept:,} of {whole:,} bytes: the original is gone from {letter.origin.topic}"


def report_as_object(report: Report, *, dry_run: bool) -> Mapping[str, Any]:
    """Return what a replay did."""
    return {
        "dry_run": dry_run,
        "replayed": report.replayed,
        "already_replayed": report.already_replayed,
        "skipped": report.skipped,
        "late": report.late,
        "letters": [{"origin": str(origin), "why": why} for origin, why in report.named],
    }


def report_as_text(report: Report, *, dry_run: bool) -> str:
    """Say what a replay did."""
    did = "would be replayed" if dry_run else "replayed"
    lines = [
        f"{report.replayed:,} letters {did}; {report.already_replayed:,} had been before, {report.skipped:,} skipped"
    ]
    if report.late:
        lines.append(
            f"{report.late:,} of them come after the end and grace of every period, and count as late: see "
            "docs/dead-letters.md"
        )
    elif report.late is None and report.replayed:
        lines.append(
            "whether they come too late for their periods isn't known: no experiments were found in SQL"
        )
    lines += [f"skipped {origin}: {printable(why)}" for origin, why in report.named[:_SHOWN_SKIPS]]
    if report.skipped > _SHOWN_SKIPS:
        lines.append(f"… and {report.skipped - _SHOWN_SKIPS:,} more; --json names {len(report.named):,}")
    return "\n".join(lines)
