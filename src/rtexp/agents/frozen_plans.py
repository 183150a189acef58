"""Plans frozen: when a period begins, how it is judged is written into SQL, once and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from rtexp.core.buckets import HOUR_MS
from rtexp.records.snapshot import FrozenPlan
from rtexp.store.engine import writing
from rtexp.store.metadata import periods
from rtexp.store.planning import contradiction, resolved_plan
from rtexp.store.plans import freeze_plans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.settings import Settings
    from rtexp.store.definitions import Experiment

KEPT_MS = 24 * HOUR_MS
"""How long after its last count a period's plan is still told: results may be that far behind."""


class FrozenPlans:
    """The plans of the periods that have begun and whose counts may still change.

    As a plan in SQL never changes, it is read from there once. So a poll without a new period asks nothing.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._period_ms = settings.pipeline.period_hours * HOUR_MS
        self._kept_ms = int(settings.pipeline.grace_minutes * 60_000) + KEPT_MS
        # What a replay's clock says is unknown here: any period may be the one that it is in.
        self._has_wall_clock = settings.pipeline.clock == "live"
        self._known: dict[tuple[str, int], FrozenPlan] = {}
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    def current(self, experiments: Iterable[Experiment], now_ms: int) -> list[FrozenPlan]:
        """Return the plans, in the order of the experiments; new periods get theirs now. It blocks.

        StoreUnavailable if SQL doesn't take them: nobody may be told of a period without its plan, for what is
        judged without one stays so.
        """
        live = {
            (experiment.name, start_ms): experiment
            for experiment in experiments
            for start_ms, end_ms in periods(experiment, self._period_ms)
            if self._is_live(start_ms, end_ms, now_ms)
        }
        self._known = {key: plan for key, plan in self._known.items() if key in live}
        self._freeze({key: experiment for key, experiment in live.items() if key not in self._known})
        return [self._known[key] for key in live]

    def _is_live(self, start_ms: int, end_ms: int, now_ms: int) -> bool:
        return not self._has_wall_clock or start_ms <= now_ms < end_ms + self._kept_ms

    def _freeze(self, new: dict[tuple[str, int], Experiment]) -> None:
        if not new:
            return
        wanted = []
        for (name, start_ms), experiment in new.items():
            if fault := contradiction(experiment, self._settings):
                self._log.warning(
                    "plan_contradicts_settings",
                    experiment=name,
                    period_start_ms=start_ms,
                    error=fault,
                    act="nothing is decided in this period; load a definition that fits before the next one",
                )
            wanted.append((name, start_ms, resolved_plan(experiment, start_ms, self._settings)))
        with writing(self._engine) as connection:
            stored = freeze_plans(connection, wanted)
        for name, start_ms, hash_, plan in stored:
            frozen = FrozenPlan(name, start_ms, hash_, msgspec.Raw(plan.encode()))
            self._known[name, start_ms] = frozen
        self._log.info("plans_frozen", periods=len(stored))
