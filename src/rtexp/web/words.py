"""States in words: shape first, then words, colour last; no difference shown is never called equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web import figures

if TYPE_CHECKING:
    from rtexp.store.looks import LookRow


class State(NamedTuple):
    """How a state looks: a symbol of the page, and a few words."""

    icon: str
    label: str


STATES = {
    "collecting": State("collect", "Collecting"),
    "no_difference_yet": State("yet", "No difference shown yet"),
    "significant_gain": State("gain", "Significant gain"),
    "significant_drop": State("drop", "Significant drop"),
    "blocked_srm": State("block", "Blocked: sample ratio"),
    "final_no_difference": State("final", "Final: no difference shown"),
    "insufficient_data": State("few", "Final: too little data"),
    "exploratory": State("yet", "No verdict"),
}

METRICS = {"propensity": "propensity", "volume": "volume per user"}
SIGNS = {
    "significant_gain": "\N{BLACK UP-POINTING TRIANGLE} ",
    "significant_drop": "\N{BLACK DOWN-POINTING TRIANGLE} ",
}
SIGNS["blocked_srm"] = "\N{BLACK HEXAGON} "
"""What a tab's title begins with, so that a verdict is seen in the background."""

NOTES = {
    "effect_reversed": "the newest estimate points the other way; the verdict stays",
    "multiple_exposures": "many users were seen in more than one group",
}

_WITHHELD = frozenset({"blocked_srm", "collecting", "insufficient_data"})
_GATES = frozenset({"empty_group", "group_too_small", "too_few_users", "too_few_actors"})

HEADLINES = {
    "collecting": "Collecting: too early for a first look",
    "no_difference_yet": "No difference in {metric} shown yet",
    "significant_gain": "A gain in {metric}: {lift} under {group}",
    "significant_drop": "A drop in {metric}: {lift} under {group}",
    "blocked_srm": "No verdict: the groups are not split as planned",
    "final_no_difference": "Final: no difference in {metric} shown",
    "insufficient_data": "Final: too little data for a verdict",
}

REASONS = {
    "srm_alarm": "sample ratio alarm",
    "inconsistent_counts": "its counts contradict each other",
    "plan_missing": "no plan was stored for its period",
    "plan_exhausted": "the last test of the plan is used up",
    "empty_group": "a group has no users",
    "group_too_small": "a group has too few users",
    "too_few_users": "too few users yet",
    "too_few_actors": "too few users who acted",
    "zero_variance": "all users did the same",
    "no_information_growth": "put off: hardly anything new since the look before",
    "nothing_to_spend": "put off: too early to spend any error",
}
"""Of the most frequent; others are shown by their code."""


def state(code: str) -> State:
    """Return how a state is shown; one of a newer version by its code."""
    return STATES.get(code) or State("yet", code)


def reason(code: str | None) -> str:
    """Return a reason in words, or its code in place of them."""
    return "" if code is None else REASONS.get(code) or code.replace("_", " ")


def note(codes: str) -> str:
    """Return the notes of a look in words; they are parted by commas."""
    return "; ".join(NOTES.get(code) or code.replace("_", " ") for code in codes.split(", "))


def is_shown(row: LookRow | None) -> bool:
    """Return whether figures of a look mean something: not under a broken split, and not below the plan's gates."""
    return row is not None and row.state not in _WITHHELD and row.reason not in {*_GATES, "srm_alarm"}


def headline(row: LookRow | None) -> str:
    """Return the sentence that a page begins with."""
    code = "collecting" if row is None else row.state
    if row is None or code not in HEADLINES:
        return HEADLINES["collecting"]
    return HEADLINES[code].format(
        metric=f"{row.event} {row.metric}", lift=figures.lift(row.lift), group=row.group_name
    )


def why(row: LookRow | None, crossing: LookRow | None) -> str:
    """Return up to three sentences that bear the headline out; ``crossing`` is the first look that crossed."""
    if row is None:
        return "Looks come at the times of the plan, when all that arrived before them has been counted."
    if row.state == "blocked_srm":
        return (
            "Users reach the groups in other shares than planned: look at assignment, logging and what is dropped. "
            "Lift, interval and p are withheld, since such groups can't be compared."
        )
    if row.state == "collecting" or row.reason in _GATES:
        acted = (
            f"Of {row.event}, {figures.count(row.a_treatment)} users acted under {row.group_name} and "
            f"{figures.count(row.a_control)} in control"
        )
        if row.reason in _GATES:
            return (
                f"{acted}, too few to test: {reason(row.reason)}. "
                "Lift, interval and p are left out until there are enough."
            )
        because = f": {reason(row.reason).removeprefix('put off: ')}" if row.reason else ""
        return f"{acted}. Nothing was tested yet{because}. Lift, interval and p are left out until then."
    treatment, control = (figures.mean(mean_of(row, arm), row.metric) for arm in ("treatment", "control"))
    interval = figures.interval(row.lift_low, row.lift_high)
    said = [f"{treatment} under {row.group_name}, {control} in control; interval of the lift {interval}."]
    if crossing is not None and crossing.z is not None and crossing.boundary is not None:
        said.append(
            f"Z crossed the boundary at look {crossing.look}: "
            f"{figures.z(crossing.z)} against {figures.z(crossing.boundary)}."
        )
        if row.lift_low is not None and row.lift_high is not None and row.lift_low <= 0 <= row.lift_high:
            said.append(f"The newest interval includes 0; the verdict stays from look {crossing.look}.")
        else:
            said.append("This holds however often the page was read, and later looks don't undo it.")
    elif row.reason:
        said.append(f"At look {row.look} nothing was decided: {reason(row.reason)}.")
    elif row.state in {"no_difference_yet", "final_no_difference"}:
        said.append(
            "That none was shown doesn't mean that there is none: the interval says what is possible."
        )
    return " ".join(said)


def mean_of(row: LookRow, arm: str) -> float | None:
    """Return the mean of one arm, control or treatment, per user; None without users."""
    users = row.n_control if arm == "control" else row.n_treatment
    if row.metric == "propensity":
        sum_ = row.a_control if arm == "control" else row.a_treatment
    else:
        sum_ = row.s1_control if arm == "control" else row.s1_treatment
    return sum_ / users if users else None
