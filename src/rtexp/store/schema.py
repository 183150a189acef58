"""Tables of the SQL database, and the columns that other programs may read.

Times are epoch ms in BIGINT, names are compared byte for byte, NULL never stands for 0. The tables are made
and changed by the migrations beside this module alone; a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

from rtexp.store.mysql import is_mysql

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

NAME_BYTES = 128
"""No experiment, group or event is longer, in UTF-8. MySQL counts four bytes a character in a key: those of `cells`
then take 3 x 512 + 2 x 8 of the 3072 that it allows."""
TOPIC_BYTES = 249
"""Kafka's own limit of a topic's name."""


class Name(TypeDecorator[str]):
    """Text that is equal only to the very same bytes: no folding of case or accents, no padding.

    SQLite compares so by itself. A database that doesn't gets its binary collation here, and only here.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int = NAME_BYTES) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type in SQL. Its length counts characters, of which a text has no more than bytes."""
        if not is_mysql(dialect):
            return super().load_dialect_impl(dialect)
        # Not utf8mb4_bin, which both have: to that one, names that differ by spaces at the end are equal.
        collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
        return dialect.type_descriptor(mysql.VARCHAR(self._length, charset="utf8mb4", collation=collation))


Bytes = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
"""Bytes up to 16 MiB; MySQL's plain BLOB ends at 64 KiB."""

Json = Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
"""JSON byte for byte as it was written, up to 16 MiB. A database's own type of JSON writes numbers and keys in its own
way, and a plan is known by the hash of its text."""
CODE_LENGTH = 32
"""Of a metric, role, method, state or reason: words of ours, in ASCII."""
NOTE_LENGTH = 255
REASON_LENGTH = 64
"""Of a counter: a kind of input and a reason, such as ``activations/unknown-experiment``."""
WORKER_LENGTH = 96
"""A host's name, of 64 bytes at most, and nine characters."""

metadata = MetaData(
    naming_convention={  # a constraint without a name can't be dropped by a later migration
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Name, nullable=False),
    Column("control_group", Name, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("plan", Json),
    UniqueConstraint("name"),
)

experiment_groups = Table(
    "experiment_groups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", Integer, ForeignKey("experiments.id"), nullable=False),
    Column("name", Name, nullable=False),
    UniqueConstraint("experiment_id", "name"),
)

allocations = Table(
    "allocations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("group_id", Integer, ForeignKey("experiment_groups.id"), nullable=False),
    Column("percent", Double, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    CheckConstraint("percent >= 0 AND percent <= 100", name="percent"),
    Index(None, "group_id", "changed_at_ms"),
)

cells = Table(
    "cells",
    metadata,
    Column("experiment", Name, primary_key=True),
    Column("period_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("group_name", Name, primary_key=True),
    Column("event", Name, primary_key=True),
    Column("bucket_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("volume", BigInteger, nullable=False),
    Column("actors", BigInteger, nullable=False),
    Column("sum_squares", BigInteger, nullable=False),
    Column("exposures", BigInteger, nullable=False),
    Column("multiple_exposures", BigInteger, nullable=False),
    Column("sketch", Bytes),
    Column("sequence", BigInteger, nullable=False),
)
"""One row a bucket of 15 minutes: increments within it, published as absolute values."""

looks = Table(
    "looks",
    metadata,
    Column("experiment", Name, primary_key=True),
    Column("period_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("group_name", Name, primary_key=True),
    Column("event", Name, primary_key=True),
    Column("metric", Name(CODE_LENGTH), primary_key=True),
    Column("role", Name(CODE_LENGTH), primary_key=True),
    Column("method", Name(CODE_LENGTH), primary_key=True),
    Column("look", Integer, primary_key=True, autoincrement=False),
    Column("scheduled_ms", BigInteger, nullable=False),
    Column("evaluated_ms", BigInteger, nullable=False),
    *(
        Column(f"{sum_}_{arm}", BigInteger, nullable=False)
        for sum_ in ("n", "s1", "s2", "a")
        for arm in ("control", "treatment")
    ),
    *(
        Column(name, Double)
        for name in ("effect", "std_error", "interval_low", "interval_high", "lift", "lift_low", "lift_high")
    ),
    Column("lift_method", Name(CODE_LENGTH)),
    Column("lift_reason", Name(CODE_LENGTH)),
    *(
        Column(name, Double)
        for name in (
            *("p_value", "z", "information", "level", "alpha_spent", "boundary", "p_always_valid"),
            *("srm_log_e", "srm_p", "srm_first_log_e", "srm_first_p"),
        )
    ),
    Column("crossed", Boolean, nullable=False),
    Column("withheld", Boolean, nullable=False),
    Column("state", Name(CODE_LENGTH), nullable=False),
    Column("final", Boolean, nullable=False),
    Column("reason", Name(CODE_LENGTH)),
    Column("note", Name(NOTE_LENGTH)),
    Column("plan_hash", Name(CODE_LENGTH)),
    Column("version", Name(CODE_LENGTH), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
"""One row a comparison and look. What isn't computed is NULL, and `reason` or `lift_reason` says why."""

plans = Table(
    "plans",
    metadata,
    Column("experiment", Name, primary_key=True),
    Column("period_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("plan_hash", Name(CODE_LENGTH), nullable=False),
    Column("plan", Json, nullable=False),
)
"""How each period is judged: written once, when the period begins, and never changed."""

look_inputs = Table(
    "look_inputs",
    metadata,
    Column("experiment", Name, primary_key=True),
    Column("period_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("look", Integer, primary_key=True, autoincrement=False),
    Column("scheduled_ms", BigInteger, nullable=False),
    Column("inputs", Json, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
"""The counts that each look used, of all groups and events: `cells` go on changing, these don't."""

pipeline = Table(
    "pipeline",
    metadata,
    Column("job", Name(CODE_LENGTH), primary_key=True),
    Column("input", Name(TOPIC_BYTES), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("worker", Name(WORKER_LENGTH), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("lag", BigInteger),
    Column("watermark_ms", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("rewind_done", BigInteger, nullable=False),
    Column("rewind_total", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
"""How far each input partition of each job is, as its newest owner said; ``lag`` is NULL until the end is known."""

counters = Table(
    "counters",
    metadata,
    Column("job", Name(CODE_LENGTH), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("reason", Name(REASON_LENGTH), primary_key=True),
    Column("minute_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
"""Rows by reason: increments within the minute. ``sequence`` is the counter's total at the end of it."""

workers = Table(
    "workers",
    metadata,
    Column("worker", Name(WORKER_LENGTH), primary_key=True),
    Column("job", Name(CODE_LENGTH), nullable=False),
    Column("url", Name(NOTE_LENGTH), nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("rss_bytes", BigInteger, nullable=False),
    Column("cpu_seconds", Double, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
"""Each process, as it last said; who says no more has an old ``updated_ms``."""

freshness = Table(
    "freshness",
    metadata,
    Column("minute_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("p50_ms", BigInteger, nullable=False),
    Column("p99_ms", BigInteger, nullable=False),
)
"""From an action's arrival until it is surely in SQL; see `rtexp.agents.freshness`. No row: nothing was published."""

incarnations = Table(
    "incarnations",
    metadata,
    Column("changelog", Name(TOPIC_BYTES), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Name, nullable=False),
)
"""Internal: whose history the rows of ``cells`` and looks are. Sequences of different histories can't be compared."""
