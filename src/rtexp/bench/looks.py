"""What a look costs: all comparisons of a large experiment, from counts to records, at the end of its period."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.records.snapshot import Allocation
from rtexp.settings import ActionSettings, Settings, StatisticsSettings
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.looks import EventSums, GroupSums, LookInput, Stretch
from rtexp.statistics.plans import look_offsets_ms
from rtexp.store.definitions import Experiment
from rtexp.store.planning import resolved_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.statistics.evaluation import LookOutcome
    from rtexp.statistics.plans import Plan, Spending

EVENTS = 20
"""With two treatments and two metrics: 80 comparisons, all of which decide."""
STRONG_SHARE = 0.3
"""Of the events: treatments change them, and their p falls at nearly every look, which is what costs."""
_NAME = "large"
_CONTROL, _TREATMENTS = "control", ("one", "two")
_GROUPS = (_CONTROL, *_TREATMENTS)
_STRONG_LIFT = 0.35
_ACTIONS_A_USER = 0.3
_USERS_A_LOOK = 200


class LookFigures(NamedTuple):
    """CPU seconds for one experiment, by spending function."""

    spending: Spending
    comparisons: int
    looks: int
    crossed: int
    """Comparisons with a verdict by the last look."""
    warm_seconds: float
    """The last look, with what the looks before it have carried on."""
    resumed_seconds: float
    """The last look from the kept history: what it costs after a restart."""
    cold_seconds: float
    """All looks from nothing: what an audit costs."""


def measure_looks(every_hours: float = 1.0) -> list[LookFigures]:
    """Measure both spending functions on the same experiment: 30 % strong effects, the rest none."""
    return [_measure("obf", every_hours), _measure("pocock", every_hours)]


def _measure(spending: Spending, every_hours: float) -> LookFigures:
    plan = _plan(spending, every_hours)
    *earlier, newest = _inputs(plan)
    evaluator = PeriodEvaluator(_NAME, 0, plan)
    began = time.process_time()
    for given in earlier:
        _look(evaluator, given)
    carried = time.process_time()
    kept = copy.deepcopy((evaluator.period, evaluator.comparisons))
    before_last = time.process_time()
    last = _look(evaluator, newest)
    ended = time.process_time()
    resumed = _look(PeriodEvaluator(_NAME, 0, plan, period=kept[0], comparisons=kept[1]), newest)
    after_resumed = time.process_time()
    assert resumed == last, "a restart must not change a look"
    return LookFigures(
        spending,
        len(last.records),
        len(earlier) + 1,
        sum(record.crossed for record in last.records),
        warm_seconds=ended - before_last,
        resumed_seconds=after_resumed - ended,
        cold_seconds=carried - began + ended - before_last,
    )


def _look(evaluator: PeriodEvaluator, given: LookInput) -> LookOutcome:
    return evaluator.look(given, evaluated_ms=0, version="bench")


def _plan(spending: Spending, every_hours: float) -> Plan:
    settings = Settings(
        actions=ActionSettings(tracked=tuple(f"event-{number}" for number in range(EVENTS))),
        statistics=StatisticsSettings(spending=spending, look_every_hours=every_hours),
    )
    experiment = Experiment(_NAME, _CONTROL, _GROUPS, tuple(Allocation(group, 10.0, 0) for group in _GROUPS))
    return resolved_plan(experiment, 0, settings)


def _inputs(plan: Plan) -> Iterator[LookInput]:
    """Yield the period's looks: users arrive evenly, and their actions are final at once."""
    rng = np.random.default_rng(5)
    strong = round(STRONG_SHARE * EVENTS)
    users = 0
    sums = {group: np.zeros((EVENTS, 3), np.int64) for group in _GROUPS}
    for number, at_ms in enumerate(look_offsets_ms(plan), start=1):
        users += _USERS_A_LOOK
        for group in _GROUPS:
            rates = np.full(EVENTS, _ACTIONS_A_USER)
            rates[:strong] *= 1 if group == _CONTROL else 1 + _STRONG_LIFT
            actions = rng.poisson(rates, (_USERS_A_LOOK, EVENTS))
            sums[group] += np.stack([actions.sum(0), (actions**2).sum(0), (actions > 0).sum(0)], axis=1)
        groups = {
            group: GroupSums(
                users,
                0,
                {event: EventSums(*found) for event, found in zip(plan.events, counts.tolist(), strict=True)},
            )
            for group, counts in sums.items()
        }
        exposed = dict.fromkeys(_GROUPS, users)
        stretch = Stretch(0, at_ms, plan.weights, exposed, dict.fromkeys(_GROUPS, 0))
        yield LookInput(number, at_ms, groups, [stretch])
