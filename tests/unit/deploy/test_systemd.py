"""deploy/systemd: what systemd's own tools say, and that commands, settings, ports and secrets in units exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.unit.deploy.files import DEPLOY, ROOT, settings_of
from tests.unit.typed_commands import check

from rtexp.engine.app import STOP_SECONDS
from rtexp.settings import AlertSettings, WebSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = DEPLOY / "systemd"
COMMON = UNITS / "rtexp-.service.d" / "common.conf"
SERVICES = sorted(UNITS.glob("*.service"))
WORKERS = [path for path in SERVICES if "@" in path.name]
IN_SQL = {"rtexp-results@", "rtexp-web", "rtexp-alerts", "rtexp-prepare"}
SETTINGS_TOML = DEPLOY / "kubernetes" / "rtexp.toml"
NEEDS_254 = r"Unknown key (name )?'Restart(Steps|MaxDelaySec)' in section"


class Line(NamedTuple):
    section: str
    key: str
    value: str


def lines(path: Path) -> Iterator[Line]:
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield Line(section, key, value)


def all_lines(service: Path) -> list[Line]:
    """A service as systemd sees it: what is common is read last."""
    return [*lines(service), *lines(COMMON)]


def values(service: Path, key: str) -> list[str]:
    return [line.value for line in all_lines(service) if line.key == key]


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("service", SERVICES, ids=stem)
def test_a_unit_runs_what_exists(service: Path) -> None:
    commands = values(service, "ExecStart")
    assert commands
    for command in commands:
        assert command.startswith("/opt/rtexp/bin/")
        check(command.split())


@pytest.mark.parametrize("service", SERVICES, ids=stem)
def test_what_is_common_does_not_undo_what_a_unit_says(service: Path) -> None:
    """A drop-in is read after its unit, so a key of both is the drop-in's; lists alone add up."""
    lists = {"Environment", "LoadCredential"}
    own, common = ({(line.section, line.key) for line in lines(path)} for path in (service, COMMON))
    assert {key for key in own & common if key[1] not in lists} == set()


@pytest.mark.parametrize("service", SERVICES, ids=stem)
def test_a_unit_sets_settings_that_exist(service: Path, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    environ = dict(text.partition("=")[::2] for text in values(service, "Environment"))
    assert environ.pop("RTEXP_CONFIG") == "/etc/rtexp/rtexp.toml"
    ours = {
        name: text.replace("%d", str(credentials)).replace("%S/%N", str(tmp_path))
        for name, text in environ.items()
        if name.startswith("RTEXP_")
    }
    settings = settings_of(ours, tmp_path, SETTINGS_TOML)
    assert settings.data.directory == tmp_path
    in_sql = service.stem in IN_SQL
    assert (settings.store.password_file == credentials / "sql-password") == in_sql


@pytest.mark.parametrize("service", SERVICES, ids=stem)
def test_a_unit_loads_the_credentials_that_it_reads_and_no_others(service: Path) -> None:
    read = set(re.findall(r"=%d/(\S+)", "\n".join(values(service, "Environment"))))
    loaded = [value.split(":") for value in values(service, "LoadCredential")]
    assert {name for name, _ in loaded} == read
    assert all(path == f"/etc/rtexp/secrets/{name}" for name, path in loaded)


def test_every_worker_of_a_machine_has_a_port_and_a_directory_of_its_own() -> None:
    ports = [
        int(port.replace("%i", str(number)))
        for service in WORKERS
        for port in re.findall(r"--web-port (\S+)", " ".join(values(service, "ExecStart")))
        for number in range(1, 10)
    ]
    assert len(ports) == 27
    taken = {AlertSettings().port, WebSettings().port, WebSettings().worker_port}
    assert len({*ports, *taken}) == 27 + len(taken)
    assert values(WORKERS[0], "StateDirectory") == ["%N"]


@pytest.mark.parametrize("service", WORKERS, ids=stem)
def test_a_worker_is_started_again_and_given_the_time_of_a_clean_stop(service: Path) -> None:
    assert values(service, "Restart") == ["always"]
    assert values(service, "StartLimitIntervalSec") == ["0"]
    assert int(values(service, "TimeoutStopSec")[0]) > STOP_SECONDS


def test_the_target_has_all_that_runs_for_good() -> None:
    for service in SERVICES:
        assert values(service, "PartOf") == ["rtexp.target"]
        assert (values(service, "WantedBy") == ["rtexp.target"]) == (service.stem != "rtexp-prepare")


ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze isn't installed")


def analyze(tmp_path: Path, unit: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd's own tool about a unit among copies whose programs exist on this machine."""
    assert ANALYZE
    units = tmp_path / "units"
    if not units.exists():
        shutil.copytree(UNITS, units)
        for path in units.glob("*.service"):
            path.write_text(re.sub(r"/opt/rtexp/bin/\w+", "/bin/true", path.read_text()))
    return subprocess.run(
        [ANALYZE, *words, units / unit],
        env={"SYSTEMD_UNIT_PATH": f"{units}:/lib/systemd/system:/usr/lib/systemd/system", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_systemd
@pytest.mark.parametrize("name", [path.name for path in (*SERVICES, UNITS / "rtexp.target")])
def test_systemd_accepts_a_unit(name: str, tmp_path: Path) -> None:
    done = analyze(tmp_path, name.replace("@.", "@1."), "verify", "--man=no")
    said = [line for line in done.stderr.splitlines() if not re.search(NEEDS_254, line)]
    assert (done.returncode, said) == (0, [])


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=stem)
def test_systemd_finds_a_unit_well_locked(service: Path, tmp_path: Path) -> None:
    """On its scale from 0 to 10 an ordinary service has 9.6; 1.4 is what the network and the files of the host cost."""
    done = analyze(tmp_path, service.name, "security", "--offline=yes", "--no-pager")
    score = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert score, done.stderr
    assert float(score[1]) <= 1.6


def test_the_units_are_named_where_they_are_explained() -> None:
    text = (UNITS / "README.md").read_text()
    for path in SERVICES:
        assert path.stem.rstrip("@") in text
    assert (ROOT / "docs" / "operations.md").exists()
