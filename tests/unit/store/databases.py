"""Databases for tests: what the suites of the store need of one, and a real SQLite file that has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rtexp.settings import StoreSettings
from rtexp.store.cells import CellRow
from rtexp.store.engine import make_engine
from rtexp.store.looks import LookRow
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Engine


class Database(Protocol):
    """An empty database of the test's own."""

    refusal: str
    """What an error says of a write meanwhile `refusing_writes`."""
    keeps_steps: bool
    """Whether a migration that is cut off leaves the steps that it has taken."""

    @property
    def settings(self) -> StoreSettings: ...

    def refusing_writes(self) -> AbstractContextManager[None]:
        """Meanwhile it can be read and not written."""

    def another(self) -> Database:
        """A second empty database of the same kind."""


@dataclass(frozen=True)
class SqliteFile:
    path: Path
    refusal = "locked"
    keeps_steps = False

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(url=f"sqlite:///{self.path}")

    @contextmanager
    def refusing_writes(self) -> Iterator[None]:
        """Another process's transaction, as it were, keeps everyone else from writing."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    def another(self) -> SqliteFile:
        return SqliteFile(self.path.with_name(f"{self.path.name}.another"))


@contextmanager
def open_database(database: Database, *, migrated: bool = True) -> Iterator[Engine]:
    """An engine that gives up on a lock soon: after 20 ms where that can be said, else after a second."""
    engine = make_engine(database.settings, busy_seconds=0.02)
    if migrated:
        upgrade(engine)
    yield engine
    engine.dispose()


def cell_row(
    experiment: str = "feed",
    group: str = "treatment",
    event: str = "click",
    bucket_start_ms: int = 900_000,
    *,
    period_start_ms: int = 0,
    volume: int = 1,
    sketch: bytes | None = b"sketch",
    sequence: int = 1,
) -> CellRow:
    return CellRow(
        experiment,
        period_start_ms,
        group,
        event,
        bucket_start_ms,
        volume,
        1,
        volume * volume,
        0,
        0,
        sketch,
        sequence,
    )


def look_row(
    experiment: str = "feed",
    group: str = "treatment",
    event: str = "search",
    look: int = 54,
    *,
    period_start_ms: int = 1_700_000_000_000,
    metric: str = "propensity",
    role: str = "decision",
    state: str = "significant_gain",
    reason: str | None = None,
    sequence: int = 1,
) -> LookRow:
    """Hour 54 of statistics.md's worked sequence of looks; the same numbers whatever the key."""
    return LookRow(
        experiment=experiment,
        period_start_ms=period_start_ms,
        group_name=group,
        event=event,
        metric=metric,
        role=role,
        method="alpha-spending",
        look=look,
        scheduled_ms=period_start_ms + look * 3_600_000,
        evaluated_ms=period_start_ms + look * 3_600_000 + 61_000,
        n_control=12_000,
        n_treatment=12_100,
        s1_control=900,
        s1_treatment=1_100,
        s2_control=2_500,
        s2_treatment=3_100,
        a_control=560,
        a_treatment=680,
        effect=0.0095316804407713,
        std_error=0.0028444483,
        interval_low=0.0027946797,
        interval_high=0.0162686812,
        lift=0.2042502951593861,
        lift_low=0.0598859936,
        lift_high=0.3486145967,
        lift_method="delta",
        lift_reason=None,
        p_value=0.000811,
        z=3.34897841,
        information=1307.2615923,
        level=0.05,
        alpha_spent=0.0193,
        boundary=2.36847362,
        p_always_valid=0.00445638,
        srm_log_e=-0.3,
        srm_p=1.0,
        srm_first_log_e=-0.3,
        srm_first_p=1.0,
        crossed=True,
        withheld=False,
        state=state,
        final=False,
        reason=reason,
        note=None,
        plan_hash="0123456789abcdef",
        version="0.1.0",
        sequence=sequence,
    )
