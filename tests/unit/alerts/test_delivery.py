from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from tests.alert_receivers import every, receiver
from tests.unit.alerts.told import HOUR_MS, START_MS, alert

from rtexp.alerts.delivery import Delivery, Policy
from rtexp.alerts.feed import Read
from rtexp.alerts.forms import as_json
from rtexp.alerts.mailbox import Position
from rtexp.alerts.notices import of_alert
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.alerts.samples import Samples
from rtexp.alerts.timing import RetryPace, Rules, Users
from rtexp.alerts.webhooks import WebhookSender
from rtexp.records.verdicts import decode_alert
from rtexp.settings import AlertSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rtexp.alerts.notices import Notice
    from rtexp.alerts.outcomes import Outcome
    from rtexp.records.conditions import Undelivered
    from rtexp.records.verdicts import Alert

NIGHT_MS = START_MS  # 22:13 UTC
MORNING_MS = START_MS + 10 * HOUR_MS


@dataclass
class ListFeed:
    """Records of one topic, and the position that outlives a delivery."""

    values: list[bytes] = field(default_factory=list)
    kept: Position = field(default_factory=lambda: Position(0))
    next: int = 0

    async def positions(self) -> Mapping[str, Position]:
        self.next = self.kept.offset
        return {"alerts": Position.read(self.kept.offset, self.kept.metadata()), "conditions": Position(0)}

    async def read(self, wait_seconds: float) -> Iterable[Read]:  # noqa: ARG002 - what is there comes at once
        found = [Read("alerts", n, n, value) for n, value in enumerate(self.values) if n >= self.next]
        self.next = len(self.values)
        return found

    async def commit(self, topic: str, position: Position) -> None:  # noqa: ARG002 - there is one
        self.kept = position


@dataclass
class Scripted:
    """A sender whose outcomes are scripted; delivers once these are used up."""

    outcomes: list[Outcome] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    async def send(self, notice: Notice) -> Outcome:
        self.tried.append(notice.id)
        return self.outcomes.pop(0) if self.outcomes else Delivered("fine")

    async def close(self) -> None:
        pass


class Desk:
    """A delivery whose time stands still until a test moves it."""

    def __init__(self, *alerts: Alert, outcomes: Iterable[Outcome] = (), **settings: object) -> None:
        self.feed = ListFeed([msgspec.json.encode(one) for one in alerts])
        self.sender = Scripted(list(outcomes))
        self.kept: list[Undelivered] = []
        self.now_ms = MORNING_MS
        self.users: dict[tuple[str, int], Users] = {}
        self.samples = Samples(lambda asked: {one: self.users[one] for one in asked if one in self.users})
        self.settings = AlertSettings.model_validate(settings)
        self.delivery = self.made()

    def made(self) -> Delivery:
        async def keep(one: Undelivered) -> None:
            self.kept.append(one)

        give_up_ms = self.settings.give_up_hours * HOUR_MS
        return Delivery(
            "ops",
            self.sender,
            self.feed,
            Policy(Rules.of(self.settings), give_up_ms, RetryPace(random=lambda: 1.0)),
            self.samples,
            notice_of=lambda _, value: of_alert(decode_alert(value), ""),
            keep=keep,
            now_ms=lambda: self.now_ms,
        )

    async def go_on(self, steps: int = 12) -> list[str]:
        for _ in range(steps):
            await self.delivery.step()
        return self.sender.tried

    async def restart(self) -> None:
        self.delivery = self.made()
        await self.delivery.begin()


async def desk(*alerts: Alert, outcomes: Iterable[Outcome] = (), **settings: object) -> Desk:
    made = Desk(*alerts, outcomes=outcomes, **settings)
    await made.delivery.begin()
    return made


A, B, C = (alert(id=name) for name in "abc")


async def test_alerts_are_sent_in_order_and_the_position_follows() -> None:
    made = await desk(A, B, C)
    assert await made.go_on() == ["a", "b", "c"]
    assert made.feed.kept == Position(3)


async def test_while_one_fails_the_others_wait_behind_it() -> None:
    made = await desk(A, B, outcomes=[Later("HTTP 503"), Later("HTTP 503")])
    assert await made.go_on() == ["a"]
    made.now_ms += 999
    assert await made.go_on() == ["a"], "a second is waited"
    made.now_ms += 1
    assert await made.go_on() == ["a", "a"]
    made.now_ms += 1999
    assert await made.go_on() == ["a", "a"], "then two"
    made.now_ms += 1
    assert await made.go_on() == ["a", "a", "a", "b"]
    assert made.feed.kept == Position(2)


async def test_a_receiver_is_left_alone_for_as_long_as_it_asks() -> None:
    made = await desk(A, outcomes=[Later("HTTP 429", after_s=60.0)])
    await made.go_on()
    made.now_ms += 59_999
    assert await made.go_on() == ["a"]
    made.now_ms += 1
    assert await made.go_on() == ["a", "a"]


async def test_what_is_refused_for_good_is_kept_and_blocks_nobody() -> None:
    made = await desk(A, B, outcomes=[Never("HTTP 400")])
    assert await made.go_on() == ["a", "b"]
    (lost,) = made.kept
    assert (lost.target, lost.id, lost.reason, lost.attempts) == ("ops", "a", "HTTP 400", 1)
    assert lost.experiment == "heavier-page"


async def test_what_fails_for_hours_is_given_up() -> None:
    made = await desk(A, B, outcomes=[Later("HTTP 500")] * 2, give_up_hours=1.0)
    await made.go_on()
    made.now_ms += HOUR_MS
    assert await made.go_on() == ["a", "a", "b"]
    assert made.kept[0].reason == "given up after 2 attempts: HTTP 500"


async def test_a_first_attempt_is_made_however_old_an_alert_is() -> None:
    made = await desk(A, outcomes=[Later("HTTP 500")], give_up_hours=1.0)
    made.now_ms += 1000 * HOUR_MS
    await made.go_on()
    assert made.kept == []
    made.now_ms += 1000
    assert await made.go_on() == ["a", "a"]


async def test_at_night_what_is_critical_goes_ahead_and_the_rest_follows_in_the_morning() -> None:
    gain = alert(id="gain", kind="significant_gain", means="good")
    made = await desk(gain, A, B, quiet="22:00-07:00")
    made.now_ms = NIGHT_MS
    assert await made.go_on() == ["a", "b"]
    assert made.feed.kept == Position(0, frozenset({1, 2}))
    await made.restart()
    assert await made.go_on() == ["a", "b"], "a restart at night repeats nothing"
    made.now_ms = MORNING_MS
    assert await made.go_on() == ["a", "b", "gain"]
    assert made.feed.kept == Position(3)


async def test_an_alert_of_a_young_period_holds_no_other() -> None:
    young = alert(id="young", experiment="new", period_start_ms=MORNING_MS - HOUR_MS)
    made = await desk(young, A, minimum_age_hours=2.0)
    assert await made.go_on() == ["a"]
    made.now_ms += HOUR_MS
    assert await made.go_on() == ["a", "young"]


async def test_an_alert_with_few_users_waits_until_sql_says_that_there_are_more() -> None:
    made = await desk(A, minimum_users=50_000)
    assert await made.go_on() == []
    period = ("heavier-page", START_MS)
    made.users[period] = Users(49_999, is_final=False)
    await made.samples.run_round()
    assert await made.go_on() == []
    made.users[period] = Users(50_000, is_final=False)
    await made.samples.run_round()
    assert await made.go_on() == ["a"]


async def test_an_alert_whose_period_never_had_the_users_is_kept_and_says_so() -> None:
    made = await desk(A, B, minimum_users=50_000)
    made.users["heavier-page", START_MS] = Users(40_000, is_final=True)
    await made.go_on()
    await made.samples.run_round()
    assert await made.go_on() == []
    assert [lost.reason for lost in made.kept] == ["fewer than 50000 users by the last look"] * 2
    assert made.feed.kept == Position(2)


async def test_what_was_sent_before_a_crash_and_not_kept_is_sent_again_under_its_key() -> None:
    made = await desk(A, B)
    await made.go_on()
    made.feed.kept = Position(1)  # as if the second commit had not been made
    await made.restart()
    assert await made.go_on() == ["a", "b", "b"]


async def test_a_record_that_cannot_be_read_is_kept_and_blocks_nobody() -> None:
    made = await desk(A)
    made.feed.values.insert(0, b"rubbish")
    assert await made.go_on() == ["a"]
    assert [(lost.kind, lost.attempts) for lost in made.kept] == [("unreadable", 0)]
    assert made.feed.kept == Position(2)


async def test_a_receiver_that_fails_five_times_gets_each_alert_in_order(tmp_path: Path) -> None:
    async with receiver() as taker:
        taker.script = [(500, {}), (503, {"Retry-After": "1"}), (429, {}), (502, {}), (500, {})]
        (tmp_path / "url").write_text(taker.url)
        made = Desk(A, B, C)
        made.sender = WebhookSender(tmp_path / "url", None, as_json)  # type: ignore[assignment]
        await made.restart()
        while len(taker.taken) < 3:
            await made.delivery.step()
            made.now_ms += 500
        await made.sender.close()
    assert [request.status for request in taker.requests] == [500, 503, 429, 502, 500, 200, 200, 200]
    keys = [request.key for request in taker.requests]
    assert keys == ["a"] * 6 + ["b", "c"], "the same key each time"
    assert every(json.loads(request.raw)["idempotency_key"] for request in taker.taken) == ["a", "b", "c"]


async def test_a_clock_that_is_set_back_holds_up_nothing() -> None:
    made = await desk(A, outcomes=[Later("HTTP 503")])
    assert await made.go_on() == ["a"]
    made.now_ms -= HOUR_MS
    assert await made.go_on() == ["a", "a"]
