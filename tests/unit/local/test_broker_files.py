from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from rtexp.errors import ConfigError, StoreUnavailable
from rtexp.local.broker import answers, prepare, wait_until_it_answers
from rtexp.local.broker_files import BrokerFiles, find_java, find_libs, free_port, this_or_free_port
from rtexp.settings import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path


def broker_files(directory: Path, java: str = "java", **options: str) -> BrokerFiles:
    return BrokerFiles(directory / "kafka", directory / "libs", java, port=9092, options=options)


def properties(files: BrokerFiles) -> dict[str, str]:
    files.command()
    return dict(line.split("=", 1) for line in files.properties.read_text().splitlines())


def test_jars_are_found_where_the_variable_says_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "kafka_2.13-4.1.0.jar").touch()
    assert find_libs({"RTEXP_KAFKA_LIBS": str(tmp_path)}) == tmp_path
    with pytest.raises(ConfigError, match=rf"no Kafka jars in {tmp_path}/none; run `make setup`"):
        find_libs({"RTEXP_KAFKA_LIBS": str(tmp_path / "none")})


def test_jars_are_found_under_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kafka" / "libs").mkdir(parents=True)
    (tmp_path / "kafka" / "libs" / "kafka_2.13-4.1.0.jar").touch()
    monkeypatch.chdir(tmp_path)
    assert find_libs({}) == tmp_path / "kafka" / "libs"


def test_java_is_that_of_java_home_else_that_of_the_path(tmp_path: Path) -> None:
    for place in ("home/bin", "path"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "java").touch(mode=0o755)
    home, path = str(tmp_path / "home"), str(tmp_path / "path")
    assert find_java({"JAVA_HOME": home, "PATH": path}) == f"{home}/bin/java"
    assert find_java({"PATH": path}) == f"{path}/java"
    with pytest.raises(ConfigError, match="there is no Java; run `make setup` or install Java 17"):
        find_java({"PATH": str(tmp_path)})


def test_all_listeners_are_on_the_loopback_interface_and_the_advertised_port_is_the_configured_one(
    tmp_path: Path,
) -> None:
    found = properties(broker_files(tmp_path))
    plaintext, controller = found["listeners"].split(",")
    assert plaintext == found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert controller.startswith("CONTROLLER://127.0.0.1:")
    assert found["controller.quorum.voters"] == f"1@{controller.removeprefix('CONTROLLER://')}"


def test_a_version_6_address_stands_in_brackets(tmp_path: Path) -> None:
    files = BrokerFiles(tmp_path, tmp_path, "java", port=1, host="::1")
    assert properties(files)["advertised.listeners"] == "PLAINTEXT://[::1]:1"


def test_options_go_on_top(tmp_path: Path) -> None:
    assert properties(broker_files(tmp_path, **{"num.partitions": "3"}))["num.partitions"] == "3"


def test_a_directory_is_formatted_once(tmp_path: Path) -> None:
    files = broker_files(tmp_path)
    assert not files.formatted
    (files.directory / "log").mkdir(parents=True)
    (files.directory / "log" / "meta.properties").touch()
    assert files.formatted


async def test_what_the_format_said_is_told_when_it_fails(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!{sys.executable}\nimport sys\nprint('first')\nsys.exit('no space')\n")
    java.chmod(0o755)
    with pytest.raises(StoreUnavailable, match=r"^Kafka can't use .*/kafka; it said:\nfirst\nno space$"):
        await prepare(broker_files(tmp_path, str(java)))


async def test_nobody_answers_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    assert not await answers(KafkaSettings(brokers=(f"127.0.0.1:{free_port()}",)))
    assert not caplog.records


async def test_a_broker_that_ends_while_it_starts_is_told_with_its_last_words() -> None:
    nobody = KafkaSettings(brokers=(f"127.0.0.1:{free_port()}",))
    with pytest.raises(StoreUnavailable, match=r"^Kafka ended while it started; it said:\nno space$"):
        await wait_until_it_answers(nobody, lambda: ["no space"])


async def test_a_broker_that_stays_mute_is_told_after_a_while() -> None:
    nobody = KafkaSettings(brokers=(f"127.0.0.1:{free_port()}",))
    with pytest.raises(StoreUnavailable, match=r"doesn't answer within 0 s"):
        await wait_until_it_answers(nobody, lambda: None, within_s=0)


def test_the_working_directory_is_not_part_of_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = BrokerFiles(tmp_path.relative_to(tmp_path), tmp_path, "java", port=1)
    assert os.path.isabs(properties(relative)["log.dirs"])  # noqa: PTH117 - a text of a file


def test_a_port_is_kept_while_nobody_else_has_it() -> None:
    port = free_port()
    assert this_or_free_port(port) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert this_or_free_port(port) not in {0, port}
