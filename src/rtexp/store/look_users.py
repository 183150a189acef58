"""How many users the looks of a period have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, func, select

from rtexp.store.schema import looks

if TYPE_CHECKING:
    from sqlalchemy import Connection


def read_users(connection: Connection, experiment: str, period_start_ms: int) -> tuple[int, bool] | None:
    """Return the users of the comparison that has the most, and whether there was a last look; None without looks."""
    most = func.max(looks.c.n_control + looks.c.n_treatment)
    last = func.max(case((looks.c.final, 1), else_=0))
    found = connection.execute(
        select(most, last).where(looks.c.experiment == experiment, looks.c.period_start_ms == period_start_ms)
    ).one()
    return None if found[0] is None else (int(found[0]), bool(found[1]))
