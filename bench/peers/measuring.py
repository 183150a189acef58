"""Runs one peer on the raw topics, and measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bench.peers.peer_process import COUNTED, FIRST, HALF, started
from bench.peers.results import Results, counted_cells
from bench.peers.results_topic import make_topic, reading

from rtexp.bench.accounting import Calibration, calibrate
from rtexp.bench.workload import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.peers.variants import Peer

    from rtexp.bench.standing_broker import StandingBroker
    from rtexp.bench.workload import CellCounts, CellKey

COUNT_SECONDS = 3600.0
PUBLISH_SECONDS = 180.0
"""For the last results to be committed and read: many of the peers' commit intervals."""


class PeerFigures(NamedTuple):
    """Of one run; CPU time is that of the peer's process alone, unless said otherwise."""

    name: str
    us_an_action: float
    """From its first action to its last counted pair: start, activations and the last commit are left out."""
    us_an_action_second_half: float
    """Of the second half of the actions: most of its code has been compiled by then."""
    whole_cpu_seconds: float
    """All that it used, from its start until its results could be read."""
    actions_a_second_and_core: float
    wall_seconds: float
    """From the first action to the last pair, as the next two."""
    others_cores: float
    """Processors that were busy with other things than the peer and the broker."""
    broker_cpu_seconds: float
    peak_rss_mb: float
    activations_before: int
    """How many were in the state when the first action came."""
    messages: int
    cells: int
    differing_cells: int
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Course:
    """What all peers run on."""

    broker: StandingBroker
    activations_topic: str
    actions_topic: str
    activations: int
    actions: int
    wanted: Mapping[CellKey, CellCounts]

    @property
    def pairs(self) -> int:
        """How many pairs of an action and a trigger there are."""
        return sum(counts.volume for counts in self.wanted.values())

    def settings(self, results_topic: str) -> dict[str, object]:
        """Return what a peer must be told."""
        return {
            "broker": self.broker.address,
            "activationsTopic": self.activations_topic,
            "actionsTopic": self.actions_topic,
            "resultsTopic": results_topic,
            "activations": self.activations,
            "actions": self.actions,
            "pairs": self.pairs,
            "events": ",".join(EVENTS),
        }


async def measure_peer(peer: Peer, course: Course, java: str, directory: Path) -> PeerFigures:
    """Run a peer with a results topic and a directory of its own; FatalError if it fails."""
    data = directory / peer.name
    data.mkdir(parents=True)
    topic = f"peer-{peer.name}"
    address = course.broker.address
    await make_topic(address, topic)
    results = Results()
    command = peer.command(java, course.settings(topic), data)
    calibration = calibrate()
    async with started(
        peer.name, command, broker_pid=course.broker.pid, log=directory / f"{peer.name}.log"
    ) as running:
        moments = await running.counted(within_seconds=COUNT_SECONDS)
        async with reading(address, topic, results) as reader:
            await reader.read_until(course.pairs, within_seconds=PUBLISH_SECONDS)
            whole = running.usage()
            await running.kill()  # nothing of it is needed any more
            await reader.read_rest()
    first, half, counted = (moments[name] for name in (FIRST, HALF, COUNTED))
    cpu_seconds = counted.said.cpu_seconds - first.said.cpu_seconds
    second_half_seconds = counted.said.cpu_seconds - half.said.cpu_seconds
    broker_cpu_seconds = counted.broker_cpu_seconds - first.broker_cpu_seconds
    wall_seconds = counted.at_seconds - first.at_seconds
    others = counted.machine_cpu_seconds - first.machine_cpu_seconds - cpu_seconds - broker_cpu_seconds
    return PeerFigures(
        name=peer.name,
        us_an_action=cpu_seconds * 1e6 / course.actions,
        us_an_action_second_half=second_half_seconds * 1e6 / (course.actions - half.said.actions),
        whole_cpu_seconds=whole.cpu_seconds,
        actions_a_second_and_core=course.actions / cpu_seconds,
        wall_seconds=wall_seconds,
        others_cores=max(0.0, others / wall_seconds),
        broker_cpu_seconds=broker_cpu_seconds,
        peak_rss_mb=whole.peak_rss_mb,
        activations_before=first.said.activations,
        messages=results.messages,
        cells=len(counted_cells(course.wanted)),
        differing_cells=results.differing(course.wanted),
        calibration=calibration,
    )
