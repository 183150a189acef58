"""The web application over a real SQLite file, as a browser or a program asks it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from starlette.testclient import TestClient
from tests.look_samples import plan
from tests.unit.store.databases import SqliteFile, cell_row, look_row, open_database

from rtexp.core import sketches
from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings, Settings, WebSettings
from rtexp.statistics.plans import DecisionMetric, Guardrail
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import LookRow, upsert_looks
from rtexp.store.metadata import load
from rtexp.store.plans import freeze_plans
from rtexp.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START = 1_700_000_100_000
BUCKET = 900_000
LG_K = 12
TOKEN = "0123456789abcdef"
HERE = "http://127.0.0.1:8000"


def sketch(*users: str) -> bytes:
    return sketches.to_bytes(np.array([sketches.entry(user, LG_K) for user in users], np.uint32), LG_K)


def experiment(name: str = "feed", *, control: str = "control", treatment: str = "treatment") -> Experiment:
    return Experiment(
        name,
        control,
        (control, treatment),
        (Allocation(control, 50, START), Allocation(treatment, 50, START)),
    )


def cell(
    bucket: int, *, event: str = "search", exposures: int = 0, users: tuple[str, ...] = (), **key: str
) -> CellRow:
    row = cell_row(
        event=event,
        bucket_start_ms=START + bucket * BUCKET,
        period_start_ms=START,
        volume=bucket + 1,
        sketch=sketch(*users) if users else None,
        **key,  # type: ignore[arg-type] # names of experiment and group
    )
    return row._replace(exposures=exposures)


def look(number: int = 54, **changes: object) -> LookRow:
    return look_row(look=number, period_start_ms=START)._replace(**changes)  # type: ignore[arg-type]


class Site:
    """A database that can be filled, and a client that asks the application over it."""

    def __init__(self, database: SqliteFile, client: TestClient) -> None:
        self.database = database
        self.client = client

    def define(self, *experiments: Experiment) -> None:
        with open_database(self.database) as engine, writing_alone(engine) as connection:
            load(connection, experiments, pipeline=PipelineSettings(), now_ms=START)

    def write(self, *rows: CellRow | LookRow) -> None:
        with open_database(self.database) as engine, writing(engine) as connection:
            upsert_cells(connection, [row for row in rows if isinstance(row, CellRow)])
            upsert_looks(connection, [row for row in rows if isinstance(row, LookRow)])

    def freeze(
        self, name: str = "feed", *, start_ms: int = START, guardrails: Sequence[Guardrail] = (), **good: str
    ) -> None:
        frozen = plan(
            control="control",
            treatments=["treatment"],
            weights={"control": 0.5, "treatment": 0.5},
            decision=[DecisionMetric("search", "propensity")],
            guardrails=list(guardrails),
            good=good,
        )
        with open_database(self.database) as engine, writing(engine) as connection:
            freeze_plans(connection, [(name, start_ms, frozen)])


@contextmanager
def open_site(
    directory: Path,
    *,
    token: str | None = None,
    web: WebSettings | None = None,
    pipeline: PipelineSettings | None = None,
    migrated: bool = True,
) -> Iterator[Site]:
    database = SqliteFile(directory / "x.db")
    if migrated:
        with open_database(database):
            pass
    settings = Settings(
        store=database.settings, web=web or WebSettings(), pipeline=pipeline or PipelineSettings()
    )
    app = create_app(settings, token=token)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False, follow_redirects=False) as client:
        yield Site(database, client)
