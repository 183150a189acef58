"""The schema's revision: upgrades, refusals, and that the migrations make what the code expects."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import inspect
from tests.unit.store.databases import locked, open_database, settings_of

from rtexp.errors import StateError, StoreUnavailable, UsageError
from rtexp.store.engine import opened, reading, writing
from rtexp.store.migrate import MIGRATIONS, check_revision, upgrade
from rtexp.store.schema import metadata

ROOT = Path(__file__).parents[3]


def test_an_upgrade_from_nothing_ends_at_the_newest_revision(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.db", migrated=False) as engine:
        done = upgrade(engine)
        assert done.before is None
        check_revision(engine)
        assert upgrade(engine) == (done.after, done.after)


def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.db") as engine, reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_give_every_table_the_keys_and_checks_that_the_code_declares(tmp_path: Path) -> None:
    # Comparing by Alembic leaves primary keys and checks out.
    with (
        open_database(tmp_path / "migrated.db") as engine,
        open_database(tmp_path / "declared.db", migrated=False) as declared,
    ):
        metadata.create_all(declared)
        for table in metadata.tables:
            migrated = inspect(engine)
            expected = inspect(declared)
            assert migrated.get_pk_constraint(table) == expected.get_pk_constraint(table)
            assert migrated.get_check_constraints(table) == expected.get_check_constraints(table)


def test_a_database_without_tables_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with (
        open_database(tmp_path / "x.db", migrated=False) as engine,
        pytest.raises(StateError, match=r"no tables yet: run `rtexp db upgrade`"),
    ):
        check_revision(engine)


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.db") as engine:
        with writing(engine) as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StateError, match="9999, which this version doesn't know: a newer rtexp"):
            check_revision(engine)
        with pytest.raises(StateError, match="9999"):
            upgrade(engine)
        with reading(engine) as connection:
            assert MigrationContext.configure(connection).get_current_revision() == "9999"


def test_an_older_database_is_refused_with_both_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_database(tmp_path / "x.db") as engine:
        newer = tmp_path / "migrations"
        (newer / "versions").mkdir(parents=True)
        for source in (MIGRATIONS / "env.py", *(MIGRATIONS / "versions").glob("*.py")):
            (newer / source.relative_to(MIGRATIONS)).write_text(source.read_text())
        (newer / "versions" / "0002_next.py").write_text(
            "from alembic import op\nrevision = '0002'\ndown_revision = '0001'\n"
            "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
        )
        monkeypatch.setattr("rtexp.store.migrate.MIGRATIONS", newer)
        with pytest.raises(
            StateError, match="revision 0001, this version needs 0002: run `rtexp db upgrade`"
        ):
            check_revision(engine)
        assert upgrade(engine) == ("0001", "0002")
        check_revision(engine)


def test_an_upgrade_that_fails_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "migrations"
    (broken / "versions").mkdir(parents=True)
    (broken / "env.py").write_text((MIGRATIONS / "env.py").read_text())
    (broken / "versions" / "0001_broken.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    raise RuntimeError('cut')\n"
    )
    monkeypatch.setattr("rtexp.store.migrate.MIGRATIONS", broken)
    with open_database(tmp_path / "x.db", migrated=False) as engine:
        with pytest.raises(RuntimeError, match="cut"):
            upgrade(engine)
        assert inspect(engine).get_table_names() == []


def test_an_upgrade_of_a_locked_database_says_that_it_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with (
        open_database(path) as engine,
        locked(path),
        pytest.raises(StoreUnavailable, match="locked"),
    ):
        upgrade(engine)


def test_developers_reach_the_same_migrations_through_alembic_ini(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", settings_of(path).url)
    command.upgrade(config, "head")
    with opened(settings_of(path)) as engine:
        check_revision(engine)
    with pytest.raises(UsageError, match="without --sql"):
        command.upgrade(config, "head", sql=True)
    with pytest.raises(CommandError, match="nowhere"):
        command.upgrade(config, "nowhere")
