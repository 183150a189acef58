"""Running checks: none hides another, and none holds the whole up."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from rtexp.errors import StoreUnavailable
from rtexp.local.checks.findings import Check, Finding, in_thread, run_checks

OK = Finding("fine", "ok", "as it should be")


async def fine() -> list[Finding]:
    return [OK]


async def test_checks_are_told_in_their_order_and_a_failing_one_hides_none() -> None:
    async def mute() -> list[Finding]:
        raise StoreUnavailable("nobody answers")

    async def broken() -> list[Finding]:
        raise ZeroDivisionError("oops")

    found = await run_checks(
        [
            Check("a", mute, 9, ""),
            Check("b", broken, 9, ""),
            Check("fine", fine, 9, ""),
            Check("b", fine, 9, ""),
        ]
    )
    assert found == [
        Finding("a", "fail", "nobody answers"),
        Finding("b", "fail", "unexpected ZeroDivisionError: oops"),
        OK,
        OK,
    ]


async def test_a_check_that_takes_too_long_says_what_to_look_at() -> None:
    async def hang() -> list[Finding]:
        await asyncio.sleep(600)
        raise AssertionError

    found = await run_checks([Check("slow", hang, 0.01, "see whether it is up"), Check("fine", fine, 9, "")])
    assert found == [Finding("slow", "fail", "no answer within 0.01 s: see whether it is up"), OK]


def test_a_check_that_blocks_for_ever_is_given_up_and_the_program_ends() -> None:
    program = """
import asyncio, threading
from rtexp.local.checks.findings import Check, in_thread, run_checks
hanging = Check("slow", lambda: in_thread(threading.Event().wait), 0.01, "")
print([finding.level for finding in asyncio.run(run_checks([hanging]))])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['fail']\n", "")


async def test_what_is_raised_in_a_thread_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise StoreUnavailable("nobody answers")

    with pytest.raises(StoreUnavailable):
        await in_thread(fail)
    assert await in_thread(lambda: 5) == 5
