"""Running checks: none hides another, and none holds the whole up."""

from __future__ import annotations

import asyncio
import threading
import time

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


async def test_a_check_that_blocks_is_given_up_and_not_waited_for() -> None:
    ended = threading.Event()

    def block() -> list[Finding]:
        ended.wait(600)
        return []

    began = time.monotonic()
    try:
        found = await run_checks([Check("slow", lambda: in_thread(block), 0.01, "")])
        assert [finding.level for finding in found] == ["fail"]
        await asyncio.get_running_loop().shutdown_default_executor()  # as at the end of a program
        assert time.monotonic() - began < 300
    finally:
        ended.set()


async def test_what_is_raised_in_a_thread_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise StoreUnavailable("nobody answers")

    with pytest.raises(StoreUnavailable):
        await in_thread(fail)
    assert await in_thread(lambda: 5) == 5
