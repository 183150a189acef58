"""All systems of one run beside each other, rtexp first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bench.peers.variants import PEERS

from rtexp.local.system import BROKER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.peers.measuring import PeerFigures

    from rtexp.bench.accounting import Calibration
    from rtexp.bench.cpu import CpuFigures

_TITLE_WIDTH = 36
_COLUMNS = (
    "us/action", "2nd half", "whole", "x rtexp", "act/s/core", "RSS MB", "broker s", "wall s", "others", "loop s",
    "cells", "differing",
)  # fmt: skip


class Comparison(NamedTuple):
    """What one run has found."""

    machine: Mapping[str, Any]
    users: int
    actions: int
    pairs: int
    """Of an action and a trigger that it counts for."""
    rtexp: CpuFigures
    peers: Sequence[PeerFigures]
    failed: Mapping[str, str]
    """Why, by the name of the peer."""

    @property
    def lines(self) -> list[Line]:
        """One for each system that came to its end."""
        return [_line_of_rtexp(self.rtexp), *(_line_of_peer(peer, self.actions) for peer in self.peers)]

    @property
    def is_right(self) -> bool:
        """Whether every cell of every system is."""
        return not self.failed and not any(line.differing_cells for line in self.lines)

    def times_rtexp(self) -> dict[str, float]:
        """Return by name of a peer how many times rtexp's CPU time it takes for an action."""
        own, *others = self.lines
        return {
            peer.name: line.us_an_action / own.us_an_action
            for peer, line in zip(self.peers, others, strict=True)
        }

    def table(self) -> Iterator[str]:
        """Yield a table for people, a line at a time."""
        yield f"{'':{_TITLE_WIDTH}}{''.join(f'{name:>11}' for name in _COLUMNS)}"
        own = self.lines[0]
        for line in self.lines:
            second = line.us_an_action_second_half
            values = (
                f"{line.us_an_action:.2f}",
                "" if second is None else f"{second:.2f}",
                f"{line.us_an_action_whole:.2f}",
                f"{line.us_an_action / own.us_an_action:.1f}",
                f"{1e6 / line.us_an_action:,.0f}",
                f"{line.peak_rss_mb:,.0f}",
                f"{line.broker_cpu_seconds:.1f}",
                f"{line.wall_seconds:.1f}",
                f"{line.others_cores:.2f}",
                f"{sum(line.calibration):.2f}",
                f"{line.cells:,}",
                f"{line.differing_cells:,}",
            )
            yield f"{line.title:{_TITLE_WIDTH}}{''.join(f'{value:>11}' for value in values)}"
        checkpoints = self.rtexp.checkpoints_a_partition["aggregate"]
        input_ = f"{self.actions:,} actions of {self.users:,} users, {self.pairs:,} pairs"
        yield f"{input_}; rtexp took {checkpoints:.1f} checkpoints of each partition"
        yield ", ".join(
            f"{name} {self.machine[name]}" for name in ("date", "processors", "processor", "python")
        )
        for name, why in self.failed.items():
            yield f"{name} failed: {why}"


class Line(NamedTuple):
    """Of one system; the broker left out unless it is named."""

    title: str
    us_an_action: float
    us_an_action_second_half: float | None
    """None where nobody measures it."""
    us_an_action_whole: float
    """Start, activations and the last commit included."""
    peak_rss_mb: float
    """Of all its processes together."""
    broker_cpu_seconds: float
    wall_seconds: float
    others_cores: float
    calibration: Calibration
    cells: int
    differing_cells: int


def _line_of_rtexp(figures: CpuFigures) -> Line:
    workers = [name for name in figures.us_an_action if name != BROKER]
    return Line(
        "rtexp",
        figures.us_an_action_in_all,
        None,
        sum(figures.whole_cpu_seconds[name] for name in workers) * 1e6 / figures.actions,
        sum(figures.peak_rss_mb[name] for name in workers),
        figures.us_an_action[BROKER] * figures.actions / 1e6,
        figures.wall_seconds,
        figures.others_cores,
        figures.calibration,
        figures.cells,
        figures.differing_cells,
    )


def _line_of_peer(figures: PeerFigures, actions: int) -> Line:
    return Line(
        PEERS[figures.name].title,
        figures.us_an_action,
        figures.us_an_action_second_half,
        figures.whole_cpu_seconds * 1e6 / actions,
        figures.peak_rss_mb,
        figures.broker_cpu_seconds,
        figures.wall_seconds,
        figures.others_cores,
        figures.calibration,
        figures.cells,
        figures.differing_cells,
    )
