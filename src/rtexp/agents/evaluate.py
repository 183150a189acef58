"""`evaluate`: frozen sums become looks, once their plan and a snapshot taken after their time are known.

What is computed here is taken over by the task between two flushes, and goes out with the next one: verdict, history
and alerts in one transaction. A worker that dies before that has done nothing; the next one does it again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from rtexp import __version__
from rtexp.engine.api import Output
from rtexp.records import verdicts
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.plans import look_offsets_ms
from rtexp.statistics.stretches import look_input
from rtexp.tables.looks import EvaluatedLook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from structlog.typing import FilteringBoundLogger

    from rtexp.agents.plan_book import PlanBook
    from rtexp.statistics.evaluation import LookOutcome
    from rtexp.statistics.looks import FrozenSums, LookInput
    from rtexp.statistics.plans import Plan
    from rtexp.tables.buckets import Period
    from rtexp.tables.look_sums import LookSums
    from rtexp.tables.looks import LookLedger

INTERVAL_SECONDS = 0.5
PLAN_WAIT_MS = 10_000
"""How much later than sums were first seen a snapshot must be taken to say that their period has no plan: the clock
of whoever took it may be wrong by this much."""
COMPARISONS_CARRIED = 12_000
"""Of all periods together, what is carried from look to look: some 20 KB each. The others are computed anew."""
SHORT_SECONDS = 0.005
"""A look that takes this long stops counting for no longer than a batch does: it needs no thread."""


@dataclass(slots=True)
class EvaluateSensors:
    """What has been evaluated since they were made."""

    looks: int = 0
    comparisons: int = 0
    alerts: int = 0
    cpu_seconds: float = 0.0

    def note(self, outcome: LookOutcome, cpu_seconds: float) -> None:
        """Count a look."""
        self.looks += 1
        self.comparisons += len(outcome.records)
        self.alerts += len(outcome.edges)
        self.cpu_seconds += cpu_seconds


class EvaluateState(Protocol):
    """What evaluation sees of a partition's state."""

    @property
    def sums(self) -> LookSums: ...  # noqa: D102
    @property
    def looks(self) -> LookLedger: ...  # noqa: D102


class EvaluateSource(Protocol):
    """One partition that this worker owns."""

    @property
    def partition(self) -> int:
        """The partition of the experiments, in ``partials`` as in ``results``."""

    def between_flushes(self) -> AbstractAsyncContextManager[EvaluateState | None]:
        """Give the state as of the last commit; None when it isn't live."""


class Topics(NamedTuple):
    """Where looks and alerts go."""

    results: str
    alerts: str


class _Due(NamedTuple):
    frozen: FrozenSums
    look: int
    plan: Plan


class Evaluator:
    """Evaluates the looks of all partitions that this worker owns, round by round."""

    def __init__(
        self,
        book: PlanBook,
        sources: Callable[[], Iterable[EvaluateSource]],
        topics: Topics,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """``sources`` returns those of the partitions that are owned and ready at the call."""
        self._book = book
        self._sources = sources
        self._topics = topics
        self._now_ms = now_ms
        # By source too: a partition that was lost and came back has a state of its own.
        self._carried: OrderedDict[tuple[EvaluateSource, Period], _Carried] = OrderedDict()
        self._unplanned: dict[Period, int] = {}
        """When sums of periods without a plan were first seen, epoch ms."""
        self._warned_of: set[Period] = set()
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self.sensors = EvaluateSensors()

    async def run(self) -> None:
        """Evaluate until cancelled."""
        while True:
            await self.run_round()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def run_round(self) -> int:
        """Evaluate all looks that are due; return how many."""
        sources = list(self._sources())
        for key in [key for key in self._carried if key[0] not in sources]:
            del self._carried[key]
        evaluated = 0
        for source in sources:
            async with source.between_flushes() as state:
                due = [] if state is None else list(self._due(state))
            done = EvaluateSensors()
            for item in due:
                if not await self._evaluate(source, item, done):
                    break
            if done.looks:
                self._log.info(
                    "looks_evaluated",
                    partition=source.partition,
                    looks=done.looks,
                    comparisons=done.comparisons,
                    alerts=done.alerts,
                    cpu_ms=round(done.cpu_seconds * 1000),
                )
            evaluated += done.looks
        return evaluated

    def waiting(self, state: EvaluateState) -> int:
        """Return how many times may yet become looks."""
        return sum(len(waiting) for waiting in state.sums.frozen.values())

    def _due(self, state: EvaluateState) -> Iterable[_Due]:
        """Yield what can be evaluated, of each period in order of time; drop what no plan asks for."""
        for period, waiting in list(state.sums.frozen.items()):
            plan = self._book.plan(period)
            if plan is None:
                self._wait_for_plan(period, list(waiting), state.sums)
                continue
            self._unplanned.pop(period, None)
            look_at = {
                period[1] + offset: number for number, offset in enumerate(look_offsets_ms(plan), start=1)
            }
            done_ms = state.looks.evaluated_until_ms(period)
            for frozen in list(waiting):
                if frozen.at_ms <= done_ms or frozen.at_ms not in look_at:
                    state.sums.drop(frozen)
                elif frozen.at_ms < self._book.as_of_ms:
                    yield _Due(frozen, look_at[frozen.at_ms], plan)
                else:
                    break  # later ones wait for a later snapshot, too

    async def _evaluate(self, source: EvaluateSource, due: _Due, done: EvaluateSensors) -> bool:
        """Evaluate one look and hand it to its task; False if that isn't live any more."""
        frozen, plan = due.frozen, due.plan
        period = (frozen.experiment, frozen.period_start_ms)
        carried = self._carried.get((source, period))
        if carried is None:
            async with source.between_flushes() as state:
                if state is None:
                    return False
                known, comparisons = state.looks.history(period)
            evaluator = PeriodEvaluator(*period, plan, period=known, comparisons=comparisons)
            carried = _Carried(evaluator)
        given = look_input(
            frozen,
            due.look,
            groups=[plan.control, *plan.treatments],
            events=plan.events,
            shares=self._book.shares(frozen.experiment),
            bucket_ms=plan.bucket_minutes * 60_000,
        )
        outcome = await carried.look(given, self._now_ms())
        evaluator = carried.evaluator
        async with source.between_flushes() as state:
            if state is None:
                self._carried.pop((source, period), None)
                return False
            if outcome.records:
                look = EvaluatedLook(given, outcome.records)
                outputs = self._outputs(source.partition, outcome, plan)
                state.looks.note(look, evaluator.period, evaluator.comparisons, outputs)
            state.sums.drop(frozen)
        self._carry((source, period), carried)
        for sensors in (done, self.sensors):
            sensors.note(outcome, carried.cpu_seconds)
        for edge in outcome.edges:
            self._log.info("alert", kind=edge.kind, experiment=frozen.experiment, look=due.look)
        return True

    def _outputs(self, partition: int, outcome: LookOutcome, plan: Plan) -> list[Output]:
        results = [
            Output(
                self._topics.results, partition, verdicts.encode_result(record), verdicts.result_key(record)
            )
            for record in outcome.records
        ]
        alerts = [
            Output(self._topics.alerts, 0, verdicts.encode_alert(edge, plan), edge.record.experiment.encode())
            for edge in outcome.edges
        ]
        return results + alerts

    def _carry(self, key: tuple[EvaluateSource, Period], carried: _Carried) -> None:
        """Keep what the next look can go on from; of too many, those that were used longest ago are left."""
        self._carried[key] = carried
        self._carried.move_to_end(key)
        while (
            len(self._carried) > 1
            and sum(c.evaluator.size for c in self._carried.values()) > COMPARISONS_CARRIED
        ):
            self._carried.popitem(last=False)

    def _wait_for_plan(self, period: Period, waiting: Iterable[FrozenSums], sums: LookSums) -> None:
        """Drop sums whose period has no plan in a snapshot that is newer than their being seen here.

        Whoever let the period's users in knew the experiment before, so a snapshot that was taken later has the plan:
        unless the period is so old that snapshots have left it.
        """
        seen_ms = self._unplanned.setdefault(period, self._now_ms())
        if self._book.as_of_ms <= seen_ms + PLAN_WAIT_MS:
            return
        if period not in self._warned_of:
            self._warned_of.add(period)
            self._log.warning("period_without_plan", experiment=period[0], period_start_ms=period[1])
        for frozen in waiting:
            sums.drop(frozen)


class _Carried:
    """What a period's next look goes on from, and how long its last one took."""

    def __init__(self, evaluator: PeriodEvaluator) -> None:
        self.evaluator = evaluator
        self.cpu_seconds = inf
        """Of the last look; one after a restart may be long."""

    async def look(self, given: LookInput, evaluated_ms: int) -> LookOutcome:
        """Evaluate a look: in a thread, so that the worker goes on counting, unless the last one was short."""
        if self.cpu_seconds > SHORT_SECONDS:
            return await asyncio.to_thread(self._look, given, evaluated_ms)
        await asyncio.sleep(0)  # many short ones are long as well
        return self._look(given, evaluated_ms)

    def _look(self, given: LookInput, evaluated_ms: int) -> LookOutcome:
        started = time.thread_time()
        outcome = self.evaluator.look(given, evaluated_ms=evaluated_ms, version=__version__)
        self.cpu_seconds = time.thread_time() - started
        return outcome
