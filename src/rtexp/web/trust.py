"""Whether an experiment's data may be trusted: one line for each thing that could be wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.store.operations import read_counters
from rtexp.web import activity, figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from rtexp.settings import Settings
    from rtexp.statistics.plans import Plan
    from rtexp.store.looks import LookRow
    from rtexp.store.operations import CounterRow
    from rtexp.web.splits import Split

_HOUR_MS = 3_600_000
_MULTIPLE_WARNING = _REFUSED_WARNING = 0.01
REFUSED = frozenset(
    {
        "null-value",
        "too-large",
        "invalid-json",
        "wrong-type",
        "missing-field",
        "empty-field",
        "time-out-of-range",
    }
)
"""Reasons of dead letters."""


class Check(NamedTuple):
    """What was looked at, what was found, and from when on that would be wrong."""

    name: str
    found: str
    limit: str
    tone: str
    """``good``, ``warn``, or empty where nothing is known."""


def checks(
    connection: Connection,
    settings: Settings,
    split: Split,
    looks: Sequence[LookRow],
    plan: Plan | None,
    *,
    now_ms: int,
) -> list[Check]:
    """Return all checks; ``looks`` are all of one comparison. What SQL doesn't know is left out."""
    found = list(_of_experiment(split, looks, plan))
    found += _of_input(read_counters(connection, since_ms=now_ms - _HOUR_MS), settings)
    return found


def _of_input(counters: Sequence[CounterRow], settings: Settings) -> Iterator[Check]:
    """Counters know no experiments: these are of all of them, in the last hour."""
    counted = [(row.job, row.reason.partition("/")[2], row.counted) for row in counters]
    read = sum(count for job, reason, count in counted if (job, reason) == ("ingest", "read"))
    refused = sum(count for job, reason, count in counted if job == "aggregate" and reason in REFUSED)
    capped = sum(count for job, reason, count in counted if (job, reason) == ("aggregate", "capped"))
    if not counted:
        return
    share = f" ({100 * refused / read:.3f}%)" if read else ""
    yield Check(
        "Input refused in all, last hour",
        f"{figures.count(refused)}{share}",
        f"warn > {100 * _REFUSED_WARNING:g}%",
        _tone(refused <= _REFUSED_WARNING * read),
    )
    cap = settings.actions.cap_per_hour
    limit = f"cap {figures.count(cap)}" if cap else "no cap"
    yield Check("Actions over the cap in all, last hour", figures.count(capped), limit, "good")


def _of_experiment(split: Split, looks: Sequence[LookRow], plan: Plan | None) -> Iterator[Check]:
    newest = looks[-1] if looks else None
    if newest is not None and newest.srm_p is not None:
        limit = f"alarm < {plan.srm_alpha:g}" if plan else ""
        yield Check(
            "Sample ratio", f"p {figures.p(newest.srm_p)}", limit, _tone(newest.state != "blocked_srm")
        )
    if split.users:
        share = split.multiple / split.users
        warning = plan.multiple_exposure_warning if plan else _MULTIPLE_WARNING
        yield Check(
            "Users seen in several groups",
            f"{figures.count(split.multiple)} ({100 * share:.2f}%)",
            f"warn > {100 * warning:g}%",
            _tone(share <= warning),
        )
    if newest is not None:
        gaps = activity.missed(looks)
        which = f" (look {gaps[0]})" if len(gaps) == 1 else ""
        yield Check("Looks missed", f"{len(gaps)}{which}", "", _tone(not gaps))
        wrong = sum(row.reason == "inconsistent_counts" for row in looks)
        yield Check("Counts consistent", f"{len(looks) - wrong} of {len(looks)} looks", "", _tone(not wrong))


def _tone(is_well: bool) -> str:  # noqa: FBT001 - private
    return "good" if is_well else "warn"
