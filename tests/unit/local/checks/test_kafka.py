"""What is said of brokers: their addresses, versions, clocks; and of a port on which no broker is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from rtexp.local.broker_files import free_port
from rtexp.local.checks import kafka as module
from rtexp.local.checks.database import judge_clock
from rtexp.local.checks.kafka import Node, judge_listeners, judge_versions, kafka
from rtexp.settings import KafkaSettings, Settings

if TYPE_CHECKING:
    import pytest


def test_an_address_that_leads_nowhere_from_here_says_what_to_set() -> None:
    node = Node(2, "kafka", 9092)
    (finding,) = judge_listeners(
        ["10.0.0.1:9092"], {node: "Name or service not known", Node(1, "10.0.0.1", 9092): ""}
    )
    assert finding.level == "fail"
    assert finding.text.startswith(
        "broker 2 at kafka:9092 can't be reached from here (Name or service not known)"
    )
    assert "advertised.listeners" in finding.text


def test_a_loopback_address_of_a_broker_elsewhere_is_a_warning() -> None:
    node = Node(1, "localhost", 9092)
    (finding,) = judge_listeners(["kafka.example:9092"], {node: ""})
    assert (finding.level, "workers elsewhere won't find it" in finding.text) == ("warn", True)
    (finding,) = judge_listeners(["127.0.0.1:9092"], {node: ""})
    assert (finding.level, finding.text) == ("ok", "broker 1 at localhost:9092 can be reached from here")


def test_a_broker_without_transactions_is_too_old() -> None:
    known = {0: (3, 11), 1: (4, 17), 22: (0, 5), 24: (0, 5), 26: (0, 5)}
    assert judge_versions(known) == []
    (finding,) = judge_versions({**known, 1: (0, 3), 22: (0, -1)})
    assert finding.text.startswith("the broker knows no Fetch, InitProducerId")


def test_clocks_agree_within_two_seconds_of_the_time_that_asking_took() -> None:
    #  before        after
    #    |-------------|
    #   1000          9000     a clock that says anything between is right
    for said, level in (
        (0, "ok"),
        (1000, "ok"),
        (9000, "ok"),
        (11_000, "ok"),
        (11_001, "fail"),
        (-1001, "fail"),
    ):
        assert judge_clock("Kafka", said, 1000, 9000).level == level, said
    assert judge_clock("Kafka", 14_000, 1000, 9000).text == (
        "the clock of Kafka is 5.0 s ahead of this machine's: run NTP (chrony) on both"
    )
    assert "4.0 s behind this machine's" in judge_clock("Kafka", -3000, 1000, 9000).text


async def test_a_port_on_which_nobody_listens_is_one_finding() -> None:
    address = f"127.0.0.1:{free_port()}"
    (finding,) = await kafka(Settings(kafka=KafkaSettings(brokers=(address,))))
    assert (finding.check, finding.level) == ("kafka", "fail")
    assert f"no Kafka answers at {address}" in finding.text


async def test_a_port_on_which_somebody_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        (finding,) = await kafka(Settings(kafka=KafkaSettings(brokers=(address,))))
    assert finding.level == "fail"
