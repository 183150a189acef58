"""Experiments as people define them: YAML in, checked values out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec

from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.settings import StatisticsSettings
from rtexp.statistics.plans import DecisionMetric, Direction, Guardrail, Harm, Metric
from rtexp.store import own_plans
from rtexp.store.own_plans import OwnPlan, refuse_repeats
from rtexp.store.schema import NAME_BYTES
from rtexp.store.yaml_places import Document, FaultAt, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtexp.settings import Settings

MOST_EXPERIMENTS = 10_000
"""In SQL together: all of them are in each snapshot, which is one record."""
MOST_GROUPS = 100
MOST_ALLOCATIONS = 1_000
"""Of one experiment."""
MOST_FAULTS = 20
"""So many are told at once."""

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


@dataclass(frozen=True, slots=True)
class Definitions:
    """The experiments of a file, and where each of their parts stands in it."""

    experiments: tuple[Experiment, ...]
    document: Document
    allocations: Mapping[tuple[str, Allocation], str]
    """The place of an experiment's allocation."""

    def place(self, experiment: str, key: str, allocation: Allocation | None = None) -> str:
        """Return the place of an experiment's key, such as ``experiments[2].control``, or of one of its allocations."""
        if allocation is not None and (found := self.allocations.get((experiment, allocation))):
            return found
        index = [one.name for one in self.experiments].index(experiment)
        return f"experiments[{index}].{key}" if key else f"experiments[{index}]"


def parse_definitions(text: str, settings: Settings, source: str = "") -> Definitions:
    """Return the experiments of a YAML text, whose plans must be possible under ``settings``.

    UsageError at faults, one line each and one of each experiment at most, with line and place
    (``e.yaml:12: experiments[2].allocations[0].at``), what was expected and what was found.
    """
    document = read_yaml(text, source)
    experiments: list[Experiment] = []
    allocations: dict[tuple[str, Allocation], str] = {}
    faults: list[FaultAt] = []
    try:
        raw = _experiments(document)
    except FaultAt as fault:
        raise UsageError(document.told(fault)) from None
    for i, item in enumerate(raw):
        place = f"experiments[{i}]"
        try:
            experiment, own = _checked(place, item, document)
            plan = own_plans.check(place, own, settings)
        except FaultAt as fault:
            faults.append(fault)
        else:
            experiments.append(replace(experiment, plan=own_plans.encoded(plan)))
            for j, allocation in enumerate(item.get("allocations", ())):
                at_ms = epoch_ms("", allocation["at"])
                key = Allocation(allocation["group"], float(allocation["percent"]), at_ms)
                allocations[experiment.name, key] = f"{place}.allocations[{j}]"
    if not faults:
        try:
            refuse_repeats("experiments", [experiment.name for experiment in experiments])
        except FaultAt as fault:
            faults.append(fault)
    if faults:
        more = len(faults) - MOST_FAULTS
        lines = [document.told(fault) for fault in faults[:MOST_FAULTS]]
        raise UsageError("\n".join([*lines, f"and {more} more"] if more > 0 else lines))
    return Definitions(tuple(experiments), document, allocations)


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
    groups: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_GROUPS)]
    allocations: Annotated[list[_Allocation], msgspec.Meta(max_length=MOST_ALLOCATIONS)] = []
    decision: list[_Decision] | None = None
    guardrails: list[_Guardrail] = []
    good: dict[str, Direction] = {}


def _experiments(document: Document) -> list[Any]:
    content = document.content
    if not isinstance(content, dict):
        raise FaultAt("", f"expected the key `experiments` at the top, found {document.written('')}")
    for key in content:
        if key != "experiments":
            raise FaultAt(str(key), "there is no such key; the one at the top is `experiments`")
    if "experiments" not in content:
        raise FaultAt("", "expected the key `experiments` at the top, found no key")
    found = content["experiments"]
    if not isinstance(found, list):
        raise FaultAt("experiments", f"expected a list, found {document.written('experiments')}")
    if len(found) > MOST_EXPERIMENTS:
        raise FaultAt("experiments", f"expected at most {MOST_EXPERIMENTS:,}, found {len(found):,}")
    return found


def _own_plan(raw: _Experiment, statistics: dict[str, Any]) -> OwnPlan:
    decision = None if raw.decision is None else [DecisionMetric(m.event, m.metric) for m in raw.decision]
    return OwnPlan(
        None if decision is None else tuple(decision),
        tuple(Guardrail(g.event, g.metric, g.harm) for g in raw.guardrails),
        raw.good,
        statistics,
    )


def _checked(place: str, item: Any, document: Document) -> tuple[Experiment, OwnPlan]:
    # Keys of [statistics] have a model of their own.
    statistics = own_plans.raw_statistics(item) if isinstance(item, dict) else {}
    rest = {key: item[key] for key in item if key not in statistics} if statistics else item
    try:
        raw = msgspec.convert(rest, _Experiment)
    except msgspec.ValidationError as error:
        raise _fault(place, str(error), document) from None
    check_name(f"{place}.name", raw.name)
    for i, group in enumerate(raw.groups):
        check_name(f"{place}.groups[{i}]", group)
    refuse_repeats(f"{place}.groups", raw.groups)
    if len(raw.groups) == 1:
        raise FaultAt(f"{place}.groups", "expected the control and at least one group to compare with it")
    if raw.control not in raw.groups:
        raise FaultAt(f"{place}.control", f"expected one of the groups, found `{raw.control}`")
    allocations = []
    for i, found in enumerate(raw.allocations):
        at = f"{place}.allocations[{i}]"
        if found.group not in raw.groups:
            raise FaultAt(f"{at}.group", f"expected one of the groups, found `{found.group}`")
        allocations.append(Allocation(found.group, found.percent, epoch_ms(f"{at}.at", found.at)))
    refuse_repeats(f"{place}.allocations", [f"{a.group}, {a.at_ms} ms" for a in allocations])
    # The sort is stable: at the same time the order of the file decides.
    in_order = tuple(sorted(allocations, key=lambda a: a.at_ms))
    return Experiment(raw.name, raw.control, tuple(raw.groups), in_order), _own_plan(raw, statistics)


def check_name(place: str, name: str) -> None:
    """Raise FaultAt if an experiment or group can't be called so."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise FaultAt(place, "expected text, found half of a surrogate pair") from None
    if not 1 <= size <= NAME_BYTES:
        raise FaultAt(place, f"expected 1 to {NAME_BYTES} bytes of UTF-8, found {size}")


def epoch_ms(place: str, text: Any) -> int:
    """Return a time of ISO 8601 in epoch ms, rounded down; without a zone it is UTC. FaultAt."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):  # YAML makes a number of what looks like one
        raise FaultAt(place, f"expected a time like 2023-11-14T00:00:00Z, found `{text}`") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)


_KINDS = {
    "str": "text",
    "float": "a number",
    "array": "a list",
    "object": "keys and values",
    "array | null": "a list",
}
_CHOICES = {"metric": get_args(Metric), "harm": get_args(Harm), "good": get_args(Direction)}
_KEYS = {
    "decision": _Decision.__struct_fields__,
    "guardrails": _Guardrail.__struct_fields__,
    "allocations": _Allocation.__struct_fields__,
    "": (*_Experiment.__struct_fields__, *StatisticsSettings.model_fields),
}


def _fault(place: str, message: str, document: Document) -> FaultAt:
    """Turn what msgspec says into words of ours, with the place of the key that is meant."""
    what, _, path = message.rpartition(" - at `") if " - at `" in message else (message, "", "$")
    if path.startswith("key` in `"):
        place += path.removeprefix("key` in `").rstrip("`").lstrip("$")
        return FaultAt(place, "expected keys that are text, found another one: put it in quotes")
    place += path.rstrip("`").removeprefix("$")
    if place.endswith("[...]"):  # of `good`, whose keys are events
        return FaultAt(
            place.removesuffix("[...]"), f"expected one of {', '.join(_CHOICES['good'])} for each event"
        )
    _, _, inner = place.partition(".")
    list_name, _, key = inner.partition(".")
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", what, re.DOTALL):
        known = _KEYS[list_name.partition("[")[0]]
        close = get_close_matches(unknown[1], known, n=1)
        more = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
        return FaultAt(f"{place}.{unknown[1]}", f"there is no such key; {more}")
    return FaultAt(place, _expected(what, _CHOICES.get(key, ()), document.written(place)))


def _expected(what: str, choices: Iterable[str], found: str) -> str:
    if missing := re.fullmatch("Object missing required field `(.*)`", what):
        return f"expected the key `{missing[1]}`, which is missing"
    if what.startswith("Invalid enum value"):
        return f"expected one of {', '.join(choices)}, found {found}"
    if limit := re.fullmatch(r"Expected `(float|array)` (?:of length )?([<>]=) ([0-9.]+)", what):
        bound = f"{'at most' if limit[2] == '<=' else 'at least'} {float(limit[3]):g}"
        return f"expected {bound if limit[1] == 'float' else f'a list of {bound}'}, found {found}"
    kinds = re.fullmatch("Expected `(.*)`, got `(.*)`", what)
    if not kinds or kinds[1] not in _KINDS:
        return f"{what[:1].lower()}{what[1:]}, found {found}"
    expected = f"expected {_KINDS[kinds[1]]}, found {found}"
    if kinds[1] == "str" and kinds[2] in {"bool", "int", "float"}:
        takes = "true or false" if kinds[2] == "bool" else "a number"
        expected += f", which YAML takes for {takes}: put it in quotes"
    return expected
