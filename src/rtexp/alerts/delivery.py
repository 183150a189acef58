"""One target's way: read, hold what may not be sent yet, send in order, keep the position.

A notice is sent before its position is kept, so one that was sent just before a crash is sent again, under the same
key.
While the target fails, all that may be sent waits behind the first; other targets have loops of their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from rtexp.alerts.mailbox import Entry, Mailbox
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.alerts.tallies import Tally, Waiting
from rtexp.alerts.timing import Do, RetryPace
from rtexp.errors import StateError, UnsupportedVersion
from rtexp.records.conditions import VERSION, Undelivered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from rtexp.alerts.feed import Feed, Read
    from rtexp.alerts.notices import Notice
    from rtexp.alerts.outcomes import Sender
    from rtexp.alerts.samples import Samples
    from rtexp.alerts.timing import Rules

POLL_SECONDS = 0.5


class Policy(NamedTuple):
    """What is the same for all targets."""

    rules: Rules
    give_up_ms: float
    pace: RetryPace = RetryPace()


class Delivery:
    """Brings one target all that it should get."""

    def __init__(
        self,
        target: str,
        sender: Sender,
        feed: Feed,
        policy: Policy,
        samples: Samples,
        *,
        notice_of: Callable[[str, bytes], Notice],
        keep: Callable[[Undelivered], Awaitable[None]],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """``notice_of`` reads a record of a topic; ``keep`` stores what the target doesn't get."""
        self._target = target
        self._sender = sender
        self._feed = feed
        self._policy = policy
        self._samples = samples
        self._notice_of = notice_of
        self._keep = keep
        self._now_ms = now_ms
        self._mailbox = Mailbox({})
        self._blocked_from_ms, self._blocked_until_ms = 0.0, 0.0
        self.tally = Tally()
        self._log: FilteringBoundLogger = structlog.get_logger(__name__).bind(target=target)

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self.step()

    async def begin(self) -> None:
        """Find out how far the target is."""
        self._mailbox = Mailbox(await self._feed.positions())

    async def step(self) -> None:
        """Make one attempt, or read on."""
        # Before it began: the clock was set back, and says nothing of how long that still is.
        is_blocked = self._blocked_from_ms <= self._now_ms() < self._blocked_until_ms
        if not is_blocked and (entry := await self._next()) is not None:
            await self._attempt(entry)
        elif self._mailbox.has_room:
            for read in await self._feed.read(POLL_SECONDS):
                await self._take(read)
        else:
            await asyncio.sleep(POLL_SECONDS)

    async def _take(self, read: Read) -> None:
        try:
            notice = self._notice_of(read.topic, read.value)
        except UnsupportedVersion:
            raise
        except StateError as exc:
            self._log.exception("alert_unreadable", topic=read.topic, offset=read.offset)
            lost = Undelivered(VERSION, self._target, "", "unreadable", "", str(exc), 0, self._now_ms())
            await self._keep(lost)
            self.tally.undelivered += 1
            return  # its offset is passed over with that of the next one
        self._mailbox.put(Entry(read.topic, read.offset, read.appended_ms, notice))

    async def _next(self) -> Entry | None:
        """Return the first that may be sent now; keep those that never may."""
        now_ms = self._now_ms()
        for entry in self._mailbox.open():
            match self._decide(entry, now_ms):
                case Do.SEND:
                    return entry
                case Do.LEAVE:
                    least = self._policy.rules.minimum_users
                    await self._leave(entry, f"fewer than {least} users by the last look")
                case Do.WAIT:
                    continue
        return None

    def _decide(self, entry: Entry, now_ms: int) -> Do:
        rules, users = self._policy.rules, None
        if rules.lacks_users(entry.notice):
            users = self._samples.users(entry.notice.experiment, entry.notice.period_start_ms)
        return rules.decide(entry.notice, now_ms, users)

    def waiting(self) -> Waiting:
        """Return what was read and the target hasn't got yet."""
        now_ms, entries = self._now_ms(), list(self._mailbox.open())
        held = sum(self._decide(entry, now_ms) is Do.WAIT for entry in entries)
        return Waiting(len(entries), held, min((entry.appended_ms for entry in entries), default=None))

    async def _attempt(self, entry: Entry) -> None:
        began_ms = self._now_ms()
        entry.attempts += 1
        entry.first_tried_ms = entry.first_tried_ms or began_ms
        outcome = await self._sender.send(entry.notice)
        log = self._log.bind(id=entry.notice.id, kind=entry.notice.kind, attempts=entry.attempts)
        match outcome:
            case Delivered(answer):
                self.tally.took()
                log.info("alert_delivered", answer=answer, took_ms=self._now_ms() - began_ms)
                await self._finish(entry)
            case Never(reason):
                self.tally.refused()
                await self._leave(entry, reason)
            case Later(reason, asked_s):
                self.tally.failed(began_ms)
                if self._now_ms() - entry.first_tried_ms >= self._policy.give_up_ms:
                    await self._leave(entry, f"given up after {entry.attempts} attempts: {reason}")
                    return
                delay_s = self._policy.pace.delay_s(entry.attempts, asked_s)
                self._blocked_from_ms = self._now_ms()
                self._blocked_until_ms = self._blocked_from_ms + 1000 * delay_s
                self.tally.delayed += 1
                log.warning("alert_delayed", reason=reason, again_in_s=round(delay_s, 1))

    async def _leave(self, entry: Entry, reason: str) -> None:
        """Keep a notice where `rtexp alerts list` finds it, and go on without it."""
        notice = entry.notice
        self._log.error("alert_undelivered", id=notice.id, kind=notice.kind, reason=reason)
        await self._keep(
            Undelivered(
                VERSION,
                self._target,
                notice.id,
                notice.kind,
                notice.experiment,
                reason,
                entry.attempts,
                self._now_ms(),
            )
        )
        self.tally.undelivered += 1
        await self._finish(entry)

    async def _finish(self, entry: Entry) -> None:
        await self._feed.commit(entry.topic, self._mailbox.finish(entry))
