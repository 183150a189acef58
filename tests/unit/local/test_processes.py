from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtexp.local.processes import MAX_LINE_BYTES, Lines, Process


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_lines_are_the_same_however_the_output_is_cut(output: bytes, cuts: list[int]) -> None:
    whole = Lines()
    expected = whole.feed(output) + whole.finish()
    lines, found, last = Lines(), [], 0
    for cut in sorted(cuts):
        found += lines.feed(output[last:cut])
        last = max(last, cut)
    found += lines.feed(output[last:]) + lines.finish()
    assert found == expected


def test_a_last_line_without_an_end_is_not_lost() -> None:
    lines = Lines()
    assert lines.feed(b"one\r\ntw") == ["one"]
    assert lines.feed(b"o") == []
    assert lines.finish() == ["two"]
    assert lines.finish() == []


def test_a_line_without_end_comes_in_pieces_and_takes_no_more_memory() -> None:
    lines = Lines()
    pieces = lines.feed(b"x" * (2 * MAX_LINE_BYTES + 5))
    assert [len(piece) for piece in pieces] == [MAX_LINE_BYTES, MAX_LINE_BYTES]
    assert lines.finish() == ["xxxxx"]


def test_bytes_that_are_no_text_are_shown_not_raised() -> None:
    assert Lines().feed(b"\xff ok\n") == ["� ok"]


async def run(program: str, *arguments: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    process = await Process.start("child", [sys.executable, "-c", program, *arguments])
    code = await process.ended(lambda _name, line: lines.append(line))
    return code, lines


async def test_all_output_has_been_handed_over_when_the_end_is_known() -> None:
    program = "import sys; [print(i) for i in range(20_000)]; print('err', file=sys.stderr); sys.exit(3)"
    code, lines = await run(program)
    assert code == 3
    assert lines == [str(i) for i in range(20_000)] + ["err"]


async def test_a_last_line_that_a_child_did_not_end_is_handed_over() -> None:
    assert await run("print('whole'); print('half', end='')") == (0, ["whole", "half"])


async def test_a_child_leads_a_session_of_its_own_so_that_the_terminal_does_not_signal_it() -> None:
    _, lines = await run("import os; print(os.getsid(0), os.getpid())")
    session, pid = lines[0].split()
    assert session == pid != str(os.getsid(0))


async def test_a_program_that_does_not_exist_is_a_child_that_ends_and_says_so() -> None:
    lines: list[str] = []
    process = await Process.start("child", ["/no/such/program"])
    code = await process.ended(lambda _name, line: lines.append(line))
    assert (code, lines) == (1, ["/no/such/program: No such file or directory"])


async def test_signals_reach_the_program_itself() -> None:
    process = await Process.start("child", [sys.executable, "-c", "print('up', flush=True); input(); "])
    process.signal(signal.SIGKILL)
    assert await process.ended(lambda _name, _line: None) == -signal.SIGKILL
    process.signal(signal.SIGTERM)  # to one that has ended: nothing


PARENT = """
import asyncio, sys
from rtexp.local.processes import Process
async def main():
    program = "import time; print('up', flush=True); time.sleep(600)"
    child = await Process.start("child", [sys.executable, "-c", program])
    await child.ended(lambda name, line: print(child.pid, flush=True))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415 - this test alone

    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
        until = time.monotonic() + 10
        while is_running(child) and time.monotonic() < until:
            time.sleep(0.01)
        assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended; who inherits it may be slow to notice.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False
