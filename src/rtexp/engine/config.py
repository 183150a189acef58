"""What the engine needs to be told; the composition root translates rtexp's settings into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One job's settings. Intervals in seconds."""

    group: str
    """Consumer group; also the prefix of transactional ids."""
    brokers: tuple[str, ...]
    data_directory: Path = Path("data")
    """Default of ``--datadir``."""
    web_bind: str = "127.0.0.1"
    """Default of ``--web-bind``."""
    web_port: int = 6066
    """Default of ``--web-port``; 0: any that is free."""
    connection: Callable[[], Mapping[str, Any]] = dict
    """Called for each new client: security settings as aiokafka takes them (``security_protocol``, ...)."""
    flush_interval: float = 0.5
    flush_rows: int = 50_000
    checkpoint_interval: float = 60.0
    session_timeout: float = 10.0
    request_timeout: float = 30.0
    transaction_timeout: float = 60.0
    """A flush that takes longer than this has an unknown outcome: the process ends."""
    waiting_rows: int = 200_000
    """Rows of one partition that may wait in memory before its reading pauses."""
    waiting_bytes: int = 32 << 20
    fetch_bytes: int = 4 << 20
    """Per partition and fetch."""
    fetch_records: int = 4_000
    """Records that the client hands over in one list, about; there may be several lists in one call."""
    held_too_long: float = 3.5 * 86_400.0
    """Records that wait for longer, since they were written, are warned of: half of their topic's retention."""
    store_max_age: float = 12 * 3600.0
    """A local store last written longer ago than this is wiped: half of the topic's delete.retention.ms,
    after which tombstones that it never saw may be gone."""
