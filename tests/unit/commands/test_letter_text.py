from __future__ import annotations

import pytest

from rtexp.commands.letter_text import MOST_CHARACTERS, letter_as_text, readable, report_as_text
from rtexp.letters.replaying import Report
from rtexp.records.letters import Letter, Origin, Replayed

ODD = [
    b"\x1b]0;title\x07",
    b'{"a":"\x1b[2J"}',
    '{"a":"\u202e\u0085\x9b31m"}'.encode(),
    b"\x00\xff\x1b[2J",
    b"a\rb\x08c\x7f",
    "\u2028\ufeff".encode(),
    b"[" * 5_000,
    b"",
]


@pytest.mark.parametrize("value", ODD)
def test_no_control_character_reaches_the_terminal(value: bytes) -> None:
    assert all(line.isprintable() for line in readable(value).split("\n"))


def test_json_keeps_its_digits_and_its_repeated_keys() -> None:
    shown = readable(b'{"a":1.10,"a":1e999,"b":%s}' % (b"9" * 5_000))
    assert shown.splitlines()[1:3] == ['  "a": 1.10,', '  "a": 1e999,']
    assert "9" * 5_000 in shown


@pytest.mark.parametrize("value", [b'{"a":NaN}', b"{", b'{"a":1} x'])
def test_what_is_no_json_is_shown_as_it_is(value: bytes) -> None:
    assert readable(value) == value.decode()


@pytest.mark.parametrize("value", [b"x" * 1_000_000, b"\xff" * 1_000_000])
def test_a_long_value_is_cut_and_says_so(value: bytes) -> None:
    shown = readable(value)
    assert len(shown) < 6 * MOST_CHARACTERS
    assert shown.endswith("--raw writes all of it")


def test_json_that_would_be_far_larger_laid_out_is_shown_as_it_is() -> None:
    value = b"[" * 500 + b",".join([b"1"] * 40_000) + b"]" * 500
    assert readable(value).startswith(value[:MOST_CHARACTERS].decode())


def test_a_letter_is_shown_with_all_that_is_known() -> None:
    letter = Letter(Origin("clicks", 1, 7), "too-large", "\x1b[2J", 0, 1_700_000_000_000, b"\x00k", b"ab", 3)
    note = Replayed(1, 1_700_000_000_500, "clicks/1/9")
    assert letter_as_text(letter, note).splitlines() == [
        "origin       clicks/1/7",
        "reason       too-large",
        r"detail       \x1b[2J",
        "record time  1970-01-01T00:00:00Z",
        "refused      2023-11-14T22:13:20Z",
        "replayed     2023-11-14T22:13:20.500Z, as clicks/1/9",
        r"key          \x00k",
        "bytes        3",
        "only the first 2 of 3 bytes: the original is gone from clicks",
        "",
        "ab",
    ]


def test_a_report_names_some_of_the_letters_that_stay_and_says_what_comes_too_late() -> None:
    report = Report(replayed=1_200, already_replayed=3, late=2)
    for offset in range(25):
        report.skip(Origin("clicks", 1, offset), "oh\x1b[2J")
    lines = report_as_text(report, dry_run=False).splitlines()
    assert lines[0] == "1,200 letters replayed; 3 had been before, 25 skipped"
    assert lines[1].startswith("2 of them come after the end and grace of every period")
    assert lines[2] == r"skipped clicks/1/0: oh\x1b[2J"
    assert lines[-1] == "… and 5 more; --json names 25"
    assert "would be" in report_as_text(Report(late=None), dry_run=True)
    assert "isn't known" in report_as_text(Report(replayed=1, late=None), dry_run=False)
