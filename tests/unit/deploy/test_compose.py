"""compose.yaml: valid by its specification, and made of settings, commands, ports and secrets that there are."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.unit.deploy.files import ROOT, faults, settings_of, vendored
from tests.unit.typed_commands import check

from rtexp.engine.app import STOP_SECONDS
from rtexp.settings import AlertSettings, WebSettings
from rtexp.web.address import read_token

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "rtexp"}
WORKERS = ("ingest", "aggregate", "results")
IN_SQL = {"prepare", "results", "web", "alerts", "demo"}


def test_it_is_valid_by_the_compose_specification() -> None:
    assert faults(vendored("compose-spec.json"), COMPOSE) == []


def test_the_specification_is_asked_about_every_key() -> None:
    wrong = COMPOSE | {"services": SERVICES | {"web": SERVICES["web"] | {"restarts": "always"}}}
    assert len(faults(vendored("compose-spec.json"), wrong)) == 1


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_what_exists_with_settings_that_exist(name: str, tmp_path: Path) -> None:
    settings = settings_of(OURS[name]["environment"], tmp_path)
    assert settings.kafka.brokers == ("kafka:9092",)
    words = shlex.split(OURS[name]["command"])
    if words[0] == "python":
        assert (ROOT / words[1].lstrip("/")).exists()
    else:
        check(words)


@pytest.mark.parametrize("name", OURS)
def test_only_those_who_use_sql_get_its_password(name: str, tmp_path: Path) -> None:
    settings = settings_of(OURS[name]["environment"], tmp_path)
    assert settings.store.url.startswith("mysql+") == (name in IN_SQL)
    assert ("sql-password" in OURS[name]["secrets"]) == (name in IN_SQL)


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_that_is_read_is_given(name: str) -> None:
    read = {
        value.removeprefix("/run/secrets/")
        for value in map(str, SERVICES[name].get("environment", {}).values())
        if value.startswith("/run/secrets/")
    }
    assert read <= set(SERVICES[name].get("secrets", ()))


def test_every_secret_is_made_by_make_once_and_hidden_by_its_directory(tmp_path: Path) -> None:
    """The files are readable for the containers' users, so that others of this machine must not come to them."""
    shutil.copy(ROOT / "Makefile", tmp_path)

    def make() -> dict[str, str]:
        subprocess.run(["make", "secrets"], cwd=tmp_path, check=True, capture_output=True, env=os.environ)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    made = make()
    assert {f"secrets/{name}" for name in made} == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert all(stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) == 0o444 for name in made)
    assert all(len(text) == 48 for text in made.values())
    assert len(set(made.values())) == len(made)
    assert make() == made


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_can_write_to_its_data_alone(name: str) -> None:
    service = OURS[name]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert [v for v in service["volumes"] if not v.endswith(":ro")] == ["/var/lib/rtexp/data"] * (
        name != "demo"
    )


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_gain_rights_or_take_all_memory_or_disk(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    assert service["logging"] == {"driver": "local"}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_the_time_of_a_clean_stop(name: str) -> None:
    assert int(OURS[name]["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    assert OURS[name]["restart"] == "always"


@pytest.mark.parametrize(
    ("name", "port"),
    [*((name, WebSettings().worker_port) for name in WORKERS), ("web", WebSettings().port),
     ("alerts", AlertSettings().port)],
)  # fmt: skip
def test_who_runs_for_good_is_asked_at_its_port_whether_it_is_ready(name: str, port: int) -> None:
    assert f"127.0.0.1:{port}/health/ready" in OURS[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", OURS)
def test_where_others_can_ask_there_is_a_token(name: str, tmp_path: Path) -> None:
    settings = settings_of(OURS[name]["environment"], tmp_path)
    for host in (settings.web.host, settings.web.worker_host, settings.alerts.host):
        assert host == "127.0.0.1" or read_token(settings.web, {}, host=host)


def test_only_this_machine_reaches_what_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_mounted_is_there() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    named = {volume.partition(":")[0] for volume in mounted if ":" in volume}
    paths = {name for name in named if name.startswith(".")}
    assert named - paths == set(COMPOSE["volumes"])
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_alerts_have_a_target_and_are_asked_for(tmp_path: Path) -> None:
    assert settings_of(OURS["alerts"]["environment"], tmp_path).alerts.targets
    assert OURS["alerts"]["profiles"] == ["alerts"]


def test_a_bare_up_starts_brokers_database_workers_and_pages_but_no_generated_stream() -> None:
    started = {name for name, service in SERVICES.items() if not service.get("profiles")}
    assert started == {"kafka", "mysql", "prepare", *WORKERS, "web"}
