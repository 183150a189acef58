"""Those who take alerts, on this machine: a web server and a mail server, real ones, whose answers are scripted."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator
    from email.message import EmailMessage
    from pathlib import Path

WITHIN_SECONDS = 60.0


@dataclass
class Received:
    """A request."""

    key: str
    headers: dict[str, str]
    raw: bytes
    at: float
    status: int

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found


@dataclass
class Receiver:
    """A web server that answers as its script says, and 200 once that is over."""

    url: str = ""
    script: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None
    seconds: float = 0.0
    """How long it thinks."""

    @property
    def taken(self) -> list[Received]:
        """What was answered with success, in order."""
        return [request for request in self.requests if request.status == 200]

    async def has(self, count: int, within_s: float = WITHIN_SECONDS) -> list[Received]:
        """Return what was taken, once it is so many."""
        async with asyncio.timeout(within_s):
            while len(self.taken) < count:  # noqa: ASYNC110 - another task, or process, sends
                await asyncio.sleep(0.02)
        return self.taken

    async def answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        status, headers = self.script.pop(0) if self.script else (200, {})
        now = asyncio.get_running_loop().time()
        self.requests.append(
            Received(request.headers["Idempotency-Key"], dict(request.headers), raw, now, status)
        )
        self.before_answer()
        await asyncio.sleep(self.seconds)
        return web.Response(status=status, headers=headers, text="whatever")


@asynccontextmanager
async def receiver(
    path: str = "/hook/s3cret", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Serve on a free port."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{any:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}"
    try:
        yield made
    finally:
        await runner.cleanup()


@dataclass
class MailServer:
    """A mail server that speaks as much SMTP as clients ask for. ``replies`` take the place of its own answers."""

    port: int = 0
    offers: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    replies: dict[str, list[str]] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    """Of each mail, whether it came over TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            verb = verb.upper()
            scripted = self.replies.get(verb, [])
            reply = scripted.pop(0) if scripted else "250 fine"
            if verb == "EHLO" and reply == "250 fine":
                reply = "\r\n".join([f"250-{offer}" for offer in ("test", *self.offers)] + ["250 HELP"])
            elif verb == "STARTTLS":
                writer.write(b"220 go on\r\n")
                assert self.tls is not None
                await writer.start_tls(self.tls)
                continue
            elif verb == "AUTH" and reply == "250 fine":
                self.logins.append(base64.b64decode(rest.split()[1]).decode().replace("\0", " ").strip())
                reply = "235 welcome"
            elif verb == "RCPT" and reply.startswith("250"):
                self.recipients.append(rest.removeprefix("TO:").strip("<>"))
            elif verb == "DATA" and reply == "250 fine":
                writer.write(b"354 go on\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(message_from_bytes(raw[:-3], policy=policy.default))
                self.encrypted.append(writer.get_extra_info("ssl_object") is not None)
            writer.write(f"{'221 bye' if verb == 'QUIT' and reply == '250 fine' else reply}\r\n".encode())
            await writer.drain()
            if verb == "QUIT":
                return


@asynccontextmanager
async def mail_server(
    *, offers: tuple[str, ...] = (), tls: ssl.SSLContext | None = None, tls_from_the_start: bool = False
) -> AsyncIterator[MailServer]:
    """Serve on a free port."""
    made = MailServer(offers=offers, tls=tls)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls if tls_from_the_start else None)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def certificate(directory: Path) -> tuple[Path, Path]:
    """Write a key, and a certificate of it for 127.0.0.1 that signs itself; return (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def every(values: Iterator[Any] | list[Any]) -> list[Any]:
    """Return values without repeats, in the order in which they first came."""
    return list(dict.fromkeys(values))
