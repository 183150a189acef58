"""The runner of the peers (`bench/peers`), without the peers."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from bench.peers.comparison import Comparison
from bench.peers.measuring import Course, PeerFigures
from bench.peers.peer_process import Said, said, started
from bench.peers.results import Results
from bench.peers.variants import HERE, PEERS

from rtexp.bench.accounting import Calibration
from rtexp.bench.cpu import CpuFigures
from rtexp.bench.standing_broker import StandingBroker
from rtexp.bench.workload import EVENTS, CellCounts, CellKey
from rtexp.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.peers.variants import Peer

BUCKET_MS = 1_700_000_100_000
CLICK = CellKey("exp001", "control", "click", BUCKET_MS)
SAVE = CellKey("exp001", "control", "save", BUCKET_MS)
EXPOSURES = CellKey("exp001", "control", "", BUCKET_MS)
TRUTH = {
    CLICK: CellCounts(volume=7, actors=3, sum_squares=19, exposures=0),
    SAVE: CellCounts(volume=1, actors=1, sum_squares=1, exposures=0),
    EXPOSURES: CellCounts(volume=0, actors=0, sum_squares=0, exposures=5),
}


def message(key: CellKey, volume: int, actors: int) -> bytes:
    return json.dumps({**key._asdict(), "volume": volume, "actors": actors}).encode()


def results(*messages: bytes) -> Results:
    taken = Results()
    for one in messages:
        taken.take(one)
    return taken


def test_the_newest_message_of_a_cell_is_what_counts() -> None:
    taken = results(message(CLICK, 2, 2), message(SAVE, 1, 1), message(CLICK, 7, 3))
    assert taken.differing(TRUTH) == 0
    assert taken.volume == 8
    assert taken.messages == 3


@pytest.mark.parametrize(
    ("messages", "differing"),
    [
        pytest.param([message(CLICK, 7, 3)], 1, id="one is missing"),
        pytest.param([message(CLICK, 8, 3), message(SAVE, 1, 1)], 1, id="a volume is wrong"),
        pytest.param([message(CLICK, 7, 4), message(SAVE, 1, 1)], 1, id="actors are wrong"),
        pytest.param(
            [message(key, 7, 3) for key in (CLICK, CLICK._replace(bucket_start_ms=0))], 2, id="another bucket"
        ),
        pytest.param([], 2, id="nothing at all"),
    ],
)
def test_cells_that_differ_from_the_truth_are_counted(messages: list[bytes], differing: int) -> None:
    assert results(*messages).differing(TRUTH) == differing


def test_peers_need_not_count_exposures() -> None:
    assert results(message(CLICK, 7, 3), message(SAVE, 1, 1)).differing(TRUTH) == 0


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"experiment": "exp001"}', id="fields are missing"),
        pytest.param(message(CLICK, 1, 1).replace(b'"actors": 1', b'"actors": 1.5'), id="no whole number"),
    ],
)
def test_a_message_of_another_kind_is_no_result(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Results().take(raw)


def test_what_a_peer_measured_is_told_from_what_it_logs() -> None:
    line = 'MEASURED {"moment":"half","cpu_seconds":12.345,"activations":60,"actions":100}'
    assert said(line) == Said("half", 12.345, 60, 100)
    assert said("[main] WARN something MEASURED {}") is None


FIRST_AND_COUNTED = """
for name in ("first", "counted"):
    print('MEASURED {"moment":"%s","cpu_seconds":1.0,"activations":5,"actions":1}' % name, flush=True)
import time
time.sleep(600)
"""


async def test_a_peer_is_followed_to_its_last_pair_and_then_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIRST_AND_COUNTED]
    async with started("peer", command, broker_pid=os.getpid(), log=tmp_path / "log") as running:
        moments = await running.counted(within_seconds=60)
        used = running.usage()
    assert [name for name, moment in moments.items() if moment.said.activations == 5] == ["first", "counted"]
    assert moments["first"].at_seconds <= moments["counted"].at_seconds
    assert used.peak_rss_mb > 1
    with pytest.raises(ProcessLookupError):
        running.usage()


async def test_a_peer_that_ends_before_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such topic')"]
    with pytest.raises(FatalError, match=r"(?s)peer ended.*no such topic"):
        async with started("peer", command, broker_pid=os.getpid(), log=tmp_path / "log") as running:
            await running.counted(within_seconds=60)
    assert "no such topic" in (tmp_path / "log").read_text()


async def test_a_peer_that_never_comes_to_its_end_is_a_failure(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(FatalError, match="hasn't counted all pairs"):
        async with started("peer", command, broker_pid=os.getpid(), log=tmp_path / "log") as running:
            await running.counted(within_seconds=0.1)


def settings_read(module: str) -> set[str]:
    """Return the settings that the Java sources of a module ask for."""
    sources = [path.read_text() for path in (HERE / module / "src").rglob("*.java")]
    return {name for text in sources for name in re.findall(r"Job\.(?:setting|number)\(\"(\w+)\"\)", text)}


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_a_peer_exists_and_is_told_all_that_it_asks_for(peer: Peer, tmp_path: Path) -> None:
    course = Course(StandingBroker("127.0.0.1:9092", 1), "activations", "actions", 5, 9, TRUTH)
    command = peer.command("java", course.settings("results"), tmp_path)
    assert (HERE / peer.module / "src/main/java" / f"{command[-1].replace('.', '/')}.java").exists()
    given = {word.removeprefix("-D").partition("=")[0] for word in command if word.startswith("-D")}
    assert settings_read("common") | settings_read(peer.module) <= given
    assert "-Dpairs=8" in command


def test_users_keep_a_bit_for_each_event() -> None:
    """`UserState` has 32."""
    assert len(EVENTS) <= 32


def rtexp(differing_cells: int = 0) -> CpuFigures:
    return CpuFigures(
        actions=1_000_000,
        joins=3_000_000,
        workers=1,
        us_an_action={"ingest-1": 1.0, "aggregate-1": 1.5, "results-1": 0.5, "broker": 9.0},
        us_an_action_in_all=3.0,
        actions_a_second_and_core=333_333.3,
        wall_seconds=4.0,
        others_cores=0.1,
        peak_rss_mb={"ingest-1": 100.0, "aggregate-1": 200.0, "results-1": 300.0, "broker": 400.0},
        whole_cpu_seconds={"ingest-1": 2.0, "aggregate-1": 2.0, "results-1": 2.0, "broker": 30.0},
        changelog_bytes_an_action=0.0,
        checkpoint_seconds=1.5,
        checkpoints_a_partition={"aggregate": 2.5},
        flushes_a_partition={},
        cells=48_800,
        differing_cells=differing_cells,
        calibration=Calibration(0.1, 0.1),
    )


def peer(name: str, us: float, differing_cells: int = 0) -> PeerFigures:
    return PeerFigures(
        name,
        us,
        us - 1,
        70.0,
        1e6 / us,
        80.0,
        0.2,
        5.0,
        900.0,
        600,
        9,
        48_000,
        differing_cells,
        Calibration(0.1, 0.1),
    )


def comparison(
    *peers: PeerFigures, own: CpuFigures | None = None, failed: Mapping[str, str] = {}
) -> Comparison:
    machine = {"date": "2026-11-21", "processors": 2, "processor": "some", "python": "3.11"}
    return Comparison(machine, 200_000, 1_000_000, 3_000_000, own or rtexp(), peers, failed)


def test_ratios_are_to_the_workers_of_rtexp_without_the_broker() -> None:
    found = comparison(peer("flink-published", 60.0), peer("kafka-streams", 15.0))
    assert found.times_rtexp() == {"flink-published": 20.0, "kafka-streams": 5.0}
    own = found.lines[0]
    assert own.peak_rss_mb == 600
    assert own.us_an_action_whole == 6.0
    assert own.broker_cpu_seconds == 9.0


def test_the_table_has_a_line_for_each_system_under_its_columns() -> None:
    head, own, other, *_ = comparison(peer("flink-published", 60.0)).table()
    assert len({len(head), len(own), len(other)}) == 1
    assert own.split()[:3] == ["rtexp", "3.00", "6.00"]
    assert "60.00      59.00      70.00       20.0     16,667        900" in other


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(comparison(peer("kafka-streams", 9.0, differing_cells=1)), id="a peer's cell"),
        pytest.param(comparison(own=rtexp(differing_cells=1)), id="a cell of ours"),
        pytest.param(comparison(failed={"kafka-streams": "ended"}), id="a peer that failed"),
    ],
)
def test_one_wrong_cell_or_failed_peer_makes_the_run_wrong(wrong: Comparison) -> None:
    assert not wrong.is_right
    assert comparison(peer("kafka-streams", 9.0)).is_right


def test_a_peer_that_failed_is_told_with_its_reason() -> None:
    assert (
        list(comparison(failed={"kafka-streams": "it ended"}).table())[-1] == "kafka-streams failed: it ended"
    )
