# ruff: noqa: INP001 - Alembic runs it by its path
"""Plans of experiments and of their periods; looks, and the counts that they used.

Revision 0002, after 0001.
"""

import sqlalchemy as sa

from rtexp.store.schema import Json, Name
from rtexp.store.steps import add_column, create_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the tables to this revision; there is no way back but a backup."""
    add_column("experiments", sa.Column("plan", Json))
    create_table(
        "plans",
        sa.Column("experiment", Name(), nullable=False),
        sa.Column("period_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("plan_hash", Name(32), nullable=False),
        sa.Column("plan", Json, nullable=False),
        sa.PrimaryKeyConstraint("experiment", "period_start_ms", name="pk_plans"),
    )
    create_table(
        "looks",
        sa.Column("experiment", Name(), nullable=False),
        sa.Column("period_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_name", Name(), nullable=False),
        sa.Column("event", Name(), nullable=False),
        sa.Column("metric", Name(32), nullable=False),
        sa.Column("role", Name(32), nullable=False),
        sa.Column("method", Name(32), nullable=False),
        sa.Column("look", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scheduled_ms", sa.BigInteger(), nullable=False),
        sa.Column("evaluated_ms", sa.BigInteger(), nullable=False),
        sa.Column("n_control", sa.BigInteger(), nullable=False),
        sa.Column("n_treatment", sa.BigInteger(), nullable=False),
        sa.Column("s1_control", sa.BigInteger(), nullable=False),
        sa.Column("s1_treatment", sa.BigInteger(), nullable=False),
        sa.Column("s2_control", sa.BigInteger(), nullable=False),
        sa.Column("s2_treatment", sa.BigInteger(), nullable=False),
        sa.Column("a_control", sa.BigInteger(), nullable=False),
        sa.Column("a_treatment", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.Double()),
        sa.Column("std_error", sa.Double()),
        sa.Column("interval_low", sa.Double()),
        sa.Column("interval_high", sa.Double()),
        sa.Column("lift", sa.Double()),
        sa.Column("lift_low", sa.Double()),
        sa.Column("lift_high", sa.Double()),
        sa.Column("lift_method", Name(32)),
        sa.Column("lift_reason", Name(32)),
        sa.Column("p_value", sa.Double()),
        sa.Column("z", sa.Double()),
        sa.Column("information", sa.Double()),
        sa.Column("level", sa.Double()),
        sa.Column("alpha_spent", sa.Double()),
        sa.Column("boundary", sa.Double()),
        sa.Column("p_always_valid", sa.Double()),
        sa.Column("srm_log_e", sa.Double()),
        sa.Column("srm_p", sa.Double()),
        sa.Column("srm_first_log_e", sa.Double()),
        sa.Column("srm_first_p", sa.Double()),
        sa.Column("crossed", sa.Boolean(), nullable=False),
        sa.Column("withheld", sa.Boolean(), nullable=False),
        sa.Column("state", Name(32), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("reason", Name(32)),
        sa.Column("note", Name(255)),
        sa.Column("plan_hash", Name(32)),
        sa.Column("version", Name(32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "experiment",
            "period_start_ms",
            "group_name",
            "event",
            "metric",
            "role",
            "method",
            "look",
            name="pk_looks",
        ),
    )
    create_table(
        "look_inputs",
        sa.Column("experiment", Name(), nullable=False),
        sa.Column("period_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("look", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scheduled_ms", sa.BigInteger(), nullable=False),
        sa.Column("inputs", Json, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "period_start_ms", "look", name="pk_look_inputs"),
    )
