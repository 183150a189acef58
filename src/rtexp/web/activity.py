"""What has happened in a period: ramps, changes of state, looks that were missed or noted something."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web import figures, words
from rtexp.web.summaries import SIGNIFICANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rtexp.store.definitions import Experiment
    from rtexp.store.looks import LookRow
    from rtexp.web.clocks import PageClock


class Entry(NamedTuple):
    """One line of the log."""

    at_ms: int
    icon: str
    tone: str
    title: str
    detail: str = ""


class Ramp(NamedTuple):
    """Allocations that changed at one moment."""

    at_ms: int
    groups: Sequence[tuple[str, float, float]]
    """Each with its percentage before and after."""

    @property
    def text(self) -> str:
        """What changed, in words."""
        return ", ".join(f"{group} {before:g}% to {after:g}%" for group, before, after in self.groups)


def ramps_in(experiment: Experiment, *, start_ms: int, end_ms: int) -> list[Ramp]:
    """Return the changes of allocation within a period, that at its start included, in order of time."""
    percents: dict[str, float] = {}
    found: dict[int, list[tuple[str, float, float]]] = {}
    for a in experiment.allocations:
        before = percents.get(a.group, 0.0)
        if start_ms <= a.at_ms < end_ms and a.percent != before:
            found.setdefault(a.at_ms, []).append((a.group, before, a.percent))
        percents[a.group] = a.percent
    return [Ramp(at_ms, groups) for at_ms, groups in sorted(found.items())]


def missed(looks: Sequence[LookRow]) -> list[int]:
    """Return the numbers of looks that there weren't, before the newest one."""
    known = {row.look for row in looks}
    return [number for number in range(1, max(known, default=0)) if number not in known]


def activity(
    looks: Sequence[LookRow], ramps: Sequence[Ramp], clock: PageClock, *, tone: str, start_ms: int
) -> list[Entry]:
    """Return the log of a period, newest first; ``looks`` are of one comparison, ``tone`` is that of its verdict."""
    entries = list(_of_looks(looks, clock, tone))
    for ramp in ramps:
        inside = (
            "inside the running period: counts and looks go on"
            if ramp.at_ms > start_ms
            else "the period begins"
        )
        entries.append(Entry(ramp.at_ms, "ramp", "", f"Ramp: {ramp.text}", inside))
    return sorted(entries, key=lambda entry: -entry.at_ms)


def _of_looks(looks: Sequence[LookRow], clock: PageClock, tone: str) -> Iterator[Entry]:
    before: LookRow | None = None
    for row in looks:
        if before is not None and row.look > before.look + 1:
            numbers = range(before.look + 1, row.look)
            which = f"Look {numbers[0]}" if len(numbers) == 1 else f"Looks {numbers[0]} to {numbers[-1]}"
            yield Entry(
                before.scheduled_ms + (row.scheduled_ms - before.scheduled_ms) // (row.look - before.look),
                "gap",
                "warn",
                f"{which} missed",
                f"look {row.look} spends the share of what was missed",
            )
        if before is None or row.state != before.state:
            state = words.state(row.state)
            colour = tone if row.state in SIGNIFICANT else "warn" if row.state == "blocked_srm" else ""
            yield Entry(
                clock.of_look(row),
                state.icon,
                colour,
                f"{row.event} {row.metric}: {state.label}",
                _because(row),
            )
        if row.note and (before is None or row.note != before.note):
            yield Entry(clock.of_look(row), "warn", "warn", f"Look {row.look}: {words.note(row.note)}")
        before = row


def _because(row: LookRow) -> str:
    if row.reason:
        return f"look {row.look}: {words.reason(row.reason)}"
    if row.z is not None and row.boundary is not None:
        return f"Z {figures.z(row.z)} against {figures.z(row.boundary)} at look {row.look}"
    return f"look {row.look}"
