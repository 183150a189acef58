"""Looks of known comparisons, found by the index alone: the same as those found by going through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.store.databases import cell_row, look_row

from rtexp.store.cells import upsert_cells
from rtexp.store.engine import reading, writing
from rtexp.store.looks import read_looks, read_newest_looks, upsert_looks
from rtexp.store.newest import Comparison, read_newest_of, read_steps, read_users_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from rtexp.store.looks import LookRow

EVENTS = [f"event-{number}" for number in range(60)]


def rows() -> list[LookRow]:
    """Of two experiments whose names differ by case alone, 60 events, and looks with a gap."""
    return [
        look_row(name, event=event, look=look)
        for name in ("feed", "Feed")
        for event in EVENTS
        for look in (1, 2, 5)
    ]


def key_of(row: LookRow) -> Comparison:
    return Comparison(*row[:7])


def test_the_newest_looks_of_many_comparisons_are_those_that_the_plain_way_finds(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_looks(connection, rows())
    with reading(engine) as connection:
        plain = {key_of(row): row for row in read_newest_looks(connection)}
        found = {key_of(row): row for row in read_newest_of(connection, plain)}
    assert found == plain
    assert len(found) == 120
    assert {type(row.crossed) for row in found.values()} == {bool}


def test_the_steps_of_a_comparison_are_all_its_looks_in_order_and_none_of_others(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_looks(connection, reversed(rows()))
    wanted = [Comparison(*look_row("feed", event=event)[:7]) for event in EVENTS[:55]]
    with reading(engine) as connection:
        found = read_steps(connection, [*wanted, wanted[0]._replace(group="nobody")])
        every = list(read_looks(connection, experiment="feed"))
    assert set(found) == set(wanted)
    assert [step.look for step in found[wanted[0]]] == [1, 2, 5]
    assert {step.z for steps in found.values() for step in steps} == {row.z for row in every}


def test_users_are_summed_over_the_exposures_of_each_group_asked_for(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_cells(
            connection,
            [
                cell_row(name, group, event, bucket * 900_000)._replace(exposures=count)
                for name, group, event, bucket, count in (
                    ("feed", "control", "", 1, 10),
                    ("feed", "control", "", 2, 5),
                    ("feed", "treatment", "", 1, 7),
                    ("feed", "control", "click", 1, 0),
                    ("Feed", "control", "", 1, 3),
                )
            ],
        )
    with reading(engine) as connection:
        found = read_users_of(
            connection, [("feed", 0, "control"), ("Feed", 0, "control"), ("feed", 9, "control")]
        )
    assert found == {("feed", 0): {"control": 15}, ("Feed", 0): {"control": 3}}
