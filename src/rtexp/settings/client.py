"""What a client of Kafka or SQL needs to connect."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from rtexp.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings.models import KafkaSettings


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments of aiokafka's clients: brokers and security.

    Reads the files that the settings name; ConfigError if one of them can't be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.brokers),
        "security_protocol": kafka.protocol,
    }
    if kafka.protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(kafka.ca_file)
    if kafka.protocol.startswith("SASL") and kafka.password_file:
        options |= {
            "sasl_mechanism": kafka.mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": read_secret("[kafka] password_file", kafka.password_file),
        }
    return options


def _ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"[kafka] ca_file: {ca_file} can't be read as certificates: {exc}") from exc


def read_secret(key: str, path: Path) -> str:
    """Return what a file holds, less the end of its last line; ConfigError with the setting ``key`` otherwise."""
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{key}: {path} can't be read: {exc}") from exc
