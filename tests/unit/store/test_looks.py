"""Looks in SQL: absolute, as new as their sequence; the newest of each comparison; their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.store.databases import look_row

from rtexp.store.engine import reading, writing
from rtexp.store.looks import (
    READ_ROWS,
    LookInputRow,
    LookRow,
    read_look_inputs,
    read_looks,
    read_newest_looks,
    upsert_look_inputs,
    upsert_looks,
)
from rtexp.store.schema import look_inputs, looks
from rtexp.store.upserts import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

START = 1_700_000_000_000
KEY = (*("experiment", "period_start_ms", "group_name", "event", "metric", "role", "method", "look"),)
DEFERRED = look_row(look=1, state="collecting", reason="nothing_to_spend")._replace(
    **dict.fromkeys(
        (
            *("effect", "std_error", "interval_low", "interval_high", "lift", "lift_low", "lift_high"),
            *("lift_method", "p_value", "z", "information", "level", "alpha_spent", "boundary"),
            *("p_always_valid", "srm_log_e", "srm_p", "srm_first_log_e", "srm_first_p", "plan_hash"),
        )
    ),  # type: ignore[arg-type] # mypy takes the fields for all of one type
    lift_reason="control_mean_zero",
    crossed=False,
)


def write(engine: Engine, *rows: LookRow) -> None:
    with writing(engine) as connection:
        upsert_looks(connection, rows)


def stored(engine: Engine, experiment: str | None = None) -> Sequence[LookRow]:
    with reading(engine) as connection:
        return list(read_looks(connection, experiment=experiment))


def newest(engine: Engine, **wanted: Any) -> Sequence[LookRow]:
    with reading(engine) as connection:
        return list(read_newest_looks(connection, **wanted))


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    assert LookRow._fields == tuple(looks.c.keys())
    assert tuple(column.name for column in looks.primary_key) == KEY == LookRow._fields[: len(KEY)]
    assert LookInputRow._fields == tuple(look_inputs.c.keys())
    assert [c.name for c in look_inputs.primary_key] == ["experiment", "period_start_ms", "look"]


def test_a_row_is_read_back_as_it_was_written_to_the_last_digit(engine: Engine) -> None:
    odd = look_row(look=2)._replace(
        effect=0.1 + 0.2, std_error=5e-324, z=-1.7976931348623157e308, p_value=2.378e-80, s2_control=2**62
    )
    write(engine, odd, DEFERRED)
    assert stored(engine) == [DEFERRED, odd]
    assert [type(value) for value in stored(engine)[1]] == [type(value) for value in odd]


def test_what_is_not_computed_is_null_and_not_nothing(engine: Engine) -> None:
    write(engine, DEFERRED)
    with reading(engine) as connection:
        (row,) = connection.exec_driver_sql("SELECT effect, note, a_control, crossed FROM looks")
    assert tuple(row) == (None, None, 560, 0)


def test_a_row_of_a_higher_sequence_replaces_all_values(engine: Engine) -> None:
    write(engine, look_row(sequence=5))
    newer = DEFERRED._replace(look=54, sequence=6)
    write(engine, newer)
    assert stored(engine) == [newer]


def test_a_late_writer_of_a_lower_sequence_changes_nothing(engine: Engine) -> None:
    write(engine, look_row(sequence=6))
    write(engine, DEFERRED._replace(look=54, sequence=5))
    assert stored(engine) == [look_row(sequence=6)]


def test_roles_and_methods_of_one_look_are_rows_of_their_own(engine: Engine) -> None:
    rows = [
        look_row(),
        look_row()._replace(method="bonferroni"),
        look_row(role="guardrail"),
        look_row(metric="volume"),
    ]
    write(engine, *rows)
    assert set(stored(engine)) == set(rows)


def test_names_that_differ_only_by_case_accents_or_spaces_are_experiments_of_their_own(
    engine: Engine,
) -> None:
    names = ["feed", "Feed", "féed", "feed ", "é" * 64]
    rows = [look_row(experiment=name, group=name, event=name) for name in names]
    write(engine, *rows)
    assert set(stored(engine)) == set(rows)
    assert stored(engine, "feed") == [rows[0]]
    assert newest(engine, experiment="feed ") == [rows[3]]


def test_more_rows_than_a_batch_and_a_fetch_are_all_written_and_read_in_order(engine: Engine) -> None:
    rows = [look_row(look=look) for look in range(1, BATCH_ROWS + READ_ROWS + 2)]
    write(engine, *reversed(rows))
    assert stored(engine) == rows


def test_the_newest_look_is_that_of_each_comparison(engine: Engine) -> None:
    #            look  1  2  3
    #  search          x  x  x
    #  click           x  x      (a guardrail that was declared for a part of them)
    rows = [look_row(look=look) for look in (1, 2, 3)] + [
        look_row(event="click", look=look) for look in (1, 2)
    ]
    write(engine, *rows)
    assert newest(engine) == [rows[4], rows[2]]
    assert newest(engine, event="click") == [rows[4]]
    assert newest(engine, event="Click") == []


def test_the_newest_period_is_that_of_each_experiment(engine: Engine) -> None:
    later = START + 100 * 3_600_000
    old, new = look_row(look=72), look_row(look=1, period_start_ms=later)
    other = look_row(experiment="ranking", look=9)
    write(engine, old, new, other)
    assert newest(engine) == [new, other]
    assert newest(engine, experiment="feed") == [new]
    assert newest(engine, every_period=True) == [old, new, other]
    assert newest(engine, experiment="feed", every_period=True) == [old, new]


def test_an_event_that_only_an_earlier_period_had_is_not_taken_for_the_newest(engine: Engine) -> None:
    later = START + 100 * 3_600_000
    write(engine, look_row(event="click"), look_row(period_start_ms=later))
    assert newest(engine, event="click") == []
    assert newest(engine, event="click", every_period=True) == [look_row(event="click")]


def test_inputs_are_kept_byte_for_byte(engine: Engine) -> None:
    # As a database's own JSON it would come back as {"b": 1.1, "é": 1}.
    text = '{"é":1,  "b":1.10, "big":18446744073709551617, "emoji":"\U0001f600"}'
    rows = [LookInputRow("feed", START, look, START + look, text, 7) for look in (2, 10)]
    others = [
        LookInputRow("Feed", START, 2, START, "{}", 7),
        LookInputRow("feed", START - 1, 9, START, "{}", 7),
    ]
    with writing(engine) as connection:
        upsert_look_inputs(connection, [*reversed(rows), *others])
    with reading(engine) as connection:
        assert list(read_look_inputs(connection, experiment="feed")) == [others[1], *rows]


def test_inputs_of_a_lower_sequence_change_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_look_inputs(connection, [LookInputRow("feed", START, 1, START, "[1]", 7)])
        upsert_look_inputs(connection, [LookInputRow("feed", START, 1, START, "[2]", 6)])
    with reading(engine) as connection:
        assert [row.inputs for row in read_look_inputs(connection, experiment="feed")] == ["[1]"]


def test_inputs_larger_than_a_statement_are_written_in_several(engine: Engine) -> None:
    large = '"' + "é" * (3 << 20) + '"'
    with writing(engine) as connection:
        upsert_look_inputs(connection, [LookInputRow("feed", START, n, START, large, 1) for n in range(4)])
    with reading(engine) as connection:
        assert [row.inputs == large for row in read_look_inputs(connection, experiment="feed")] == [True] * 4
