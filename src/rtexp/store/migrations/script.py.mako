# ruff: noqa: INP001 - Alembic runs it by its path
"""${message}

Revision ${up_revision}, after ${down_revision | comma,n}.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Bring the tables to this revision; there is no way back but a backup."""
    # On MySQL it may be cut off after any step, and then runs again: take steps of rtexp.store.steps.
    ${upgrades if upgrades else "pass"}
