"""The way out must really be one, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rtexp.engine.failstop import EXIT_FATAL, EXIT_STUCK

if TYPE_CHECKING:
    from pathlib import Path


def run(code: str) -> subprocess.CompletedProcess[str]:
    start = (
        "import logging, sys, threading; from rtexp.engine.failstop import die, end_after\n"
        "logging.basicConfig(stream=sys.stdout, level='INFO')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, check=False
    )


def test_dying_says_why_and_cleans_nothing_up() -> None:
    ended = run("import atexit; atexit.register(print, 'cleaned up')\ndie('no broker', OSError('refused'))")
    assert ended.returncode == EXIT_FATAL
    assert "fatal: no broker" in ended.stdout
    assert "OSError: refused" in ended.stdout
    assert "cleaned up" not in ended.stdout


def test_dying_takes_the_process_along_from_any_thread() -> None:
    ended = run(
        "threading.Thread(target=die, args=('in a thread',)).start()\n"
        "threading.Event().wait(30)\nprint('survived')"
    )
    assert ended.returncode == EXIT_FATAL
    assert "survived" not in ended.stdout


def test_a_stop_that_hangs_is_ended() -> None:
    ended = run("end_after(0.05, 'stopping'); threading.Event().wait(30)")
    assert ended.returncode == EXIT_STUCK
    assert "stopping took longer than 0.05 s" in ended.stdout


def test_a_stop_that_ends_in_time_ends_as_it_likes() -> None:
    ended = run("end_after(30, 'stopping').cancel()\nend_after(30, 'another')")
    assert ended.returncode == 0, "the watchdog itself keeps nobody alive"


def test_a_data_directory_that_can_not_be_used_is_named_with_the_reason_and_what_to_do(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    done = run(
        f"""
from pathlib import Path
from rtexp.engine.app import EngineApp
from rtexp.engine.config import EngineConfig
app = EngineApp(EngineConfig(group="job", brokers=("nowhere:1",)))
app.dispatcher.directory = Path({str(tmp_path / "file" / "data")!r})
app._lock_directory()
"""
    )
    assert done.returncode == EXIT_FATAL
    assert (
        f"the data directory {tmp_path}/file/data can't be used (Not a directory): make room" in done.stdout
    )
    assert "Traceback" not in done.stdout
