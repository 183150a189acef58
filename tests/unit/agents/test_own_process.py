"""What a worker says of its process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from rtexp.agents.own_process import STARTS_NAME, OwnProcess, resident_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_each_start_with_a_directory_is_one_more_restart(tmp_path: Path) -> None:
    assert [OwnProcess(tmp_path).measure().restarts for _ in range(3)] == [0, 1, 2]
    assert OwnProcess(tmp_path / ".").measure().restarts == 3


def test_a_damaged_count_begins_anew_and_a_directory_that_is_gone_is_told_of(tmp_path: Path) -> None:
    (tmp_path / STARTS_NAME).write_bytes(b"\xff")
    assert OwnProcess(tmp_path).measure().restarts == 0
    with capture_logs() as told:
        assert OwnProcess(tmp_path / "gone").measure().restarts == 0
    assert [line["event"] for line in told] == ["start_not_counted"]


def test_memory_and_cpu_time_are_those_of_this_process(tmp_path: Path) -> None:
    process = OwnProcess(tmp_path, lambda: "http://here", clock=lambda: 12.3456)
    before = process.measure()
    held = bytearray(b"x") * (64 << 20)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    after = process.measure()
    assert (before.started_ms, before.url) == (12_345, "http://here")
    assert after.rss_bytes >= before.rss_bytes + len(held) // 2
    assert after.cpu_seconds > before.cpu_seconds
    assert resident_bytes() % 4096 == 0
