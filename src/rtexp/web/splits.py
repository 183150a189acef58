"""How users are split over the groups: as planned or not, and what that would look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.statistics import srm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.statistics.plans import Plan
    from rtexp.store.cells import CellRow
    from rtexp.store.definitions import Experiment

_HOUR_MS = 3_600_000
_STEPS = 40
_MARGIN = 1.4
"""How much more than the band and the dots the scale shows."""


class Share(NamedTuple):
    """One group; shares from 0 to 1."""

    group: str
    is_control: bool
    percent: float | None
    """Its newest allocation."""
    users: int
    last_hour: int
    """Of users, in the hour that the newest bucket ends."""
    planned: float | None
    """None where the allocations' shares have changed meanwhile: no single one was planned."""
    observed: float | None
    near: tuple[float, float] | None
    """Observed shares that would raise no alarm at this number of users."""


class Split(NamedTuple):
    """Of all groups, with the ends of the scale that all of them are drawn on."""

    shares: Sequence[Share]
    low: float
    high: float
    multiple: int
    """Users seen in more than one group, each counted again in every further one."""

    @property
    def users(self) -> int:
        """All groups together."""
        return sum(share.users for share in self.shares)

    def at(self, share: float) -> float:
        """Return where a share lies on the scale, in percent of its width."""
        if self.high <= self.low:
            return 50.0
        return round(100 * min(max((share - self.low) / (self.high - self.low), 0), 1), 2)


def split_of(experiment: Experiment, plan: Plan | None, rows: Iterable[CellRow], *, end_ms: int) -> Split:
    """Return the split of a period from its cells of exposures; what is allocated from ``end_ms`` on doesn't hold."""
    users = dict.fromkeys(experiment.groups, 0)
    hour = dict.fromkeys(experiment.groups, 0)
    multiple, found = 0, [row for row in rows if row.event == ""]
    # Of the counts, not of the clock: a replay has its own time. Buckets without exposures have no rows.
    before_ms = max((row.bucket_start_ms for row in found), default=0) - _HOUR_MS
    for row in found:
        users[row.group_name] = users.get(row.group_name, 0) + row.exposures
        multiple += row.multiple_exposures
        if row.bucket_start_ms > before_ms:
            hour[row.group_name] = hour.get(row.group_name, 0) + row.exposures
    total = sum(users.values())
    percents = {a.group: a.percent for a in experiment.allocations if a.at_ms < end_ms}
    planned = _planned(experiment, plan, percents)
    shares = [
        Share(
            group,
            group == experiment.control,
            percents.get(group),
            counted,
            hour[group],
            planned.get(group),
            counted / total if total else None,
            _near(planned, plan, group, total),
        )
        for group, counted in users.items()
    ]
    drawn = [
        value
        for share in shares
        for value in (share.observed, share.planned, *(share.near or ()))
        if value is not None
    ]
    middle = sum(drawn) / len(drawn) if drawn else 0.5
    reach = max((abs(value - middle) for value in drawn), default=0.0) * _MARGIN or 0.01
    return Split(shares, max(middle - reach, 0.0), min(middle + reach, 1.0), multiple)


def _planned(experiment: Experiment, plan: Plan | None, percents: Mapping[str, float]) -> Mapping[str, float]:
    """Return the plan's shares, if the newest allocations have the same ones."""
    total = sum(percents.values())
    if plan is None or not total:
        return {}
    now = {group: percents.get(group, 0.0) / total for group in experiment.groups}
    same = all(abs(now.get(group, 0.0) - share) < 1e-9 for group, share in plan.weights.items())  # noqa: PLR2004
    return plan.weights if same else {}


def _near(
    planned: Mapping[str, float], plan: Plan | None, group: str, total: int
) -> tuple[float, float] | None:
    """Return the shares of one group, the others as planned among themselves, between which no alarm is raised."""
    share = planned.get(group, 0.0)
    if plan is None or not total or not 0 < share < 1:
        return None
    weights = [share, *(weight for name, weight in planned.items() if name != group)]

    def is_near(observed: float) -> bool:
        others = [round(total * (1 - observed) * weight / (1 - share)) for weight in weights[1:]]
        evidence = srm.log_e([round(total * observed), *others], weights, plan.srm_prior)
        return srm.p_value(evidence) >= plan.srm_alpha

    ends = []
    for bound in (0.0, 1.0):
        inside, outside = share, bound
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if is_near(middle) else (inside, middle)
        ends.append(inside)
    return ends[0], ends[1]
