"""Versions, and ports that are free, ours, or somebody else's."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from rtexp.local.broker_files import free_port
from rtexp.local.checks import ports
from rtexp.local.checks.ports import Listener
from rtexp.local.checks.versions import judge, versions
from rtexp.settings import AlertSettings, Settings, Target, WebSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_what_runs_here_is_what_the_engine_was_written_for() -> None:
    (finding,) = versions()
    assert finding.level == "ok"
    assert "faust-streaming 0.15.3, aiokafka 0.14.0" in finding.text


def test_another_version_of_a_pinned_library_or_of_python_fails() -> None:
    found = judge((3, 10, 1), {"aiokafka": "0.14.0", "faust": "1"}, {"aiokafka": "0.15.0", "faust": None})
    assert [(f.level, f.text) for f in found] == [
        ("fail", "Python is 3.10.1: expected 3.11, 3.12 or 3.13"),
        ("fail", "aiokafka is 0.15.0: install 0.14.0 alone, as the engine overrides its methods"),
        ("fail", "faust is missing: install 1 alone, as the engine overrides its methods"),
    ]


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_port_that_nobody_has_is_free() -> None:
    port = free_port()
    finding = ports.judge(Listener("[web] port", "127.0.0.1", port))
    assert (finding.level, finding.text) == ("ok", f"[web] port: 127.0.0.1:{port} is free")
    assert ports.judge(Listener("[web] port", "127.0.0.1", 0)).text == "[web] port: any that is free"


@pytest.mark.parametrize("status", [200, 503])
def test_a_port_that_rtexp_answers_is_well(status: int) -> None:
    with answering(b'{"live": true}', status) as port:
        finding = ports.judge(Listener("[web] port", "0.0.0.0", port))
    assert (finding.level, finding.text) == ("ok", f"[web] port: rtexp answers at 0.0.0.0:{port}")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"hello": 1}'])
def test_a_port_that_another_program_has_fails(body: bytes) -> None:
    with answering(body) as port:
        finding = ports.judge(Listener("[web] port", "127.0.0.1", port))
    assert (finding.level, finding.text) == (
        "fail",
        f"[web] port: another program has 127.0.0.1:{port}: end that, or choose another port",
    )


def test_a_port_whose_owner_says_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        finding = ports.judge(Listener("[web] port", "127.0.0.1", mute.getsockname()[1]))
    assert finding.level == "fail"


def test_an_address_of_another_machine_cannot_be_listened_at() -> None:
    finding = ports.judge(Listener("[web] port", "192.0.2.1", 8000))
    assert (finding.level, "can't be listened at" in finding.text) == ("fail", True)


def test_the_ports_of_pages_workers_and_alerts_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTEXP_WEB_TOKEN", raising=False)
    web = WebSettings(port=free_port(), worker_port=0)
    targets = AlertSettings(targets=(Target(name="log", kind="log"),), port=free_port())
    found = ports.ports(Settings(web=web, alerts=targets))
    assert [finding.text.partition(":")[0] for finding in found] == [
        "[web] port",
        "[web] worker_port",
        "[alerts] port",
    ]


def test_an_address_that_needs_a_token_and_has_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTEXP_WEB_TOKEN", raising=False)
    found = ports.ports(Settings(web=WebSettings(host="0.0.0.0", port=0, worker_port=0)))
    assert [f.level for f in found] == ["ok", "ok", "fail"]
    assert "which needs a token" in found[2].text
