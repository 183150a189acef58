"""One look after the other at one period: from counts to records, verdicts that stay, and what people must be told.

The order within a look: counts, their consistency, sample ratio, gates, statistic, bound, crossing, state. It is a
fold: the same plan and the same inputs give the same records, from the beginning or from a kept history on.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from rtexp.statistics import confidence_sequence, srm
from rtexp.statistics.adjust import benjamini_hochberg, holm
from rtexp.statistics.counts import Counts
from rtexp.statistics.effects import Effect, Metric, effect, information, interval, lift
from rtexp.statistics.histories import ComparisonHistory, ComparisonKey, PeriodHistory
from rtexp.statistics.looks import LookRecord
from rtexp.statistics.methods import (
    NOTHING_SEEN,
    ConfidenceSequence,
    GamblersRuin,
    Seen,
)
from rtexp.statistics.plan_rules import comparisons_of, rule_of
from rtexp.statistics.plans import look_offsets_ms, plan_hash
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rtexp.statistics.looks import EventSums, GroupSums, LookInput, Role, Stretch
    from rtexp.statistics.methods import Answer, Rule
    from rtexp.statistics.plans import Plan

EXPLORATORY_WITH_P = 100
"""With more exploratory comparisons than this their always-valid p isn't computed at every look."""
_HOUR_MS = 3_600_000


class Edge(NamedTuple):
    """Something has become true at this look that wasn't before: what alerts are made of."""

    kind: str
    """``significant_gain``, ``significant_drop``, ``guardrail`` or ``srm``."""
    record: LookRecord
    """Of the comparison; for ``srm``, which is about all of them, of the first."""


class LookOutcome(NamedTuple):
    """All that one look has given."""

    records: list[LookRecord]
    edges: list[Edge]


@dataclasses.dataclass(slots=True)
class _Comparison:
    key: ComparisonKey
    history: ComparisonHistory
    rule: Rule
    towards: int
    """Which sign of the effect the rule takes as positive: -1 for a guardrail against a drop."""
    level: float = 0.0
    answer: Answer = NOTHING_SEEN


class _Statistic(NamedTuple):
    """One comparison at one look, before anything is decided."""

    control: Counts
    treatment: Counts
    effect: Effect | None
    information: float
    reason: str | None
    """Why it isn't tested; None if it is."""


class _SplitTest(NamedTuple):
    log_e: float | None
    """None if the exposures can't be those of any users."""
    first_log_e: float | None
    begins: bool
    """Whether the alarm is new."""


class _LookFrame(NamedTuple):
    """What all records of one look have in common."""

    given: LookInput
    split: _SplitTest
    notes: Sequence[str]
    evaluated_ms: int
    version: str


class PeriodEvaluator:
    """The looks of one period, in order; keeps what it can carry from one to the next."""

    def __init__(
        self,
        experiment: str,
        period_start_ms: int,
        plan: Plan,
        *,
        period: PeriodHistory | None = None,
        comparisons: Mapping[ComparisonKey, ComparisonHistory] | None = None,
    ) -> None:
        """``period`` and ``comparisons`` are what `period` and `comparisons` were after an earlier look."""
        self._experiment = experiment
        self._start_ms = period_start_ms
        self._plan = plan
        self._hash = plan_hash(plan)
        self._period_ms = plan.period_hours * _HOUR_MS
        self._looks = len(look_offsets_ms(plan))
        self.period = period or PeriodHistory()
        known = comparisons or {}
        # A metric has one guardrail, and one role beside it, whatever the plan repeats.
        keys = dict.fromkeys(key for treatment in plan.treatments for key in comparisons_of(plan, treatment))
        self._with_p = sum(key.role == "exploratory" for key in keys) <= EXPLORATORY_WITH_P
        self._comparisons = [self._comparison(key, known.get(key) or ComparisonHistory()) for key in keys]

    @property
    def size(self) -> int:
        """How many comparisons there are."""
        return len(self._comparisons)

    @property
    def comparisons(self) -> dict[ComparisonKey, ComparisonHistory]:
        """What the next look needs of each comparison."""
        return {comparison.key: comparison.history for comparison in self._comparisons}

    def look(self, given: LookInput, *, evaluated_ms: int, version: str) -> LookOutcome:
        """Evaluate the next look. ``evaluated_ms`` and ``version`` are only written down.

        ValueError if it isn't later than the last one: a look that was missed is not filled in.
        """
        if given.look <= self.period.look:
            raise ValueError(f"look {given.look} comes after look {self.period.look}")
        self.period.look, self.period.scheduled_ms = given.look, given.scheduled_ms
        split = self._test_split(given.stretches)
        statistics = {
            c.key: self._observe(c, given, is_split_known=split.log_e is not None) for c in self._comparisons
        }
        before = {c.key: c.history.direction for c in self._comparisons}
        for treatment in self._plan.treatments:
            self._decide([c for c in self._comparisons if c.key.group == treatment])
        always_valid = self._always_valid()
        frame = _LookFrame(given, split, self._notes(given.groups), evaluated_ms, version)
        records = [self._record(c, statistics[c.key], always_valid[c.key], frame) for c in self._comparisons]
        return LookOutcome(records, list(self._edges(records, before, split)))

    # -- what was counted -----------------------------------------------------------------------------------

    def _test_split(self, stretches: Sequence[Stretch]) -> _SplitTest:
        """Add up the evidence of all stretches, once over all triggers and once over users' first ones."""
        period = self.period
        if not all(map(_is_consistent, stretches)):
            return _SplitTest(None, None, begins=False)
        log_e = first_log_e = 0.0
        for stretch in stretches:
            if len(stretch.weights) < 2:  # noqa: PLR2004 - a single group can't be split wrongly
                continue
            weights = list(stretch.weights.values())
            exposed = [stretch.exposures[group] for group in stretch.weights]
            first = [stretch.exposures[group] - stretch.multiple[group] for group in stretch.weights]
            log_e += srm.log_e(exposed, weights, self._plan.srm_prior)
            first_log_e += srm.log_e(first, weights, self._plan.srm_prior)
        period.srm_p = min(period.srm_p, srm.p_value(log_e))
        period.srm_first_p = min(period.srm_first_p, srm.p_value(first_log_e))
        is_alarm = min(period.srm_p, period.srm_first_p) < self._plan.srm_alpha
        begins = is_alarm and not period.srm_alarm
        period.srm_alarm = is_alarm
        return _SplitTest(log_e, first_log_e, begins)

    def _observe(self, comparison: _Comparison, given: LookInput, *, is_split_known: bool) -> _Statistic:
        """Compare the counts, and let the rule see what passes the gates."""
        key, plan = comparison.key, self._plan
        control, treatment = (
            _counts(given.groups[plan.control], key.event),
            _counts(given.groups[key.group], key.event),
        )
        metric = Metric(key.metric)
        found = effect(metric, control, treatment)
        reason: str | None = None
        is_inconsistent = isinstance(found, Undefined) and found.reason is Reason.INCONSISTENT_COUNTS
        if is_inconsistent or not is_split_known:
            return _Statistic(control, treatment, None, 0.0, Reason.INCONSISTENT_COUNTS)
        if plan.problem:
            reason = plan.problem
        elif isinstance(comparison.rule, GamblersRuin) and metric is Metric.VOLUME:
            reason = Reason.PLAN_MISSING  # it flips one coin a user: of a volume it knows nothing
        elif isinstance(found, Undefined) and found.reason is not Reason.ZERO_VARIANCE:
            reason = found.reason
        elif min(control.n, treatment.n) < plan.min_users and not isinstance(comparison.rule, GamblersRuin):
            reason = Reason.TOO_FEW_USERS
        elif min(control.a, treatment.a) < plan.min_actors and not isinstance(comparison.rule, GamblersRuin):
            reason = Reason.TOO_FEW_ACTORS
        elif isinstance(found, Undefined):
            reason = found.reason
        learnt = information(metric, control, treatment)
        if isinstance(found, Undefined):
            return _Statistic(control, treatment, None, learnt, reason)
        if reason is None:
            comparison.rule.see(self._seen(comparison, found, learnt, control, treatment))
        return _Statistic(control, treatment, found, learnt, reason)

    def _seen(
        self, comparison: _Comparison, found: Effect, learnt: float, control: Counts, treatment: Counts
    ) -> Seen:
        t = (self.period.scheduled_ms - self._start_ms) / self._period_ms
        if isinstance(comparison.rule, ConfidenceSequence):
            users = control.n + treatment.n
            p = confidence_sequence.p_look(
                found.difference, found.variance, users, comparison.rule.rho_squared
            )
            return Seen(t, users, found.z, p, control.a, treatment.a)
        return Seen(t, learnt, comparison.towards * found.z, found.p_value, control.a, treatment.a)

    # -- deciding -------------------------------------------------------------------------------------------

    def _decide(self, comparisons: Sequence[_Comparison]) -> None:
        """Ask each rule at its level: decision metrics at what Holm's procedure leaves them, the others at theirs."""
        of_treatment = self._plan.alpha / len(self._plan.treatments)
        deciding = [c for c in comparisons if c.key.role == "decision"]
        for c in comparisons:
            if c.key.role == "guardrail":
                self._ask(c, self._plan.guardrail_alpha)
            elif c.key.role == "exploratory":
                self._ask(c, of_treatment)
            elif c.history.direction:
                self._ask(c, c.history.level)
        undecided = [c for c in deciding if not c.history.direction]
        while undecided:
            # Gambler's ruin was designed for its share of all metrics: its level can't grow.
            left = len(deciding) if isinstance(undecided[0].rule, GamblersRuin) else len(undecided)
            for c in undecided:
                self._ask(c, of_treatment / left)
            remaining = [c for c in undecided if not c.history.direction]
            if len(remaining) == len(undecided):
                break
            undecided = remaining
        for c in comparisons:
            c.rule.forget_levels(c.level)

    def _ask(self, comparison: _Comparison, level: float) -> None:
        answer = comparison.rule.answer(level)
        comparison.answer, comparison.level = answer, level
        history = comparison.history
        history.evaluated = history.evaluated or answer.evaluated
        if answer.direction and not history.direction:
            history.direction, history.level = comparison.towards * answer.direction, level

    def _always_valid(self) -> dict[ComparisonKey, float | None]:
        """Return the running p of every comparison, adjusted so that a verdict is a p of at most alpha."""
        found: dict[ComparisonKey, float | None] = {}
        for treatment in self._plan.treatments:
            roles: dict[Role, list[_Comparison]] = {"decision": [], "exploratory": [], "guardrail": []}
            for c in self._comparisons:
                if c.key.group == treatment:
                    roles[c.key.role].append(c)
            for role, comparisons in roles.items():
                if not all(self._has_p(c) for c in comparisons):
                    found |= {c.key: None for c in comparisons}
                    continue
                own = [c.history.path.p for c in comparisons]
                if role != "guardrail":
                    own = [min(1.0, len(self._plan.treatments) * p) for p in own]
                    own = holm(own) if role == "decision" else benjamini_hochberg(own)
                found |= {c.key: p for c, p in zip(comparisons, own, strict=True)}
        return found

    def _has_p(self, comparison: _Comparison) -> bool:
        if isinstance(comparison.rule, GamblersRuin):
            return False
        return comparison.key.role != "exploratory" or self._with_p

    # -- what is written ------------------------------------------------------------------------------------

    def _notes(self, groups: Mapping[str, GroupSums]) -> list[str]:
        multiple = sum(group.multiple for group in groups.values())
        users = sum(group.users for group in groups.values()) - multiple
        return ["multiple_exposures"] if multiple > self._plan.multiple_exposure_warning * users else []

    def _record(
        self, comparison: _Comparison, statistic: _Statistic, always_valid: float | None, frame: _LookFrame
    ) -> LookRecord:
        given, split, notes = frame.given, frame.split, frame.notes
        key, period, answer, found = comparison.key, self.period, comparison.answer, statistic.effect
        is_tested = statistic.reason is None and answer.deferred is None
        critical_z = answer.critical_z if is_tested else None
        reason = statistic.reason or answer.deferred
        if period.srm_alarm and reason != Reason.INCONSISTENT_COUNTS:
            reason = Reason.SRM_ALARM
        crossed = comparison.history.direction != 0
        exhausted = isinstance(comparison.rule, GamblersRuin) and comparison.rule.exhausted
        final = given.look == self._looks or exhausted
        if found is not None and crossed and found.difference * comparison.history.direction < 0:
            notes = [*notes, "effect_reversed"]
        low, high = (None, None)
        shown = _Lift(None, None, None, None, None)
        if found is not None:
            # A confidence sequence's width is normal whatever the metric.
            shape = (
                dataclasses.replace(found, dof=None)
                if isinstance(comparison.rule, ConfidenceSequence)
                else found
            )
            if critical_z is not None:
                low, high = interval(shape, critical_z)
            shown = _lift(shape, critical_z)
        control, treatment = statistic.control, statistic.treatment
        return LookRecord(
            experiment=self._experiment,
            period_start_ms=self._start_ms,
            group_name=key.group,
            event=key.event,
            metric=key.metric,
            role=key.role,
            method="alpha-spending" if key.role == "guardrail" else self._plan.method,
            look=given.look,
            scheduled_ms=given.scheduled_ms,
            evaluated_ms=frame.evaluated_ms,
            n_control=control.n,
            n_treatment=treatment.n,
            s1_control=control.s1,
            s1_treatment=treatment.s1,
            s2_control=control.s2,
            s2_treatment=treatment.s2,
            a_control=control.a,
            a_treatment=treatment.a,
            effect=None if found is None else found.difference,
            std_error=None if found is None else found.std_error,
            interval_low=low,
            interval_high=high,
            lift=shown.value,
            lift_low=shown.low,
            lift_high=shown.high,
            lift_method=shown.method,
            lift_reason=shown.reason,
            p_value=None if found is None else found.p_value,
            z=None if found is None else found.z,
            information=statistic.information if found is not None else None,
            level=comparison.level,
            alpha_spent=answer.alpha_spent,
            boundary=answer.boundary if is_tested else None,
            p_always_valid=always_valid,
            srm_log_e=split.log_e,
            srm_p=period.srm_p,
            srm_first_log_e=split.first_log_e,
            srm_first_p=period.srm_first_p,
            crossed=crossed,
            withheld=crossed and period.srm_alarm,
            state=self._state(comparison, final=final),
            final=final,
            reason=None if reason is None else str(reason),
            note=", ".join(notes) or None,
            plan_hash=self._hash,
            version=frame.version,
        )

    def _state(self, comparison: _Comparison, *, final: bool) -> str:
        history = comparison.history
        if comparison.key.role == "exploratory":
            return "exploratory"
        if self.period.srm_alarm:
            return "blocked_srm"
        if history.direction:
            return "significant_gain" if history.direction > 0 else "significant_drop"
        if final:
            return "final_no_difference" if history.evaluated else "insufficient_data"
        return "no_difference_yet" if history.evaluated else "collecting"

    def _edges(
        self, records: Sequence[LookRecord], before: Mapping[ComparisonKey, int], split: _SplitTest
    ) -> Iterator[Edge]:
        if split.begins and records:
            yield Edge("srm", records[0])
        if self.period.srm_alarm:
            return  # verdicts are withheld, also those that come later
        for comparison, record in zip(self._comparisons, records, strict=True):
            is_new = comparison.history.direction != 0 and before[comparison.key] == 0
            if is_new and comparison.key.role == "decision":
                yield Edge(record.state, record)
            elif is_new and comparison.key.role == "guardrail":
                yield Edge("guardrail", record)

    # -- rules ----------------------------------------------------------------------------------------------

    def _comparison(self, key: ComparisonKey, history: ComparisonHistory) -> _Comparison:
        harm = next(
            (g.harm for g in self._plan.guardrails if (g.event, g.metric) == (key.event, key.metric)), None
        )
        towards = -1 if key.role == "guardrail" and harm == "drop" else 1
        return _Comparison(key, history, rule_of(self._plan, key, history.path, with_p=self._with_p), towards)


class _Lift(NamedTuple):
    value: float | None
    low: float | None
    high: float | None
    method: str | None
    reason: str | None


def _lift(found: Effect, critical_z: float | None) -> _Lift:
    if found.mean_control == 0:
        return _Lift(None, None, None, None, Reason.CONTROL_MEAN_ZERO.value)
    if critical_z is None:
        return _Lift(found.difference / found.mean_control, None, None, None, None)
    shown = lift(found, critical_z)
    assert not isinstance(shown, Undefined)
    method, reason = (None if text is None else text.value for text in (shown.method, shown.reason))
    return _Lift(shown.value, shown.low, shown.high, method, reason)


def _is_consistent(stretch: Stretch) -> bool:
    return all(0 <= stretch.multiple[group] <= stretch.exposures[group] for group in stretch.weights)


def _counts(group: GroupSums, event: str) -> Counts:
    sums: EventSums = group.events[event]
    return Counts(group.users, sums.s1, sums.s2, sums.a)
