"""TLS and logins on a real broker: what works, and the one line about each thing that may be wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from tests.secure_brokers import HOST, LISTENERS, MECHANISMS, NOBODY, PASSWORD, USER, Right, SecureBroker
from tests.unit.commands.command_line import CommandLine

from rtexp.errors import StoreRefused
from rtexp.kafka.probe import probe, until_usable
from rtexp.local.broker_files import free_port
from rtexp.local.topics import create_topics
from rtexp.settings import KafkaSettings, Settings, WebSettings, as_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

WORKER_SECONDS = 90.0
DEMO_SECONDS = 20
TOPIC_OPERATIONS = ("read", "write", "create", "delete", "describe configs")
HOPELESS = ("EXPIRED", "EARLY", "OTHER_NAME", "ASTRAY", "LOST", "MUTUAL")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with SecureBroker(tmp_path_factory.mktemp("secure")) as private:
        yield private


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def altered(kafka: KafkaSettings, **changes: Any) -> KafkaSettings:
    return KafkaSettings.model_validate(kafka.model_dump() | changes)


def told(kafka: KafkaSettings) -> str:
    """What people are told, and that it can't be over by itself."""
    fault = asyncio.run(probe(kafka))
    assert fault is not None
    assert not fault.away
    assert "\n" not in fault.text
    return fault.text


def at(secure: SecureBroker, listener: str) -> str:
    return f"{HOST}:{secure.files.ports[listener]}"


@pytest.mark.parametrize("listener", [name for name in LISTENERS if name not in HOPELESS])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_kind_of_security_works(secure: SecureBroker, listener: str, mechanism: str) -> None:
    assert asyncio.run(probe(secure.settings(listener, mechanism))) is None


@pytest.mark.parametrize("password", [None, b"k3y-password"])
def test_a_broker_that_asks_for_a_certificate_gets_one_from_two_files_or_one(
    secure: SecureBroker, password: bytes | None, tmp_path: Path
) -> None:
    signed = secure.authority.sign("client", password=password)
    secret = tmp_path / "key-password"
    secret.write_text("k3y-password\n")
    given = {"key_password_file": secret if password else None}
    mutual = secure.settings("MUTUAL")
    assert asyncio.run(probe(altered(mutual, cert_file=signed.cert, key_file=signed.key, **given))) is None
    assert asyncio.run(probe(altered(mutual, cert_file=signed.both, **given))) is None


def test_a_demo_counts_right_over_tls_with_a_login_and_leaves_no_topics(
    secure: SecureBroker, tmp_path: Path
) -> None:
    kafka = altered(secure.settings(), prefix="ab.rtexp")
    # As docs/input.md says, for a demo, whose raw topics are behind the prefix as well.
    secure.grant(Right("topic", "ab.rtexp", "prefixed", operation) for operation in TOPIC_OPERATIONS)
    secure.grant([Right("group", "ab.rtexp", "prefixed", "read")])
    secure.grant([Right("transactional id", "ab.rtexp", "prefixed", "write")])
    (tmp_path / "rtexp.toml").write_text(as_toml(Settings(kafka=kafka, web=WebSettings(port=free_port()))))
    command = [sys.executable, "-m", "rtexp", "demo", "--broker", "configured", "--json", "--seconds"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTEXP_")}
    ended = subprocess.run(
        [*command, str(DEMO_SECONDS)], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
        timeout=280,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    numbers = json.loads(ended.stdout)
    assert (numbers["differing"], numbers["wrong_states"]) == (0, 0)
    assert numbers["cells"] > 0
    said = (tmp_path / "data" / "demo" / "demo.log").read_text()
    ((topics, new),) = re.findall(r"topics: (\d+), of which (\d+) are new", said)
    assert topics == new, "all were made for it"
    assert PASSWORD not in said + ended.stderr
    assert asyncio.run(topics_at(secure)) == []


async def topics_at(secure: SecureBroker) -> list[str]:
    """The topics of demos; asked at the plain listener, where the broker says it all."""
    client = AIOKafkaAdminClient(bootstrap_servers=secure.address)
    await client.start()
    try:
        return [name for name in await client.list_topics() if "demo" in name]
    finally:
        await client.close()


# --- What may be wrong


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_and_a_wrong_user_are_told(
    secure: SecureBroker, mechanism: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password\n")
    right = secure.settings("LOGIN", mechanism)
    for kafka in (altered(right, password_file=wrong), altered(right, username="nobody")):
        said = told(kafka)
        assert said.startswith(
            f"Kafka at {at(secure, 'LOGIN')} refuses the login of {kafka.username} by {mechanism}: "
        )
        assert "[kafka] username and password_file" in said
        assert "not-the-password" not in said


def test_a_wrong_authority_is_told(secure: SecureBroker) -> None:
    other = secure.other_authority.cert
    said = told(altered(secure.settings(), ca_file=other))
    assert f"has a certificate that nobody in {other} vouches for" in said
    assert "[kafka] ca_file" in said
    said = told(altered(secure.settings(), ca_file=None))
    assert "has a certificate that none of this machine's authorities vouches for" in said


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        ("EXPIRED", "has a certificate that has expired: renew it there"),
        ("EARLY", "has a certificate that isn't valid yet: see this machine's clock"),
        (
            "OTHER_NAME",
            "has a certificate for another name (IP address mismatch, certificate is not valid for",
        ),
        ("MUTUAL", "wants a certificate of its clients, too: set [kafka] cert_file"),
    ],
)
def test_a_certificate_that_is_wrong_or_missing_is_told(
    secure: SecureBroker, listener: str, said: str
) -> None:
    assert told(secure.settings(listener)).startswith(f"Kafka at {at(secure, listener)} {said}")


def test_a_broker_that_sends_clients_astray_is_told_with_both_addresses(secure: SecureBroker) -> None:
    said = told(secure.settings("ASTRAY"))
    assert said.startswith(f"Kafka at {at(secure, 'EXPIRED')} has a certificate that has expired")
    assert f"(Kafka at {at(secure, 'ASTRAY')} sends clients there: see its advertised.listeners)" in said
    assert told(secure.settings("LOST")) == (
        f"no Kafka answers at {NOBODY} (Kafka at {at(secure, 'LOST')} sends clients there: see its "
        "advertised.listeners)"
    )


@pytest.mark.parametrize("whose", ["a stranger's", "an expired one"])
def test_a_clients_certificate_that_the_broker_refuses_is_told(secure: SecureBroker, whose: str) -> None:
    if whose == "a stranger's":
        signed = secure.other_authority.sign("stranger")
    else:
        signed = secure.authority.sign("former", ends=timedelta(seconds=-1))
    said = told(altered(secure.settings("MUTUAL"), cert_file=signed.both))
    assert "doesn't accept the certificate in [kafka] cert_file" in said


def test_tls_that_only_one_of_the_two_speaks_is_told(secure: SecureBroker) -> None:
    for listener, protocol in (("LOGIN", "SASL_PLAINTEXT"), ("TLS", "PLAINTEXT")):
        kafka = altered(secure.settings(listener), brokers=(secure.address,))
        assert told(kafka) == (
            f"Kafka at {secure.address} speaks no TLS at this port: name its port for TLS in [kafka] brokers, "
            f"or set [kafka] protocol to {protocol}"
        )
    plain = KafkaSettings(brokers=(at(secure, "TLS"),))
    assert f"{at(secure, 'TLS')} speaks TLS at this port: set [kafka] protocol to SSL" in told(plain)
    plain_login = altered(secure.settings("OPEN_LOGIN"), brokers=(at(secure, "LOGIN"),))
    assert "speaks TLS at this port: set [kafka] protocol to SASL_SSL" in told(plain_login)


def test_a_login_that_only_one_of_the_two_wants_is_told(secure: SecureBroker) -> None:
    for without, with_login in (("TLS", "LOGIN"), ("PLAIN", "OPEN_LOGIN")):
        kafka = KafkaSettings() if without == "PLAIN" else secure.settings(without)
        assert "wants a login at this port" in told(altered(kafka, brokers=(at(secure, with_login),)))
        address = secure.address if without == "PLAIN" else at(secure, without)
        assert "takes no login at this port" in told(altered(secure.settings(with_login), brokers=(address,)))


# --- When Kafka is away rather than wrong


def test_one_of_several_brokers_is_enough(secure: SecureBroker) -> None:
    right = secure.settings()
    assert asyncio.run(probe(altered(right, brokers=(NOBODY, *right.brokers)))) is None


async def test_who_is_wrong_is_not_waited_for(secure: SecureBroker) -> None:
    said: list[str] = []
    with pytest.raises(StoreRefused, match="has expired"):
        await until_usable(secure.settings("EXPIRED"), within_s=600, say=said.append)
    assert said == []


# --- What commands and workers say


@pytest.mark.parametrize(
    "words",
    [
        ("topics", "create"),
        ("wait",),
        ("replay", "--actions", "actions.csv"),
        ("up",),
        ("alerts", "list"),
        ("demo", "--broker", "configured"),
    ],
    ids=" ".join,
)
def test_a_command_ends_with_one_line_and_1(
    secure: SecureBroker, rtexp: CommandLine, words: tuple[str, ...]
) -> None:
    Path("actions.csv").write_text("user_id,event,ts\nu,search,1420416000000\n")
    settings = {
        "kafka": secure.settings("EXPIRED"),
        "pipeline": {"clock": "records"},
        "alerts": {"targets": ({"name": "here", "kind": "log"},)},
    }
    Path("rtexp.toml").write_text(as_toml(Settings.model_validate(settings)))
    ended = rtexp(*words)
    *before, line = ended.err.splitlines()
    assert ended.code == 1, ended.err
    assert line == (
        f"rtexp: Kafka at {at(secure, 'EXPIRED')} has a certificate that has expired: renew it there, or set "
        "this machine's clock"
    )
    assert not [said for said in before if "Traceback" in said]


def test_no_password_is_told_where_all_is_logged(secure: SecureBroker, tmp_path: Path) -> None:
    (tmp_path / "rtexp.toml").write_text(as_toml(Settings(kafka=secure.settings("LOGIN", "PLAIN"))))
    words = [sys.executable, "-m", "rtexp", "--debug", "topics", "create"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Authenticated as" in ended.stderr
    assert "MetadataRequest" in ended.stderr, "requests aren't logged"
    assert PASSWORD not in ended.stderr


@pytest.mark.parametrize("job", ["ingest", "aggregate"])
def test_a_worker_ends_at_once_with_one_line(secure: SecureBroker, job: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password\n")
    kafka = altered(secure.settings(), password_file=wrong)
    began = time.monotonic()
    fatal = fatal_line(job, kafka, tmp_path)
    assert f"refuses the login of {USER} by SCRAM-SHA-512" in fatal
    assert "not-the-password" not in fatal
    assert PASSWORD not in fatal
    assert time.monotonic() - began < 55, "it tried again, as if time could help"


def test_a_worker_that_may_not_join_its_group_ends_with_one_line(
    secure: SecureBroker, tmp_path: Path
) -> None:
    prefix = "of-no-group"
    plain = KafkaSettings(brokers=(secure.address,), prefix=prefix)
    asyncio.run(create_topics(Settings(kafka=plain)))
    secure.grant(Right("topic", prefix, "prefixed", operation) for operation in ("read", "write"))
    fatal = fatal_line("aggregate", altered(secure.settings(), prefix=prefix), tmp_path)
    assert (
        "Kafka doesn't let this user read (GroupAuthorizationFailedError('of-no-group-aggregate'))" in fatal
    )


def fatal_line(job: str, kafka: KafkaSettings, directory: Path) -> str:
    """Run a worker until it ends, which it must with a few lines; return the one that says why."""
    settings = Settings.model_validate({"kafka": kafka, "web": {"worker_port": 0}})
    (directory / "rtexp.toml").write_text(as_toml(settings))
    command = [sys.executable, "-m", "faust", "-A", f"rtexp.apps.{job}", "worker", "-l", "info"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTEXP_")}
    ended = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=WORKER_SECONDS
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 70, said
    (fatal,) = [line for line in said.splitlines() if "fatal" in line]
    assert len([line for line in said.splitlines() if '"level":"info"' not in line]) < 5, said
    assert "Traceback" not in said
    return fatal
