"""The frame around the code: pinned requirements, and the script that makes the environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rtexp import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / f"{name}.txt").read_text()))


def requirements_of(group: str) -> list[Requirement]:
    return [Requirement(item) for item in PROJECT["dependency-groups"][group] if isinstance(item, str)]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_hashes(path: Path) -> None:
    for entry in re.split(r"\n(?=\S)", path.read_text().strip()):
        if not entry.startswith("#"):
            assert PIN.match(entry), entry
            assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_no_requirement_says_where_it_comes_from(path: Path) -> None:
    """An index of one's own must do; a host name in the file would overrule it."""
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links", path.read_text())


def test_development_runs_on_the_versions_that_users_get() -> None:
    development = pins("dev")
    for smaller in ("runtime", "build"):
        assert pins(smaller).items() <= development.items()


@pytest.mark.parametrize("name", ["runtime", "build", "dev"])
def test_the_pins_are_what_the_project_asks_for(name: str) -> None:
    """After a change of pyproject.toml: make lock."""
    runtime = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["parquet"],  # for the image
    ]
    asked = requirements_of(name) if name != "runtime" else map(Requirement, runtime)
    pinned = pins(name)
    for requirement in asked:
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_package_and_project_agree_on_the_version() -> None:
    assert PROJECT["project"]["version"] == __version__


class Machine:
    """A checkout of setup script and pom alone, on a machine that has only the programs given."""

    COMMON = ("bash", "cat", "cksum", "dirname", "mkdir", "rm", "sed", "touch")

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.programs = directory / "bin"
        self.log = directory / "log"
        for made in (self.checkout / "scripts", self.checkout / "kafka", self.programs):
            made.mkdir(parents=True)
        self.log.touch()
        shutil.copy(ROOT / "scripts" / "setup.sh", self.checkout / "scripts")
        self.pom = self.checkout / "kafka" / "pom.xml"
        self.pom.write_text("<project/>")
        self.libs = self.checkout / "kafka" / "libs"
        for name in self.COMMON:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)

    def add(self, name: str, script: str) -> None:
        """Install a program, which logs how it is called."""
        path = self.programs / name
        path.write_text(f'#!{self.programs}/bash\necho "{name} $*" >>{self.log}\n{script}\n')
        path.chmod(0o755)

    def add_java(self, version: str = "17.0.15") -> None:
        self.add("java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")

    def add_maven(self, script: str = "") -> None:
        self.add("mvn", script or f"mkdir -p {self.libs} && touch {self.libs}/kafka-clients-4.jar")

    def add_apt(self, *, installs: str) -> None:
        """Install an apt-get that knows one package, which is a working Java."""
        java = self.programs / "java"
        self.add(
            "apt-get",
            f'case "$*" in *update*) ;; *{installs}) printf "%s\\n" "#!{self.programs}/bash" '
            f'\'echo "openjdk version \\"21\\"" >&2\' >{java}; chmod +x {java};; *) exit 100;; esac',
        )
        for name in ("chmod", "env"):
            (self.programs / name).symlink_to(str(shutil.which(name)))

    def be(self, user: int) -> None:
        self.add("id", f"echo {user}")

    def calls(self, name: str) -> int:
        return sum(line.startswith(f"{name} ") for line in self.log.read_text().splitlines())

    def setup(self, part: str = "kafka", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "scripts/setup.sh", part],
            cwd=self.checkout,
            env={"PATH": str(self.programs), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_kafka_is_fetched_once(machine: Machine) -> None:
    machine.add_java()
    machine.add_maven()
    for _ in range(2):
        assert machine.setup().returncode == 0
    assert machine.calls("mvn") == 1


def test_another_pom_fetches_kafka_again_from_nothing(machine: Machine) -> None:
    machine.add_java()
    machine.add_maven()
    machine.setup()
    (machine.libs / "kafka-old.jar").touch()
    machine.pom.write_text("<project><!-- newer --></project>")
    assert machine.setup().returncode == 0
    assert machine.calls("mvn") == 2
    assert not (machine.libs / "kafka-old.jar").exists()


def test_what_an_interrupted_fetch_left_is_thrown_away(machine: Machine) -> None:
    machine.add_java()
    machine.add_maven(f"mkdir -p {machine.libs} && touch {machine.libs}/half.jar && kill -9 $$")
    assert machine.setup().returncode != 0
    assert (machine.libs / "half.jar").exists()
    machine.add_maven()
    assert machine.setup().returncode == 0
    assert not (machine.libs / "half.jar").exists()


def test_a_missing_java_is_told_in_one_line(machine: Machine) -> None:
    machine.add_maven()
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Java 17" in done.stderr


def test_an_old_java_does_not_do(machine: Machine) -> None:
    machine.add_java("11.0.2")
    machine.add_maven()
    done = machine.setup()
    assert done.returncode == 1
    assert machine.calls("mvn") == 0


def test_a_missing_maven_is_told_in_one_line(machine: Machine) -> None:
    machine.add_java()
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Maven" in done.stderr


def test_root_gets_java_by_apt_whatever_it_is_called_here(machine: Machine) -> None:
    machine.add_maven()
    machine.add_apt(installs="default-jre-headless")
    machine.be(0)
    assert machine.setup().returncode == 0
    assert machine.libs.exists()


def test_nothing_is_installed_without_permission(machine: Machine) -> None:
    machine.add_maven()
    machine.add_apt(installs="default-jre-headless")
    machine.be(1000)
    machine.add("sudo", "exit 1")
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert machine.calls("apt-get") == 0


MARIADB = ("mariadbd", "mariadb-install-db", "my_print_defaults")


def test_mariadb_that_is_there_is_taken(machine: Machine) -> None:
    for name in MARIADB:
        machine.add(name, "exit 1")
    machine.be(0)
    machine.add("apt-get", "exit 1")
    assert machine.setup("mariadb").returncode == 0
    assert machine.calls("apt-get") == 0


def test_of_mariadb_only_programs_are_installed_and_nothing_is_removed_for_them(machine: Machine) -> None:
    programs = " ".join(str(machine.programs / name) for name in MARIADB)
    (machine.programs / "chmod").symlink_to(str(shutil.which("chmod")))
    (machine.programs / "env").symlink_to(str(shutil.which("env")))
    machine.add("apt-get", f"touch {programs} && chmod +x {programs}")
    machine.be(0)
    assert machine.setup("mariadb").returncode == 0
    (install,) = [line for line in machine.log.read_text().splitlines() if " install " in line]
    options = "install -qq -y --no-install-recommends"
    assert install == f"apt-get {options} --no-remove mariadb-server-core mariadb-client-core"


def test_a_missing_mariadb_is_told_in_one_line(machine: Machine) -> None:
    done = machine.setup("mariadb")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "mariadb-server-core and mariadb-client-core" in done.stderr


def test_a_server_that_is_named_makes_mariadb_unnecessary(machine: Machine) -> None:
    assert machine.setup("mariadb", RTEXP_TEST_SQL="mysql+pymysql://root@127.0.0.1/").returncode == 0


def test_a_python_of_another_version_is_refused_by_name(machine: Machine) -> None:
    machine.add("python3.9", "exit 1")
    done = machine.setup("venv", PYTHON="python3.9")
    assert done.returncode == 1
    assert "PYTHON=python3.9" in done.stderr


def test_a_shim_that_leads_nowhere_is_passed_over(machine: Machine) -> None:
    """Version managers put `python3.13` on the PATH whether or not there is one."""
    machine.add("python3.13", "exit 127")
    machine.add("python3.12", f'exec {sys.executable} "$@"')
    (machine.checkout / "requirements").mkdir()
    for name in ("requirements/build.txt", "requirements/dev.txt", "pyproject.toml"):
        (machine.checkout / name).touch()
    venv = machine.checkout / ".venv"
    # An environment that has everything already: the stamp alone decides.
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "rtexp").touch(0o755)
    version = ".".join(map(str, sys.version_info[:3]))
    empty = subprocess.run(["cksum"], input=b"", capture_output=True, check=True).stdout.decode().strip()
    (venv / "setup.stamp").write_text(f"{machine.checkout} {version} {empty}\n")
    assert machine.setup("venv").returncode == 0
    assert machine.calls("python3.13") == 1
    assert machine.calls("python3.12") > 1


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
