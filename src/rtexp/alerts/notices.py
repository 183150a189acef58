"""What people are told: an alert, or a condition of the pipeline, in words.

Gain and drop speak of the number, helps and harms of people, by the direction that the plan declares. No words say
that something is equal, proven or best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from rtexp.alerts.texts import Text, name, plain
from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rtexp.records.conditions import Condition
    from rtexp.records.verdicts import Alert

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell, the same for all targets."""

    id: str
    """The same over retries and restarts."""
    kind: str
    is_critical: bool
    title: Text
    sentences: tuple[Text, ...]
    link: str
    """Empty where nobody knows where the pages are."""
    record: Mapping[str, object]
    """What stands on the topic."""
    experiment: str = ""
    period_start_ms: int = 0
    users: int | None = None
    """Of the comparison, both groups together; None where it is about no comparison, or an alert of before."""

    @property
    def headline(self) -> str:
        """The title as plain text."""
        return plain(self.title)

    @property
    def body(self) -> str:
        """The sentences as plain text, one to a line."""
        return "\n".join(map(plain, self.sentences))


def of_alert(alert: Alert, pages: str) -> Notice:
    """Return an alert in words; ``pages`` is where they are, with no slash at its end, or empty."""
    users = None
    if alert.users_control is not None and alert.users_treatment is not None:
        users = alert.users_control + alert.users_treatment
    return Notice(
        id=alert.id,
        kind=alert.kind,
        # A drop without a declared direction may be harm; a gain is told in time when people are awake.
        is_critical=alert.means == "bad"
        or alert.kind in {"srm", "guardrail"}
        or (alert.kind == "significant_drop" and alert.means is None),
        title=_title(alert),
        sentences=tuple(_sentences(alert)),
        link=_link(alert, pages),
        record=msgspec.to_builtins(alert),
        experiment=alert.experiment,
        period_start_ms=alert.period_start_ms,
        users=users,
    )


def of_condition(condition: Condition, pages: str) -> Notice:
    """Return a condition of the pipeline in words."""
    title, *sentences = _condition_words(condition)
    return Notice(
        id=condition.id,
        kind=f"{condition.kind}_over" if condition.is_over else condition.kind,
        is_critical=True,  # so is that it is over: whom it woke may sleep again
        title=title,
        sentences=tuple(sentences),
        link=f"{pages}/state" if pages else "",
        record=msgspec.to_builtins(condition),
    )


def of_test(target: str, at_ms: int, pages: str) -> Notice:
    """Return what `rtexp alerts test` sends."""
    return Notice(
        id=f"test-{target}-{at_ms}",
        kind="test",
        is_critical=False,
        title=("A test of alerts, nothing has happened",),
        sentences=(("Alerts of experiments, and of the pipeline itself, will come here.",),),
        link=f"{pages}/" if pages else "",
        record={},
    )


def _title(alert: Alert) -> Text:
    experiment = name(alert.experiment)
    if alert.kind == "srm":
        return ("No verdict: the groups of ", experiment, " are not split as planned")
    metric: Text = (name(alert.event or ""), f" {alert.metric}")
    under: Text = (" under ", name(alert.group or ""), " in ", experiment)
    change = figures.lift(alert.lift) if alert.lift is not None else f"{_effect(alert.effect)} per user"
    if alert.kind == "guardrail":
        return ("Guardrail alarm: ", *metric, f" changed by {change}", *under)
    word = {"significant_gain": "A gain", "significant_drop": "A drop"}.get(alert.kind, alert.kind)
    return (f"{word} in ", *metric, f": {change}", *under)


def _sentences(alert: Alert) -> Iterator[Text]:
    hours = figures.hours(alert.scheduled_ms - alert.period_start_ms)
    if alert.kind == "srm":
        p = figures.p(alert.srm_p)
        yield (f"Users reach the groups in other shares than planned: p {p}, valid at every look.",)
        yield ("Look at assignment, logging and what is dropped.",)
        yield ("Verdicts are withheld meanwhile, since such groups can't be compared.",)
        yield (f"Seen at look {alert.look}, {hours} hours after the ramp.",)
        return
    if alert.lift is not None and (alert.lift_low is not None or alert.lift_high is not None):
        interval = figures.interval(alert.lift_low, alert.lift_high)
        yield (f"Lift {figures.lift(alert.lift)}, interval {interval}.",)
    else:
        ends = f"{_effect(alert.interval_low)} to {_effect(alert.interval_high)}"
        yield (f"Difference per user {_effect(alert.effect)}, interval {ends}.",)
    if alert.kind == "guardrail":
        yield ("This harms, by the plan. A guardrail is an alarm, not a verdict.",)
    elif alert.means is None:
        yield ("The plan doesn't declare which direction is good.",)
    else:
        yield (
            f"This {'helps' if alert.means == 'good' else 'harms'}, by the direction that the plan declares.",
        )
    users = ""
    if alert.users_control is not None and alert.users_treatment is not None:
        treatment, control = figures.count(alert.users_treatment), figures.count(alert.users_control)
        users = f", with {treatment} users and {control} in control"
    p = f"; always-valid p {figures.p(alert.p_always_valid)}" if alert.p_always_valid is not None else ""
    yield (f"Crossed the boundary at look {alert.look}, {hours} hours after the ramp{users}{p}.",)
    yield ("This holds however often the page was read.",)


def _effect(value: float | None) -> str:
    if value is None:
        return figures.NONE
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _condition_words(condition: Condition) -> Iterator[Text]:
    since, at = (f"{figures.time(ms)} UTC" for ms in (condition.since_ms, condition.at_ms))
    job = name(condition.job)
    match condition.kind, condition.is_over:
        case "stopped", False:
            yield ("No worker of ", job, f" has reported since {since}")
            yield ("What comes meanwhile isn't counted until one is back; Kafka keeps it, nothing is lost.",)
            if condition.job == "results":
                yield ("What the other jobs do can't be seen meanwhile.",)
        case "stopped", True:
            yield ("Workers of ", job, f" report again, as of {at}")
            yield (f"None had since {since}. What came meanwhile is counted now.",)
        case "store", False:
            yield (f"The SQL database hasn't answered since {since}",)
            yield ("Counting goes on; pages and numbers in SQL stand still, and catch up afterwards.",)
        case "store", True:
            yield (f"The SQL database answers again, as of {at}",)
            yield (f"It hadn't since {since}.",)
        case _, False:
            yield (f"Counts are complete only to {since}",)
            yield ("Furthest behind is ", job, ", at ", name(condition.input), ".")
            yield ("Nothing is lost: what comes later waits, and so do looks.",)
        case _:
            yield (f"Counts are up to date again, as of {at}",)
            yield (f"They had been complete only to {since}.",)


def _link(alert: Alert, pages: str) -> str:
    if not pages:
        return ""
    chosen = {
        "period": alert.period_start_ms,
        "event": alert.event,
        "metric": alert.metric,
        "group": alert.group,
    }
    if alert.kind == "guardrail":
        chosen["role"] = "guardrail"
    query = urlencode({key: value for key, value in chosen.items() if value is not None}, quote_via=quote)
    return f"{pages}/experiments/{quote(alert.experiment, safe='')}?{query}"
