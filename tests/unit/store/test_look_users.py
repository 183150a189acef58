"""How many users the looks of a period have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.store.databases import look_row

from rtexp.store.engine import reading, writing
from rtexp.store.look_users import read_users
from rtexp.store.looks import upsert_looks

if TYPE_CHECKING:
    from sqlalchemy import Engine

START = 1_700_000_000_000


def users(engine: Engine, experiment: str, start_ms: int = START) -> tuple[int, bool] | None:
    with reading(engine) as connection:
        return read_users(connection, experiment, start_ms)


def test_the_comparison_with_the_most_users_counts_and_the_last_look_is_known(engine: Engine) -> None:
    rows = [
        look_row(look=1)._replace(n_control=10, n_treatment=20),
        look_row(look=2)._replace(n_control=100, n_treatment=50),
        look_row(look=2, group="other")._replace(n_control=100, n_treatment=70),
        look_row(experiment="Feed", look=72)._replace(n_control=9000, n_treatment=9000, final=True),
        look_row(look=3, period_start_ms=START + 1)._replace(n_control=5000, n_treatment=1, final=True),
    ]
    with writing(engine) as connection:
        upsert_looks(connection, rows)
    assert users(engine, "feed") == (170, False)
    assert users(engine, "Feed") == (18_000, True)
    assert users(engine, "feed", START + 1) == (5001, True)
    assert users(engine, "feed ") is None
