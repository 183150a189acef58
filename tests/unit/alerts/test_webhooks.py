from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from tests.alert_receivers import certificate, receiver
from tests.unit.alerts.told import notice

from rtexp.alerts import webhooks
from rtexp.alerts.forms import as_json
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.alerts.webhooks import WebhookSender

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.alerts.outcomes import Outcome


async def sent(directory: Path, url: str, ca_file: Path | None = None) -> Outcome:
    (directory / "url").write_text(f"{url}\n")
    sender = WebhookSender(directory / "url", ca_file, as_json)
    try:
        return await sender.send(notice())
    finally:
        await sender.close()


async def test_a_notice_is_posted_with_its_key_as_json(tmp_path: Path) -> None:
    async with receiver() as taker:
        assert await sent(tmp_path, taker.url) == Delivered("HTTP 200")
    (request,) = taker.requests
    assert request.key == request.body["idempotency_key"] == "ab12"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("rtexp/")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_succeed_another_time_is_tried_later(tmp_path: Path, status: int) -> None:
    async with receiver() as taker:
        taker.script = [(status, {"Retry-After": "120"})]
        assert await sent(tmp_path, taker.url) == Later(f"HTTP {status}", 120.0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
async def test_what_the_receiver_refuses_is_never_tried_again(tmp_path: Path, status: int) -> None:
    async with receiver() as taker:
        taker.script = [(status, {})]
        assert await sent(tmp_path, taker.url) == Never(f"HTTP {status}")


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    async with receiver() as other, receiver() as taker:
        taker.script = [(307, {"Location": other.url})]
        outcome = await sent(tmp_path, taker.url)
        assert isinstance(outcome, Never)
        assert "redirects aren't followed" in outcome.reason
        assert other.requests == []


@pytest.mark.parametrize("header", ["", "soon", "-5", "1e3", "Thu, 99 Foo 2026"])
async def test_a_wish_to_wait_that_nobody_understands_is_none(tmp_path: Path, header: str) -> None:
    async with receiver() as taker:
        taker.script = [(503, {"Retry-After": header})]
        assert await sent(tmp_path, taker.url) == Later("HTTP 503")


async def test_a_receiver_may_name_the_date_until_which_to_wait(tmp_path: Path) -> None:
    async with receiver() as taker:
        until = datetime.now(UTC) + timedelta(seconds=90)
        taker.script = [(503, {"Retry-After": format_datetime(until, usegmt=True)})]
        outcome = await sent(tmp_path, taker.url)
        assert isinstance(outcome, Later)
        assert outcome.after_s is not None
        assert 60 < outcome.after_s <= 90


async def test_no_reason_holds_anything_of_the_address(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    secret = "s3cret"
    for url in (
        f"http://127.0.0.1:{port}/{secret}",
        f"http://{secret}.invalid/x",
        f"ftp://example.org/{secret}",
        f"https://example.org:{secret}/",
        f"http://127.0.0.1:{port}/a {secret}",
        f"http://[{secret}/",
        secret,
        "",
    ):
        outcome = await sent(tmp_path, url)
        assert isinstance(outcome, Later), url
        assert secret not in outcome.reason, url
        assert str(port) not in outcome.reason


async def test_a_missing_file_is_named_and_may_be_written_later(tmp_path: Path) -> None:
    sender = WebhookSender(tmp_path / "none", None, as_json)
    outcome = await sender.send(notice())
    assert isinstance(outcome, Later)
    assert str(tmp_path / "none") in outcome.reason
    async with receiver() as taker:
        (tmp_path / "none").write_text(taker.url)
        assert await sender.send(notice()) == Delivered("HTTP 200")
        await sender.close()


async def test_a_receiver_that_says_nothing_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_SECONDS", 0.1)
    async with receiver() as taker:
        taker.seconds = 1.0
        assert await sent(tmp_path, taker.url) == Later("no answer within 0.1 s")


async def test_a_receiver_that_hangs_up_is_tried_later(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await sent(tmp_path, f"http://127.0.0.1:{port}/")
        assert outcome == Later("the receiver closed the connection")


async def test_a_certificate_is_checked_against_the_file_that_is_named(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    async with receiver(tls=tls) as taker:
        url = taker.url.replace("127.0.0.1", "localhost")
        refused = await sent(tmp_path, url)
        assert refused == Later("TLS: the receiver's certificate isn't accepted; see ca_file")
        assert await sent(tmp_path, url, cert) == Delivered("HTTP 200")
        assert len(taker.requests) == 1
