from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.store.databases import look_row

from rtexp.alerts.samples import Samples, reader
from rtexp.alerts.timing import Users
from rtexp.errors import StoreUnavailable
from rtexp.store.engine import writing
from rtexp.store.looks import upsert_looks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

START = 1_700_000_000_000


async def test_only_what_was_asked_for_is_read_from_sql(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_looks(connection, [look_row(), look_row(experiment="other")])
    samples = Samples(reader(engine))
    assert samples.users("feed", START) is None
    assert samples.users("unknown", START) is None
    await samples.run_round()
    assert samples.users("feed", START) == Users(24_100, is_final=False)
    assert samples.users("other", START) is None
    assert samples.users("unknown", START) is None


async def test_what_sql_could_not_say_is_asked_again() -> None:
    fails = [True]

    def read(periods: set[tuple[str, int]]) -> Mapping[tuple[str, int], Users]:
        if fails.pop():
            fails.append(False)
            raise StoreUnavailable("away")
        return {period: Users(7, is_final=True) for period in periods}

    samples = Samples(read)
    assert samples.users("feed", START) is None
    await samples.run_round()
    await samples.run_round()
    assert samples.users("feed", START) == Users(7, is_final=True)
