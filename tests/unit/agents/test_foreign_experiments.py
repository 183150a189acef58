"""Experiments of other people's tables: they come in by themselves, and nothing that was counted moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs
from tests.unit.agents.test_sync_metadata import Sent

from rtexp.agents.sync_metadata import MetadataSync
from rtexp.records.snapshot import Allocation
from rtexp.settings import DataSettings, MetadataSettings, Settings
from rtexp.store.definitions import Experiment, parse_definitions
from rtexp.store.engine import make_engine, opened, reading, writing, writing_alone
from rtexp.store.metadata import load, read_experiments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

    from rtexp.records import snapshot as wire

HOUR = 3_600_000
START = 1_699_920_000_000  # 2023-11-14 00:00
NOW = START + 20 * HOUR
QUERY = "SELECT name AS experiment, arm AS group_name, base AS control, pct AS percent, since AS changed_at FROM tests"


@dataclass
class Theirs:
    """A table of experiments that others keep, in a database of their own, and rtexp beside it."""

    engine: Engine
    settings: Settings
    their_engine: Engine
    sent: Sent = field(default_factory=Sent)

    def __post_init__(self) -> None:
        self.do(
            "CREATE TABLE tests (name VARCHAR(60), arm VARCHAR(60), base VARCHAR(60), pct DECIMAL(5,2), since DATETIME)"
        )
        self.sync = MetadataSync(self.engine, self.settings, self.sent)

    def do(self, *statements: str) -> None:
        with writing(self.their_engine) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def add(self, *rows: tuple[str, str, float, str], base: str = "c") -> None:
        self.do(
            *(
                f"INSERT INTO tests VALUES ('{name}', '{arm}', '{base}', {p}, '{at}')"
                for name, arm, p, at in rows
            )
        )

    def begin(self, name: str = "feed") -> None:
        self.add((name, "c", 5, "2023-11-14 00:00:00"), (name, "t", 5, "2023-11-14 00:00:00"))

    async def poll(self, now_ms: int = NOW) -> dict[str, list[tuple[str, float, int]]] | None:
        """Return the allocations of the snapshot by experiment, in hours since the start."""
        taken = await self.sync.run_once(now_ms)
        return None if taken is None else {e.name: history(e) for e in taken.experiments}

    def stored(self) -> list[Experiment]:
        with reading(self.engine) as connection:
            return read_experiments(connection)

    def load(self, text: str) -> None:
        with writing_alone(self.engine) as connection:
            found = parse_definitions(text, self.settings).experiments
            load(connection, found, pipeline=self.settings.pipeline, now_ms=NOW)


def history(experiment: wire.Experiment) -> list[tuple[str, float, int]]:
    return [(a.group, a.percent, (a.at_ms - START) // HOUR) for a in experiment.allocations]


@pytest.fixture
def theirs(store: Database, engine: Engine, tmp_path: Path) -> Iterator[Theirs]:
    other = store.another().settings
    their_engine = make_engine(other)
    settings = Settings(
        store=store.settings,
        metadata=MetadataSettings(url=other.url, query=QUERY),
        data=DataSettings(directory=tmp_path / "data"),
    )
    yield Theirs(engine, settings, their_engine)
    their_engine.dispose()


FEED = [("c", 5, 0), ("t", 5, 0)]


async def test_experiments_are_taken_over_at_every_poll(theirs: Theirs) -> None:
    assert await theirs.poll() == {}
    theirs.begin()
    assert await theirs.poll() == {"feed": FEED}
    theirs.begin("ranking")
    theirs.add(("feed", "t", 12.5, "2023-11-14 10:00:00"))
    assert await theirs.poll() == {"feed": [*FEED, ("t", 12.5, 10)], "ranking": FEED}
    assert [plan.experiment for plan in theirs.sent[-1].plans] == ["feed", "ranking"]


async def test_a_poll_without_news_writes_nothing(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    written: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(
            ("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE", "SELECT GET_LOCK", "SELECT get_lock")
        ):
            written.append(statement)

    event.listen(theirs.engine, "before_cursor_execute", note)
    assert await theirs.poll() == {"feed": FEED}
    assert written == []
    theirs.begin("ranking")
    await theirs.poll()
    assert written, "the listener hears nothing"


async def test_a_row_that_is_changed_afterwards_changes_no_history_and_is_told(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    theirs.do("UPDATE tests SET pct = 50 WHERE arm = 't'")
    theirs.begin("ranking")
    with capture_logs() as logs:
        assert await theirs.poll() == {"feed": FEED, "ranking": FEED}
    (told,) = [entry for entry in logs if entry["event"] == "experiments_refused"]
    assert told["reasons"] == [
        (
            f"row 2, `feed`: allocations gives `t` 50 percent at {START} ms, rtexp's tables have 5: "
            "history can't change; add a later allocation"
        )
    ]


async def test_an_earlier_row_that_would_move_a_period_is_refused(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    theirs.add(("feed", "t", 1, "2023-11-13 00:00:00"))
    with capture_logs() as logs:
        assert await theirs.poll() == {"feed": FEED}
    assert "would move the period that began at" in str(logs)
    assert "row 3, `feed`" in str(logs)


async def test_rows_that_are_deleted_leave_the_history_as_it_is(theirs: Theirs) -> None:
    theirs.begin()
    theirs.begin("ranking")
    await theirs.poll()
    theirs.do("DELETE FROM tests WHERE arm = 't' OR name = 'ranking'")
    theirs.add(("feed", "u", 5, "2023-11-14 05:00:00"))
    assert await theirs.poll() == {"feed": [*FEED, ("u", 5, 5)], "ranking": FEED}
    theirs.do("DELETE FROM tests")
    assert await theirs.poll() == {"feed": [*FEED, ("u", 5, 5)], "ranking": FEED}


async def test_a_row_that_only_was_touched_again_adds_nothing(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    theirs.do("UPDATE tests SET since = '2023-11-14 03:00:00'")
    assert await theirs.poll() == {"feed": FEED}
    theirs.do("UPDATE tests SET since = '2023-11-14 04:00:00', pct = 6 WHERE arm = 't'")
    assert await theirs.poll() == {"feed": [*FEED, ("t", 6, 4)]}
    theirs.do("UPDATE tests SET since = '2023-11-14 06:00:00', pct = 5 WHERE arm = 't'")
    assert await theirs.poll() == {"feed": [*FEED, ("t", 6, 4), ("t", 5, 6)]}


async def test_what_lies_ahead_may_be_moved_until_an_activation_could_lie_in_it(theirs: Theirs) -> None:
    #  now        + max_ahead (300 s)
    #   |-------------|
    #                 [ in this snapshot: an activation that arrives now may lie here
    #                  [ not yet
    theirs.begin()
    theirs.add(("feed", "t", 50, "2023-11-14 22:00:00"))
    ahead = START + 22 * HOUR - 300_000
    assert await theirs.poll(ahead - 1) == {"feed": FEED}
    theirs.do("UPDATE tests SET since = '2023-11-14 23:00:00' WHERE pct = 50")
    assert await theirs.poll(ahead) == {"feed": FEED}
    assert await theirs.poll(ahead + HOUR) == {"feed": [*FEED, ("t", 50, 23)]}


async def test_an_experiment_that_lies_ahead_may_be_changed_altogether(theirs: Theirs) -> None:
    theirs.add(("feed", "c", 5, "2023-11-15 00:00:00"), ("feed", "treatmnt", 5, "2023-11-15 00:00:00"))
    assert await theirs.poll() == {}
    theirs.do("UPDATE tests SET arm = 't' WHERE arm = 'treatmnt'", "UPDATE tests SET base = 't'")
    assert await theirs.poll(START + 24 * HOUR) == {"feed": [("c", 5, 24), ("t", 5, 24)]}
    (stored,) = theirs.stored()
    assert (stored.control, stored.groups) == ("t", ("c", "t"))


async def test_a_group_that_is_to_be_ramped_later_is_in_the_plan_of_a_period_that_begins_before(
    theirs: Theirs,
) -> None:
    theirs.begin()
    theirs.add(("feed", "u", 5, "2023-11-15 00:00:00"))
    assert await theirs.poll() == {"feed": FEED}
    assert theirs.stored()[0].groups == ("c", "t", "u")


async def test_a_wrong_row_is_told_each_minute_until_it_is_right(theirs: Theirs) -> None:
    theirs.begin()
    theirs.add(("bad", "c", 500, "2023-11-14 00:00:00"), ("bad", "t", 5, "2023-11-14 00:00:00"))
    with capture_logs() as logs:
        for seconds in (0, 5, 59, 60, 65):
            assert await theirs.poll(NOW + 1000 * seconds) == {"feed": FEED}
        theirs.do("UPDATE tests SET pct = 5 WHERE name = 'bad'")
        assert await theirs.poll(NOW + 70_000) == {"feed": FEED, "bad": FEED}
    told = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in told] == ["experiments_refused"] * 2
    assert told[0]["reasons"][0].startswith("row 3, `bad`: percent: expected 0 to 100, found `500")
    assert "experiments_accepted_again" in str(logs)


async def test_a_query_that_fails_stops_snapshots_and_is_asked_again(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    theirs.do("ALTER TABLE tests RENAME TO gone")
    with capture_logs() as logs:
        assert await theirs.poll() is None
        assert await theirs.poll() is None
        assert not theirs.sync.store.is_up
        theirs.do("ALTER TABLE gone RENAME TO tests")
        assert await theirs.poll() == {"feed": FEED}
    told = [entry for entry in logs if entry["log_level"] != "debug"]
    assert [entry["event"] for entry in told] == ["store_unavailable", "store_available"]
    assert "[metadata] query failed in " in told[0]["error"]
    assert "tests" in told[0]["error"]
    assert len(theirs.sent) == 2


async def test_a_plan_comes_from_a_file_and_stays(theirs: Theirs) -> None:
    theirs.load("experiments: [{name: feed, control: c, groups: [c, t], alpha: 0.01}]")
    theirs.begin()
    assert await theirs.poll() == {"feed": FEED}
    assert theirs.stored()[0].plan == '{"statistics":{"alpha":0.01}}'
    theirs.load("experiments: [{name: feed, control: c, groups: [c, t], alpha: 0.02}]")
    theirs.add(("feed", "t", 6, "2023-11-14 04:00:00"))
    await theirs.poll()
    assert theirs.stored()[0].plan == '{"statistics":{"alpha":0.02}}'
    assert len(theirs.stored()[0].allocations) == 3


async def test_a_file_and_a_query_may_each_have_experiments(theirs: Theirs) -> None:
    at = "2023-11-14T00:00:00Z"
    theirs.load(
        "experiments: [{name: mine, control: c, groups: [c, t], allocations: "
        f"[{{group: c, percent: 5, at: {at}}}, {{group: t, percent: 5, at: {at}}}]}}]"
    )
    theirs.begin()
    assert await theirs.poll() == {"mine": FEED, "feed": FEED}


async def test_another_control_is_refused(theirs: Theirs) -> None:
    theirs.begin()
    await theirs.poll()
    theirs.do("UPDATE tests SET base = 't'")
    with capture_logs() as logs:
        assert await theirs.poll() == {"feed": FEED}
    assert "control is `c` in rtexp's tables and can't become `t`" in str(logs)


async def test_names_of_any_kind_are_taken_over_as_they_are(theirs: Theirs) -> None:
    names = ["Feed", "feed ", "50%", "%s", "a''b", "ein-name"]
    for name in names:
        theirs.begin(name.replace("%", "%%") if theirs.engine.dialect.name == "mysql" else name)
    expected: Any = dict.fromkeys([name.replace("''", "'") for name in names], FEED)
    assert await theirs.poll() == expected


async def test_their_tables_are_only_read(theirs: Theirs) -> None:
    """Whatever the query tries: here by its own words, in the suite of the server by a function."""
    theirs.begin()
    words = "WITH x AS (SELECT 1) DELETE FROM tests"
    metadata = theirs.settings.metadata.model_copy(update={"query": words})
    writes = theirs.settings.model_copy(update={"metadata": metadata})
    assert await MetadataSync(theirs.engine, writes, theirs.sent).run_once(NOW) is None
    assert await theirs.poll() == {"feed": FEED}


async def test_without_a_place_of_its_own_the_query_runs_in_rtexps_database(theirs: Theirs) -> None:
    with opened(theirs.settings.store) as mine, writing(mine) as connection:
        connection.exec_driver_sql("CREATE TABLE flags (name VARCHAR(60), arm VARCHAR(60), base INT)")
        connection.exec_driver_sql("INSERT INTO flags VALUES ('here', 'c', 1), ('here', 't', 0)")
    query = (
        "SELECT name AS experiment, arm AS group_name, base AS control, '5' AS percent, "
        f"{START} AS changed_at FROM flags"
    )
    settings = theirs.settings.model_copy(update={"metadata": MetadataSettings(query=query)})
    taken = await MetadataSync(theirs.engine, settings, theirs.sent).run_once(NOW)
    assert taken is not None
    assert {e.name: history(e) for e in taken.experiments} == {"here": FEED}
    assert taken.experiments[0].allocations[0] == Allocation("c", 5.0, START)
