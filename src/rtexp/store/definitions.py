"""Experiments as people define them: YAML in, checked values out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import yaml

from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.statistics.plans import DecisionMetric, Direction, Guardrail, Harm, Metric
from rtexp.store import own_plans
from rtexp.store.own_plans import OwnPlan, refuse_repeats
from rtexp.store.schema import NAME_BYTES

if TYPE_CHECKING:
    from rtexp.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment, as defined or as stored; ``allocations`` in order of time, then of writing."""

    name: str
    control: str
    groups: tuple[str, ...]
    allocations: tuple[Allocation, ...]
    plan: str = ""
    """What it says of its plan, as `own_plans.encoded`; empty: nothing."""


def parse_definitions(text: str, settings: Settings) -> list[Experiment]:
    """Return the experiments of a YAML text, whose plans must be possible under ``settings``.

    UsageError at a fault, naming its place (``experiments[2].allocations[0].at``) and what was expected.
    """
    document = _load_yaml(text)
    statistics = _take_statistics(document)
    try:
        raw = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise UsageError(_placed(str(error))) from None
    experiments = []
    for i, item in enumerate(raw.experiments):
        place = f"experiments[{i}]"
        experiment = _checked(place, item)
        plan = own_plans.check(place, _own_plan(item, statistics[i]), settings)
        experiments.append(replace(experiment, plan=own_plans.encoded(plan)))
    refuse_repeats("experiments", [experiment.name for experiment in experiments])
    return experiments


class _Allocation(msgspec.Struct, forbid_unknown_fields=True):
    group: str
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]
    at: Any


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    event: str
    metric: Metric


class _Guardrail(msgspec.Struct, forbid_unknown_fields=True):
    event: str
    metric: Metric
    harm: Harm


class _Experiment(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    control: str
    groups: Annotated[list[str], msgspec.Meta(min_length=1)]
    allocations: list[_Allocation] = []
    decision: list[_Decision] | None = None
    guardrails: list[_Guardrail] = []
    good: dict[str, Direction] = {}


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    experiments: list[_Experiment]


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a repeated key, and leaves times as text: we can name their place."""

    def construct_mapping(  # PyYAML calls it with `deep` by position
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` is given twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{place}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number or time with an explicit tag
        raise UsageError(f"not YAML: {error}") from None


def _take_statistics(document: Any) -> list[dict[str, Any]]:
    """Remove from each experiment its keys of ``[statistics]``, which have a model of their own, and return them."""
    experiments = document.get("experiments") if isinstance(document, dict) else None
    taken: list[dict[str, Any]] = []
    for experiment in experiments if isinstance(experiments, list) else ():
        taken.append(own_plans.raw_statistics(experiment) if isinstance(experiment, dict) else {})
        for key in taken[-1]:
            del experiment[key]
    return taken


def _own_plan(raw: _Experiment, statistics: dict[str, Any]) -> OwnPlan:
    decision = None if raw.decision is None else [DecisionMetric(m.event, m.metric) for m in raw.decision]
    return OwnPlan(
        None if decision is None else tuple(decision),
        tuple(Guardrail(g.event, g.metric, g.harm) for g in raw.guardrails),
        raw.good,
        statistics,
    )


def _checked(place: str, raw: _Experiment) -> Experiment:
    _check_name(f"{place}.name", raw.name)
    for i, group in enumerate(raw.groups):
        _check_name(f"{place}.groups[{i}]", group)
    refuse_repeats(f"{place}.groups", raw.groups)
    if len(raw.groups) == 1:
        raise UsageError(f"{place}.groups: expected the control and at least one group to compare with it")
    if raw.control not in raw.groups:
        raise UsageError(f"{place}.control: expected one of the groups, got `{raw.control}`")
    allocations = []
    for i, item in enumerate(raw.allocations):
        if item.group not in raw.groups:
            raise UsageError(
                f"{place}.allocations[{i}].group: expected one of the groups, got `{item.group}`"
            )
        allocations.append(
            Allocation(item.group, item.percent, _epoch_ms(f"{place}.allocations[{i}].at", item.at))
        )
    refuse_repeats(f"{place}.allocations", [f"{a.group}, {a.at_ms} ms" for a in allocations])
    # The sort is stable: at the same time the order of the file decides.
    return Experiment(
        raw.name, raw.control, tuple(raw.groups), tuple(sorted(allocations, key=lambda a: a.at_ms))
    )


def _check_name(place: str, name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{place}: expected text, got half of a surrogate pair") from None
    if not 1 <= size <= NAME_BYTES:
        raise UsageError(f"{place}: expected 1 to {NAME_BYTES} bytes of UTF-8, got {size}")


def _epoch_ms(place: str, text: Any) -> int:
    """Return the time in epoch ms, rounded down; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):  # YAML makes a number of what looks like one
        raise UsageError(f"{place}: expected a time like 2023-11-14T00:00:00Z, got `{text}`") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _placed(message: str) -> str:
    """Turn msgspec's message round, so that the place comes first.

    >>> _placed("Expected `str`, got `int` - at `$.experiments[0].name`")
    'experiments[0].name: Expected `str`, got `int`'
    """
    what, at, path = message.rpartition(" - at `$")
    if not at:
        return f"{message}, at the top of the file"
    return f"{path.rstrip('`').lstrip('.')}: {what}"
