"""What an experiment's definition says of its plan: checked where it is written, kept as JSON beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import ValidationError

from rtexp.errors import StateError
from rtexp.settings import StatisticsSettings, expected_of
from rtexp.statistics.plans import DecisionMetric, Direction, Guardrail
from rtexp.store.yaml_places import FaultAt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtexp.settings import Settings

SETTLE = "settle_seconds"
"""The one key of ``[statistics]`` that no experiment can have of its own."""
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
"""What YAML 1.1 takes for text, as there is no dot in it."""


class OwnPlan(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The part of a plan that the experiment itself declares."""

    decision: tuple[DecisionMetric, ...] | None = None
    """None: undeclared, so the default; empty: nothing decides."""
    guardrails: tuple[Guardrail, ...] = ()
    good: dict[str, Direction] = {}
    statistics: dict[str, int | float | str] = {}
    """Keys of ``[statistics]`` that this experiment sets itself, checked."""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(OwnPlan).decode


def encoded(plan: OwnPlan) -> str:
    """Return the text that SQL keeps: equal plans give equal texts; empty where nothing is declared."""
    return "" if plan == OwnPlan() else _encode(plan).decode()


def decoded(experiment: str, text: str) -> OwnPlan:
    """Return what `encoded` wrote; StateError for anything else, naming the experiment."""
    if not text:
        return OwnPlan()
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the plan of experiment `{experiment}` in SQL can't be read ({error}): load its definition again"
        ) from None


def check(place: str, plan: OwnPlan, settings: Settings) -> OwnPlan:
    """Return the plan with numbers as ``settings`` have them; FaultAt at what contradicts itself or them.

    ``place`` is where it stands in its file, such as ``experiments[2]``.
    """
    if SETTLE in plan.statistics:
        raise FaultAt(
            f"{place}.{SETTLE}",
            "expected in [statistics] alone: counts are frozen for the looks of all experiments "
            "alike, before any plan is asked",
        )
    statistics = merged(place, plan, settings)
    tracked = settings.actions.tracked
    named = [
        *((f"{place}.decision[{i}].event", metric.event) for i, metric in enumerate(plan.decision or ())),
        *((f"{place}.guardrails[{i}].event", guardrail.event) for i, guardrail in enumerate(plan.guardrails)),
        *((f"{place}.good", event) for event in plan.good),
    ]
    for where, event in named:
        if event not in tracked:
            raise FaultAt(
                where,
                f"`{event}` is not tracked: expected one of [actions] tracked, "
                f"which are {', '.join(tracked)}",
            )
    refuse_repeats(f"{place}.decision", [f"{m.event}, {m.metric}" for m in plan.decision or ()])
    # A metric that may neither drop nor rise has no better direction: that is what a decision metric is for.
    refuse_repeats(f"{place}.guardrails", [f"{g.event}, {g.metric}" for g in plan.guardrails])
    for i, metric in enumerate(plan.decision or ()):
        if statistics.method == "gamblers-ruin" and metric.metric == "volume":
            raise FaultAt(
                f"{place}.decision[{i}].metric",
                "expected propensity, found volume: gamblers-ruin counts each user once, so it can't judge a volume",
            )
    return msgspec.structs.replace(
        plan, statistics={key: getattr(statistics, key) for key in plan.statistics}
    )


def merged(place: str, plan: OwnPlan, settings: Settings) -> StatisticsSettings:
    """Return ``[statistics]`` with the plan's own keys instead; FaultAt if one of those isn't possible."""
    own = {key: _number(value) for key, value in plan.statistics.items()}
    try:
        statistics = StatisticsSettings.model_validate({**settings.statistics.model_dump(), **own})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = first["loc"][0]
        raise FaultAt(f"{place}.{key}", f"expected {expected_of(first)}, found `{first['input']}`") from None
    if fault := statistics.schedule_fault(settings.pipeline):
        key, expected = fault
        # Not always the key that is wrong: another method may be what makes it count.
        raise FaultAt(
            f"{place}.{key if key in own else 'method'}",
            f"expected {key} to be {expected}, found {getattr(statistics, key):g}",
        )
    return statistics


def raw_statistics(experiment: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the keys of a raw definition that are keys of ``[statistics]``."""
    return {key: experiment[key] for key in StatisticsSettings.model_fields if key in experiment}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def refuse_repeats(place: str, names: Iterable[str]) -> None:
    """Raise FaultAt if a name comes twice in a list, saying where."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in seen:
            raise FaultAt(f"{place}[{i}]", f"`{name}` is there already, as {place}[{seen[name]}]")
        seen[name] = i
