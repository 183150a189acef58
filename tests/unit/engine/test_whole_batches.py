"""Records in lists are the records that aiokafka would have handed out one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rtexp.engine.whole_batches import _Lists, _Results

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC, NO_PRODUCER, CONTROL_BIT = 2, -1, 0x20
ABORT_KEY = b"\0\0\0\0"
TP = TopicPartition("raw", 0)


class Sent(NamedTuple):
    """A batch as the log holds it: ``records`` of them, and ``removed`` more at its end by compaction."""

    records: int
    producer: int = NO_PRODUCER
    removed: int = 0
    aborts: bool = False
    """It's the mark that ends a transaction of its producer, in vain."""


def log_of(batches: Sequence[Sent]) -> tuple[bytes, list[tuple[int, int]], list[int]]:
    """Return what a broker answers, its aborted transactions, and the batches' first offsets."""
    log, offset = b"", 0
    starts: list[int] = []
    open_since: dict[int, int] = {}
    aborted = []
    for sent in batches:
        starts.append(offset)
        is_transactional = int(sent.producer != NO_PRODUCER)
        builder = DefaultRecordBatchBuilder(MAGIC, 0, is_transactional, sent.producer, 0, 0, 1_000_000)
        if sent.aborts:
            builder.append(0, 1000, ABORT_KEY, b"", [])
            if sent.producer in open_since:
                aborted.append((sent.producer, open_since.pop(sent.producer)))
        elif is_transactional:
            open_since.setdefault(sent.producer, offset)
        for number in range(0 if sent.aborts else sent.records):
            builder.append(number, 1000 + number, b"k", b"%d" % (offset + number), [])
        size = 1 if sent.aborts else sent.records
        log += framed(bytes(builder.build()), offset, size + sent.removed, control=sent.aborts)
        offset += size + sent.removed
    return log, aborted, starts


def framed(batch: bytes, offset: int, size: int, *, control: bool) -> bytes:
    """Put a built batch at its place in the log, with its last offset and a checksum that is right again."""
    raw = bytearray(batch)
    raw[0:8] = offset.to_bytes(8)
    if control:
        raw[22] |= CONTROL_BIT
    raw[23:27] = (size - 1).to_bytes(4)
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4)
    return bytes(raw)


def answer(log: bytes, aborted: list[tuple[int, int]], *, asked: int, isolation: int) -> PartitionRecords:
    return PartitionRecords(TP, MemoryRecords(log), list(aborted), asked, None, None, True, isolation)


BATCHES = st.lists(
    st.builds(
        Sent,
        records=st.integers(1, 4),
        producer=st.sampled_from([NO_PRODUCER, 7, 8]),
        removed=st.integers(0, 2),
        aborts=st.just(False),
    )
    | st.builds(
        Sent, records=st.just(0), producer=st.sampled_from([7, 8]), removed=st.just(0), aborts=st.just(True)
    ),
    min_size=1,
    max_size=8,
)


@example([Sent(1, 7), Sent(0, 7, aborts=True), Sent(2, 7), Sent(1)], 1, 0, READ_COMMITTED)
@given(BATCHES, st.integers(1, 6), st.integers(0, 12), st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]))
def test_lists_hold_what_the_client_yields_and_end_where_it_ends(
    batches: list[Sent], list_records: int, asked: int, isolation: int
) -> None:
    log, aborted, starts = log_of(batches)
    # A broker answers from the batch in which the offset that was asked for lies.
    first = max(start for start in starts if start <= asked)
    assume(asked < first + int.from_bytes(log[_bytes_before(log, first) + 23 :][:4]) + 1)
    log = log[_bytes_before(log, first) :]
    plain = answer(log, aborted, asked=asked, isolation=isolation)
    expected = [(record.offset, record.timestamp, record.key, record.value) for record in plain]
    lists = _Lists.of(answer(log, aborted, asked=asked, isolation=isolation), list_records)
    found = list(lists)
    assert [(r.offset, r.timestamp, r.key, r.value) for some in found for r in some] == expected
    assert lists.next_fetch_offset == plain.next_fetch_offset
    assert all(len(some) >= list_records for some in found[:-1])


def _bytes_before(log: bytes, offset: int) -> int:
    at = 0
    while int.from_bytes(log[at : at + 8]) < offset:
        at += 12 + int.from_bytes(log[at + 8 : at + 12])
    return at


def test_a_damaged_batch_costs_nothing_of_those_before_it() -> None:
    log, aborted, _ = log_of([Sent(2), Sent(3), Sent(2)])
    damaged = bytearray(log)
    damaged[-1] ^= 1
    lists = _Lists.of(answer(bytes(damaged), aborted, asked=0, isolation=READ_COMMITTED), list_records=100)
    assert [record.offset for record in next(lists)] == [0, 1, 2, 3, 4]
    assert lists.next_fetch_offset == 5
    with pytest.raises(CorruptRecordException):
        next(lists)


def test_results_of_the_fetcher_yield_lists_and_errors_stay_what_they_are() -> None:
    log, aborted, _ = log_of([Sent(3)])
    results = _Results(list_records=2)
    made = FetchResult(
        TP, assignment=None, partition_records=answer(log, aborted, asked=0, isolation=0), backoff=0
    )
    results[TP] = made
    results["error"] = "an error"
    assert [len(some) for some in made._partition_records] == [3]
    assert results["error"] == "an error"
