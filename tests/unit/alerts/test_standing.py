"""What the process of alerts says of itself: why it isn't ready, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.alerts.test_delivery import MORNING_MS, NIGHT_MS, A, B, Desk, desk
from tests.unit.alerts.told import HOUR_MS, alert
from tests.unit.metrics.scrapes import Scrape

from rtexp.alerts.outcomes import Later, Never
from rtexp.alerts.standing import Standing
from rtexp.metrics.definitions import BY_NAME
from rtexp.metrics.exposition import Exposition

if TYPE_CHECKING:
    from rtexp.records.conditions import ConditionKind


def standing(made: Desk, *conditions: ConditionKind) -> Standing:
    found = Standing()
    found.begin({"ops": made.delivery}, lambda: conditions)
    return found


def scraped(found: Standing) -> Scrape:
    return Scrape(Exposition([found.samples]).render().body)


def of_ops(found: Standing, name: str) -> float:
    return scraped(found).one(f"rtexp_alerts_{name}", {"target": "ops"})


async def test_until_delivery_has_begun_it_has_not_started() -> None:
    found = Standing()
    assert found.reasons() == ["not-started"]
    found.begin({}, list)
    assert found.reasons() == []


async def test_a_broker_and_sql_that_do_not_answer_are_reasons_and_what_is_not_known_is_none() -> None:
    found = standing(await desk())
    assert "rtexp_broker_up" not in scraped(found).names
    found.broker_up = found.store_up = False
    assert found.reasons() == ["broker", "store-unavailable"]
    assert scraped(found).one("rtexp_broker_up") == 0
    assert scraped(found).one("rtexp_store_up", {"user": "alerts"}) == 0
    found.broker_up = found.store_up = True
    assert found.reasons() == []


async def test_a_target_fails_from_its_first_failed_attempt_until_it_takes_one() -> None:
    made = await desk(A, B, outcomes=[Later("HTTP 503"), Later("HTTP 503")])
    found = standing(made)
    assert "rtexp_alerts_target_up" not in scraped(found).names, "nobody knows before the first attempt"
    await made.go_on()
    since = found.failing()
    assert since == {"ops": "2023-11-15T08:13:20+00:00"}
    assert found.reasons() == ["target:ops"]
    made.now_ms += 1000
    await made.go_on()
    assert found.failing() == since, "the second failure isn't the beginning"
    assert (of_ops(found, "target_up"), of_ops(found, "delayed_total")) == (0, 2)
    made.now_ms += 2000
    await made.go_on()
    assert (found.reasons(), found.failing()) == ([], {})
    assert (of_ops(found, "target_up"), of_ops(found, "delivered_total")) == (1, 2)


async def test_a_target_that_refuses_one_answers() -> None:
    made = await desk(A, B, outcomes=[Later("HTTP 503"), Never("HTTP 400"), Later("HTTP 503")])
    found = standing(made)
    await made.go_on()
    made.now_ms += 1000
    await made.delivery.step()
    assert (found.reasons(), of_ops(found, "undelivered_total")) == ([], 1)


async def test_what_is_given_up_is_undelivered_and_its_target_still_fails() -> None:
    made = await desk(A, outcomes=[Later("HTTP 500")] * 2, give_up_hours=1.0)
    found = standing(made)
    await made.go_on()
    made.now_ms += HOUR_MS
    await made.go_on()
    assert (of_ops(found, "undelivered_total"), of_ops(found, "delayed_total")) == (1, 1)
    assert found.reasons() == ["target:ops"]


async def test_what_cannot_be_read_is_undelivered() -> None:
    made = await desk()
    made.feed.values.append(b"rubbish")
    await made.go_on()
    assert of_ops(standing(made), "undelivered_total") == 1


async def test_what_waits_is_told_with_what_is_held_and_the_age_of_the_oldest() -> None:
    gain = alert(id="gain", kind="significant_gain", means="good")
    made = await desk(gain, A, B, outcomes=[Later("HTTP 503")], quiet="22:00-07:00")
    found = standing(made)
    assert "rtexp_alerts_oldest_pending_timestamp_seconds" not in scraped(found).names
    made.now_ms = NIGHT_MS
    await made.go_on()
    assert (of_ops(found, "pending"), of_ops(found, "held")) == (3, 1)
    assert of_ops(found, "oldest_pending_timestamp_seconds") == 0  # the feed's time is the offset
    made.now_ms = MORNING_MS
    await made.go_on()
    assert (of_ops(found, "pending"), of_ops(found, "held")) == (0, 0)


async def test_conditions_that_are_open_are_counted_by_kind() -> None:
    found = scraped(standing(await desk(), "stopped", "stopped", "store"))
    assert found.all("rtexp_alerts_conditions_open") == {("stale",): 0, ("stopped",): 2, ("store",): 1}


async def test_it_shows_what_is_defined_for_it_and_nothing_else() -> None:
    made = await desk(A, B, outcomes=[Later("HTTP 503")])
    found = standing(made)
    found.broker_up = found.store_up = True
    await made.go_on()
    defined = {name for name, metric in BY_NAME.items() if "alerts" in metric.where}
    assert scraped(found).names == defined
