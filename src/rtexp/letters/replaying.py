"""Replaying: each letter once, edited, judged as ingest would judge it, and sent.

Activations go first: actions wait for them, and not the other way round. Within a raw topic letters go in the order
in which they were refused, each to the partition that it came from.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from rtexp.agents.raw_decoders import action_decoder, activation_decoder
from rtexp.errors import ContractError
from rtexp.letters.choosing import Origins
from rtexp.letters.editing import EditFailedError, edited
from rtexp.letters.sending import Ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from rtexp.letters.choosing import Wanted
    from rtexp.letters.raw_topics import RawTopic
    from rtexp.letters.reading import LetterReader, Stretch
    from rtexp.letters.sending import LetterSender
    from rtexp.records.letters import Letter, Origin
    from rtexp.records.raw import RawDecoder
    from rtexp.settings import Settings

BATCH_LETTERS = 200
BATCH_BYTES = 8 << 20
_OVERHEAD_BYTES = 256
"""Of a batch, and of the header that names the origin."""
_NAMED = 1_000
"""Skipped letters that are named; the others are counted."""


class Skipped(NamedTuple):
    """A letter that stays where it is."""

    origin: Origin
    why: str


@dataclass
class Report:
    """What a replay did."""

    replayed: int = 0
    already_replayed: int = 0
    skipped: int = 0
    named: list[Skipped] = field(default_factory=list)
    """The first of those that were skipped."""
    late: int | None = 0
    """Of those replayed, how many come too late for every period; None if that isn't known."""

    def skip(self, origin: Origin, why: str) -> None:
        """Count a letter that stays."""
        self.skipped += 1
        if len(self.named) < _NAMED:
            self.named.append(Skipped(origin, why))


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    wanted: Wanted
    stretch: Stretch
    command: str | None = None
    """Each value is piped through it."""
    limit: int | None = None
    """How many letters, at most, are taken up; those replayed earlier don't count."""
    now_ms: Callable[[], int] = field(kw_only=True)
    closed_ms: int | None = field(kw_only=True)
    """What arrives then or later is too late for every period; None: not known."""


class Replay:
    """One run over the dead letters; ``sender`` None: everything but sending."""

    def __init__(
        self,
        settings: Settings,
        order: Order,
        *,
        raw: Mapping[str, RawTopic],
        reader: LetterReader,
        originals: LetterReader,
        sender: LetterSender | None,
        progress: Callable[[int], None],
    ) -> None:
        self._is_live = settings.pipeline.clock == "live"
        self._decoders: dict[str, RawDecoder] = {
            settings.activations.topic: activation_decoder(settings),
            settings.actions.topic: action_decoder(settings),
        }
        self._order = order
        self._raw = raw
        self._reader = reader
        self._originals = originals
        self._sender = sender
        self._progress = progress
        self._report = Report(late=None if order.closed_ms is None else 0)
        self._replayed = Origins()
        self._left = order.limit
        # One at a time: the reader has one place, and originals may have any size.
        self._fetching: AbstractAsyncContextManager[None] = asyncio.Lock()
        self._editing: AbstractAsyncContextManager[None] = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def run(self) -> Report:
        """Send what can be sent, in batches of one transaction each; return what became of all."""
        async for origin, _ in self._reader.replayed():
            self._replayed.add(origin)
        for topic in (*self._decoders, None):
            async for batch in self._batches(topic):
                await self._replay(batch)
                self._progress(self._report.replayed + self._report.skipped)
        return self._report

    async def _batches(self, topic: str | None) -> AsyncIterator[list[Letter]]:
        """Yield letters of one raw topic that are to be replayed now; None: of all that are no raw topics any more."""
        batch: list[Letter] = []
        size = 0
        async for letter in self._chosen(topic):
            if batch and (len(batch) == BATCH_LETTERS or size + letter.original_bytes > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(letter)
            size += letter.original_bytes
        if batch:
            yield batch

    async def _chosen(self, topic: str | None) -> AsyncIterator[Letter]:
        seen = Origins()
        async for letter in self._reader.letters(self._order.stretch):
            if not self._is_turn_of(letter, topic) or letter not in self._order.wanted:
                continue
            if not seen.add(letter.origin):
                continue
            if letter.origin in self._replayed:
                self._report.already_replayed += 1
                continue
            if self._left is not None:
                if not self._left:
                    return
                self._left -= 1
            yield letter

    def _is_turn_of(self, letter: Letter, topic: str | None) -> bool:
        found = letter.origin.topic
        return found == topic if topic is not None else found not in self._decoders

    async def _replay(self, batch: list[Letter]) -> None:
        ready = []
        for letter, outcome in zip(batch, await asyncio.gather(*map(self._prepared, batch)), strict=True):
            if isinstance(outcome, Ready):
                ready.append(outcome)
            else:
                self._report.skip(letter.origin, outcome)
        if ready and self._sender is not None:
            await self._sender.send(ready)
        self._report.replayed += len(ready)
        if self._order.closed_ms is not None and self._report.late is not None:
            self._report.late += sum(self._arrival_ms(r.letter) >= self._order.closed_ms for r in ready)

    async def _prepared(self, letter: Letter) -> Ready | str:
        """Return what is to be sent, or why the letter is skipped."""
        value = letter.value
        if letter.origin.topic not in self._decoders:
            return "its topic is none of the raw topics in this configuration"
        if letter.is_cut:
            async with self._fetching:
                value = await self._originals.original(letter)
            if value is None:
                return f"only {len(letter.value or b'')} of its {letter.original_bytes} bytes are left"
        if self._order.command is not None:
            try:
                async with self._editing:
                    value = await edited(self._order.command, letter, value)
            except EditFailedError as exc:
                return str(exc)
        return self._judged(letter, value)

    def _judged(self, letter: Letter, value: bytes | None) -> Ready | str:
        """Refuse what ingest would refuse: it would come back as another dead letter, again and again."""
        raw = self._raw[letter.origin.topic]
        try:
            self._decoders[letter.origin.topic].judge(value, self._arrival_ms(letter))
        except ContractError as exc:
            return f"still bad input: {exc}"
        assert value is not None
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(letter.key, value, []) + _OVERHEAD_BYTES
        if size > raw.max_bytes:
            return f"{size} bytes with key and headers; the topic's max.message.bytes is {raw.max_bytes}"
        return Ready(letter, value, self._partition(letter))

    def _partition(self, letter: Letter) -> int:
        """Return the partition that the letter came from; a topic that was made again may have fewer."""
        return letter.origin.partition % self._raw[letter.origin.topic].partitions

    def _arrival_ms(self, letter: Letter) -> int:
        """Return when the record that is sent will arrive: now, or by the clock of records."""
        if self._is_live:
            return self._order.now_ms()
        watermarks_ms = self._raw[letter.origin.topic].watermarks_ms
        return max(letter.time_ms, watermarks_ms.get(self._partition(letter), 0))
