"""From frozen sums to a look's input: which counts the plan compares, and the stretches of constant weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.statistics.looks import EventSums, GroupSums, LookInput, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.statistics.looks import FrozenSums

_VOLUME, _ACTORS, _SQUARES, _EXPOSURES, _MULTIPLE = range(5)


class Share(NamedTuple):
    """A group's allocation from ``at_ms`` on."""

    group: str
    percent: float
    at_ms: int


def look_input(
    frozen: FrozenSums,
    look: int,
    *,
    groups: Sequence[str],
    events: Sequence[str],
    shares: Iterable[Share],
    bucket_ms: int,
) -> LookInput:
    """Return what look number ``look`` is computed from.

    ``groups`` and ``events`` are the plan's; ``shares`` the whole history of the experiment's allocations, in order
    of time. What the plan doesn't name is left out.
    """
    totals = np.frombuffer(frozen.totals, "<i8").reshape(-1, 5).tolist()
    sums: dict[str, dict[str, list[int]]] = {group: {} for group in groups}
    for group, event, counts in zip(frozen.groups, frozen.events, totals, strict=True):
        if group in sums:
            sums[group][event] = counts
    nothing = [0] * 5
    of_group = {
        group: GroupSums(
            found.get("", nothing)[_EXPOSURES],
            found.get("", nothing)[_MULTIPLE],
            {
                event: EventSums(counts[_VOLUME], counts[_SQUARES], counts[_ACTORS])
                for event in events
                for counts in (found.get(event, nothing),)
            },
        )
        for group, found in sums.items()
    }
    return LookInput(
        look, frozen.at_ms, of_group, _stretches(frozen, groups, list(shares), bucket_ms=bucket_ms)
    )


def _stretches(
    frozen: FrozenSums, groups: Sequence[str], shares: Sequence[Share], *, bucket_ms: int
) -> list[Stretch]:
    """Return the stretches of constant weights; a bucket in which weights change belongs to none.

    The period's first bucket belongs to one although its weights began inside it: nobody is exposed before that.
    """
    spans = _spans(groups, shares, frozen.period_start_ms, frozen.at_ms)
    stretches = []
    for start_ms, end_ms, weights in spans:
        first_ms = start_ms // bucket_ms * bucket_ms if start_ms == frozen.period_start_ms else start_ms
        exposures, multiple = dict.fromkeys(weights, 0), dict.fromkeys(weights, 0)
        counted = zip(
            frozen.exposure_buckets, frozen.exposure_groups, frozen.exposures, frozen.multiple, strict=True
        )
        for bucket, group, exposed, again in counted:
            # The last span goes on to the end of what was counted: no weights change in its last bucket.
            if (
                group in weights
                and first_ms <= bucket
                and (bucket + bucket_ms <= end_ms or end_ms == frozen.at_ms)
            ):
                exposures[group] += exposed
                multiple[group] += again
        stretches.append(Stretch(start_ms, end_ms, weights, exposures, multiple))
    return stretches


def _spans(
    groups: Sequence[str], shares: Sequence[Share], start_ms: int, end_ms: int
) -> list[tuple[int, int, dict[str, float]]]:
    """Return (start, end, weights) of the spans of time in which the weights stood still."""
    changes = sorted({start_ms, *(share.at_ms for share in shares if start_ms < share.at_ms < end_ms)})
    spans: list[tuple[int, int, dict[str, float]]] = []
    for since_ms, until_ms in zip(changes, [*changes[1:], end_ms], strict=True):
        weights = weights_at(groups, shares, since_ms)
        if spans and _alike(spans[-1][2], weights):
            spans[-1] = (spans[-1][0], until_ms, spans[-1][2])  # all groups grew in step
        else:
            spans.append((since_ms, until_ms, weights))
    return spans


def weights_at(groups: Sequence[str], shares: Iterable[Share], at_ms: int) -> dict[str, float]:
    """Return each group's planned share of the users at a time; groups without one are left out.

    >>> weights_at(["a", "b"], [Share("a", 5, 0), Share("b", 5, 0), Share("b", 15, 9)], 9)
    {'a': 0.25, 'b': 0.75}
    """
    percents = dict.fromkeys(groups, 0.0)
    for share in shares:
        if share.at_ms <= at_ms and share.group in percents:
            percents[share.group] = share.percent
    total = sum(percents.values())
    return {group: percent / total for group, percent in percents.items() if percent > 0}


def _alike(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(abs(one[group] - other[group]) < 1e-12 for group in one)  # noqa: PLR2004
