"""The Kafka client, handing out fetched records in lists rather than one by one.

aiokafka makes an object of its own for every record and passes it through two generators: 0.8 us a record of 200
bytes. Taken in lists, as its parser yields them, they cost 0.35 us, a quarter of it for the checksum (CPython 3.11,
aiokafka 0.14). A contract test watches what this replaces (tests/unit/engine/pins.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from collections.abc import Iterator


class WholeBatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no usable types
    """A consumer whose `getmany` yields, by partition, lists of records: each of ``list_records``, or some more.

    Its ``max_poll_records`` counts such lists. Nothing but `getmany` may be used to read.
    """

    def __init__(self, *topics: str, list_records: int, **options: Any) -> None:
        super().__init__(*topics, **options)
        self._list_records = list_records

    async def start(self) -> None:
        """Connect; nothing has been fetched yet when this returns, as nothing is assigned."""
        await super().start()
        assert not self._fetcher._records  # noqa: SLF001 - see the docstring
        self._fetcher._records = _Results(self._list_records)  # noqa: SLF001


class _Results(OrderedDict[Any, Any]):
    """What the fetcher has by partition, each result made to yield lists as soon as it is put here."""

    def __init__(self, list_records: int) -> None:
        super().__init__()
        self._list_records = list_records

    def __setitem__(self, tp: Any, result: Any) -> None:
        if type(result) is FetchResult:
            result._partition_records = _Lists.of(result._partition_records, self._list_records)  # noqa: SLF001
        super().__setitem__(tp, result)


class _Lists(PartitionRecords):  # type: ignore[misc]
    """One answer of the broker for one partition: an iterator of lists of records."""

    _list_records: int
    next_fetch_offset: int
    """Of the partition, once what has been yielded is taken."""

    @classmethod
    def of(cls, records: PartitionRecords, list_records: int) -> _Lists:
        """Take over an answer that nobody has read of yet."""
        made = cls(
            records._tp,  # noqa: SLF001 - of the class that this one extends, here and below
            records._records,  # noqa: SLF001
            records._aborted_transactions,  # noqa: SLF001
            records.next_fetch_offset,
            None,
            None,
            records._check_crcs,  # noqa: SLF001
            records._isolation_level,  # noqa: SLF001
        )
        made._list_records = list_records
        # It refers to itself through its generator, and to megabytes: don't leave that to the cycle collector.
        records._records_iterator = None  # noqa: SLF001
        return made

    def _unpack_records(self) -> Iterator[list[Any]]:
        """Yield records as aiokafka's own method does, many at a time.

        `next_fetch_offset` moves with what is yielded: a damaged batch behind good ones doesn't lose them.
        """
        gathered: list[Any] = []
        reached = self.next_fetch_offset
        batches = self._records
        while batches.has_next():
            batch = batches.next_batch()
            if self._check_crcs and not batch.validate_crc():
                if gathered:
                    self.next_fetch_offset = reached
                    yield gathered
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            if not self._is_skipped(batch):
                # The broker answers with whole batches: the first one may begin before what was asked for.
                asked = batch.base_offset >= reached
                gathered += batch if asked else [record for record in batch if record.offset >= reached]
            # Not the last record's: behind it compaction may have removed some, and marks of transactions count.
            reached = max(reached, batch.next_offset)
            if len(gathered) >= self._list_records:
                self.next_fetch_offset = reached
                yield gathered
                gathered = []
        self.next_fetch_offset = reached
        if gathered:
            yield gathered

    def _is_skipped(self, batch: Any) -> bool:
        """Tell whether a batch is a mark of a transaction, or was sent in one that was aborted."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)
