"""A way to an SQL server on which a transaction can be hit at a chosen step, as chance alone never would.

It reads what MySQL's and MariaDB's clients send, and so knows which connection is about to commit cells or looks.
Between a client and a server that speak TLS it would know nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BETWEEN_STATEMENTS, BEFORE_COMMIT, AT_COMMIT = "between statements", "before its commit", "at its commit"
"""Where the server is killed: with some rows (a look's input without the look), with all rows but no COMMIT, with the
COMMIT just sent to it."""
ANSWER_LOST = "answer to a commit lost"
"""The server has committed, and the client gets a broken connection in place of the answer."""

QUERY = b"\x03"
"""First byte of a command that is a statement."""
PUBLISHED = (b"INSERT INTO cells", b"INSERT INTO look_inputs")


class SqlProxy:
    """Listens on a port of 127.0.0.1; every connection leads to ``port``."""

    def __init__(self, port: int, kill: Callable[[], Awaitable[None]]) -> None:
        """``kill`` kills the server."""
        self._to = port
        self._kill = kill
        self._armed = ""
        self._ways: set[_Way] = set()
        self._server: asyncio.Server
        self._killing: asyncio.Task[None] | None = None
        self.hit = asyncio.Event()
        self.is_cut = False
        """Whether nobody gets through: connections are refused as soon as they are made."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        self.break_all()
        await self._server.wait_closed()

    def arm(self, step: str) -> None:
        """Do ``step`` to the next transaction that publishes; `hit` tells that it was done."""
        self.hit.clear()
        self._armed = step

    def break_all(self) -> None:
        for way in self._ways:
            way.reset()

    def cut(self) -> None:
        self.is_cut = True
        self.break_all()

    def mend(self) -> None:
        self.is_cut = False

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_cut:
                raise OSError("cut")  # noqa: TRY301 - as if nobody listened
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        way = _Way(self, writer, to_server)
        self._ways.add(way)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(way.to_server(reader))
                    group.create_task(way.to_client(from_server))
        except ExceptionGroup as errors:
            if errors.split((OSError, asyncio.IncompleteReadError))[1] is not None:
                raise
        finally:
            way.reset()
            self._ways.discard(way)

    async def before(self, way: _Way, statement: bytes) -> None:
        """Do what is to be done before a statement of ``way`` goes on to the server."""
        if not way.has_rows:
            return
        step, is_commit = self._armed, statement == b"COMMIT"
        if (step == BETWEEN_STATEMENTS and not is_commit) or (step == BEFORE_COMMIT and is_commit):
            await self._done(kill=True)
        elif step == ANSWER_LOST and is_commit:
            way.loses_answer = True

    async def after(self, way: _Way, statement: bytes) -> None:
        """Do what is to be done right after a statement has gone to the server."""
        if self._armed == AT_COMMIT and way.has_rows and statement == b"COMMIT":
            await self._done(kill=True)

    async def answer_lost(self) -> None:
        await self._done(kill=False)

    async def _done(self, *, kill: bool) -> None:
        self._armed = ""
        if kill:
            # Not with the connection: that breaks, and is given up, as soon as the server is gone.
            self._killing = asyncio.create_task(self._kill_and_tell())
            await asyncio.shield(self._killing)
        else:
            self.hit.set()

    async def _kill_and_tell(self) -> None:
        await self._kill()
        self.hit.set()


class _Way:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: SqlProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.has_rows = False
        """Whether the transaction that is under way has written some."""
        self.loses_answer = False

    def reset(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()

    async def to_server(self, reader: asyncio.StreamReader) -> None:
        while True:
            head = await reader.readexactly(4)
            payload = await reader.readexactly(int.from_bytes(head[:3], "little"))
            # The first packet of a command has the number 0; those of a login have others.
            statement = payload[1:] if head[3] == 0 and payload.startswith(QUERY) else b""
            if statement:
                await self._proxy.before(self, statement)
            self._server.write(head + payload)
            await self._server.drain()
            if statement:
                await self._proxy.after(self, statement)
                self._note(statement)

    def _note(self, statement: bytes) -> None:
        if statement.startswith(PUBLISHED):
            self.has_rows = True
        elif statement in {b"COMMIT", b"ROLLBACK"}:
            self.has_rows = False

    async def to_client(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 16):
            if self.loses_answer:
                await self._proxy.answer_lost()
                break
            self._client.write(data)
            await self._client.drain()
        self.reset()
