"""All clients of Kafka connect with the security of the settings: what it is, is in tests/unit/test_settings.py."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka.protocol.admin import SaslAuthenticateRequest_v0
from aiokafka.protocol.metadata import MetadataRequest_v0

from rtexp.bootstrap.common import engine_config
from rtexp.settings import KafkaSettings, Settings, security_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

SOURCE = Path(__file__).parents[3] / "src" / "rtexp"
CLIENTS = {
    "AIOKafkaConsumer",
    "AIOKafkaProducer",
    "AIOKafkaAdminClient",
    "WholeBatchConsumer",
    "make_consumer",
}


def clients() -> Iterator[tuple[str, list[str]]]:
    """Yield where a client is made, and what its keyword arguments are taken from."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLIENTS:
                taken = [ast.unparse(word.value) for word in node.keywords if word.arg is None]
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", taken


def test_every_client_is_made_with_the_options_of_the_settings() -> None:
    found = dict(clients())
    assert len(found) > 20
    known = {
        "client_options(kafka)",
        "client_options(settings.kafka)",
        "client_options(self._kafka)",
        "options",
    }
    known |= {"connection", "config.connection()", "self._options()"}
    assert {place: taken for place, taken in found.items() if not known & set(taken)} == {}


def test_a_workers_new_clients_read_the_password_anew(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("old")
    kafka = KafkaSettings(protocol="SASL_SSL", username="me", password_file=secret)
    connection = engine_config("ingest", Settings(kafka=kafka)).connection
    secret.write_text("new")
    assert connection()["sasl_plain_password"] == "new"


def test_no_login_is_logged_whatever_the_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret-password")
    security_options(KafkaSettings(protocol="SASL_SSL", username="me", password_file=secret))
    client = logging.getLogger("aiokafka.conn")
    with caplog.at_level(logging.DEBUG, client.name):
        for request in (SaslAuthenticateRequest_v0(b"\0me\0s3cret-password"), MetadataRequest_v0(["t"])):
            client.debug("Request to %s:%d %d: %s", "kafka", 9092, 1, request)
    assert "s3cret-password" not in caplog.text
    assert "MetadataRequest" in caplog.text
