# ruff: noqa: INP001 - Alembic runs it by its path
"""First tables: experiments with their groups and allocations, cells, incarnations.

Revision 0001, after none.
"""

import sqlalchemy as sa
from alembic import op

from rtexp.store.schema import Bytes, Name
from rtexp.store.steps import create_index, create_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Bring the tables to this revision; there is no way back but a backup."""
    create_table(
        "experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", Name(), nullable=False),
        sa.Column("control_group", Name(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
        sa.UniqueConstraint("name", name="uq_experiments_name"),
    )
    create_table(
        "experiment_groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", Name(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiment_groups"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name="fk_experiment_groups_experiment_id"
        ),
        sa.UniqueConstraint("experiment_id", "name", name="uq_experiment_groups_experiment_id_name"),
    )
    create_table(
        "allocations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_allocations"),
        sa.ForeignKeyConstraint(["group_id"], ["experiment_groups.id"], name="fk_allocations_group_id"),
        sa.CheckConstraint("percent >= 0 AND percent <= 100", name=op.f("ck_allocations_percent")),
    )
    create_index("ix_allocations_group_id_changed_at_ms", "allocations", ["group_id", "changed_at_ms"])
    create_table(
        "cells",
        sa.Column("experiment", Name(), nullable=False),
        sa.Column("period_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_name", Name(), nullable=False),
        sa.Column("event", Name(), nullable=False),
        sa.Column("bucket_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=False),
        sa.Column("actors", sa.BigInteger(), nullable=False),
        sa.Column("sum_squares", sa.BigInteger(), nullable=False),
        sa.Column("exposures", sa.BigInteger(), nullable=False),
        sa.Column("multiple_exposures", sa.BigInteger(), nullable=False),
        sa.Column("sketch", Bytes),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "experiment", "period_start_ms", "group_name", "event", "bucket_start_ms", name="pk_cells"
        ),
    )
    create_table(
        "incarnations",
        sa.Column("changelog", Name(249), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("incarnation", Name(), nullable=False),
        sa.PrimaryKeyConstraint("changelog", "partition", name="pk_incarnations"),
    )
