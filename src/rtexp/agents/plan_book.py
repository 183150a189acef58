"""What evaluation needs of the experiments: their frozen plans and the history of their allocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.statistics.plans import decoded
from rtexp.statistics.stretches import Share

if TYPE_CHECKING:
    from rtexp.records.snapshot import FrozenPlan, Snapshot
    from rtexp.statistics.plans import Plan

Period = tuple[str, int]


class PlanBook:
    """The newest snapshot, by experiment and period; plans are decoded when they are first asked for."""

    def __init__(self) -> None:
        self.as_of_ms = 0
        """Wall clock: what had been decided by then is known. 0 before the first snapshot."""
        self._frozen: dict[Period, FrozenPlan] = {}
        self._decoded: dict[str, Plan] = {}
        self._shares: dict[str, list[Share]] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Take over a snapshot; one that isn't newer than what is known is ignored."""
        if snapshot.as_of_ms <= self.as_of_ms:
            return
        self.as_of_ms = snapshot.as_of_ms
        self._frozen = {(plan.experiment, plan.period_start_ms): plan for plan in snapshot.plans}
        used = {plan.plan_hash for plan in snapshot.plans}
        self._decoded = {name: plan for name, plan in self._decoded.items() if name in used}
        self._shares = {
            experiment.name: [Share(a.group, a.percent, a.at_ms) for a in experiment.allocations]
            for experiment in snapshot.experiments
        }

    def plan(self, period: Period) -> Plan | None:
        """Return the plan of a period; None if there is none in the snapshot."""
        frozen = self._frozen.get(period)
        if frozen is None:
            return None
        if frozen.plan_hash not in self._decoded:
            self._decoded[frozen.plan_hash] = decoded(bytes(frozen.plan))
        return self._decoded[frozen.plan_hash]

    def shares(self, experiment: str) -> list[Share]:
        """Return the allocations of an experiment, in order of time."""
        return self._shares.get(experiment, [])
