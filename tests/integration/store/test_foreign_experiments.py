"""The same suite as on SQLite, and what only a server has: other schemas, types of its own, rights, time-outs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.test_foreign_experiments import *
from tests.unit.agents.test_foreign_experiments import FEED, HOUR, NOW, START, history
from tests.unit.agents.test_sync_metadata import Sent

from rtexp.agents.sync_metadata import MetadataSync
from rtexp.settings import DataSettings, MetadataSettings, Settings
from rtexp.store.foreign import QueryFailed, foreign_engine, make_foreign_engine, run_query
from rtexp.store.foreign_rows import experiments_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from tests.sql_servers import ServerDatabase

PAGE = Path(__file__).parents[3] / "docs" / "experiments.md"
TABLES = """
CREATE TABLE {0}.experiments (id INT PRIMARY KEY, title VARCHAR(60), owner VARCHAR(60));
CREATE TABLE {0}.arms (id INT PRIMARY KEY, experiment_id INT,
  label VARCHAR(60) COLLATE utf8mb4_general_ci, baseline BIT(1));
CREATE TABLE {0}.changes (arm_id INT, pct ENUM('0', '5', '50'), at DATETIME(3), logged TIMESTAMP(3) NULL);
INSERT INTO {0}.experiments VALUES (1, 'feed', 'a'), (2, 'ranking', 'b'), (3, 'Straße', 'c');
INSERT INTO {0}.arms VALUES (1, 1, 'c', 1), (2, 1, 't', 0), (3, 2, 'c', 1), (4, 2, 't', 0),
  (5, 3, 'c', 1), (6, 3, 't', 0);
INSERT INTO {0}.changes (arm_id, pct, at) SELECT id, '5', '2023-11-14 00:00:00.000' FROM {0}.arms;
INSERT INTO {0}.changes (arm_id, pct, at) VALUES (2, '50', '2023-11-14 03:00:00.500');
UPDATE {0}.changes SET logged = at;
"""
QUERY = """
SELECT e.title AS experiment, a.label AS `group`, a.baseline AS control, c.pct AS percent, c.{1} AS changed_at
FROM {0}.changes c JOIN {0}.arms a ON a.id = c.arm_id JOIN {0}.experiments e ON e.id = a.experiment_id
WHERE e.owner LIKE '%' ORDER BY c.at, a.id
"""


@pytest.fixture
def schema(store: ServerDatabase) -> Iterator[str]:
    """Another schema on the same server, which the user of `store` may read and no more."""
    name = f"{store.name}_prod"
    server = store.server
    server.do(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    server.do(*(statement for statement in TABLES.format(name).split(";\n") if statement.strip()))
    server.do(f"GRANT SELECT, EXECUTE ON {name}.* TO '{store.name}'@'%%'")
    yield name
    server.do(f"DROP DATABASE {name}")


def settings_of(store: ServerDatabase, query: str, tmp_path: Path) -> Settings:
    directory = DataSettings(directory=tmp_path / "data")
    return Settings(store=store.settings, metadata=MetadataSettings(query=query), data=directory)


@pytest.mark.parametrize("column", ["at", "logged"])
async def test_another_schema_of_the_server_is_read(
    engine: Engine, store: ServerDatabase, schema: str, column: str, tmp_path: Path
) -> None:
    """DATETIME is taken as UTC, and TIMESTAMP shown in it, whatever the server's zone is."""
    store.server.do("SET GLOBAL time_zone = '+05:30'")
    try:
        store.server.do(f"UPDATE {schema}.changes SET logged = CONVERT_TZ(at, '+00:00', '+05:30')")
        settings = settings_of(store, QUERY.format(schema, column), tmp_path)
        taken = await MetadataSync(engine, settings, Sent()).run_once(NOW)
    finally:
        store.server.do("SET GLOBAL time_zone = SYSTEM")
    assert taken is not None
    assert {e.name: history(e) for e in taken.experiments} == {
        "feed": [*FEED, ("t", 50, 3)],
        "ranking": FEED,
        "Straße": FEED,
    }
    assert taken.experiments[0].allocations[-1].at_ms == START + 3 * HOUR + 500
    assert all(e.control == "c" for e in taken.experiments)


def test_a_schema_that_its_user_may_not_read_says_what_to_grant(store: ServerDatabase, schema: str) -> None:
    store.server.do(f"REVOKE SELECT, EXECUTE ON {schema}.* FROM '{store.name}'@'%%'")
    with foreign_engine(Settings(store=store.settings)) as source, pytest.raises(QueryFailed) as caught:
        run_query(source, QUERY.format(schema, "at"))
    assert "grant its user SELECT on the tables that the query names" in str(caught.value)
    assert "pa%s" not in str(caught.value)


def test_a_function_that_writes_is_stopped_by_the_transaction(store: ServerDatabase, schema: str) -> None:
    store.server.do(
        f"CREATE FUNCTION {schema}.sneak() RETURNS INT DETERMINISTIC MODIFIES SQL DATA "
        f"BEGIN DELETE FROM {schema}.changes; RETURN 1; END"
    )
    with foreign_engine(Settings(store=store.settings)) as source, pytest.raises(QueryFailed) as caught:
        run_query(source, f"SELECT {schema}.sneak()")
    assert "the query may only read" in str(caught.value)
    assert store.server.do(f"SELECT COUNT(*) FROM {schema}.changes") == [(7,)]


def test_a_query_that_takes_too_long_is_given_up(store: ServerDatabase) -> None:
    source = make_foreign_engine(Settings(store=store.settings), seconds=0.5)
    many = "information_schema.collations"
    with pytest.raises(QueryFailed, match=r"error (1969|3024)"):
        run_query(source, f"SELECT COUNT(*) FROM {many} a, {many} b, {many} c, {many} d")
    source.dispose()


def test_rows_without_end_are_refused(store: ServerDatabase) -> None:
    with foreign_engine(Settings(store=store.settings)) as source:
        numbers = "information_schema.collations"
        with pytest.raises(QueryFailed, match="more than 100,000 rows"):
            run_query(source, f"SELECT a.id FROM {numbers} a, {numbers} b, {numbers} c")


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "one row a change": (
        """
        CREATE TABLE {0}.rollouts (test VARCHAR(60), variant VARCHAR(60), percent DECIMAL(5,2), changed_at DATETIME);
        CREATE TABLE {0}.tests (name VARCHAR(60), baseline VARCHAR(60));
        INSERT INTO {0}.tests VALUES ('feed', 'c');
        INSERT INTO {0}.rollouts VALUES ('feed', 'c', 5, '2023-11-14'), ('feed', 't', 5, '2023-11-14'),
          ('feed', 't', 7.5, '2023-11-14 02:00:00')""",
        {"feed": [*FEED, ("t", 7.5, 2)]},
    ),
    "variants in JSON": (
        """
        CREATE TABLE {0}.flags (name VARCHAR(60), variants JSON, updated_at TIMESTAMP NULL);
        INSERT INTO {0}.flags VALUES ('feed',
          '[{{"key": "c", "percent": 5, "control": true}}, {{"key": "t", "percent": 5, "control": false}}]',
          '2023-11-14 00:00:00')""",
        {"feed": FEED},
    ),
    "current allocations": (
        """
        CREATE TABLE {0}.arms_now (experiment VARCHAR(60), arm VARCHAR(60), is_control TINYINT(1), share DOUBLE,
          updated_at DATETIME);
        INSERT INTO {0}.arms_now VALUES ('feed', 'c', 1, 0.05, '2023-11-13 22:00'),
          ('feed', 't', 0, 0.05, '2023-11-14')""",
        {"feed": FEED},
    ),
}
"""The tables that the examples of the page stand on, and what they yield."""


def documented_queries() -> dict[str, str]:
    """The TOML blocks of the page under headings of these names."""
    text = PAGE.read_text()
    found: dict[str, str] = {}
    for name in SHAPES:
        section = text.partition(f"#### {name[0].upper()}{name[1:]}\n")[2].partition("\n#")[0]
        (found[name],) = re.findall(r'query = """\n(.*?)"""', section, re.DOTALL)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_the_queries_of_the_documents_yield_what_they_say(
    store: ServerDatabase, schema: str, shape: str
) -> None:
    tables, expected = SHAPES[shape]
    store.server.do("DROP TABLE " + f"{schema}.changes")
    statements = tables.format(schema).split(";\n")
    store.server.do(*(statement.replace("%", "%%") for statement in statements if statement.strip()))
    with foreign_engine(Settings(store=store.settings)) as source:
        found = experiments_of(run_query(source, documented_queries()[shape].replace("shop.", f"{schema}.")))
    assert found.refusals == []
    told: dict[str, Any] = {e.name: history(e) for e in found.experiments}  # type: ignore[arg-type]
    assert told == expected
