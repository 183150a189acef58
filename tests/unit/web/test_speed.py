"""What a request costs: bounds far above what is measured, in CPU time, which other work hardly changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from tests.unit.web.sites import Site, cell, experiment, look, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator

API = "/api/v1/experiments"
BUCKETS = 288
USERS = tuple(f"user-{number}" for number in range(2_000))


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A period's 288 buckets of both groups, each with a sketch as large as they get, beside other experiments."""
    with open_site(tmp_path_factory.mktemp("speed")) as site:
        site.define(*(experiment(f"e{number}") for number in range(20)))
        large = cell(0, users=USERS).sketch
        assert large is not None
        assert len(large) > 4_000
        for name in ("e3", "e10"):
            site.write(
                look(54, experiment=name),
                *(
                    cell(bucket, experiment=name, group=group, event=what)._replace(sketch=large)
                    for bucket in range(BUCKETS)
                    for group in ("control", "treatment")
                    for what in ("", "search")
                ),
            )
        yield site


def cpu_seconds(site: Site, path: str, *, rows: int) -> float:
    """Return the least of some requests: what it costs when nothing else happens to run in this process."""
    found = []
    for _ in range(7):
        began = time.process_time()
        answer = site.client.get(path)
        found.append(time.process_time() - began)
        assert len(answer.json()["items"]) == rows
    return min(found)


def test_a_cumulative_series_of_a_period_takes_less_than_50_ms(busy: Site) -> None:
    path = f"{API}/e10/cells?view=cumulative&group=treatment&event=search"
    assert cpu_seconds(busy, path, rows=BUCKETS) < 0.050  # measured: 5 ms


def test_uniques_of_a_period_take_less_than_50_ms(busy: Site) -> None:
    assert cpu_seconds(busy, f"{API}/e10/uniques?event=search", rows=2) < 0.050  # measured: 9 ms


PATHS = [
    "",
    "/e10",
    *(f"/e10/{table}" for table in ("looks", "verdicts", "plans", "uniques")),
    *(f"/e10/cells?view={view}&group=treatment&event=search" for view in ("bucket", "cumulative")),
    "/e10/cells?limit=5",
]


@pytest.mark.parametrize(
    "path", [*(API + path for path in PATHS), "/api/v1/verdicts", "/", "/experiments/e10"]
)
def test_no_request_looks_through_the_cells_of_others(busy: Site, path: str) -> None:
    """Cells are most of the database: millions of rows, of which a request needs some hundreds."""
    engine = busy.client.app.state.engine  # type: ignore[attr-defined]
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(
        _connection: object, _cursor: object, statement: str, values: tuple[object, ...], *_: object
    ) -> None:
        asked.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    answers = [busy.client.get(path)]
    while (following := answers[-1].links.get("next")) and len(answers) < 3:
        answers.append(busy.client.get(path.partition("?")[0] + following["url"]))
    event.remove(engine, "before_cursor_execute", note)
    assert {answer.status_code for answer in answers} == {200}
    with engine.connect() as connection:
        for statement, values in asked:
            if statement.startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                assert not [row for row in plan if row[-1].startswith("SCAN cells")], statement
