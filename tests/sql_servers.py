"""A MariaDB server for one test session: private, on a free port, its data in a directory of its own.

RTEXP_TEST_SQL=mysql+pymysql://root:…@host:port names another server to run the same tests on, such as MySQL 8;
its user must be able to make databases and users. The tests remove what they make there.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from rtexp.local import child
from rtexp.local.broker_files import free_port
from rtexp.settings import StoreSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL, Engine

START_SECONDS = 60.0
VARIABLE = "RTEXP_TEST_SQL"
PASSWORD = "a pa%s:wörd€'\\"
PRIVILEGES = "ALL PRIVILEGES"


def settings_of(url: URL) -> StoreSettings:
    return StoreSettings(url=url.render_as_string(hide_password=False))


class SqlServer:
    """A server that answers, and databases on it."""

    def __init__(self, url: URL) -> None:
        """``url`` names a user who may do everything."""
        self.url = url
        self._made: list[ServerDatabase] = []
        self.admin: Engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def do(self, *statements: str) -> list[Any]:
        """Run statements as the administrator; return the rows of the last."""
        with self.admin.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def database(self, privileges: str = PRIVILEGES) -> ServerDatabase:
        """An empty database, and a user of the same name who may do what is said in it and nothing else."""
        name = f"rtexp_{uuid4().hex[:12]}"
        user = f"'{name}'@'%%'"
        password = PASSWORD.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")
        self.do(
            f"CREATE DATABASE {name} CHARACTER SET latin1",  # nothing may rest on its defaults
            f"CREATE USER {user} IDENTIFIED BY '{password}'",
            f"GRANT {privileges} ON {name}.* TO {user}",
        )
        made = ServerDatabase(self, name)
        self._made.append(made)
        return made

    def clean(self) -> None:
        """Remove all databases and users that were made here."""
        while self._made:
            name = self._made.pop().name
            self.do(f"DROP DATABASE {name}", f"DROP USER '{name}'@'%%'")


@dataclass(frozen=True)
class ServerDatabase:
    """A `tests.unit.store.databases.Database`."""

    server: SqlServer
    name: str
    refusal = "read.only"
    keeps_steps = True

    @property
    def url(self) -> URL:
        return self.server.url.set(username=self.name, password=PASSWORD, database=self.name)

    @property
    def settings(self) -> StoreSettings:
        return settings_of(self.url)

    def end_connections(self) -> int:
        """End what connections its user has, as a restart of the server would; return how many those were."""
        found = self.server.do(f"SELECT id FROM information_schema.processlist WHERE user = '{self.name}'")
        for (number,) in found:
            with suppress(OperationalError):  # it has ended by itself
                self.server.do(f"KILL {number}")
        return len(found)

    def wait_for_lock_wait(self) -> None:
        """Return when a transaction on the server waits for another one's lock."""
        ask = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        deadline = time.monotonic() + START_SECONDS
        while not self.server.do(ask):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.2)  # the server doesn't look again for those who ask more often

    @contextmanager
    def refusing_writes(self) -> Iterator[None]:
        self.server.do("SET GLOBAL read_only = 1")
        yield
        self.server.do("SET GLOBAL read_only = 0")

    def another(self) -> ServerDatabase:
        return self.server.database()


class PrivateMariaDb(SqlServer):
    """Started by `start` or ``with``; may be killed and started again on the same data and port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.options: dict[str, str] = {
            "innodb-buffer-pool-size": "32M",
            # A commit survives the server's death, if not the machine's: more is slow where disks are shared.
            "innodb-flush-log-at-trx-commit": "2",
        }
        self._data = directory / "data"
        self._console = directory / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(make_url(f"mysql+pymysql://root@127.0.0.1:{free_port()}"))

    @property
    def said(self) -> str:
        return self._console.read_text("utf-8", "replace")

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._run(
                "mariadb-install-db",
                "--skip-test-db",
                "--skip-name-resolve",
                "--auth-root-authentication-method=normal",
            )
        command = self._command("mariadbd", *self._options())
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [sys.executable, child.__file__, str(os.getpid()), *command],
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def _options(self) -> list[str]:
        return [
            f"--socket={self._directory}/socket",
            f"--pid-file={self._directory}/pid",
            "--bind-address=127.0.0.1",
            f"--port={self.url.port}",
            "--skip-name-resolve",
            "--skip-log-bin",
            *(f"--{name}={value}" for name, value in self.options.items()),
        ]

    def _run(self, program: str, *options: str) -> None:
        with self._console.open("ab") as console:
            command = self._command(program, *options)
            done = subprocess.run(command, stdout=console, stderr=console, timeout=60, check=False)
        assert done.returncode == 0, self.said

    def _command(self, program: str, *options: str) -> list[str]:
        # A server's program stands where a user's PATH may not lead.
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert path, (
            f"{program} is missing: install MariaDB (Debian: mariadb-server-core), or run `make mariadb`"
        )
        return [path, "--no-defaults", f"--datadir={self._data}", f"--user={getpass.getuser()}", *options]

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OperationalError):
                self.do("SELECT 1")
                return
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal that doesn't end it."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def sql_server(directory: Path) -> Iterator[SqlServer]:
    """The server that the environment names, or a private one."""
    if url := os.environ.get(VARIABLE):
        given = SqlServer(make_url(url))
        yield given
        given.clean()
        return
    with PrivateMariaDb(directory) as private:
        yield private
