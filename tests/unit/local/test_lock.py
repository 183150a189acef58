from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rtexp.errors import ConfigError
from rtexp.local.lock import LOCK_FILE, AlreadyRunning, directory_lock

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from rtexp.local.lock import directory_lock
with directory_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(directory: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(directory)]
    holder = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_holder_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        with (
            pytest.raises(AlreadyRunning, match=rf"{tmp_path}, as process {holder.pid}:"),
            directory_lock(tmp_path),
        ):
            pass
        holder.kill()


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        holder.kill()
        holder.wait()
        with directory_lock(tmp_path):
            assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_it_is_free_again_after_the_block_also_when_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), directory_lock(tmp_path):
        raise KeyError
    with directory_lock(tmp_path):
        pass


def test_the_directory_is_made(tmp_path: Path) -> None:
    with directory_lock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()


def test_a_directory_that_cannot_be_made_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"data directory .*file/data can't be used"),
        directory_lock(tmp_path / "file" / "data"),
    ):
        pass
