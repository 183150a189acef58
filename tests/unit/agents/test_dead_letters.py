from __future__ import annotations

from zlib import crc32

import pytest
from tests.unit.agents.raw_records import Raw

from rtexp.agents.dead_letters import DeadLetterLimits, dead_letter
from rtexp.engine.api import TopicPartition
from rtexp.errors import ContractError, StateError, TooMuchBadInput, UnsupportedVersion
from rtexp.records.letters import MAX_KEY_BYTES, MAX_VALUE_BYTES, Letter, Origin, decode_letter

MINUTE_MS = 60_000
NO_RUN = 10**9


def limits(*, ratio: float = 0.5, run: int = NO_RUN) -> DeadLetterLimits:
    return DeadLetterLimits("clicks", ratio=ratio, run=run)


def test_a_dead_letter_has_the_original_bytes_and_says_where_from_and_why() -> None:
    raw = Raw(42, 1_700_000_000_000, b"\xff")
    letter = dead_letter(
        "p.dead-letters", TopicPartition("clicks", 3), raw, ContractError("invalid-json", "why")
    )
    assert (letter.topic, letter.key, letter.value) == ("p.dead-letters", b"clicks/3/42", b"\xff")
    assert letter.partition == crc32(b"clicks/3/42") % 4
    assert dict(letter.headers) == {
        "topic": b"clicks",
        "partition": b"3",
        "offset": b"42",
        "reason": b"invalid-json",
        "detail": b"why",
        "time": b"1700000000000",
        "version": b"1",
        "key": b"key",
    }


@pytest.mark.parametrize("key", [None, b"k" * (MAX_KEY_BYTES + 1)])
def test_a_letter_has_no_key_of_a_record_that_has_none_or_one_that_is_too_large(key: bytes | None) -> None:
    letter = dead_letter("d", TopicPartition("clicks", 3), Raw(1, 1, b"x", key=key), ContractError("r"))
    assert "key" not in dict(letter.headers)


@pytest.mark.parametrize("value", [None, b"\xff", b"x" * (MAX_VALUE_BYTES + 1)])
def test_a_letter_is_read_as_it_was_written(value: bytes | None) -> None:
    raw = Raw(42, 7, value)
    sent = dead_letter("d", TopicPartition("clicks", 3), raw, ContractError("too-large", "whý"))
    read = decode_letter(Raw(0, 9, sent.value, key=sent.key, headers=sent.headers))
    kept = None if value is None else value[:MAX_VALUE_BYTES]
    size = len(value or b"")
    assert read == Letter(Origin("clicks", 3, 42), "too-large", "whý", 7, 9, b"key", kept, size)
    assert read.is_cut == (size > MAX_VALUE_BYTES)
    assert str(read.origin).encode() == sent.key
    assert Origin.read(str(read.origin)) == read.origin


@pytest.mark.parametrize(
    "text", ["", "clicks", "clicks/3", "clicks/3/x", "/3/4", "a/b/3/4", "clicks/-1/4", "c/1/²"]
)
def test_what_is_no_origin_is_none(text: str) -> None:
    assert Origin.read(text) is None


def test_a_newer_letter_is_not_misread_and_a_foreign_record_is_none() -> None:
    newer = Raw(0, 9, b"x", headers=(("version", b"2"),))
    with pytest.raises(UnsupportedVersion, match="dead-letters"):
        decode_letter(newer)
    with pytest.raises(StateError, match="didn't write"):
        decode_letter(Raw(0, 9, b"x"))


def test_a_dead_letter_of_null_is_null() -> None:
    letter = dead_letter("d", TopicPartition("clicks", 3), Raw(1, 1, None), ContractError("null-value"))
    assert letter.value is None


def test_a_value_that_no_broker_would_take_is_cut_and_says_so() -> None:
    raw = Raw(1, 1, b"x" * (MAX_VALUE_BYTES + 1))
    letter = dead_letter("d", TopicPartition("clicks", 3), raw, ContractError("too-large", "y" * 10_000))
    assert letter.value == raw.value[:-1] if raw.value else False
    assert dict(letter.headers)["original-bytes"] == b"900001"
    assert len(dict(letter.headers)["detail"]) <= 200


def test_a_share_of_exactly_the_ratio_goes_on_and_one_more_stops() -> None:
    limits().judge(1_000, range(500), now_ms=0)
    with pytest.raises(TooMuchBadInput, match=r"501 of the last 1000 records of the topic clicks"):
        limits().judge(1_000, range(501), now_ms=0)


def test_a_small_start_does_not_stop() -> None:
    small = limits()
    small.judge(999, range(999), now_ms=0)
    with pytest.raises(TooMuchBadInput):
        small.judge(1, [0], now_ms=0)


def test_the_share_is_that_of_the_last_minute_where_that_is_more() -> None:
    judged = limits()
    judged.judge(100_000, [], now_ms=0)
    judged.judge(110_000, range(60_000), now_ms=MINUTE_MS - 1)  # the first still belong to the minute
    with pytest.raises(TooMuchBadInput, match="60001 of the last 110001 records"):
        judged.judge(1, [0], now_ms=MINUTE_MS)


def test_of_few_records_those_of_many_minutes_count() -> None:
    judged = limits()
    judged.judge(90_000, [], now_ms=0)
    judged.judge(9_999, range(9_999), now_ms=1_000 * MINUTE_MS)


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([(3, [0, 1, 2])], id="in one batch"),
        pytest.param([(2, [1]), (1, [0]), (2, [0])], id="over three"),
        pytest.param([(2, [0]), (0, []), (4, [1, 2, 3])], id="after another run"),
    ],
)
def test_a_run_as_long_as_the_limit_stops(batches: list[tuple[int, list[int]]]) -> None:
    judged = limits(run=3)
    for records, bad in batches[:-1]:
        judged.judge(records, bad, now_ms=0)
    with pytest.raises(TooMuchBadInput, match="3 records in a row"):
        judged.judge(*batches[-1], now_ms=0)


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([(5, [0, 1, 3, 4])], id="a good one between"),
        pytest.param([(2, [0, 1]), (2, [1]), (1, [0])], id="a good one at a batch's start"),
        pytest.param([(3, [0, 1]), (2, [0, 1])], id="a good one at a batch's end"),
        pytest.param([(2, [0, 1]), (1, []), (2, [0, 1])], id="a good batch between"),
    ],
)
def test_a_good_record_ends_a_run(batches: list[tuple[int, list[int]]]) -> None:
    judged = limits(run=3)
    for records, bad in batches:
        judged.judge(records, bad, now_ms=0)
