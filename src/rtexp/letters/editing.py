"""Piping a value through a command of the user's."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtexp.records.letters import Letter

TIMEOUT_SECONDS = 60.0
END_SECONDS = 10.0
"""For what a killed command has left in its pipes."""
MAX_OUTPUT_BYTES = 64 << 20
_CHUNK = 1 << 16
_SAID_CHARACTERS = 200


class EditFailedError(Exception):
    """A command didn't turn one value into another; the message says why."""


async def edited(
    command: str, letter: Letter, value: bytes | None, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> bytes:
    """Return what the command, run by the shell, writes when it is given the value.

    It finds LETTER_ORIGIN, LETTER_REASON and LETTER_TOPIC in its environment. EditFailedError if it ends with
    another exit code than 0, writes nothing or too much, or takes too long.
    """
    told = {
        "LETTER_ORIGIN": str(letter.origin),
        "LETTER_REASON": letter.reason,
        "LETTER_TOPIC": letter.origin.topic,
    }
    process = await asyncio.create_subprocess_shell(  # a shell, for pipes; the value only goes to its stdin
        command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | told,
        start_new_session=True,  # so that all of a pipeline can be ended
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            output, said, code = await _piped(process, value or b"")
    except BaseException as exc:
        await _end(process)
        if isinstance(exc, TimeoutError):
            raise EditFailedError(f"the command took longer than {timeout_seconds:g} s") from None
        raise
    if code != 0:
        how = f"ended with {code}" if code > 0 else f"was ended by signal {-code}"
        raise EditFailedError(f"the command {how}{f': {said}' if said else ''}")
    if not output.strip():
        raise EditFailedError(f"the command wrote nothing{f': {said}' if said else ''}")
    return output


async def _piped(process: asyncio.subprocess.Process, value: bytes) -> tuple[bytes, str, int]:
    """Return output, the first line of standard error, and the exit code; nobody reads any more when it fails."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_feed(process.stdin, value))
            output = group.create_task(_read(process.stdout, MAX_OUTPUT_BYTES))
            said = group.create_task(_first_line(process.stderr))
            code = group.create_task(process.wait())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return output.result(), said.result(), code.result()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # For asyncio a process has ended when its pipes have, and these when somebody has read what is in them.
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.communicate()


async def _feed(stdin: asyncio.StreamWriter | None, value: bytes) -> None:
    assert stdin is not None
    # Who needs no input may end without reading it.
    with suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(value)
        await stdin.drain()
    stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


async def _read(stdout: asyncio.StreamReader | None, limit: int) -> bytes:
    assert stdout is not None
    output = bytearray()
    while chunk := await stdout.read(_CHUNK):
        output += chunk
        if len(output) > limit:
            raise EditFailedError(f"the command wrote more than {limit} bytes")
    return bytes(output)


async def _first_line(stderr: asyncio.StreamReader | None) -> str:
    """Return the first line that isn't empty, as a terminal may show it; read on to the end."""
    assert stderr is not None
    kept = b""
    while chunk := await stderr.read(_CHUNK):
        kept = (kept + chunk)[:_CHUNK]
    lines = (line.strip() for line in kept.decode("utf-8", "replace").splitlines())
    return next(filter(None, lines), "")[:_SAID_CHARACTERS]
