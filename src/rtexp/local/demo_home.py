"""Where a demo lives: a directory, topics and settings of its own, so that it touches nothing of the user's."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from rtexp.errors import ConfigError, StoreUnavailable, UsageError
from rtexp.local.broker_files import this_or_free_port
from rtexp.local.lock import LOCK_FILE, directory_lock
from rtexp.local.topics import topics_of
from rtexp.local.unreachable import unreachable
from rtexp.settings import (
    CONFIG_VARIABLE,
    ActionSettings,
    ActivationSettings,
    DataSettings,
    KafkaSettings,
    MetadataSettings,
    PipelineSettings,
    Settings,
    StatisticsSettings,
    StoreSettings,
    WebSettings,
    as_toml,
    client_options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "rtexp-demo"
MARK = ".rtexp-demo"
CONFIG = "rtexp.toml"
LIBS_VARIABLE = "RTEXP_KAFKA_LIBS"
PARTITIONS = 4
MOST_PREFIX = 80
"""Characters of the user's prefix, so that there is room for the demo's own."""
CAP_PER_HOUR = 60
ALPHA = 0.01
"""Low, as the demo checks its verdicts: of a hundred seeds one shows a difference where there is none, and fails."""


def make_home(directory: Path) -> None:
    """Make an empty directory for a demo, or empty that of an earlier one.

    UsageError if it holds anything else; AlreadyRunning if a demo runs in it; ConfigError if it can't be made.
    """
    strangers = directory.exists() and any(path.name != LOCK_FILE for path in directory.iterdir())
    if strangers and not (directory / MARK).exists():
        raise UsageError(f"{directory} isn't empty and no demo's: choose another with --directory")
    with directory_lock(directory):
        try:
            (directory / MARK).touch()  # first, so that a demo that stops half way can still be recognised
            for path in directory.iterdir():
                if path.name in {LOCK_FILE, MARK}:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as exc:
            raise ConfigError(f"the demo's directory {directory} can't be used: {exc}") from exc


def demo_settings(
    users: Settings, directory: Path, *, shares_broker: bool, configured: bool = False
) -> Settings:
    """Return a demo's settings: of the user's own, only ports and alerts matter, and with ``configured`` the broker.

    The pages get another port if theirs is taken. On a broker that others use too, names are new for each demo: what
    an interrupted one left there can't matter.
    """
    own = f"-{uuid4().hex[:8]}" if shares_broker else ""
    kafka = demo_broker(users.kafka, configured=configured)
    if configured:
        # Behind the user's own prefix, as a broker's access lists may know that one alone.
        prefix = f"{users.kafka.prefix[:MOST_PREFIX]}-demo{own}"
    else:
        prefix = f"{PREFIX}{own}"
        if not shares_broker:  # something else may be there, such as a broker that wants TLS
            kafka = _at(this_or_free_port(_port(kafka)))
    kafka = kafka.model_copy(update={"prefix": prefix, "partitions": PARTITIONS})
    return Settings(
        kafka=kafka,
        store=StoreSettings(url=f"sqlite:///{(directory / 'rtexp.db').resolve()}"),
        actions=ActionSettings(topic=f"{kafka.prefix}-actions", cap_per_hour=CAP_PER_HOUR),
        activations=ActivationSettings(topic=f"{kafka.prefix}-activations"),
        pipeline=PipelineSettings(clock="records"),
        metadata=MetadataSettings(poll_seconds=1.0),
        statistics=StatisticsSettings(alpha=ALPHA),
        web=WebSettings(port=this_or_free_port(users.web.port)),
        alerts=users.alerts.model_copy(update={"host": "127.0.0.1"}),  # pages of a demo have no token either
        data=DataSettings(directory=directory.resolve()),
    )


def demo_broker(users: KafkaSettings, *, configured: bool) -> KafkaSettings:
    """Return the broker that a demo looks for: the user's, or a plain one on this machine at the user's port."""
    if configured:
        return users
    address = users.local_address()
    return _at(_port(users) if address is None else address[1])


def _at(port: int) -> KafkaSettings:
    return KafkaSettings(brokers=(f"127.0.0.1:{port}",))


def _port(kafka: KafkaSettings) -> int:
    return int(kafka.brokers[0].rpartition(":")[2])


def write_config(settings: Settings, directory: Path) -> Path:
    """Write the settings where workers, and curious people, find them."""
    path = directory / CONFIG
    path.write_text(as_toml(settings), encoding="utf-8")
    return path


def demo_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the user's settings, which would override the demo's."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("RTEXP_") or name in {LIBS_VARIABLE, CONFIG_VARIABLE}
    }


async def delete_topics(settings: Settings) -> None:
    """Remove a demo's topics from a broker that others use too; StoreUnavailable, saying which, if some stay."""
    names = [topic.name for topic in topics_of(settings)]
    client = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        await client.start()
        answer = await client.delete_topics(names)
    except (KafkaError, TimeoutError) as exc:
        raise await unreachable(settings.kafka, exc, doing="removing topics") from exc
    finally:
        await client.close()
    if left := [f"{name} ({for_code(code).__name__})" for name, code in answer.topic_error_codes if code]:
        raise StoreUnavailable(f"topics of the demo stay behind: {', '.join(left)}")
