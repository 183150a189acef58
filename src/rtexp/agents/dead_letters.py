"""Dead letters: what is bad input goes there with its origin, and too much of it stops the worker."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from rtexp.engine.api import Output
from rtexp.errors import TooMuchBadInput
from rtexp.records.letters import MAX_KEY_BYTES, MAX_VALUE_BYTES, VERSION, Origin, partition_of_letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.engine.api import Record, TopicPartition
    from rtexp.errors import ContractError

_MAX_DETAIL_CHARACTERS = 200


def dead_letter(topic: str, origin: TopicPartition, record: Record, error: ContractError) -> Output:
    """Return the dead letter of one raw record: its original bytes, and why it was refused in the headers.

    ``time`` is the raw record's own time stamp, epoch ms. A value that was cut has its whole size in a further
    header, ``original-bytes``; the raw record's key, if it has one, stands in ``key``.
    """
    key = str(Origin(origin.topic, origin.partition, record.offset)).encode()
    headers = {
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(record.offset),
        "reason": error.reason,
        "detail": error.detail[:_MAX_DETAIL_CHARACTERS],
        "time": str(record.timestamp),
        "version": str(VERSION),
    }
    value = record.value
    if value is not None and len(value) > MAX_VALUE_BYTES:
        headers["original-bytes"] = str(len(value))
        value = value[:MAX_VALUE_BYTES]
    encoded = [(name, text.encode()) for name, text in headers.items()]
    if record.key is not None and len(record.key) <= MAX_KEY_BYTES:
        encoded.append(("key", record.key))
    return Output(topic, partition_of_letter(key), value, key, tuple(encoded))


class _Judged(NamedTuple):
    """How many records were judged at one moment, and how many of them were bad."""

    at_ms: int
    records: int
    bad: int


class DeadLetterLimits:
    """Stops a worker when nearly everything is bad: that is a broken deploy, and no letters to be kept.

    The share of bad records is taken over the last `WINDOW_RECORDS` or those of the last minute, whichever
    are more, and only once `LEAST_RECORDS` have been judged, so that a small start can't stop a worker.
    """

    WINDOW_RECORDS = 100_000
    WINDOW_MS = 60_000
    LEAST_RECORDS = 1_000

    def __init__(self, raw_topic: str, *, ratio: float, run: int) -> None:
        self._raw_topic = raw_topic
        self._ratio = ratio
        self._run_limit = run
        self._run = 0
        self._window: deque[_Judged] = deque()
        self._records = 0
        self._bad = 0

    def judge(self, records: int, bad_positions: Sequence[int], *, now_ms: int) -> None:
        """Take note of ``records`` records, and of which were bad (ascending); TooMuchBadInput beyond a limit."""
        self._note_run(records, bad_positions)
        self._window.append(_Judged(now_ms, records, len(bad_positions)))
        self._records += records
        self._bad += len(bad_positions)
        oldest = self._window[0]
        while (
            self._records - oldest.records >= self.WINDOW_RECORDS and now_ms - oldest.at_ms >= self.WINDOW_MS
        ):
            self._window.popleft()
            self._records -= oldest.records
            self._bad -= oldest.bad
            oldest = self._window[0]
        if self._records >= self.LEAST_RECORDS and self._bad > self._ratio * self._records:
            raise self._too_many(
                f"{self._bad} of the last {self._records} records", f"dead_letter_ratio = {self._ratio}"
            )

    def _note_run(self, records: int, bad_positions: Sequence[int]) -> None:
        expected = 0
        for position in bad_positions:
            self._run = self._run + 1 if position == expected else 1
            expected = position + 1
            if self._run >= self._run_limit:
                raise self._too_many(f"{self._run} records in a row", f"dead_letter_run = {self._run_limit}")
        if expected != records:
            self._run = 0

    def _too_many(self, what: str, limit: str) -> TooMuchBadInput:
        return TooMuchBadInput(
            f"{what} of the topic {self._raw_topic} are bad input ([pipeline] {limit}): correct the producer, "
            "or the field paths and time format of the configuration, or raise the limit to let them pass as dead "
            "letters; reading goes on where it stopped"
        )
