"""Recompute the looks of a period from what SQL keeps of it alone, and compare every column with what was written.

A look rests on its plan, on its own input and on the looks before it. Where one of these is missing or damaged, that is
a disagreement, and what can't be recomputed for it is counted as such.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.looks import LookInput
from rtexp.statistics.plans import canonical, decoded, look_offsets_ms, plan_hash
from rtexp.store.looks import LookRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rtexp.statistics.plans import Plan
    from rtexp.store.looks import LookInputRow
    from rtexp.store.plans import StoredPlan

RELATIVE_TOLERANCE = 1e-9
"""Of numbers: another machine's libraries may round the last digits otherwise."""
NOT_COMPARED = frozenset({"evaluated_ms", "version", "sequence"})
"""They say when, by whom and in which order a row was written, and nothing of what it says."""

Comparison = tuple[str, str, str, str, str]
"""(treatment, event, metric, role, method)."""

_input_of = msgspec.json.Decoder(LookInput).decode


class Disagreement(NamedTuple):
    """Something that isn't as it would be recomputed."""

    look: int | None
    """None: it is about the whole period."""
    comparison: Comparison | None
    """None: it is about the whole look."""
    column: str
    """Of ``looks``; or ``plan``, ``inputs`` or ``row`` where all of that is meant."""
    stored: object
    recomputed: object


class PeriodAudit(NamedTuple):
    """What an audit found of one period."""

    period_start_ms: int
    looks: int
    """How many there are in SQL."""
    looks_agreeing: int
    verdicts: int
    """Rows of ``looks``."""
    verdicts_agreeing: int
    disagreements: list[Disagreement]


def audit_period(
    period_start_ms: int, plan: StoredPlan | None, inputs: Sequence[LookInputRow], rows: Sequence[LookRow]
) -> PeriodAudit:
    """Compare the rows of one period with what its plan and inputs give. Gaps in the numbers are missed looks."""
    stored: dict[int, dict[Comparison, LookRow]] = {}
    for row in rows:
        stored.setdefault(row.look, {})[_comparison(row)] = row
    given = {row.look: row for row in inputs}
    found: list[Disagreement] = []
    frozen = _readable_plan(plan, found)
    evaluator = None
    if frozen is not None and rows:
        evaluator = PeriodEvaluator(rows[0].experiment, period_start_ms, frozen)
    looks_agreeing = verdicts_agreeing = 0
    for look in sorted(stored.keys() | given.keys()):
        written, before = stored.get(look, {}), len(found)
        of_look = None
        if frozen is not None and evaluator is not None:
            of_look = _readable_input(look, given.get(look), frozen, period_start_ms, found)
        if evaluator is None or of_look is None:
            evaluator = None  # what follows rests on this look
            if before == len(found):
                found.append(Disagreement(look, None, "row", f"{len(written)} rows", "not recomputable"))
            continue
        outcome = evaluator.look(of_look, evaluated_ms=0, version="")
        recomputed = {_comparison(row): row for row in (LookRow.of(one, 0) for one in outcome.records)}
        for comparison in sorted(written.keys() | recomputed.keys()):
            faults = list(_differing(look, comparison, written.get(comparison), recomputed.get(comparison)))
            verdicts_agreeing += not faults
            found += faults
        looks_agreeing += before == len(found)
    return PeriodAudit(
        period_start_ms,
        len(stored.keys() | given.keys()),
        looks_agreeing,
        len(rows),
        verdicts_agreeing,
        found,
    )


def _comparison(row: LookRow) -> Comparison:
    return row.group_name, row.event, row.metric, row.role, row.method


def _readable_plan(stored: StoredPlan | None, found: list[Disagreement]) -> Plan | None:
    if stored is None:
        found.append(Disagreement(None, None, "plan", None, "a plan"))
        return None
    try:
        plan = decoded(stored.plan.encode())
    except msgspec.DecodeError as error:
        found.append(Disagreement(None, None, "plan", f"can't be read: {error}", "a plan"))
        return None
    if canonical(plan) != stored.plan.encode():
        found.append(Disagreement(None, None, "plan", stored.plan, canonical(plan).decode()))
    if plan_hash(plan) != stored.plan_hash:
        found.append(Disagreement(None, None, "plan_hash", stored.plan_hash, plan_hash(plan)))
    return plan


def _readable_input(
    look: int, row: LookInputRow | None, plan: Plan, period_start_ms: int, found: list[Disagreement]
) -> LookInput | None:
    """Return a look's input; None, with the reason among what was found, if it can't be used."""
    if row is None:
        found.append(Disagreement(look, None, "inputs", None, "the counts that the look rested on"))
        return None
    try:
        given = _input_of(row.inputs)
    except msgspec.DecodeError as error:
        found.append(Disagreement(look, None, "inputs", f"can't be read: {error}", "counts"))
        return None
    missing = [group for group in (plan.control, *plan.treatments) if group not in given.groups]
    missing += [
        event for group in given.groups.values() for event in plan.events if event not in group.events
    ]
    if missing:
        found.append(
            Disagreement(look, None, "inputs", f"lacks {missing[0]}", "all groups and events of the plan")
        )
        return None
    if given.look != look:
        found.append(
            Disagreement(look, None, "inputs", f"those of look {given.look}", f"those of look {look}")
        )
        return None
    offsets = look_offsets_ms(plan)
    due_ms = period_start_ms + offsets[look - 1] if 0 < look <= len(offsets) else None
    found += [
        Disagreement(look, None, "scheduled_ms", scheduled_ms, due_ms)
        for scheduled_ms in dict.fromkeys((given.scheduled_ms, row.scheduled_ms))
        if scheduled_ms != due_ms
    ]
    return given


def _differing(
    look: int, comparison: Comparison, stored: LookRow | None, recomputed: LookRow | None
) -> Iterator[Disagreement]:
    if stored is None or recomputed is None:
        yield Disagreement(look, comparison, "row", _there(stored), _there(recomputed))
        return
    was: Mapping[str, object] = stored._asdict()
    for column, value in recomputed._asdict().items():
        if column not in NOT_COMPARED and not _alike(was[column], value):
            yield Disagreement(look, comparison, column, was[column], value)


def _there(row: LookRow | None) -> str:
    return "missing" if row is None else "a row"


def _alike(stored: object, recomputed: object) -> bool:
    if isinstance(stored, float) and isinstance(recomputed, float):
        return math.isclose(stored, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)
    return stored == recomputed
