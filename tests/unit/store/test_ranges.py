"""Parts of cells and looks: in order, cut anywhere, and the users of groups; alike in every database."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from tests.unit.store.databases import cell_row, look_row

from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import reading, writing, writing_alone
from rtexp.store.looks import LookRow, upsert_looks
from rtexp.store.metadata import load
from rtexp.store.ranges import (
    CellRange,
    LookRange,
    newest_period,
    read_counts,
    read_exposures,
    read_look_page,
    read_sketches,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

START, NEXT = 1_700_000_100_000, 1_700_000_100_000 + 72 * 3_600_000
GROUPS, EVENTS, BUCKETS = ("control", "Treatment", "treatment "), ("", "a", "A", "ä"), 3


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Two experiments of three groups; of the first, cells of two periods."""
    allocations = [Allocation(group, 10, START) for group in GROUPS]
    definitions = [
        Experiment("feed", "control", GROUPS, (*allocations, Allocation("control", 20, NEXT))),
        Experiment("Feed", "control", GROUPS, tuple(allocations)),
    ]
    with writing_alone(engine) as connection:
        load(connection, definitions, pipeline=PipelineSettings(), now_ms=START)
    with writing(engine) as connection:
        upsert_cells(connection, [*cells(), cell_row("Feed", "control", "a", START, period_start_ms=START)])
        upsert_looks(connection, [look_row(look=look, event=event) for event in EVENTS for look in (1, 2)])
    return engine


def cells() -> list[CellRow]:
    return [
        cell_row("feed", group, event, at_ms + bucket, period_start_ms=at_ms, volume=bucket + 1)._replace(
            exposures=bucket if event == "" else 0, sketch=b"sketch" if bucket else None
        )
        for at_ms in (START, NEXT)
        for group in GROUPS
        for event in EVENTS
        for bucket in range(BUCKETS)
    ]


def expected() -> list[CellRow]:
    rows = [row._replace(sketch=None) for row in cells() if row.period_start_ms == START]
    return sorted(rows, key=lambda row: (row.group_name.encode(), row.event.encode(), row.bucket_start_ms))


@pytest.mark.parametrize("size", [1, 2, 5, 36, 100])
def test_cells_come_in_order_of_their_key_however_many_a_query_takes(filled: Engine, size: int) -> None:
    with reading(filled) as connection:
        assert list(read_counts(connection, CellRange("feed", START), size=size)) == expected()


def test_cells_after_a_key_are_the_rest(filled: Engine) -> None:
    rows = expected()
    with reading(filled) as connection:
        for index, row in enumerate(rows):
            after = (row.group_name, row.event, row.bucket_start_ms)
            found = read_counts(connection, CellRange("feed", START), after=after, size=4)
            assert list(islice(found, 5)) == rows[index + 1 : index + 6]


@pytest.mark.parametrize("group", [None, *GROUPS])
@pytest.mark.parametrize("event", [None, *EVENTS, "missing"])
def test_cells_of_a_range_are_those_within_it(filled: Engine, group: str | None, event: str | None) -> None:
    wanted = CellRange("feed", START, group, event, START + 1, START + 2)
    with reading(filled) as connection:
        assert list(read_counts(connection, wanted)) == [
            row
            for row in expected()
            if row.bucket_start_ms == START + 1
            and group in {None, row.group_name}
            and event in {None, row.event}
        ]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_sketches_are_of_cells_that_have_one(filled: Engine, size: int) -> None:
    with reading(filled) as connection:
        found = list(read_sketches(connection, CellRange("feed", START, event="a"), size=size))
    assert found == [(group, "a", b"sketch") for group in sorted(GROUPS) for _ in range(BUCKETS - 1)]


def test_users_are_sums_of_each_group_and_period(filled: Engine) -> None:
    users = dict.fromkeys(GROUPS, 3)
    with reading(filled) as connection:
        assert read_exposures(connection) == {("feed", START): users, ("feed", NEXT): users}
        assert read_exposures(connection, experiment="Feed") == {}


def test_the_newest_period_is_that_of_the_newest_cells(filled: Engine) -> None:
    with reading(filled) as connection:
        assert newest_period(connection, "feed") == NEXT
        assert newest_period(connection, "nothing") is None


def test_looks_come_page_by_page_in_order_of_their_key(filled: Engine) -> None:
    found: list[LookRow] = []
    after: tuple[str | int, ...] = ()
    with reading(filled) as connection:
        while page := read_look_page(connection, LookRange("feed"), after=after, limit=3):
            found += page
            after = page[-1][1:8]
    assert [(row.event, row.look) for row in found] == [
        (event, look) for event in sorted(EVENTS, key=str.encode) for look in (1, 2)
    ]
