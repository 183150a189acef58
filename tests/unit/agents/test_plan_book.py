"""The newest snapshot, as evaluation needs it."""

from __future__ import annotations

import msgspec
from tests.look_samples import START, plan

from rtexp.agents.plan_book import PlanBook
from rtexp.records.snapshot import VERSION, Allocation, Experiment, FrozenPlan, Snapshot
from rtexp.statistics.plans import Plan, canonical, plan_hash
from rtexp.statistics.stretches import Share


def snapshot(as_of_ms: int, plans: dict[tuple[str, int], Plan], *shares: Allocation) -> Snapshot:
    experiments = [Experiment("feed", "C", ["C", "T"], [], [], list(shares))]
    frozen = [
        FrozenPlan(*period, plan_hash(plan), msgspec.Raw(canonical(plan))) for period, plan in plans.items()
    ]
    return Snapshot(VERSION, as_of_ms, experiments, frozen)


def test_before_the_first_snapshot_nothing_is_known() -> None:
    book = PlanBook()
    assert (book.as_of_ms, book.plan(("feed", START)), book.shares("feed")) == (0, None, [])


def test_plans_are_found_by_experiment_and_period() -> None:
    book = PlanBook()
    plans = {("feed", START): plan(), ("feed", START + 1): plan(alpha=0.01), ("Feed", START): plan()}
    book.take(snapshot(5, plans))
    assert {period: book.plan(period) for period in plans} == plans
    assert book.plan(("feed", START + 2)) is None
    assert book.as_of_ms == 5


def test_allocations_are_those_of_the_experiment_in_their_order() -> None:
    book = PlanBook()
    book.take(snapshot(5, {}, Allocation("T", 5, 1), Allocation("C", 5, 1), Allocation("T", 10, 9)))
    assert book.shares("feed") == [Share("T", 5, 1), Share("C", 5, 1), Share("T", 10, 9)]
    assert book.shares("zoo") == []


def test_a_snapshot_that_isnt_newer_is_ignored() -> None:
    book = PlanBook()
    book.take(snapshot(5, {("feed", START): plan()}))
    for as_of_ms in (5, 4):
        book.take(snapshot(as_of_ms, {("feed", START): plan(alpha=0.01)}))
    assert book.plan(("feed", START)) == plan()


def test_a_newer_snapshot_replaces_all_of_it() -> None:
    book = PlanBook()
    book.take(snapshot(5, {("feed", START): plan()}, Allocation("T", 5, 1)))
    assert book.plan(("feed", START)) == plan()
    book.take(snapshot(6, {("feed", START + 1): plan(alpha=0.01)}))
    assert (book.plan(("feed", START)), book.shares("feed")) == (None, [])
    assert book.plan(("feed", START + 1)) == plan(alpha=0.01)


def test_a_plan_is_decoded_once_however_often_it_is_asked_for() -> None:
    book = PlanBook()
    book.take(snapshot(5, {("feed", START): plan()}))
    first = book.plan(("feed", START))
    book.take(snapshot(6, {("feed", START): plan()}))
    assert book.plan(("feed", START)) is first
