"""Tables of the SQL database, and the columns that other programs may read.

Times are epoch ms in BIGINT, names are compared byte for byte, NULL never stands for 0. The tables are made
and changed by the migrations beside this module alone; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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
    TypeDecorator,
    UniqueConstraint,
)

NAME_BYTES = 128
"""No experiment, group or event is longer, in UTF-8: then all primary keys fit MySQL's index limit."""
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
    Column(
        "percent", Double, CheckConstraint("percent >= 0 AND percent <= 100", name="percent"), nullable=False
    ),
    Column("changed_at_ms", BigInteger, nullable=False),
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
    Column("sketch", LargeBinary),
    Column("sequence", BigInteger, nullable=False),
)
"""One row a bucket of 15 minutes: increments within it, published as absolute values."""

incarnations = Table(
    "incarnations",
    metadata,
    Column("changelog", Name(TOPIC_BYTES), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Name, nullable=False),
)
"""Internal: whose history the rows of ``cells`` are. Sequences of different histories can't be compared."""
