"""What a client of Kafka or SQL needs to connect."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

from rtexp.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings.models import KafkaSettings


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments of aiokafka's clients: brokers and security; see `security_options`."""
    return {"bootstrap_servers": list(kafka.brokers), **security_options(kafka)}


def security_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments of aiokafka's clients that say how to connect, but not where.

    Reads the files that the settings name; ConfigError if one of them can't be read.
    """
    logging.getLogger("aiokafka.conn").addFilter(_is_no_login)
    options: dict[str, Any] = {"security_protocol": kafka.protocol}
    if kafka.protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(kafka)
    if kafka.protocol.startswith("SASL") and kafka.password_file:
        options |= {
            "sasl_mechanism": kafka.mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": read_secret("[kafka] password_file", kafka.password_file),
        }
    return options


def _is_no_login(record: logging.LogRecord) -> bool:
    """At debug level the client logs all that it sends, the password of PLAIN too, and of SCRAM what gives it away."""
    said = record.args if isinstance(record.args, tuple) else ()
    return not any(type(item).__name__.startswith("SaslAuthenticate") for item in said)


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return what TLS goes by: who may vouch for brokers, under their own names, and what this client shows them."""
    try:
        context = ssl.create_default_context(cafile=kafka.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"[kafka] ca_file: {kafka.ca_file} can't be read as certificates: {exc}") from exc
    if kafka.cert_file is not None:
        _show_certificate(context, kafka, kafka.cert_file)
    return context


def _show_certificate(context: ssl.SSLContext, kafka: KafkaSettings, cert_file: Path) -> None:
    files = [("cert_file", cert_file)] + ([("key_file", kafka.key_file)] if kafka.key_file else [])
    for key, path in files:
        read_secret(f"[kafka] {key}", path)  # what ssl raises doesn't say which of them it can't read
    password = ""
    if kafka.key_password_file is not None:
        password = read_secret("[kafka] key_password_file", kafka.key_password_file)
    try:
        # Always a password, as OpenSSL would ask the terminal for a key's.
        context.load_cert_chain(cert_file, kafka.key_file, password=lambda: password)
    except (OSError, ssl.SSLError) as exc:
        named = " and ".join(f"{key} ({path})" for key, path in files)
        raise ConfigError(
            f"[kafka] {named}: no certificate with its key, as PEM, that key_password_file opens: {exc}"
        ) from exc


def read_secret(key: str, path: Path) -> str:
    """Return what a file holds, less the end of its last line; ConfigError with the setting ``key`` otherwise."""
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{key}: {path} can't be read: {exc}") from exc
