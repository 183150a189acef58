"""The peers: which there are, and how each is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
HEAP = "2g"
_FLINK = "rtexp.peers.flink.FlinkJob"
_STREAMS = "rtexp.peers.streams.StreamsJob"
# Flink's own serialization and memory reach into these.
_OPENED = ("lang", "lang.reflect", "io", "net", "nio", "text", "time", "util", "util.concurrent")


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the job; `README.md` tells more of each."""

    name: str
    title: str
    module: str
    """Of the Maven build."""
    main: str
    settings: Mapping[str, str]

    def command(self, java: str, settings: Mapping[str, object], directory: Path) -> list[str]:
        """Return how to start it; it may write in ``directory``, which must exist."""
        target = HERE / self.module / "target"
        opened = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED]
        given = {**self.settings, **settings, "directory": directory, "java.io.tmpdir": directory}
        return [
            java,
            f"-Xmx{HEAP}",
            "-XX:+UseG1GC",
            "-XX:+ExitOnOutOfMemoryError",
            *opened,
            "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *(f"-D{name}={value}" for name, value in given.items()),
            "-cp",
            f"{target / 'classes'}:{target / 'libs'}/*",
            self.main,
        ]


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "flink-published",
            "Flink, the published design, RocksDB",
            "flink",
            _FLINK,
            {"form": "published", "backend": "rocksdb"},
        ),
        Peer("kafka-streams", "Kafka Streams, pairs, RocksDB", "streams", _STREAMS, {}),
        Peer(
            "flink-bundled-rocksdb",
            "Flink, written by hand, RocksDB",
            "flink",
            _FLINK,
            {"form": "bundled", "backend": "rocksdb"},
        ),
        Peer(
            "flink-bundled-heap",
            "Flink, written by hand, heap",
            "flink",
            _FLINK,
            {"form": "bundled", "backend": "hashmap"},
        ),
    )
}
