"""The web application behind a real uvicorn on a thread of its own, and event streams read over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import uvicorn
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.web.sites import Site

from rtexp.settings import Settings, WebSettings
from rtexp.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient
    from tests.unit.store.databases import Database

PATIENCE_SECONDS = 30.0


class Event(NamedTuple):
    kind: str
    id: str
    data: Any


class Stream:
    """One browser's event stream, read with what the standard library has."""

    def __init__(self, address: tuple[str, int], page: str = "/", *, last: str = "", token: str = "") -> None:
        self.socket = socket.create_connection(address, PATIENCE_SECONDS)
        query = urlencode({"page": page} | ({"last": last} if last else {}))
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self.socket.sendall(
            f"GET /api/v1/events?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode()
        )
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self._text = b""

    def next(self) -> Event | None:
        """Return the next event, None at the end of the stream."""
        while b"\n\n" not in self._text:
            size = int(self._file.readline().strip() or b"0", 16)
            if not size:
                return None
            self._text += self._file.read(size)
            self._file.readline()
        message, _, self._text = self._text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in message.decode().splitlines())
        return Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))

    def next_of(self, kind: str) -> Event:
        """Return the next event of a kind."""
        while (found := self.next()) is not None:
            if found.kind == kind:
                return found
        raise AssertionError(f"the stream ended without any {kind}")

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class LiveSite(Site):
    """A database that can be filled, and a server over it."""

    def __init__(self, database: Database, server: uvicorn.Server, address: tuple[str, int]) -> None:
        super().__init__(database, client=None)  # type: ignore[arg-type] # any database; asked over sockets
        self.server = server
        self.address = address
        self._streams: list[Stream] = []

    client: TestClient

    def stream(self, page: str = "/", *, last: str = "", token: str = "") -> Stream:
        stream = Stream(self.address, page, last=last, token=token)
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


@contextmanager
def live_site(
    directory: Path,
    *,
    token: str | None = None,
    web: WebSettings | None = None,
    database: Database | None = None,
) -> Iterator[LiveSite]:
    """Serve a database, by default a file in the directory."""
    database = database or SqliteFile(directory / "x.db")
    with open_database(database):
        pass
    app = create_app(Settings(store=database.settings, web=web or WebSettings()), token=token)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as bound:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        site = LiveSite(database, server, bound.getsockname())
        try:
            yield site
        finally:
            site.close()
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
