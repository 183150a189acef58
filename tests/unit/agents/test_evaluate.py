"""From frozen sums to looks: when one may be evaluated, what it leaves, and what comes of it when a worker goes."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.look_samples import HOUR, START, plan
from tests.look_sums_streams import partials_of
from tests.oracle.look_sums import Delta, Record
from tests.unit.agents.test_plan_book import snapshot

from rtexp.agents import evaluate
from rtexp.agents.evaluate import PLAN_WAIT_MS, Evaluator, Topics
from rtexp.agents.merge import MergeState, PartialsBatch
from rtexp.agents.plan_book import PlanBook
from rtexp.engine.api import Page
from rtexp.records.snapshot import Allocation
from rtexp.settings import Settings, SketchSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rtexp.engine.api import Output
    from rtexp.statistics.plans import Plan
    from rtexp.tables.looks import EvaluatedLook

SETTINGS = Settings(sketch=SketchSettings(lg_k=10))
PERIOD = ("feed", START)
SETTLE = 60_000
LATER = START + 1000 * HOUR
"""A wall clock after all looks."""
ALLOCATIONS = (Allocation("C", 5, START), Allocation("T", 5, START))


class Task:
    """A partition as the engine runs it: batches, flushes, and what is committed with them."""

    partition = 3

    def __init__(self, pages: dict[bytes, bytes] | None = None) -> None:
        self.pages = dict(pages or {})
        self.state = MergeState(SETTINGS)
        self.state.load(Page(key, value) for key, value in sorted(self.pages.items()))
        self.live = True
        self.sent: list[Output] = []
        self.on_enter: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def between_flushes(self) -> AsyncIterator[MergeState | None]:
        self.on_enter()
        yield self.state if self.live else None

    def apply(self, *deltas: Delta, watermark_ms: int = 0) -> None:
        self.state.apply("", [PartialsBatch(partials_of(Record(0, watermark_ms, deltas), sources=1), 1)])

    def flush(self, *, checkpoint: bool = False) -> None:
        self.sent += self.state.collect()
        for page in [*self.state.journal(), *(self.state.changed_pages() if checkpoint else ())]:
            if page.value is None:
                self.pages.pop(page.key, None)
            else:
                self.pages[page.key] = page.value

    def looks(self) -> list[EvaluatedLook]:
        self.flush()
        return self.state.looks.looks_to_publish(10_000)

    def numbers(self) -> list[int]:
        return [look.given.look for look in self.looks()]

    def kinds_of_alerts(self) -> list[str]:
        self.flush()
        return [json.loads(o.value)["kind"] for o in self.sent if o.topic == "alerts" and o.value]


def users(hour: float, control: int, treatment: int, acted: tuple[int, int] = (100, 100)) -> list[Delta]:
    bucket = START + round(hour * HOUR)
    return [
        Delta(*PERIOD, group, event, bucket, counts)
        for group, n, a in (("C", control, acted[0]), ("T", treatment, acted[1]))
        for event, counts in (("", (0, 0, 0, n, 0)), ("search", (a, a, a, 0, 0)))
    ]


def hour(h: float) -> int:
    """The watermark that makes the look of an hour due."""
    return START + round(h * HOUR) + SETTLE


class Setting:
    """An evaluator with its plans, its tasks, and a clock."""

    def __init__(self) -> None:
        self.book = PlanBook()
        self.tasks: list[Task] = [Task()]
        self.now_ms = LATER
        self.evaluator = self.new_evaluator()

    def new_evaluator(self) -> Evaluator:
        return Evaluator(
            self.book, lambda: self.tasks, Topics("results", "alerts"), now_ms=lambda: self.now_ms
        )

    def learn(self, plan: Plan | None = None, *, as_of_ms: int = LATER) -> None:
        self.book.take(snapshot(as_of_ms, {PERIOD: plan} if plan else {}, *ALLOCATIONS))


@pytest.fixture
def setting() -> Setting:
    return Setting()


@pytest.fixture
def task(setting: Setting) -> Task:
    return setting.tasks[0]


async def test_looks_of_the_schedule_are_evaluated_in_order_and_other_times_dropped(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(40))
    assert setting.evaluator.waiting(task.state) == 160
    assert await setting.evaluator.run_round() == 2
    assert [(look.given.look, look.given.scheduled_ms) for look in task.looks()] == [
        (1, START + 18 * HOUR),
        (2, START + 36 * HOUR),
    ]
    assert (task.state.sums.frozen, setting.evaluator.waiting(task.state)) == ({}, 0)
    assert await setting.evaluator.run_round() == 0


async def test_a_look_counts_what_was_frozen_with_the_weights_of_the_allocations(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 510), *users(17.75, 50, 60), *users(18, 7, 7), watermark_ms=hour(18))
    await setting.evaluator.run_round()
    (look,) = task.looks()
    assert {group: sums.users for group, sums in look.given.groups.items()} == {"C": 550, "T": 570}
    (stretch,) = look.given.stretches
    assert (stretch.weights, stretch.exposures) == ({"C": 0.5, "T": 0.5}, {"C": 550, "T": 570})
    assert look.records[0].evaluated_ms == LATER


async def test_a_look_waits_for_a_snapshot_that_was_taken_after_its_time(
    setting: Setting, task: Task
) -> None:
    task.apply(*users(0, 500, 500), watermark_ms=hour(36))
    setting.learn(plan(), as_of_ms=START + 18 * HOUR)
    assert await setting.evaluator.run_round() == 0
    assert setting.evaluator.waiting(task.state) > 0
    setting.learn(plan(), as_of_ms=START + 18 * HOUR + 1)
    assert await setting.evaluator.run_round() == 1
    setting.learn(plan())
    assert await setting.evaluator.run_round() == 1
    assert task.numbers() == [1, 2]


async def test_results_go_to_the_partition_of_their_experiment(setting: Setting, task: Task) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    await setting.evaluator.run_round()
    task.flush()
    assert [(output.topic, output.partition) for output in task.sent] == [("results", 3)] * 2
    assert all(output.key and json.loads(output.key)[0] == "feed" for output in task.sent)


async def test_a_period_without_a_plan_is_waited_for_warned_of_once_and_dropped(
    setting: Setting, task: Task
) -> None:
    setting.now_ms = LATER
    setting.learn(as_of_ms=LATER)
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    with capture_logs() as logs:
        await setting.evaluator.run_round()
        setting.learn(as_of_ms=LATER + PLAN_WAIT_MS)
        await setting.evaluator.run_round()
        assert (setting.evaluator.waiting(task.state), logs) == (72, [])
        setting.learn(as_of_ms=LATER + PLAN_WAIT_MS + 1)
        await setting.evaluator.run_round()
        assert setting.evaluator.waiting(task.state) == 0
        task.apply(watermark_ms=hour(36))
        await setting.evaluator.run_round()
        assert setting.evaluator.waiting(task.state) == 0
    assert [entry["event"] for entry in logs] == ["period_without_plan"]


async def test_a_plan_that_comes_a_moment_later_is_in_time(setting: Setting, task: Task) -> None:
    setting.learn(as_of_ms=LATER)
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    assert await setting.evaluator.run_round() == 0
    setting.learn(plan(), as_of_ms=LATER + 5000)
    assert await setting.evaluator.run_round() == 1


async def test_a_plan_without_treatments_gives_no_look_and_stops_nothing(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan(treatments=[], problem="no_treatment"))
    task.apply(*users(0, 500, 500), watermark_ms=hour(72))
    await setting.evaluator.run_round()
    assert (task.numbers(), setting.evaluator.waiting(task.state)) == ([], 0)


async def test_a_partition_that_isnt_live_is_left_alone(setting: Setting, task: Task) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    task.live = False
    assert await setting.evaluator.run_round() == 0
    task.live = True
    assert task.numbers() == []
    assert await setting.evaluator.run_round() == 1


async def test_a_partition_that_is_lost_while_a_look_is_evaluated_gets_nothing_of_it(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(36))
    entered = 0

    def lose_it_at_the_third_time() -> None:
        nonlocal entered
        entered += 1
        task.live = entered != 3  # what is due, what the look goes on from, and then the look itself

    task.on_enter = lose_it_at_the_third_time
    assert await setting.evaluator.run_round() == 0
    assert task.numbers() == []
    assert await setting.evaluator.run_round() == 2, "and it isn't taken as evaluated"
    assert task.numbers() == [1, 2]


async def test_one_partition_that_goes_doesnt_hold_up_the_others(setting: Setting, task: Task) -> None:
    setting.learn(plan())
    gone = Task()
    setting.tasks.insert(0, gone)
    for each in setting.tasks:
        each.apply(*users(0, 500, 500), watermark_ms=hour(18))
    gone.live = False
    assert await setting.evaluator.run_round() == 1
    assert task.numbers() == [1]


GROWING = [
    (0.0, 500, 500, (100, 100)),
    (20.0, 4000, 4000, (400, 500)),
    (40.0, 4000, 4000, (400, 600)),
    (60.0, 4000, 4000, (400, 300)),
]


async def test_looks_after_a_restart_are_those_of_a_run_without_one(setting: Setting, task: Task) -> None:
    setting.learn(plan(decision=[]))
    straight = Task()
    for at, control, treatment, acted in GROWING:
        straight.apply(*users(at, control, treatment, acted), watermark_ms=hour(at + 17))
        setting.tasks = [straight]
        await setting.evaluator.run_round()
        task.apply(*users(at, control, treatment, acted), watermark_ms=hour(at + 17))
        setting.tasks = [task]
        await setting.new_evaluator().run_round()  # with nothing carried
        task.flush(checkpoint=True)
        task = Task(task.pages)
    assert task.numbers() == [1, 2, 3, 4]
    assert task.looks() == straight.looks()


async def test_a_rewind_meets_sums_that_have_been_evaluated_and_drops_them(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    task.flush(checkpoint=True)
    await setting.evaluator.run_round()
    (look,) = task.looks()  # flushed with its journal, without a checkpoint
    again = Task(task.pages)
    assert setting.evaluator.waiting(again.state) > 0
    setting.tasks = [again]
    assert await setting.new_evaluator().run_round() == 0
    assert again.looks() == [look]
    assert setting.evaluator.waiting(again.state) == 0


async def test_alerts_are_told_at_the_edge_and_never_again_after_a_restart(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 5000, 5000, (500, 900)), watermark_ms=hour(36))
    await setting.evaluator.run_round()
    assert task.kinds_of_alerts() == ["significant_gain"]
    task.flush(checkpoint=True)
    again = Task(task.pages)
    setting.tasks = [again]
    again.apply(*users(40, 5000, 5000, (500, 900)), watermark_ms=hour(72))
    await setting.new_evaluator().run_round()
    assert again.numbers() == [1, 2, 3, 4]
    assert again.kinds_of_alerts() == []


async def test_of_too_many_comparisons_those_used_longest_ago_are_computed_anew(
    setting: Setting, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "COMPARISONS_CARRIED", 2)
    setting.book.take(snapshot(LATER, {PERIOD: plan(), ("zoo", START): plan()}, *ALLOCATIONS))
    both = [delta._replace(experiment=name) for name in ("feed", "zoo") for delta in users(0, 500, 500)]
    task.apply(*both, watermark_ms=hour(36))
    assert await setting.evaluator.run_round() == 4
    assert len(setting.evaluator._carried) == 1
    assert sorted(task.numbers()) == [1, 1, 2, 2]


async def test_what_was_carried_for_a_partition_that_went_away_is_forgotten(
    setting: Setting, task: Task
) -> None:
    setting.learn(plan())
    task.apply(*users(0, 500, 500), watermark_ms=hour(18))
    await setting.evaluator.run_round()
    assert len(setting.evaluator._carried) == 1
    setting.tasks = []
    await setting.evaluator.run_round()
    assert len(setting.evaluator._carried) == 0
