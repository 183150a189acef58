"""What a Kafka of one node needs on this machine: jars, Java, a data directory, a configuration.

The jars are those that Maven fetches (`kafka/pom.xml`). The node is KRaft, on the loopback interface alone.
"""

from __future__ import annotations

import shutil
import socket
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIBS_VARIABLE = "RTEXP_KAFKA_LIBS"

_FOREVER_MS = 2**63 - 1
_MESSAGE_BYTES = 8 * 1024 * 1024


def find_libs(environ: Mapping[str, str]) -> Path:
    """Return the directory of Kafka's jars; ConfigError, saying what to do, if there is none.

    It is ``RTEXP_KAFKA_LIBS``, else ``kafka/libs`` here, else in the checkout that this package lies in.
    """
    if named := environ.get(LIBS_VARIABLE):
        places = [Path(named)]
    else:
        places = [Path("kafka/libs"), Path(__file__).parents[3] / "kafka" / "libs"]
    for place in places:
        if any(place.glob("kafka_*.jar")):
            return place.resolve()
    looked_in = " or ".join(map(str, places))
    raise ConfigError(
        f"no Kafka answers, and none can be started: there are no Kafka jars in {looked_in}; "
        "run `make setup` to fetch them, or let [kafka] brokers name a Kafka that runs"
    )


def find_java(environ: Mapping[str, str]) -> str:
    """Return the path of ``java``: that of ``JAVA_HOME``, else the first in ``PATH``.

    ConfigError if there is none.
    """
    home = environ.get("JAVA_HOME")
    found = home and shutil.which("java", path=str(Path(home) / "bin"))
    if java := found or shutil.which("java", path=environ.get("PATH")):
        return java
    raise ConfigError(
        "no Kafka answers, and none can be started: there is no Java; "
        "run `make setup` or install Java 17, or let [kafka] brokers name a Kafka that runs"
    )


def this_or_free_port(port: int) -> int:
    """Return the port if nobody listens at it on this machine, else one that is free."""
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        taken: int = probe.getsockname()[1]
        return taken
    return free_port()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on now; it isn't reserved."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class BrokerFiles:
    """What a broker needs on disk: its data, kept, and its configuration, written before each start."""

    directory: Path
    libs: Path
    java: str
    port: int
    host: str = "127.0.0.1"
    options: Mapping[str, str] = field(default_factory=dict)
    """Broker settings on top of ours, for tests."""

    @property
    def properties(self) -> Path:
        """Where the broker's configuration is written."""
        return self.directory / "server.properties"

    @property
    def log(self) -> Path:
        """Where the broker writes what is not worth a line on the console."""
        return self.directory / "server.log"

    def command(self) -> Sequence[str]:
        """Write the configuration; return how to start the broker."""
        self.directory.mkdir(parents=True, exist_ok=True)
        # The controller's port is known to this node alone, so that it may be another at each start.
        lines = [f"{key}={value}" for key, value in self._server(free_port(self.host)).items()]
        self.properties.write_text("\n".join(lines) + "\n", "utf-8")
        (self.directory / "log4j2.properties").write_text(_log4j(self.log), "utf-8")
        return self._java("kafka.Kafka", str(self.properties))

    @property
    def formatted(self) -> bool:
        """Whether the data directory is a broker's already."""
        # Kafka writes this file last, so that a format which was broken off is done again.
        return (self.directory / "log" / "meta.properties").exists()

    def format_command(self) -> Sequence[str]:
        """Write the configuration; return how to make the data directory a broker's."""
        self.command()
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A", 1)
        properties = str(self.properties)
        arguments = ["format", "-t", cluster, "-c", properties, "--ignore-formatted"]
        return self._java("kafka.tools.StorageTool", *arguments)

    def _java(self, main: str, *arguments: str) -> list[str]:
        return [
            self.java,
            "-Xms128m",
            "-Xmx512m",
            # The quick compiler alone: a start takes 3.7 s of CPU instead of 6.9, and 3 M records of 215 bytes
            # 7.0 instead of 12.7 (OpenJDK 17, 2 cores): the other one never earns back what it costs here.
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",  # a broker that limps on is worse than one that starts again
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self.directory.resolve() / 'log4j2.properties'}",
            "-cp",
            f"{self.libs}/*",
            main,
            *arguments,
        ]

    def _server(self, controller_port: int) -> dict[str, str]:
        host = f"[{self.host}]" if ":" in self.host else self.host
        address, controller = f"{host}:{self.port}", f"{host}:{controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str((self.directory / "log").resolve()),
            "num.partitions": "1",
            "auto.create.topics.enable": "false",
            # One node: what is usually kept three times is kept once, and cut less finely.
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # After a kill -9 the node waits until its former life's session is over before it serves again.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "message.max.bytes": str(_MESSAGE_BYTES),
            "replica.fetch.max.bytes": str(_MESSAGE_BYTES),
            # A replay's records carry times of long ago; by default Kafka also refuses those an hour ahead.
            "log.message.timestamp.type": "CreateTime",
            "log.message.timestamp.before.max.ms": str(_FOREVER_MS),
            "log.message.timestamp.after.max.ms": str(_FOREVER_MS),
            "log.retention.check.interval.ms": "60000",
            # Broken-off starts and kill -9 leave segments to check: two threads use both cores.
            "num.recovery.threads.per.data.dir": "2",
            **self.options,
        }


def _log4j(log: Path) -> str:
    return f"""\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{{1}}: %m%n
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log.resolve()}
appender.file.filePattern = {log.resolve()}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{{1}}: %m%n
appender.file.policies.type = SizeBasedTriggeringPolicy
appender.file.policies.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
rootLogger.appenderRef.console.level = error
rootLogger.appenderRef.file.ref = file
"""
