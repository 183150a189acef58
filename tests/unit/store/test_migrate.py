"""The schema's revision: upgrades, refusals, and that the migrations make what the code expects."""

from __future__ import annotations

from itertools import count, cycle, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import event, inspect
from tests.unit.store.databases import open_database

from rtexp.errors import StateError, StoreUnavailable, UsageError
from rtexp.store.engine import opened, reading, writing
from rtexp.store.migrate import MIGRATIONS, check_revision, upgrade
from rtexp.store.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

ROOT = Path(__file__).parents[3]


def test_an_upgrade_from_nothing_ends_at_the_newest_revision(store: Database) -> None:
    with open_database(store, migrated=False) as engine:
        done = upgrade(engine)
        assert done.before is None
        check_revision(engine)
        assert upgrade(engine) == (done.after, done.after)


def test_the_migrations_make_the_tables_that_the_code_expects(store: Database) -> None:
    with open_database(store) as engine, reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_give_every_table_the_keys_and_checks_that_the_code_declares(store: Database) -> None:
    # Comparing by Alembic leaves primary keys and checks out.
    with open_database(store) as engine, open_database(store.another(), migrated=False) as declared:
        metadata.create_all(declared)
        for table in metadata.tables:
            migrated = inspect(engine)
            expected = inspect(declared)
            assert migrated.get_pk_constraint(table) == expected.get_pk_constraint(table)
            assert migrated.get_check_constraints(table) == expected.get_check_constraints(table)


def test_a_database_without_tables_is_refused_with_what_to_do(store: Database) -> None:
    with (
        open_database(store, migrated=False) as engine,
        pytest.raises(StateError, match=r"no tables yet: run `rtexp db upgrade`"),
    ):
        check_revision(engine)


def test_a_newer_database_is_refused_and_not_touched(store: Database) -> None:
    with open_database(store) as engine:
        with writing(engine) as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StateError, match="9999, which this version doesn't know: a newer rtexp"):
            check_revision(engine)
        with pytest.raises(StateError, match="9999"):
            upgrade(engine)
        with reading(engine) as connection:
            assert MigrationContext.configure(connection).get_current_revision() == "9999"


def test_an_older_database_is_refused_with_both_revisions(
    store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_database(store) as engine:
        newer = tmp_path / "migrations"
        (newer / "versions").mkdir(parents=True)
        for source in (MIGRATIONS / "env.py", *(MIGRATIONS / "versions").glob("*.py")):
            (newer / source.relative_to(MIGRATIONS)).write_text(source.read_text())
        (newer / "versions" / "0004_next.py").write_text(
            "from alembic import op\nrevision = '0004'\ndown_revision = '0003'\n"
            "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
        )
        monkeypatch.setattr("rtexp.store.migrate.MIGRATIONS", newer)
        with pytest.raises(
            StateError, match="revision 0003, this version needs 0004: run `rtexp db upgrade`"
        ):
            check_revision(engine)
        assert upgrade(engine) == ("0003", "0004")
        check_revision(engine)


def test_an_upgrade_of_a_database_that_refuses_writes_says_so(store: Database) -> None:
    with (
        open_database(store, migrated=False) as engine,
        store.refusing_writes(),
        pytest.raises(StoreUnavailable, match=store.refusal),
    ):
        upgrade(engine)


class Cut:
    """Interrupts an upgrade before its nth statement that changes something."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._left = 0
        event.listen(engine, "before_cursor_execute", self._before)

    def upgrade(self, nth: int) -> bool:
        """Whether it was cut off."""
        self._left = nth
        try:
            upgrade(self._engine)
        except KeyboardInterrupt:
            return True
        return False

    def _before(self, *arguments: object) -> None:
        if str(arguments[2]).lstrip().startswith(("CREATE", "ALTER", "INSERT", "UPDATE")):
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt


def test_an_upgrade_that_was_cut_off_anywhere_is_completed_by_the_next(store: Database) -> None:
    with open_database(store, migrated=False) as engine:
        cut = Cut(engine)
        assert cut.upgrade(1)
        # Of what is left where each step stays, of all where a cut leaves nothing. The note that a migration is
        # done stays only with the step that follows, so a cut between the two has to be passed.
        places = cycle((2, 3)) if store.keeps_steps else count(2)
        cuts = sum(1 for _ in takewhile(cut.upgrade, places))
        assert cuts >= len(metadata.tables)
        check_revision(engine)
        with reading(engine) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []


def test_a_table_of_another_program_is_not_taken_for_ours(store: Database) -> None:
    with open_database(store, migrated=False) as engine:
        with writing(engine) as connection:
            connection.exec_driver_sql("CREATE TABLE cells (id INTEGER)")
        with pytest.raises(StateError, match=r"has a table cells that isn't rtexp's: set store\.url"):
            upgrade(engine)


def test_developers_reach_the_same_migrations_through_alembic_ini(store: Database) -> None:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", store.settings.url.replace("%", "%%"))
    command.upgrade(config, "head")
    with opened(store.settings) as engine:
        check_revision(engine)
    with pytest.raises(UsageError, match="without --sql"):
        command.upgrade(config, "head", sql=True)
    with pytest.raises(CommandError, match="nowhere"):
        command.upgrade(config, "nowhere")
