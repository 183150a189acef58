from __future__ import annotations

import gc
import json
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracle.cells import RawRecord, Rules, recompute

from rtexp.errors import ConfigError, ContractError
from rtexp.records.raw import EARLIEST_MS, Decoded, RawDecoder, TimeFormat, marker_ms

ARRIVAL_MS = 1_700_000_000_000
AHEAD_MS = 300_000
MAX_BYTES = 1_000
FLAT = {"user": "user_id", "event": "event", "time": "ts"}
NESTED = {"user": "context.user.id", "event": "name", "time": "context.at"}


def decoder(paths: dict[str, str] | None = None, time_format: TimeFormat = "ms") -> RawDecoder:
    return RawDecoder(
        paths or FLAT, time_format=time_format, max_message_bytes=MAX_BYTES, max_ahead_ms=AHEAD_MS
    )


def decode(raw: RawDecoder, *values: bytes | None) -> Decoded:
    return raw.decode(values, np.full(len(values), ARRIVAL_MS))


def reason_of(value: bytes | None, raw: RawDecoder | None = None) -> str | None:
    """The reason, None if it is no bad input; the batch must agree with the definition."""
    raw = raw or decoder()
    decoded = decode(raw, value)
    reason: str | None = None
    try:
        texts, at_ms = raw.judge(value, ARRIVAL_MS)
    except ContractError as exc:
        reason = exc.reason
    else:
        assert [list(column) for column in decoded.texts] == [[text] for text in texts]
        assert decoded.times_ms.tolist() == [at_ms]
    assert [refusal.error.reason for refusal in decoded.refused] == ([reason] if reason else [])
    assert len(decoded.positions) == (reason is None)
    return reason


def action(**changes: Any) -> bytes:
    return json.dumps({"user_id": "u1", "event": "search", "ts": ARRIVAL_MS} | changes).encode()


GOOD = action()


def with_user(user: bytes) -> bytes:
    return b'{"user_id":%s,"event":"e","ts":1700000000000}' % user


def with_time(time: bytes) -> bytes:
    return b'{"user_id":"u1","event":"e","ts":%s}' % time


def padded(size: int) -> bytes:
    return GOOD + b" " * (size - len(GOOD))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "null-value", id="null"),
        pytest.param(padded(MAX_BYTES), None, id="as large as allowed"),
        pytest.param(padded(MAX_BYTES + 1), "too-large", id="a byte larger"),
        pytest.param(b"x" * (MAX_BYTES + 1), "too-large", id="too large before it is no JSON"),
        pytest.param(b"", "invalid-json", id="empty"),
        pytest.param(b" ", "invalid-json", id="blank"),
        pytest.param(b"{", "invalid-json", id="cut off"),
        pytest.param(GOOD + b"x", "invalid-json", id="more behind it"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "invalid-json", id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), "invalid-json", id="UTF-16"),
        pytest.param(with_user(b'"\xff"'), "invalid-json", id="not UTF-8"),
        pytest.param(b'{"x":"\xff"}', "invalid-json", id="not UTF-8 before a missing field"),
        pytest.param(with_user(b'"\xed\xa0\x80"'), "invalid-json", id="a surrogate in UTF-8"),
        pytest.param(with_user(rb'"\ud800"'), "invalid-json", id="a lone high surrogate"),
        pytest.param(with_user(rb'"\udc00x"'), "invalid-json", id="a lone low surrogate"),
        pytest.param(with_user(rb'"\ud83d\ude00"'), None, id="a pair of surrogates"),
        pytest.param(GOOD[:-1] + rb',"x":["\ud83d"]}', None, id="a lone surrogate, ignored"),
        pytest.param(GOOD[:-1] + rb',"\ud83d":1}', None, id="a lone surrogate in an ignored key"),
        pytest.param(GOOD[:-1] + rb',"x":"\ud83d",}', "invalid-json", id="a fault beside a lone surrogate"),
        pytest.param(rb'{"user_id":1.5,"event":"\ud83d"}', "invalid-json", id="invalid, too, before a type"),
        pytest.param(rb'["\ud83d"]', "wrong-type", id="a lone surrogate in an array"),
        pytest.param(
            rb'{"user_id":"\ud83d","user_id":"u1","event":"e","ts":1700000000000}',
            None,
            id="a lone surrogate that a later key replaces",
        ),
        pytest.param(
            with_user(rb'"\\ud83d"')[:-1] + rb',"x":"\ud83d"}',
            None,
            id="an escaped backslash is no surrogate",
        ),
        pytest.param(
            GOOD[:-1] + b',"x":"\xff\\ud83d"}', "invalid-json", id="no UTF-8 beside a lone surrogate"
        ),
        pytest.param(with_user(b'"a\nb"'), "invalid-json", id="a bare control character"),
        pytest.param(with_user(rb'"a\u0000\n"'), None, id="escaped control characters"),
        pytest.param(with_time(b"NaN"), "invalid-json", id="NaN"),
        pytest.param(b'{"user_id":"u1","event":"e","ts":1,"x":NaN}', "invalid-json", id="NaN, ignored"),
        pytest.param(with_time(b"-Infinity"), "invalid-json", id="infinity"),
        pytest.param(with_time(b"01"), "invalid-json", id="a leading zero"),
        pytest.param(with_time(b"+1"), "invalid-json", id="a plus sign"),
        pytest.param(b'{"user_id":"u1",}', "invalid-json", id="a trailing comma"),
        pytest.param(b"[1, NaN]", "invalid-json", id="invalid before it is no object"),
        pytest.param(b'{"user_id": 1.5, "event":"\xff"}', "invalid-json", id="invalid before a wrong type"),
        pytest.param(b"[1]", "wrong-type", id="an array"),
        pytest.param(b'"text"', "wrong-type", id="a string"),
        pytest.param(b"null", "wrong-type", id="JSON's null"),
        pytest.param(action(user_id=None), "wrong-type", id="user null"),
        pytest.param(action(event=None), "wrong-type", id="event null"),
        pytest.param(action(ts=None), "wrong-type", id="time null"),
        pytest.param(action(user_id=True), "wrong-type", id="user boolean"),
        pytest.param(action(user_id=1.5), "wrong-type", id="user with a fraction"),
        pytest.param(with_user(b"1.0"), "wrong-type", id="user a whole number written as a fraction"),
        pytest.param(with_user(b"1e3"), "wrong-type", id="user with an exponent"),
        pytest.param(action(user_id=["u1"]), "wrong-type", id="user an array"),
        pytest.param(action(event=7), "wrong-type", id="event an integer"),
        pytest.param(action(ts=True), "wrong-type", id="time boolean"),
        pytest.param(action(ts="1700000000000"), "wrong-type", id="time a string"),
        pytest.param(with_time(b"1700000000000.0"), "wrong-type", id="time with a fraction"),
        pytest.param(with_time(b"17e11"), "wrong-type", id="time with an exponent"),
        pytest.param(with_time(b"1e999"), "wrong-type", id="time beyond floats"),
        pytest.param(b'{"ts":"x"}', "wrong-type", id="a wrong type before a missing field"),
        pytest.param(b"{}", "missing-field", id="nothing"),
        pytest.param(b'{"user_id":"u1","event":"e"}', "missing-field", id="no time"),
        pytest.param(
            b'{"user_id":"","event":"e"}', "missing-field", id="a missing field before an empty one"
        ),
        pytest.param(action(user_id=""), "empty-field", id="user empty"),
        pytest.param(action(event="", user_id="u" * 257), "empty-field", id="empty before too long"),
        pytest.param(action(user_id="u" * 256), None, id="user of 256 bytes"),
        pytest.param(action(user_id="u" * 257), "too-large", id="user of 257 bytes"),
        pytest.param(action(user_id="\u00e9" * 128), None, id="user of 256 bytes, 128 characters"),
        pytest.param(
            action(user_id="\u00e9" * 128 + "u"), "too-large", id="user of 257 bytes, 129 characters"
        ),
        pytest.param(action(event="\U0001f600" * 32), None, id="event of 128 bytes, 32 characters"),
        pytest.param(action(event="\U0001f600" * 32 + "e"), "too-large", id="event of 129 bytes"),
        pytest.param(action(event="e" * 129, ts=0), "too-large", id="too long before out of range"),
        pytest.param(with_user(b"9" * 256), None, id="user of 256 digits"),
        pytest.param(with_user(b"9" * 257), "too-large", id="user of 257 digits"),
        pytest.param(action(ts=EARLIEST_MS), None, id="the year 2000 exactly"),
        pytest.param(action(ts=EARLIEST_MS - 1), "time-out-of-range", id="a millisecond before 2000"),
        pytest.param(action(ts=ARRIVAL_MS + AHEAD_MS), None, id="as far ahead as allowed"),
        pytest.param(action(ts=ARRIVAL_MS + AHEAD_MS + 1), "time-out-of-range", id="a millisecond further"),
        pytest.param(action(ts=-(10**30)), "time-out-of-range", id="a huge negative time"),
        pytest.param(with_time(b"9" * 400), "time-out-of-range", id="a huge time"),
        pytest.param(b'{"ts":"x","user_id":"u1","event":"e","ts":1700000000000}', None, id="the last of two"),
        pytest.param(
            b'{"user_id":"u1","event":"e","ts":1700000000000,"ts":"x"}', "wrong-type", id="last wrong"
        ),
        pytest.param(rb'{"user\u005fid":"u1","event":"e","ts":1700000000000}', None, id="an escaped key"),
        pytest.param(action(x=[1.5, None, {"ts": "no"}]), None, id="ignored fields"),
        pytest.param(action(x="\ud83d\ude00"), None, id="a pair of surrogates, ignored"),
    ],
)
def test_bad_input_has_the_first_reason_that_holds(value: bytes | None, reason: str | None) -> None:
    assert reason_of(value) == reason


@pytest.mark.parametrize(("digits", "reason"), [(5_000, "too-large"), (4_000, "too-large")])
def test_an_integer_beyond_pythons_own_limit_is_an_integer(digits: int, reason: str) -> None:
    raw = RawDecoder(FLAT, time_format="ms", max_message_bytes=10_000, max_ahead_ms=0)
    assert reason_of(with_user(b"-" + b"7" * digits), raw) == reason
    assert reason_of(with_time(b"7" * digits), raw) == "time-out-of-range"


def nested(levels: int, inside: bytes = b"") -> bytes:
    return b"[" * levels + inside + b"]" * levels


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *(
            pytest.param(GOOD[:-1] + b',"x":' + nested(levels) + b"}", None, id=f"{levels} levels, ignored")
            for levels in (90, 110, 900, 960, 985, 1_000, 10_000, 30_000)
        ),
        pytest.param(with_user(nested(1_000)), "wrong-type", id="in a used field"),
        pytest.param(nested(1_000), "wrong-type", id="around everything"),
        pytest.param(b'{"x":%s}' % nested(1_000), "missing-field", id="beside nothing"),
        pytest.param(GOOD[:-1] + b',"x":' + nested(1_000)[:-1] + b"}", "invalid-json", id="one never closed"),
        pytest.param(GOOD[:-1] + b',"x":' + nested(1_000) + b"]}", "invalid-json", id="one never opened"),
        pytest.param(GOOD[:-1] + b',"x":' + nested(1_000)[:-1] + b"}}", "invalid-json", id="one of a kind"),
        pytest.param(GOOD[:-1] + b',"x":' + nested(1_000) + b",}", "invalid-json", id="a fault outside"),
        pytest.param(GOOD[:-1] + b',"x":' + nested(2_000, rb'"\"]"') + b"}", None, id="around a text"),
        pytest.param(b"[" * 30_000 + b'"' + rb"\"" * 30_000, "invalid-json", id="a text without end"),
    ],
)
def test_any_depth_of_nesting_is_read_and_judged_like_any_other_json(
    value: bytes, reason: str | None
) -> None:
    raw = RawDecoder(FLAT, time_format="ms", max_message_bytes=100_000, max_ahead_ms=0)
    assert reason_of(value, raw) == reason


def test_the_depth_of_the_caller_decides_nothing() -> None:
    """Where the reader gives up depends on how deep in calls it is used; a record is good or bad for ever."""
    values = [GOOD[:-1] + b',"x":' + nested(levels) + b"}" for levels in range(700, 1_000, 5)]
    raw = RawDecoder(FLAT, time_format="ms", max_message_bytes=100_000, max_ahead_ms=0)

    def called(depth: int) -> Decoded:
        return called(depth - 1) if depth else decode(raw, *values)

    for depth in (0, 200):
        assert not called(depth).refused


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param({"context": {"user": {"id": 7}, "at": ARRIVAL_MS}, "name": "e"}, None, id="all there"),
        pytest.param({"context": 5, "name": "e"}, "wrong-type", id="through a number"),
        pytest.param({"context": None, "name": "e"}, "wrong-type", id="through null"),
        pytest.param({"context": {"user": [1], "at": ARRIVAL_MS}}, "wrong-type", id="through an array"),
        pytest.param({"name": "e"}, "missing-field", id="the way itself is absent"),
        pytest.param({"context": {"user": {}, "at": ARRIVAL_MS}, "name": "e"}, "missing-field", id="the end"),
    ],
)
def test_a_path_leads_through_objects(value: object, reason: str | None) -> None:
    assert reason_of(json.dumps(value).encode(), decoder(NESTED)) == reason


@pytest.mark.parametrize(
    ("user", "text"),
    [(b"7", "7"), (b"-0", "0"), (b"-12", "-12"), (b"9" * 40, "9" * 40), (b'"007"', "007"), (b'" a"', " a")],
)
def test_an_integer_user_is_its_decimal_text_and_texts_stay_as_they_are(user: bytes, text: str) -> None:
    decoded = decode(decoder(), GOOD, with_user(user))
    assert list(decoded.texts[0]) == ["u1", text]


@pytest.mark.parametrize(
    ("time_format", "time", "at_ms"),
    [
        ("ms", 1_600_000_000_001, 1_600_000_000_001),
        ("s", 1_600_000_000, 1_600_000_000_000),
        ("us", 1_600_000_000_000_999, 1_600_000_000_000),
        ("us", (ARRIVAL_MS + AHEAD_MS) * 1000 + 999, ARRIVAL_MS + AHEAD_MS),
        ("iso8601", "2020-09-13T12:26:40.001999Z", 1_600_000_000_001),
        ("iso8601", "2020-09-13T14:26:40+02:00", 1_600_000_000_000),
        ("iso8601", "2020-09-13T12:26:40", 1_600_000_000_000),
        ("iso8601", "2000-01-01", EARLIEST_MS),
    ],
)
def test_times_become_milliseconds_rounded_down(time_format: TimeFormat, time: str | int, at_ms: int) -> None:
    raw = decoder(time_format=time_format)
    assert raw.judge(action(ts=time), ARRIVAL_MS) == (["u1", "search"], at_ms)
    assert decode(raw, action(ts=time)).times_ms.tolist() == [at_ms]


@pytest.mark.parametrize(
    ("time_format", "time", "reason"),
    [
        ("s", 10**30, "time-out-of-range"),
        ("s", -(2**63), "time-out-of-range"),
        ("s", 2**60, "time-out-of-range"),
        ("us", EARLIEST_MS * 1000 - 1, "time-out-of-range"),
        ("us", 2**63, "time-out-of-range"),
        ("iso8601", "1999-12-31T23:59:59.999999Z", "time-out-of-range"),
        ("iso8601", "0001-01-01T00:00:00+23:59", "time-out-of-range"),
        ("iso8601", "yesterday", "wrong-type"),
        ("iso8601", "", "wrong-type"),
        ("iso8601", "2020-02-30T00:00:00Z", "wrong-type"),
        ("iso8601", 1_600_000_000_000, "wrong-type"),
    ],
)
def test_a_time_that_is_none_in_its_format(time_format: TimeFormat, time: str | int, reason: str) -> None:
    assert reason_of(action(ts=time), decoder(time_format=time_format)) == reason


@pytest.mark.parametrize("other", ["user_id", "user_id.name"])
def test_paths_that_exclude_each_other_are_refused(other: str) -> None:
    with pytest.raises(ConfigError, match="exclude"):
        decoder({"user": "user_id", "event": other, "time": "ts"})


def test_a_path_that_only_begins_alike_is_another_path() -> None:
    paths = {"user": "user", "event": "user_event", "time": "ts"}
    assert reason_of(b'{"user":"u","user_event":"e","ts":1700000000000}', decoder(paths)) is None


def test_a_path_that_no_type_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="field path"):
        decoder({"user": 'user"id', "event": "event", "time": "ts"})


def test_good_and_bad_input_of_a_batch_keep_their_places() -> None:
    decoded = decode(decoder(), GOOD, b"x", action(user_id="u2"), action(ts=0), None, action(user_id=3))
    assert decoded.positions.tolist() == [0, 2, 5]
    assert [list(column) for column in decoded.texts] == [["u1", "u2", "3"], ["search"] * 3]
    assert [(refusal.position, refusal.error.reason) for refusal in decoded.refused] == [
        (1, "invalid-json"),
        (3, "time-out-of-range"),
        (4, "null-value"),
    ]


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, width=16),
    st.text('a"\\\0', max_size=3),
)  # fmt: skip
USED = (
    PLAIN
    | st.sampled_from(
        [ARRIVAL_MS, EARLIEST_MS, EARLIEST_MS - 1, ARRIVAL_MS + AHEAD_MS, ARRIVAL_MS + AHEAD_MS + 1]
    )
    | st.sampled_from(
        ["u" * 256, "u" * 257, "\u00e9" * 64, "\u00e9" * 65, "e" * 128, "e" * 129, "\U0001f600", "\ud800", ""]
    )
)


def objects(used: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda changes, ignored: action(**changes, x=ignored),
        st.dictionaries(st.sampled_from(["user_id", "event", "ts"]), used),
        PLAIN,
    )


# Not of texts beyond ASCII: a cut may leave a lone surrogate in a value that a later one of the same key
# replaces, where it may be noticed or not.
FRAGMENTS = st.builds(
    lambda value, a, b: value[:a] + value[b:], objects(PLAIN), st.integers(0, 60), st.integers(0, 60)
)
VALUES = st.none() | objects(USED) | FRAGMENTS | st.binary(max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=8))
def test_batch_definition_and_independent_recomputation_agree(values: list[bytes | None]) -> None:
    raw = decoder()
    decoded = decode(raw, *values)
    refused = {refusal.position: refusal.error.reason for refusal in decoded.refused}
    rules = Rules(max_message_bytes=MAX_BYTES, max_ahead_ms=AHEAD_MS)
    for position, value in enumerate(values):
        oracle = recompute([RawRecord(0, 0, ARRIVAL_MS, b"k", value)], [], [], rules)
        expected = next((reason for _, reason in oracle.dead), None)
        assert (refused.get(position), reason_of(value, raw)) == (expected, expected)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([GOOD + b"\n" + GOOD, GOOD], id="two in one, with a line each"),
        pytest.param([GOOD + GOOD, GOOD], id="two in one"),
        pytest.param([b'{"x":[{}', b"{}]," + GOOD[1:]], id="one in two"),
        pytest.param([b'{"x":"}', b'{",' + GOOD[1:]], id="a text that two share"),
        pytest.param([b'{"x":"}', b'{",' + GOOD[1:], GOOD + b"\n" + GOOD], id="one in two, and two in one"),
        pytest.param([GOOD + b"\n", b" " + GOOD], id="blanks around them"),
        pytest.param([b"", GOOD + b"\n" + GOOD], id="none in one, two in the next"),
        pytest.param([b"{}", GOOD], id="an empty object"),
        pytest.param([GOOD, GOOD[:-1] + b',"x":"' + b"x" * MAX_BYTES + b'"}'], id="one that is too large"),
    ],
)
def test_a_record_is_never_taken_for_a_part_of_another(values: list[bytes]) -> None:
    raw = decoder()
    refused = {refusal.position: refusal.error.reason for refusal in decode(raw, *values).refused}
    assert [refused.get(position) for position in range(len(values))] == [
        reason_of(value, raw) for value in values
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(objects(PLAIN) | st.just(GOOD), min_size=1, max_size=4), st.sampled_from([b"", b"\n"]), st.data()
)
def test_however_records_are_cut_and_glued_a_batch_is_judged_like_each_of_them(
    documents: list[bytes], glue: bytes, data: st.DataObject
) -> None:
    text = glue.join(documents)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))
    values = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    raw = decoder()
    refused = {refusal.position: refusal.error.reason for refusal in decode(raw, *values).refused}
    assert [refused.get(position) for position in range(len(values))] == [
        reason_of(value, raw) for value in values
    ]


@pytest.mark.parametrize(
    ("key", "value", "headers", "expected"),
    [
        pytest.param(None, None, [("rtexp-watermark", b"5")], 5, id="a marker"),
        pytest.param(b"k", None, [("rtexp-watermark", b"5")], None, id="with a key"),
        pytest.param(None, b"{}", [("rtexp-watermark", b"5")], None, id="with a value"),
        pytest.param(None, None, [], None, id="without the header"),
        pytest.param(None, None, [("rtexp-watermark", b"soon")], None, id="no number"),
        pytest.param(None, None, [("rtexp-watermark", b"9" * 19)], None, id="no time at all"),
    ],
)
def test_a_marker_is_a_null_record_with_the_header(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], expected: int | None
) -> None:
    class Record:
        pass

    record = Record()
    record.key, record.value, record.headers = key, value, headers  # type: ignore[attr-defined]
    assert marker_ms(record) == expected  # type: ignore[arg-type]


def test_what_is_refused_keeps_nothing_of_its_batch_alive() -> None:
    values = [bytes(bytearray(value)) for value in (GOOD, b"xx", action(ts=0))]
    before = [sys.getrefcount(value) for value in values]
    gc.disable()
    try:
        refused = decode(decoder(), *values, None).refused
        assert len(refused) == 3
        assert [sys.getrefcount(value) for value in values] == before
    finally:
        gc.enable()
