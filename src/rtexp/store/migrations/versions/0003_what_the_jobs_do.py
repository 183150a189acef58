# ruff: noqa: INP001 - Alembic runs it by its path
"""What the jobs do: positions, counters, workers, freshness.

Revision 0003, after 0002.
"""

import sqlalchemy as sa

from rtexp.store.schema import Name
from rtexp.store.steps import create_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Bring the tables to this revision; there is no way back but a backup."""
    create_table(
        "pipeline",
        sa.Column("job", Name(32), nullable=False),
        sa.Column("input", Name(249), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", Name(96), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("lag", sa.BigInteger()),
        sa.Column("watermark_ms", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("rewind_done", sa.BigInteger(), nullable=False),
        sa.Column("rewind_total", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job", "input", "partition", name="pk_pipeline"),
    )
    create_table(
        "counters",
        sa.Column("job", Name(32), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", Name(64), nullable=False),
        sa.Column("minute_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job", "partition", "reason", "minute_ms", name="pk_counters"),
    )
    create_table(
        "workers",
        sa.Column("worker", Name(96), nullable=False),
        sa.Column("job", Name(32), nullable=False),
        sa.Column("url", Name(255), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_workers"),
    )
    create_table(
        "freshness",
        sa.Column("minute_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("p50_ms", sa.BigInteger(), nullable=False),
        sa.Column("p99_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute_ms", name="pk_freshness"),
    )
