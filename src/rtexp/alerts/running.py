"""The process of alerts: a loop a target, and one that watches the pipeline. An error in any of them ends it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from rtexp.alerts import notices
from rtexp.alerts.delivery import Delivery, Policy
from rtexp.alerts.feed import CONDITIONS, KafkaFeed
from rtexp.alerts.samples import Samples, reader
from rtexp.alerts.senders import sender_of
from rtexp.alerts.standing import Standing, watch_broker
from rtexp.alerts.timing import Rules
from rtexp.alerts.topics import Outlet, told_conditions
from rtexp.alerts.watch import Limits, Watch
from rtexp.alerts.watching import watch_pipeline
from rtexp.records.conditions import decode_condition
from rtexp.records.verdicts import decode_alert
from rtexp.store.engine import opened
from rtexp.web.address import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.alerts.notices import Notice
    from rtexp.settings import Settings


async def deliver(settings: Settings, standing: Standing | None = None) -> None:
    """Deliver to all targets and watch the pipeline, until cancelled; ``standing`` then says how that goes.

    StoreUnavailable or UsageError if Kafka or its topics can't be had at the start; FatalError, StateError later.
    """
    kafka, alerts = settings.kafka, settings.alerts
    standing = standing or Standing()
    policy = Policy(Rules.of(alerts), alerts.give_up_hours * 3_600_000)
    notice_of = _reader(pages_of(settings))
    async with AsyncExitStack() as stack:
        engine = stack.enter_context(opened(settings.store))
        outlet = await stack.enter_async_context(Outlet(kafka))
        told = await told_conditions(kafka)
        samples = Samples(reader(engine))
        deliveries: dict[str, Delivery] = {}
        for target in alerts.targets:
            feed = await stack.enter_async_context(KafkaFeed(kafka, target.name))
            sender = sender_of(target)
            stack.push_async_callback(sender.close)
            deliveries[target.name] = Delivery(
                target.name, sender, feed, policy, samples, notice_of=notice_of, keep=outlet.keep
            )
        for delivery in deliveries.values():
            await delivery.begin()
        watch = Watch(Limits.of(settings), told=told, now_ms=time.time_ns() // 1_000_000)
        standing.begin(deliveries, watch.known)
        structlog.get_logger(__name__).info("delivering", targets=[target.name for target in alerts.targets])

        def note(is_up: bool) -> None:  # noqa: FBT001 - of SQL
            standing.store_up = is_up

        loops = [
            watch_pipeline(watch, engine, outlet.tell, note),
            watch_broker(standing, outlet.answers),
            samples.run(),
            *(delivery.run() for delivery in deliveries.values()),
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                for loop in loops:
                    tasks.create_task(loop)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first ends all; the process says so in one line


def pages_of(settings: Settings) -> str:
    """Return where the pages are for people, with no slash at the end; empty where nobody can know."""
    if settings.web.public_url:
        return settings.web.public_url
    return address_of(settings.web).rstrip("/") if settings.web.port else ""


def _reader(pages: str) -> Callable[[str, bytes], Notice]:
    def notice_of(topic: str, value: bytes) -> Notice:
        if topic == CONDITIONS:
            return notices.of_condition(decode_condition(value), pages)
        return notices.of_alert(decode_alert(value), pages)

    return notice_of
