"""Loading experiments into SQL: what is new is added, what contradicts is refused whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, select

from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.store import metadata
from rtexp.store.definitions import Experiment
from rtexp.store.engine import reading, writing, writing_alone
from rtexp.store.metadata import Loaded, load, read_experiments
from rtexp.store.schema import allocations, experiments

if TYPE_CHECKING:
    from sqlalchemy import Engine

HOUR = 3_600_000
START = 1_700_000_000_000
NOW = START + 1000 * HOUR
PIPELINE = PipelineSettings(period_hours=72, max_ahead_seconds=300)
FEED = Experiment(
    "feed",
    "control",
    ("control", "treatment"),
    (Allocation("control", 5, START), Allocation("treatment", 5, START)),
)


def loaded(engine: Engine, *definitions: Experiment, now_ms: int = NOW) -> Loaded:
    with writing_alone(engine) as connection:
        return load(connection, definitions, pipeline=PIPELINE, now_ms=now_ms)


def stored(engine: Engine) -> list[Experiment]:
    with reading(engine) as connection:
        return read_experiments(connection)


def with_allocations(*more: Allocation) -> Experiment:
    return replace(FEED, allocations=(*FEED.allocations, *more))


def test_what_is_loaded_is_read_back(engine: Engine) -> None:
    other = replace(FEED, name="ranking", groups=("treatment", "control"))
    assert loaded(engine, FEED, other) == Loaded(experiments=2, groups=4, allocations=4)
    assert stored(engine) == [FEED, other]
    with reading(engine) as connection:
        assert connection.scalars(select(experiments.c.created_at_ms)).all() == [NOW, NOW]


def test_a_second_load_adds_nothing(engine: Engine) -> None:
    precise = replace(FEED, allocations=(Allocation("control", 0.1 + 0.2, START),))
    loaded(engine, precise)
    assert loaded(engine, precise, now_ms=NOW + 1) == Loaded(0, 0, 0)
    assert stored(engine) == [precise]
    with reading(engine) as connection:
        assert connection.scalars(select(experiments.c.created_at_ms)).all() == [NOW]


def test_a_new_group_and_a_later_allocation_are_added_to_what_is_stored(engine: Engine) -> None:
    loaded(engine, FEED)
    grown = Experiment(
        "feed",
        "control",
        ("control", "treatment", "bold"),
        (*FEED.allocations, Allocation("bold", 5, START + HOUR)),
    )
    assert loaded(engine, grown) == Loaded(experiments=0, groups=1, allocations=1)
    assert stored(engine) == [grown]


def test_allocations_that_a_file_leaves_out_stay(engine: Engine) -> None:
    loaded(engine, FEED)
    later = Allocation("treatment", 9, START + 100 * HOUR)
    assert loaded(engine, replace(FEED, allocations=(later,))) == Loaded(0, 0, 1)
    assert stored(engine) == [with_allocations(later)]


def test_allocations_are_read_in_order_of_time_then_of_writing(engine: Engine) -> None:
    early = Allocation("treatment", 1, START - 500 * HOUR)
    loaded(engine, FEED)
    loaded(engine, with_allocations(early))
    assert stored(engine) == [replace(FEED, allocations=(early, *FEED.allocations))]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        pytest.param(
            replace(FEED, control="treatment"),
            "control is `control` in rtexp's tables and can't become `treatment`",
            id="another control",
        ),
        pytest.param(
            replace(FEED, groups=("control",), allocations=()),
            "groups lacks `treatment`",
            id="a removed group",
        ),
        pytest.param(
            replace(FEED, allocations=(Allocation("control", 6, START),)),
            f"gives `control` 6 percent at {START} ms, rtexp's tables have 5",
            id="another percent at the same time",
        ),
        pytest.param(
            with_allocations(Allocation("control", 1, START - HOUR)),
            f"would move the period that began at {START} ms",
            id="an earlier ramp that shifts a period",
        ),
        pytest.param(
            with_allocations(
                Allocation("control", 5, START - 99 * HOUR), Allocation("treatment", 5, START - 99 * HOUR)
            ),
            f"would move the period that began at {START} ms",
            id="an earlier allocation that makes the stored one no ramp",
        ),
    ],
)
def test_a_contradiction_is_refused_and_nothing_of_the_file_is_written(
    engine: Engine, definition: Experiment, message: str
) -> None:
    loaded(engine, FEED)
    fine = replace(FEED, name="ranking")
    with pytest.raises(UsageError, match="experiment `feed`: ") as caught:
        loaded(engine, fine, definition)
    assert message in str(caught.value)
    assert stored(engine) == [FEED]


def test_a_period_that_cannot_have_begun_may_still_move(engine: Engine) -> None:
    #  now   + max_ahead (300 s)
    #   |----------|
    #              [ a user may have been counted here already
    #               [ not here
    sooner = with_allocations(Allocation("control", 1, START - HOUR))
    loaded(engine, FEED, now_ms=START - 300_001)
    with pytest.raises(UsageError, match="would move"):
        loaded(engine, sooner, now_ms=START - 300_000)
    assert loaded(engine, sooner, now_ms=START - 300_001) == Loaded(0, 0, 1)


def test_a_period_before_the_stored_ones_may_be_added(engine: Engine) -> None:
    loaded(engine, FEED)
    assert loaded(engine, with_allocations(Allocation("control", 1, START - 72 * HOUR))).allocations == 1


def test_names_that_differ_only_by_case_accents_or_spaces_stay_apart(engine: Engine) -> None:
    names = ["feed", "Feed", "fééd", "fe\u0301e\u0301d", "feed ", "straße", "strasse", "ﬁ", "fi", "feed\x00"]
    definitions = [replace(FEED, name=name, groups=(*FEED.groups, *names)) for name in names]
    assert loaded(engine, *definitions).experiments == len(names)
    assert stored(engine) == definitions
    assert loaded(engine, *definitions) == Loaded(0, 0, 0)


def test_reading_takes_three_queries_whatever_the_number(engine: Engine) -> None:
    loaded(engine, *(replace(FEED, name=f"feed-{i}") for i in range(20)))
    queries: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            queries.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert len(stored(engine)) == 20
    assert len(queries) == 3


def test_rows_that_were_written_without_us_keep_their_order(engine: Engine) -> None:
    loaded(engine, FEED)
    with writing(engine) as connection:
        for percent in (9, 3):
            row = {"group_id": 2, "percent": percent, "changed_at_ms": START}
            connection.execute(allocations.insert().values(row))
    history = stored(engine)[0].allocations
    assert [a.percent for a in history if a.group == "treatment"] == [5, 9, 3]


def test_a_plan_is_set_changed_and_removed_as_its_definition_says(engine: Engine) -> None:
    strict, stricter = replace(FEED, plan='{"a":1}'), replace(FEED, plan='{"a":2}')
    other = replace(FEED, name="other", plan='{"b":1}')
    assert loaded(engine, strict, other).plans == ("feed", "other")
    assert stored(engine) == [strict, other]
    assert loaded(engine, strict, other) == Loaded(0, 0, 0)
    assert loaded(engine, stricter).plans == ("feed",)
    assert stored(engine) == [stricter, other]
    assert loaded(engine, FEED).plans == ("feed",)
    assert stored(engine) == [FEED, other]
    with reading(engine) as connection:
        column = connection.scalars(select(experiments.c.plan).order_by(experiments.c.id)).all()
    assert column == [None, '{"b":1}']


def test_an_experiment_without_a_plan_counts_as_none_set(engine: Engine) -> None:
    assert loaded(engine, FEED).plans == ()


@pytest.mark.parametrize(
    ("limit", "definition", "message"),
    [
        (
            "MOST_EXPERIMENTS",
            replace(FEED, name="other"),
            "rtexp's tables have 1 experiments, and take no more",
        ),
        ("MOST_GROUPS", replace(FEED, groups=(*FEED.groups, "more")), "expected at most 1 groups"),
        (
            "MOST_ALLOCATIONS",
            with_allocations(Allocation("control", 9, START + HOUR)),
            "expected at most 1 allocat",
        ),
    ],
)
def test_what_no_snapshot_could_hold_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: str, definition: Experiment, message: str
) -> None:
    loaded(engine, FEED)
    monkeypatch.setattr(metadata, limit, 1)
    with pytest.raises(UsageError, match=message):
        loaded(engine, definition)
    assert stored(engine) == [FEED]
