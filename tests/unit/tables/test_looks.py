"""The ledger of looks: what has been evaluated, what goes out with it, what SQL lacks of it."""

from __future__ import annotations

import pytest
from tests.look_samples import START, WORKED, plan

from rtexp.engine.api import Output, Page
from rtexp.errors import StateError
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.tables import looks
from rtexp.tables.looks import EvaluatedLook, LookLedger

PERIOD = ("feed", START)
OTHER = ("a/b", START)


class Evaluation:
    """Evaluates the looks of one period as a worker does, into whichever ledger it is given."""

    def __init__(self, experiment: str = "feed") -> None:
        self.evaluator = PeriodEvaluator(experiment, START, plan())

    def note(self, ledger: LookLedger, number: int) -> EvaluatedLook:
        given = WORKED[number - 1]
        look = EvaluatedLook(given, self.evaluator.look(given, evaluated_ms=7, version="v").records)
        output = Output("results", 0, b"%d" % number, b"key")
        ledger.note(look, self.evaluator.period, self.evaluator.comparisons, [output])
        return look


def reloaded(pages: dict[bytes, bytes | None]) -> LookLedger:
    ledger = LookLedger()
    for key, value in sorted(pages.items()):
        if value is not None:
            ledger.load(key, value)
    ledger.loaded()
    return ledger


def flushed(ledger: LookLedger, pages: dict[bytes, bytes | None] | None = None) -> dict[bytes, bytes | None]:
    return {**(pages or {}), **dict(ledger.journal())}


def numbers(found: list[EvaluatedLook]) -> list[int]:
    return [look.given.look for look in found]


@pytest.fixture
def ledger() -> LookLedger:
    return LookLedger()


@pytest.fixture
def feed() -> Evaluation:
    return Evaluation()


def test_a_look_is_published_only_after_a_flush_has_taken_it(ledger: LookLedger, feed: Evaluation) -> None:
    look = feed.note(ledger, 1)
    assert (ledger.looks_to_publish(100), ledger.unpublished) == ([], 1)
    ledger.journal()
    assert ledger.looks_to_publish(100) == [look]


def test_looks_stay_to_be_published_until_sql_has_them(ledger: LookLedger, feed: Evaluation) -> None:
    looks = [feed.note(ledger, number) for number in (1, 2)]
    ledger.journal()
    assert ledger.looks_to_publish(100) == ledger.looks_to_publish(100) == looks
    ledger.mark_published(looks[:1])
    assert (ledger.looks_to_publish(100), ledger.unpublished) == (looks[1:], 1)
    ledger.mark_published(looks)
    assert (ledger.looks_to_publish(100), ledger.unpublished) == ([], 0)


def test_the_oldest_looks_come_first_and_no_more_than_asked_for(ledger: LookLedger, feed: Evaluation) -> None:
    for number in (1, 2, 3):
        feed.note(ledger, number)
    ledger.journal()
    assert numbers(ledger.looks_to_publish(3)) == [1, 2], "each has two records"
    assert ledger.looks_to_publish(0) == []


def test_outputs_go_out_once(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    feed.note(ledger, 3)
    assert [output.value for output in ledger.collect()] == [b"1", b"3"]
    assert ledger.collect() == []


def test_the_next_look_goes_on_from_what_was_noted(ledger: LookLedger, feed: Evaluation) -> None:
    assert (ledger.history(PERIOD), ledger.evaluated_until_ms(PERIOD)) == ((None, {}), 0)
    feed.note(ledger, 1)
    period, comparisons = ledger.history(PERIOD)
    assert ledger.evaluated_until_ms(PERIOD) == WORKED[0].scheduled_ms
    assert (period, comparisons) == (feed.evaluator.period, feed.evaluator.comparisons)


def test_a_history_belongs_to_whoever_took_it(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    period, comparisons = ledger.history(PERIOD)
    assert period is not None
    period.look = 99
    for history in comparisons.values():
        history.path.seen.clear()
    again, untouched = ledger.history(PERIOD)
    assert again is not None
    assert again.look == 1
    assert all(history.path.seen for history in untouched.values())


def test_what_was_noted_stays_when_the_evaluator_goes_on(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    feed.evaluator.look(WORKED[1], evaluated_ms=7, version="v")
    assert ledger.evaluated_until_ms(PERIOD) == WORKED[0].scheduled_ms
    assert {len(history.path.seen) for history in ledger.history(PERIOD)[1].values()} == {1}


def test_a_reloaded_ledger_knows_all_that_a_flush_has_taken(ledger: LookLedger, feed: Evaluation) -> None:
    looks = [feed.note(ledger, 1), Evaluation("a/b").note(ledger, 1), feed.note(ledger, 2)]
    again = reloaded(flushed(ledger))
    assert sorted(numbers(again.looks_to_publish(100))) == [1, 1, 2]
    assert again.looks_to_publish(100)[-1] == looks[2], "in order of time"
    assert again.history(PERIOD) == ledger.history(PERIOD)
    assert again.history(OTHER) == ledger.history(OTHER)
    assert (again.journal(), again.collect()) == ([], [])


def test_what_sql_has_leaves_the_pages(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    pages = flushed(ledger)
    ledger.mark_published(ledger.looks_to_publish(100))
    pages = flushed(ledger, pages)
    again = reloaded(pages)
    assert (again.unpublished, again.evaluated_until_ms(PERIOD)) == (0, WORKED[0].scheduled_ms)


def test_a_look_of_many_records_is_cut_into_pages_and_comes_back_whole(
    ledger: LookLedger, feed: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "RECORDS_PER_PAGE", 1)
    look = feed.note(ledger, 1)
    pages = flushed(ledger)
    assert len([key for key in pages if key.startswith(b"looks/r/")]) == 2
    assert reloaded(pages).looks_to_publish(100) == [look]
    ledger.mark_published([look])
    assert reloaded(flushed(ledger, pages)).unpublished == 0


def test_a_period_is_forgotten_without_a_trace_once_sql_has_its_looks(
    ledger: LookLedger, feed: Evaluation
) -> None:
    feed.note(ledger, 1)
    Evaluation("a/b").note(ledger, 1)
    pages = flushed(ledger)
    assert not ledger.may_forget(PERIOD)
    ledger.mark_published(
        [look for look in ledger.looks_to_publish(100) if look.records[0].experiment == "feed"]
    )
    assert ledger.may_forget(PERIOD)
    assert not ledger.may_forget(OTHER)
    ledger.forget(PERIOD)
    ledger.forget(PERIOD)
    pages = flushed(ledger, pages)
    assert not [key for key, value in pages.items() if b"feed" in key and value is not None]
    assert reloaded(pages).history(OTHER) == ledger.history(OTHER)
    assert ledger.history(PERIOD) == (None, {})


def test_a_damaged_page_is_refused(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    pages = ledger.journal()
    assert {page.key.split(b"/")[1] for page in pages} == {b"p", b"c", b"r"}
    for key, value in pages:
        assert value is not None
        with pytest.raises(StateError, match="damaged"):
            LookLedger().load(key, value[:-1] + bytes([value[-1] ^ 1]))


def test_a_change_is_in_one_journal_only(ledger: LookLedger, feed: Evaluation) -> None:
    feed.note(ledger, 1)
    assert ledger.journal()
    assert ledger.journal() == []
    look = feed.note(ledger, 2)
    ledger.journal()
    ledger.mark_published([look])
    assert ledger.journal() == [Page(b"looks/r/feed/%d/2/0" % START, None)]
