"""What a line of the overview says beside its state: the fact that matters most, and what has changed lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.core.periods import ramps_of
from rtexp.web import figures, words
from rtexp.web.summaries import SIGNIFICANT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtexp.statistics.plans import Plan
    from rtexp.store.looks import LookRow
    from rtexp.web.clocks import PageClock
    from rtexp.web.summaries import Summary

_MOST_NAMED = 3
_MOST_CHANGES = 10
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Fact(NamedTuple):
    """A few words with a symbol of the page, and whether they are good, bad or a warning."""

    text: str
    tone: str = ""
    icon: str = ""


def fact(summary: Summary) -> Fact:
    """Return what the second line of a state says."""
    row = summary.row
    if row is None:
        return Fact(_before(summary))
    if row.state == "blocked_srm":
        return Fact(f"running p {figures.p(row.srm_p)}, look {row.look}")
    if summary.alarm_rows:
        fired = summary.alarm_rows[0]
        way = "up" if (fired.lift or 0) > 0 else "down"
        by = figures.lift(fired.lift).lstrip(f"+{figures.MINUS}")
        return Fact(f"guardrail alarm: {fired.event} {way} {by}", "bad", "warn")
    return Fact(_progress(summary, row))


def _progress(summary: Summary, row: LookRow) -> str:
    if row.state in SIGNIFICANT:
        several = f"{row.group_name}; " if len(summary.experiment.groups) > 2 else ""  # noqa: PLR2004 - control and one
        return f"{several}crossed at look {summary.crossing.look}" if summary.crossing else several
    if row.state in {"collecting", "insufficient_data"}:
        return gate(row, summary.plan)
    if row.final:
        return f"{len(summary.steps)} looks, none crossed"
    to_come = (summary.looks_planned or row.look) - row.look
    return f"{to_come} look{'' if to_come == 1 else 's'} to come"


def _before(summary: Summary) -> str:
    if summary.period is None:
        return "not ramped yet"
    if summary.plan is not None and not summary.plan.decision:
        return "the plan names nothing that decides"
    if not summary.users:
        return "no activations yet"
    return "before the first look"


def gate(row: LookRow, plan: Plan | None) -> str:
    """Return how far a comparison is from being tested, or why it isn't."""
    if plan is not None and row.reason == "too_few_users":
        return (
            f"{figures.count(min(row.n_control, row.n_treatment))} of {figures.count(plan.min_users)} users"
        )
    if plan is not None and row.reason == "too_few_actors":
        return (
            f"{figures.count(min(row.a_control, row.a_treatment))} of {figures.count(plan.min_actors)} actors"
        )
    return words.reason(row.reason)


def quality(summary: Summary, *, late: bool) -> Fact:
    """Return whether a line's data may be trusted, in order of urgency."""
    if summary.row is not None and summary.row.state == "blocked_srm":
        return Fact("Sample ratio", "warn", "block")
    if summary.alarm_rows:
        return Fact("Guardrail", "bad", "warn")
    if late and summary.part != "over":
        return Fact("Behind", "warn", "warn")
    if not summary.users:
        return Fact("No users")
    return Fact("OK", "good", "ok")


def sentence(summaries: Sequence[Summary]) -> str:
    """Return what stands below the headline of the overview: who needs a person and why, then how the rest is."""
    urgent = [summary for summary in summaries if summary.part == "urgent"]
    decided = sum(summary.part == "decided" for summary in summaries)
    rest = len(summaries) - len(urgent) - decided
    said = []
    if urgent:
        named = [f"{each.experiment.name} {_trouble(each)}" for each in urgent[:_MOST_NAMED]]
        if more := len(urgent) - _MOST_NAMED:
            named += [f"{more} more"] if more > 0 else []
        said.append(f"Of these, {_listed(named)}.")
    if decided:
        is_or_are = "is" if decided == 1 else "are"
        said.append(f"{_number(decided).capitalize()} {is_or_are} decided and still measuring.")
    if rest:
        others = "The other" if said else "All"
        of_them = _number(rest) if said else ""
        show = "shows" if rest == 1 else "show"
        said.append(f"{others} {of_them} {show} no harm so far.".replace("  ", " "))
    return " ".join(said)


def _trouble(summary: Summary) -> str:
    if summary.row is not None and summary.row.state == "blocked_srm":
        return "is split unevenly"
    return "does harm" if summary.verdict == "bad" else "trips a guardrail"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else figures.count(count)


class Change(NamedTuple):
    """Something that has happened to an experiment."""

    at_ms: int
    experiment: str
    fact: Fact


def changes(summaries: Iterable[Summary], clock: PageClock) -> list[Change]:
    """Return the newest changes of all experiments, newest first."""
    every = (
        change for summary in summaries for change in _changes(summary, clock) if change.at_ms <= clock.now_ms
    )
    return sorted(every, key=lambda change: -change.at_ms)[:_MOST_CHANGES]


def _changes(summary: Summary, clock: PageClock) -> Iterator[Change]:
    name, row = summary.experiment.name, summary.row
    allocations = [(a.group, a.percent, a.at_ms) for a in summary.experiment.allocations]
    ramped: dict[int, list[str]] = {}
    ramps = set(ramps_of(allocations))
    for group, percent, at_ms in allocations:
        if (group, at_ms) in ramps:
            ramped.setdefault(at_ms, []).append(f"{group} to {percent:g}%")
    for at_ms, groups in ramped.items():
        yield Change(at_ms, name, Fact(f"ramp: {', '.join(groups)}", "", "ramp"))
    if row is None:
        return
    for old, new in zip(summary.steps, summary.steps[1:], strict=False):
        if old.state != new.state:
            state = words.state(new.state)
            tone = {"blocked_srm": "warn"}.get(new.state, "")
            if new.state in SIGNIFICANT and summary.verdict:
                tone = summary.verdict
            text = f"{row.event} {row.metric}: {state.label} at look {new.look}"
            yield Change(clock.of_look(new), name, Fact(text, tone, state.icon))
    for fired, step in zip(summary.alarm_rows, summary.alarm_steps, strict=True):
        text = f"guardrail alarm: {fired.event} {fired.metric} at look {step.look}"
        yield Change(clock.of_look(step), name, Fact(text, "bad", "warn"))
