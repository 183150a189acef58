"""Why a broker can't be used, in words that say what to do about it.

The Kafka client tells no more than that it couldn't connect: what TLS, the login or the network said is in its log.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import (
    BrokerResponseError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.settings import KafkaSettings

_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""OpenSSL's numbers of why a certificate is refused: X509_V_ERR_…"""
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_REFUSES_CERTIFICATE = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED")
"""Alerts by which a broker ends a handshake; Java sends BAD_CERTIFICATE as well for one that is missing."""


class Fault(NamedTuple):
    """Why a broker can't be used: one line."""

    text: str
    away: bool
    """Whether it may be over by itself, as for a broker that starts; otherwise people must change something."""


def away(text: str) -> Fault:
    """Return a fault that may be over by itself."""
    return Fault(text, away=True)


def wrong(text: str) -> Fault:
    """Return a fault that stays until somebody changes something."""
    return Fault(text, away=False)


def fault_of(kafka: KafkaSettings, address: str, error: BaseException) -> Fault | None:
    """Return what an error of a connection means; None if that isn't known from the error alone."""
    if isinstance(error, ssl.SSLError):
        said = _of_tls(kafka, error)
        return wrong(f"Kafka at {address} {said}") if said else None
    if isinstance(error, BrokerResponseError):
        return wrong(f"Kafka at {address} {_of_login(kafka, error)}")
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return None  # one that breaks says nothing of why
    if isinstance(error, OSError):
        return away(f"no Kafka answers at {address}{_of_network(error)}")
    return None


def speaks_tls(kafka: KafkaSettings, address: str) -> Fault:
    """Return what to do about a broker that wants TLS where none was spoken."""
    return wrong(
        f"Kafka at {address} speaks TLS at this port: set [kafka] protocol to "
        f"{'SASL_SSL' if kafka.protocol.startswith('SASL') else 'SSL, or to SASL_SSL with a login'}"
    )


def speaks_no_tls(kafka: KafkaSettings, address: str) -> Fault:
    """Return what to do about a broker that was spoken TLS to, and has none."""
    return wrong(
        f"Kafka at {address} speaks no TLS at this port: name its port for TLS in [kafka] brokers, or set [kafka] "
        f"protocol to {kafka.protocol.replace('SSL', 'PLAINTEXT')}"
    )


def wants_login(kafka: KafkaSettings, address: str) -> Fault:
    """Return what to do about a broker that wants a login where none was tried."""
    protocols = (
        "SASL_SSL" if kafka.protocol == "SSL" else "SASL_SSL (or SASL_PLAINTEXT at a loopback address)"
    )
    return wrong(f"Kafka at {address} wants a login at this port: set [kafka] protocol to {protocols}")


def leads_away(address: str, others: Sequence[str]) -> Fault:
    """Return what to do about a broker that sends clients elsewhere with a login that isn't encrypted."""
    return wrong(
        f"Kafka at {address} sends clients to {', '.join(others)} (its advertised.listeners), and without TLS a login "
        "could be read on its way there: set [kafka] protocol to SASL_SSL"
    )


def says_nothing(address: str) -> Fault:
    """Return the fault of a broker that ends connections, or knows of no broker yet: it starts or stops, perhaps."""
    return away(f"no Kafka answers at {address} (it ends the connection)")


def together(found: Mapping[str, Fault]) -> Fault:
    """Return the fault to tell of brokers, by address, none of which can be used."""
    everywhere = ", ".join(found)
    alike = {fault.text.replace(address, everywhere) for address, fault in found.items()}
    worst = min(found.values(), key=lambda fault: fault.away)
    return worst._replace(text=alike.pop()) if len(alike) == 1 else worst


def elsewhere(address: str, fault: Fault) -> Fault:
    """Return the fault of a broker at an address that the one at ``address``, which answers, has told."""
    return wrong(f"{fault.text} (Kafka at {address} sends clients there: see its advertised.listeners)")


def _of_tls(kafka: KafkaSettings, error: ssl.SSLError) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate {_why_not_trusted(kafka, error)}"
    return _why_not_welcome(kafka, error.reason or "")


def _of_login(kafka: KafkaSettings, error: BrokerResponseError) -> str:
    match error:
        case SaslAuthenticationFailed():
            wrong = "the user or the password is wrong; see [kafka] username and password_file"
            return f"refuses the login of {kafka.username} by {kafka.mechanism}: {wrong}"
        case UnsupportedSaslMechanismError():
            return f"takes no login by {kafka.mechanism}: set [kafka] mechanism to one that it has"
        case IllegalSaslStateError():
            without = "SSL" if kafka.protocol.endswith("SSL") else "PLAINTEXT"
            return (
                f"takes no login at this port: name its port for logins in [kafka] brokers, or set [kafka] protocol "
                f"to {without}"
            )
        case _:
            return f"refuses: {error or type(error).__name__}"


def _of_network(error: OSError) -> str:
    match error:
        case socket.gaierror():
            return " (there is no host of this name)"
        case TimeoutError():
            return " (it says nothing)"
        case ConnectionRefusedError():
            return ""
        case _:  # without a text: a name has several addresses, and none answers
            return f" ({error.strerror})" if error.strerror else ""


def _why_not_trusted(kafka: KafkaSettings, error: ssl.SSLCertVerificationError) -> str:
    code, said = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return "that has expired: renew it there, or set this machine's clock"
    if code == _NOT_YET_VALID:
        return "that isn't valid yet: see this machine's clock and the broker's"
    if code in _OTHER_NAME:
        return f"for another name ({said}): name it in [kafka] brokers as its certificate does, or renew that"
    if code in _UNKNOWN_AUTHORITY:
        by = "none of this machine's authorities" if kafka.ca_file is None else f"nobody in {kafka.ca_file}"
        return (
            f"that {by} vouches for ({said}): put that of the authority which signed it into [kafka] ca_file"
        )
    return f"that can't be trusted: {said}"


def _why_not_welcome(kafka: KafkaSettings, reason: str) -> str | None:
    if reason.endswith(_WANTS_CERTIFICATE) or (
        reason.endswith("BAD_CERTIFICATE") and kafka.cert_file is None
    ):
        return "wants a certificate of its clients, too: set [kafka] cert_file"
    if reason.endswith(_REFUSES_CERTIFICATE):
        return f"doesn't accept the certificate in [kafka] cert_file ({reason}): is it one of its authority, and valid?"
    return None
