"""A broker whose clients need TLS, a login or a certificate of their own, and listeners that have something wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from tests.brokers import PrivateBroker
from tests.certificates import Authority

from rtexp.local.broker_files import BrokerFiles, free_port
from rtexp.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
NOBODY = f"{HOST}:1"
USER, PASSWORD = "experiments", "tr0ub4dor-and-3"
LISTENERS = {
    "LOGIN": "SASL_SSL",
    "OPEN_LOGIN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "EARLY": "SSL",
    "OTHER_NAME": "SSL",
    "ASTRAY": "SSL",
    "LOST": "PLAINTEXT",
}
"""By name, beside the plain one that the broker itself uses. From EXPIRED on something is wrong with each."""
KINDS = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
PATTERNS = {"literal": 3, "prefixed": 4}
OPERATIONS = {"read": 3, "write": 4, "create": 5, "delete": 6, "describe": 8, "describe configs": 10}
ALLOW = 3
"""Kafka's numbers of what rights are about."""
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Right(NamedTuple):
    """One operation that a user may do on what has this name, or a name that begins so."""

    kind: str
    name: str
    pattern: str
    operation: str


@dataclass(frozen=True)
class SecureFiles(BrokerFiles):
    """A broker's files with such listeners."""

    ports: Mapping[str, int] = field(default_factory=dict)
    certificates: Mapping[str, Path] = field(default_factory=dict)
    authority: Path | None = None

    def format_command(self) -> Sequence[str]:
        logins = [f"{mechanism}=[name={USER},password={PASSWORD}]" for mechanism in MECHANISMS[1:]]
        return [*super().format_command(), *(word for login in logins for word in ("--add-scram", login))]

    def _server(self, controller_port: int) -> dict[str, str]:
        plain = super()._server(controller_port)
        added = {name: f"{name}://{HOST}:{port}" for name, port in self.ports.items()}
        # Who comes to these is sent to one whose certificate has expired, and to where nobody listens.
        advertised = added | {
            "ASTRAY": f"ASTRAY://{HOST}:{self.ports['EXPIRED']}",
            "LOST": f"LOST://{NOBODY}",
        }
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items())
        properties = plain | {
            "listeners": f"{plain['listeners']},{','.join(added.values())}",
            "advertised.listeners": f"{plain['advertised.listeners']},{','.join(advertised.values())}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},{protocols}",
            "inter.broker.listener.name": "PLAINTEXT",
            # Who comes without a login may do all, who comes with one what `grant` says.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "ssl.keystore.type": "PEM",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
            "listener.name.mutual.ssl.client.auth": "required",
        }
        for name, certificate in self.certificates.items():
            properties[f"listener.name.{name.lower()}.ssl.keystore.location"] = str(certificate)
        security = "org.apache.kafka.common.security"
        for name in ("login", "open_login"):
            properties[f"listener.name.{name}.sasl.enabled.mechanisms"] = ",".join(MECHANISMS)
            for mechanism in MECHANISMS:
                module, known = f"{security}.scram.ScramLoginModule", ""
                if mechanism == "PLAIN":
                    module, known = f"{security}.plain.PlainLoginModule", f' user_{USER}="{PASSWORD}"'
                properties[f"listener.name.{name}.{mechanism.lower()}.sasl.jaas.config"] = (
                    f"{module} required{known};"
                )
        return properties


class SecureBroker(PrivateBroker):
    """Its `settings` are what a client of one of the listeners needs."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "kafka")
        self.authority = Authority(directory, "authority")
        self.other_authority = Authority(directory, "other-authority")
        good = self.authority.sign("broker", HOST)
        expired = self.authority.sign("expired", HOST, ends=timedelta(seconds=-1))
        early = self.authority.sign("early", HOST, begins=timedelta(hours=12))
        other = self.authority.sign("kafka.example", "kafka.example")
        wrong = {"EXPIRED": expired, "EARLY": early, "OTHER_NAME": other}
        self.password_file = directory / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        plain = self.files
        self.files: SecureFiles = SecureFiles(
            plain.directory,
            plain.libs,
            plain.java,
            plain.port,
            ports={name: free_port() for name in LISTENERS},
            certificates={
                name: wrong.get(name, good).both for name in LISTENERS if LISTENERS[name].endswith("SSL")
            },
            authority=self.authority.cert,
        )

    def grant(self, rights: Iterable[Right]) -> None:
        """Let the user with the login do this, and nothing else."""
        asyncio.run(self._grant(rights))

    async def _grant(self, rights: Iterable[Right]) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await client.start()
        try:
            for kind, name, pattern, operation in rights:
                what = (
                    KINDS[kind],
                    name,
                    PATTERNS[pattern],
                    f"User:{USER}",
                    "*",
                    OPERATIONS[operation],
                    ALLOW,
                )
                answer = await client._send_to_controller(CreateAclsRequest(*what))
                assert [code for code, _ in answer.creation_responses] == [0], answer
        finally:
            await client.close()

    def settings(self, listener: str = "LOGIN", mechanism: str = "SCRAM-SHA-512") -> KafkaSettings:
        protocol = LISTENERS[listener]
        login = {"mechanism": mechanism, "username": USER, "password_file": self.password_file}
        return KafkaSettings.model_validate(
            {
                "brokers": (f"{HOST}:{self.files.ports[listener]}",),
                "protocol": protocol,
                **({"ca_file": self.authority.cert} if protocol.endswith("SSL") else {}),
                **(login if protocol.startswith("SASL") else {}),
            }
        )
