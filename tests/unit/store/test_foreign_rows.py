"""What the rows of `[metadata] query` may say, and what is said of those that say something else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment
from rtexp.store.foreign import QueryFailed, Yield
from rtexp.store.foreign_rows import COLUMNS, Yielded, experiments_of

AT = 1_700_000_000_000
FEED = Experiment("feed", "c", ("c", "t"), (Allocation("c", 5.0, AT), Allocation("t", 5.0, AT)))


def yielded(*rows: tuple[Any, ...], columns: tuple[str, ...] = COLUMNS) -> Yielded:
    return experiments_of(Yield(columns, rows))


def feed(row: int, **fault: Any) -> list[tuple[Any, ...]]:
    """The four rows of a history; in one of them something is another."""
    rows = [
        ("feed", group, "c", percent, AT + at) for at, percent in ((0, 5), (1, 9)) for group in ("c", "t")
    ]
    return [
        tuple((dict(zip(COLUMNS, values, strict=True)) | (fault if number == row else {})).values())
        for number, values in enumerate(rows, 1)
    ]


def test_rows_become_experiments_in_the_order_of_their_first_ones() -> None:
    found = yielded(
        ("b", "t", "c", 9, AT + 1),
        ("a", "c", "c", 5, AT),
        ("b", "c", "c", 5, AT),
        ("a", "t", "c", 5, AT),
    )
    assert found.refusals == []
    assert found.experiments == [
        Experiment("b", "c", ("t", "c"), (Allocation("c", 5.0, AT), Allocation("t", 9.0, AT + 1))),
        Experiment("a", "c", ("c", "t"), (Allocation("c", 5.0, AT), Allocation("t", 5.0, AT))),
    ]
    assert found.rows["b", None] == 1
    assert found.rows["b", Allocation("c", 5.0, AT)] == 3


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(("EXPERIMENT", "Group", "control", "PERCENT", "Changed_At"), id="in any case"),
        pytest.param(("experiment", "group_name", "control", "percent", "changed_at"), id="group_name"),
    ],
)
def test_columns_go_by_name(columns: tuple[str, ...]) -> None:
    extra = (*columns, "more", "more")
    assert yielded(*((*row, 1, 2) for row in ROWS), columns=extra).experiments == [FEED]
    turned = (columns[4], *columns[:4])
    assert yielded(*((row[4], *row[:4]) for row in ROWS), columns=turned).experiments == [FEED]


ROWS = [("feed", "c", "c", 5, AT), ("feed", "t", "c", 5, AT)]


@pytest.mark.parametrize(
    ("control", "treatment"),
    [
        pytest.param("c", "c", id="the control's name"),
        pytest.param(1, 0, id="1 and 0"),
        pytest.param(True, False, id="true and false"),
        pytest.param(b"\1", b"\0", id="bits"),
        pytest.param(Decimal(1), Decimal(0), id="decimals"),
        pytest.param(b"c", b"c", id="bytes"),
    ],
)
def test_control_is_a_name_or_says_of_each_row_whether_it_is_the_controls(
    control: Any, treatment: Any
) -> None:
    assert yielded(("feed", "c", control, 5, AT), ("feed", "t", treatment, 5, AT)).experiments == [FEED]


def test_text_of_a_digit_is_the_name_of_a_group() -> None:
    found = yielded(("feed", "0", "1", 5, AT), ("feed", "1", "1", 5, AT))
    assert found.experiments[0].control == "1"


@pytest.mark.parametrize("percent", [5, 5.0, Decimal("5.00"), "5", "5.0"], ids=repr)
def test_percent_is_any_number(percent: Any) -> None:
    assert yielded(("feed", "c", "c", percent, AT), ROWS[1]).experiments == [FEED]


@pytest.mark.parametrize(
    "changed_at",
    [
        AT,
        Decimal(AT) + Decimal("0.9"),
        float(AT),
        datetime(2023, 11, 14, 22, 13, 20),  # noqa: DTZ001 - as a driver gives a DATETIME
        datetime(2023, 11, 14, 22, 13, 20, 999, tzinfo=UTC),
        datetime(2023, 11, 15, 3, 43, 20, tzinfo=timezone(timedelta(hours=5.5))),
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
    ],
    ids=repr,
)
def test_changed_at_is_epoch_ms_or_a_time_in_utc(changed_at: Any) -> None:
    assert yielded(("feed", "c", "c", 5, changed_at), ROWS[1]).experiments == [FEED]


def test_a_date_is_its_midnight() -> None:
    found = yielded(("feed", "c", "c", 5, date(2023, 11, 14)), ROWS[1])
    assert found.experiments[0].allocations[0].at_ms == 1_699_920_000_000


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param({"group": None}, "group: expected text, found NULL", id="no group"),
        pytest.param({"group": 7}, "group: expected text, found `7`", id="a number for a group"),
        pytest.param({"group": ""}, "group: expected 1 to 128 bytes of UTF-8, found 0", id="an empty group"),
        pytest.param(
            {"group": "é" * 65}, "group: expected 1 to 128 bytes of UTF-8, found 130", id="a long group"
        ),
        pytest.param({"group": b"\xff"}, "group: expected text, found half", id="no UTF-8"),
        pytest.param({"control": None}, "control: expected the name", id="no control"),
        pytest.param({"control": 2}, "control: expected the name", id="control 2"),
        pytest.param(
            {"control": 1}, "control: expected a group's name in every row, or 0 or 1", id="both kinds"
        ),
        pytest.param(
            {"control": "x"}, "control: expected one group that is the control, found", id="two controls"
        ),
        pytest.param({"percent": None}, "percent: expected a number, found NULL", id="no percent"),
        pytest.param({"percent": "5%"}, "percent: expected a number, found `5%`", id="text for a percent"),
        pytest.param({"percent": True}, "percent: expected a number", id="a truth for a percent"),
        pytest.param({"percent": 100.1}, "percent: expected 0 to 100, found `100.1`", id="more than all"),
        pytest.param({"percent": Decimal(-1)}, "percent: expected 0 to 100", id="less than nothing"),
        pytest.param({"percent": float("nan")}, "percent: expected 0 to 100", id="not a number"),
        pytest.param({"percent": Decimal("NaN")}, "percent: expected", id="not a decimal"),
        pytest.param({"changed_at": None}, "changed_at: expected epoch ms", id="no time"),
        pytest.param(
            {"changed_at": AT // 1000}, "changed_at: expected a time since 2000, in milli", id="seconds"
        ),
        pytest.param({"changed_at": "soon"}, "changed_at: expected a time like", id="no time at all"),
        pytest.param(
            {"changed_at": "0000-00-00 00:00:00"}, "changed_at: expected a time like", id="MySQL's zero"
        ),
        pytest.param({"changed_at": 10**30}, "changed_at: expected a time since 2000", id="never"),
        pytest.param({"changed_at": float("inf")}, "changed_at: expected epoch ms", id="no number"),
        pytest.param({"changed_at": b"\0"}, "changed_at: expected epoch ms", id="bytes"),
        pytest.param(
            {"changed_at": AT}, "percent: `c` has 5 and 9 percent at", id="two percents at one time"
        ),
    ],
)
def test_an_experiment_with_a_wrong_row_is_refused_whole_and_the_others_go_on(
    fault: dict[str, Any], reason: str
) -> None:
    other = [("other", "c", "c", 5, AT), ("other", "t", "c", 5, AT)]
    found = yielded(*feed(3, **fault), *other)
    assert [experiment.name for experiment in found.experiments] == ["other"]
    ((row, experiment, told),) = found.refusals
    assert (experiment, row in {1, 3}) == ("feed", True)
    assert told.startswith(reason)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(
            [("feed", "c", "x", 5, AT), ("feed", "t", "x", 5, AT)], "control: expected one of its", id="name"
        ),
        pytest.param(
            [("feed", "c", 0, 5, AT), ("feed", "t", 0, 5, AT)], "control: expected one group", id="no 1"
        ),
        pytest.param(
            [("feed", "c", 1, 5, AT), ("feed", "t", 1, 5, AT)], "control: expected one group", id="all 1"
        ),
        pytest.param(
            [("feed", "c", 1, 5, AT), ("feed", "c", 0, 6, AT + 1), ("feed", "t", 0, 5, AT)],
            "control: expected the same in every row of `c`",
            id="once and not again",
        ),
        pytest.param([("feed", "c", "c", 5, AT)], "group: expected the control and at least", id="alone"),
    ],
)
def test_an_experiment_whose_rows_contradict_each_other_is_refused(
    rows: list[tuple[Any, ...]], reason: str
) -> None:
    found = yielded(*rows)
    assert found.experiments == []
    assert [(r.row, r.experiment) for r in found.refusals] == [(1, "feed")]
    assert found.refusals[0].reason.startswith(reason)


@pytest.mark.parametrize("name", [None, 5, "", "é" * 65])
def test_a_row_that_is_nobodys_concerns_nobody_else(name: Any) -> None:
    found = yielded((name, "c", "c", 5, AT), *ROWS)
    assert found.experiments == [FEED]
    assert [(r.row, r.experiment) for r in found.refusals] == [(1, "")]


def test_a_row_that_comes_twice_as_joins_have_it_counts_once() -> None:
    assert yielded(*ROWS, *ROWS).experiments == [FEED]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        pytest.param(
            ("experiment", "arm", "control", "percent", "changed_at"),
            "no column `group`: expected experiment, group, control, percent, changed_at, found experiment, arm",
            id="missing",
        ),
        pytest.param((*COLUMNS, "PERCENT"), "two columns `percent`", id="twice"),
    ],
)
def test_columns_that_are_not_there_once_fail_the_query(columns: tuple[str, ...], told: str) -> None:
    with pytest.raises(QueryFailed, match=told):
        yielded(columns=columns)


def test_no_rows_are_no_experiments() -> None:
    assert yielded() == Yielded([], [], {})
