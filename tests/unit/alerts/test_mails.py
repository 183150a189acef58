from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tests.alert_receivers import certificate, mail_server
from tests.unit.alerts.told import notice

from rtexp.alerts.mails import MailSender
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.settings import Target

if TYPE_CHECKING:
    from pathlib import Path


def sender(port: int, **changes: Any) -> MailSender:
    values: dict[str, Any] = {
        "name": "mail",
        "kind": "email",
        "host": "localhost",
        "port": port,
        "security": "none",
        "sender": "rtexp@example.org",
        "recipients": ("a@example.org", "b@example.org"),
    }
    return MailSender(Target(**(values | changes)))


def context(directory: Path) -> tuple[ssl.SSLContext, Path]:
    cert, key = certificate(directory)
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(cert, key)
    return made, cert


async def test_a_notice_reaches_all_recipients_as_one_mail() -> None:
    async with mail_server() as server:
        assert await sender(server.port).send(notice()) == Delivered("SMTP 250")
    (mail,) = server.mails
    assert server.recipients == ["a@example.org", "b@example.org"]
    assert mail["Subject"].startswith("[rtexp] A drop in search propensity")
    assert mail["Message-ID"] == "<ab12@example.org>"
    assert "This harms" in mail.get_content()


async def test_nothing_is_said_before_tls_has_begun_and_the_certificate_was_checked(tmp_path: Path) -> None:
    tls, cert = context(tmp_path)
    (tmp_path / "password").write_text("pa ss\n")
    login = {"username": "me", "password_file": tmp_path / "password"}
    async with mail_server(offers=("STARTTLS", "AUTH PLAIN"), tls=tls) as server:
        unknown = await sender(server.port, security="starttls", **login).send(notice())
        assert unknown == Later("TLS: the server's certificate isn't accepted; see ca_file")
        assert (server.mails, server.logins) == ([], [])
        known = await sender(server.port, security="starttls", ca_file=cert, **login).send(notice())
        assert known == Delivered("SMTP 250")
    assert server.logins == ["me pa ss"]
    assert server.encrypted == [True]


async def test_tls_from_the_start_works_as_well(tmp_path: Path) -> None:
    tls, cert = context(tmp_path)
    async with mail_server(tls=tls, tls_from_the_start=True) as server:
        outcome = await sender(server.port, security="tls", ca_file=cert).send(notice())
        assert outcome == Delivered("SMTP 250")
    assert server.encrypted == [True]


async def test_a_server_that_offers_no_tls_gets_no_mail() -> None:
    async with mail_server() as server:
        outcome = await sender(server.port, security="starttls").send(notice())
        assert outcome == Later("the server doesn't offer what security or username ask for")
    assert server.mails == []


@pytest.mark.parametrize(
    ("verb", "replies", "outcome"),
    [
        ("MAIL", ["451 busy"], Later("SMTP 451: refused")),
        ("MAIL", ["550 no"], Never("SMTP 550: refused")),
        ("DATA", ["554 spam"], Never("SMTP 554: refused")),
        ("RCPT", ["550 who", "550 who"], Never("SMTP 550: all recipients refused")),
        ("RCPT", ["550 who", "450 busy"], Later("SMTP 450: all recipients refused")),
        ("RCPT", ["550 who"], Delivered("SMTP 250, 1 recipients refused")),
    ],
)
async def test_what_a_server_refuses_for_good_is_told_from_what_may_succeed_later(
    verb: str, replies: list[str], outcome: object
) -> None:
    async with mail_server() as server:
        server.replies[verb] = list(replies)
        assert await sender(server.port).send(notice()) == outcome


async def test_a_login_that_is_refused_is_tried_again_and_no_reason_holds_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret")
    async with mail_server(offers=("AUTH PLAIN",)) as server:
        server.replies["AUTH"] = ["535 s3cret is wrong"] * 2
        made = sender(server.port, username="me", password_file=tmp_path / "password")
        assert await made.send(notice()) == Later("SMTP 535: the login is refused")


async def test_a_server_that_is_not_there_is_tried_later() -> None:
    async with mail_server() as server:
        port = server.port
    outcome = await sender(port).send(notice())
    assert outcome == Later("no connection: Connection refused")


@pytest.mark.parametrize("answer", ["421 closing", "500 what", "250 ok"])
async def test_how_a_server_says_goodbye_makes_no_mail_be_sent_again(answer: str) -> None:
    async with mail_server() as server:
        server.replies["QUIT"] = [answer]
        assert await sender(server.port).send(notice()) == Delivered("SMTP 250")
    assert len(server.mails) == 1


async def test_a_login_that_smtp_cannot_say_is_an_outcome_without_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pässword")
    async with mail_server(offers=("AUTH PLAIN",)) as server:
        made = sender(server.port, username="me", password_file=tmp_path / "password")
        assert await made.send(notice()) == Later("host, username or password: SMTP takes ASCII alone")
    assert server.mails == []
