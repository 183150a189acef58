"""`rtexp demo` as a process, with a broker of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rtexp.local.broker_files import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def test_a_demo_of_some_seconds_finds_no_cell_that_differs(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTEXP_")}
    environ |= {"RTEXP_KAFKA__BROKERS": f"127.0.0.1:{free_port()}", "RTEXP_WEB__PORT": "0"}
    words = [sys.executable, "-m", "rtexp", "demo", "--seconds", "20", "--directory", "here", "--json"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["differing"], found["wrong_states"]) == (0, 0)
    assert found["cells"] > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]
