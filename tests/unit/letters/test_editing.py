from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from rtexp.letters import editing
from rtexp.letters.editing import EditFailedError, edited
from rtexp.records.letters import Letter, Origin

if TYPE_CHECKING:
    from pathlib import Path

LETTER = Letter(Origin("clicks", 1, 7), "wrong-type", "", 1, 5, None, b"", 0)
VALUE = b'{"a": 1}\xff\x00'


async def test_what_the_command_writes_is_the_new_value_byte_for_byte() -> None:
    assert await edited("cat", LETTER, VALUE) == VALUE
    assert await edited("cat | tr a b", LETTER, b"a\n") == b"b\n"


async def test_a_value_of_megabytes_passes_through() -> None:
    large = b"x" * (10 << 20)
    assert await edited("cat", LETTER, large) == large


async def test_a_command_that_reads_nothing_does_no_harm() -> None:
    assert await edited("echo x", LETTER, b"y" * (10 << 20)) == b"x\n"


async def test_a_command_is_told_what_it_edits() -> None:
    told = await edited("echo $LETTER_ORIGIN $LETTER_REASON $LETTER_TOPIC", LETTER, None)
    assert told == b"clicks/1/7 wrong-type clicks\n"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 3", "the command ended with 3"),
        ("echo; echo 'oh  no' >&2; echo more >&2; exit 1", "the command ended with 1: oh  no"),
        ("kill -9 $$", "the command was ended by signal 9"),
        ("cat", "the command wrote nothing"),
        ("echo", "the command wrote nothing"),
        ("no-such-program-at-all", "the command ended with 127: "),
    ],
)
async def test_a_command_that_fails_or_writes_nothing_says_why(command: str, why: str) -> None:
    with pytest.raises(EditFailedError) as failed:
        await edited(command, LETTER, b" ")
    assert str(failed.value).startswith(why)


async def test_a_command_that_never_ends_is_ended_with_all_that_it_started() -> None:
    started = time.monotonic()
    with pytest.raises(EditFailedError, match=r"longer than 0\.3 s"):
        await edited("sleep 500 | sleep 500", LETTER, VALUE, timeout_seconds=0.3)
    assert time.monotonic() - started < 60


async def test_a_command_that_never_stops_writing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "MAX_OUTPUT_BYTES", 1_000_000)
    with pytest.raises(EditFailedError, match="wrote more than 1000000 bytes"):
        await edited("yes", LETTER, VALUE)


async def test_whoever_gives_up_waiting_ends_the_command(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    task = asyncio.create_task(edited(f"echo $$ > {said}; exec sleep 500", LETTER, VALUE))
    async with asyncio.timeout(60):
        while not said.exists() or not said.read_text().endswith("\n"):  # noqa: ASYNC110 - it tells nobody else
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)
