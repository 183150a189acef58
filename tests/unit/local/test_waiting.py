"""When a wait is over, and what it says when it isn't."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

import pytest

from rtexp.local.readiness import unready_workers
from rtexp.local.status_board import LIVE_MS, Report, StatusBoard
from rtexp.local.waiting import HeldBack, LaggingError, Waited, lag_of, wait_until_counted
from rtexp.records import status as records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.local.waiting import Offsets

T = TypeVar("T")

ACTIONS, ACTIVATIONS = "x.filtered-actions", "x.filtered-activations"


def at(position: int, *, seen_ms: int = 0, held: int = 0, ready: bool = True) -> Report:
    return Report(position, seen_ms, held, ready)


class Scripted:
    """An observer whose answers are written down; the last one of each kind stays true."""

    def __init__(
        self,
        *,
        ingested: Iterable[Offsets] = ({},),
        aggregated: Iterable[dict[str, Report]] = ({},),
        published: Iterable[Offsets] = ({},),
        raw: Offsets | None = None,
        filtered: Offsets | None = None,
        partials: Offsets | None = None,
    ) -> None:
        self._ingested = deque(ingested)
        self._aggregated = deque(aggregated)
        self._published = deque(published)
        self._ends = {"raw": raw or {}, "filtered": filtered or {}, "partials": partials or {}}
        self.asked: list[str] = []
        self.seconds = 0.0

    def _ends_of(self, name: str) -> Offsets:
        self.asked.append(name)
        return self._ends[name]

    async def raw_ends(self) -> Offsets:
        return self._ends_of("raw")

    async def ingested(self) -> Offsets:
        return self._next(self._ingested)

    async def filtered_ends(self) -> Offsets:
        return self._ends_of("filtered")

    async def aggregated(self) -> dict[str, Report]:
        return self._next(self._aggregated)

    async def partials_ends(self) -> Offsets:
        return self._ends_of("partials")

    async def published(self) -> Offsets:
        return self._next(self._published)

    def _next(self, answers: deque[T]) -> T:
        self.seconds += 1
        return answers.popleft() if len(answers) > 1 else answers[0]


async def waited(observer: Scripted, held_back: HeldBack | None = None, limit: float = 100.0) -> Waited:
    return await wait_until_counted(
        observer, held_back, timeout_seconds=limit, clock=lambda: observer.seconds
    )


async def test_each_stage_is_waited_for_and_its_goal_taken_when_the_one_before_is_done() -> None:
    observer = Scripted(
        raw={"a/0": 5},
        ingested=[{}, {"a/0": 4}, {"a/0": 5}],
        filtered={f"{ACTIONS}/0": 3},
        aggregated=[{}, {f"{ACTIONS}/0": at(3)}],
        partials={"p/0": 9},
        published=[{"p/0": 8}, {"p/0": 12}],
    )
    assert await waited(observer) == Waited(seconds=7.0, held_actions=0)
    assert observer.asked == ["raw", "filtered", "partials"]


async def test_with_nothing_in_the_topics_a_wait_is_over_at_once() -> None:
    assert (await waited(Scripted(), limit=0)).held_actions == 0


@pytest.mark.parametrize(
    ("observer", "message"),
    [
        pytest.param(
            Scripted(raw={"a/0": 5, "a/1": 7}, ingested=[{"a/0": 4}]),
            r"ingest is 8 records behind, 7 of them in a/1",
            id="ingest",
        ),
        pytest.param(
            Scripted(filtered={f"{ACTIONS}/0": 3}), rf"aggregate is 3 records .* {ACTIONS}/0", id="aggregate"
        ),
        pytest.param(
            Scripted(partials={"p/3": 9}, published=[{"p/3": 2}]),
            "results is 7 records .* p/3",
            id="results",
        ),
    ],
)
async def test_when_time_is_up_the_message_says_which_stage_lags_and_by_how_much(
    observer: Scripted, message: str
) -> None:
    with pytest.raises(LaggingError, match=message):
        await waited(observer, limit=10)
    assert observer.seconds >= 10


# --- Actions that wait for a marker

GOAL = {f"{ACTIVATIONS}/0": 4, f"{ACTIONS}/0": 9, f"{ACTIONS}/1": 2}


def reports(activations: int = 4, first: int = 5, *, seen_ms: int, held: int = 3) -> dict[str, Report]:
    """One partition of actions that is behind, one that isn't."""
    return {
        f"{ACTIVATIONS}/0": at(activations, seen_ms=seen_ms),
        f"{ACTIONS}/0": at(first, seen_ms=seen_ms, held=held),
        f"{ACTIONS}/1": at(2, seen_ms=seen_ms),
    }


async def test_actions_that_nothing_can_release_end_the_wait_and_are_counted() -> None:
    observer = Scripted(
        filtered=GOAL,
        aggregated=[reports(seen_ms=n) for n in (1, 1, 2, 3)],
        partials={"p/0": 1},
        published=[{"p/0": 1}],
    )
    assert await waited(observer, HeldBack(ACTIONS)) == Waited(seconds=6.0, held_actions=3)


def rows_after(*history: dict[str, Report]) -> list[int | None]:
    held_back = HeldBack(ACTIONS)
    return [held_back.rows(GOAL, reported) for reported in history]


def test_held_actions_are_stuck_once_the_same_position_has_been_reported_thrice() -> None:
    assert rows_after(*(reports(seen_ms=n) for n in (1, 2, 3))) == [None, None, 3]


def test_the_same_report_read_again_says_nothing_new() -> None:
    assert rows_after(*(reports(seen_ms=1) for _ in range(9))) == [None] * 9


def test_while_activations_are_on_their_way_nothing_is_stuck() -> None:
    assert rows_after(*(reports(3, seen_ms=n) for n in range(9))) == [None] * 9
    late = rows_after(
        *(reports(3, seen_ms=n) for n in range(3)), reports(4, seen_ms=4), reports(4, seen_ms=5)
    )
    assert late == [None] * 5


def test_a_position_that_moves_starts_the_count_again() -> None:
    moved = rows_after(*(reports(first=5 + n // 2, seen_ms=n) for n in range(6)))
    assert moved == [None] * 6


def test_a_worker_that_holds_nothing_is_only_slow() -> None:
    assert rows_after(*(reports(seen_ms=n, held=0) for n in range(9))) == [None] * 9


def test_a_worker_that_is_not_ready_is_only_recovering() -> None:
    recovering = [
        reports(seen_ms=n) | {f"{ACTIONS}/0": at(5, seen_ms=n, held=3, ready=False)} for n in range(9)
    ]
    assert rows_after(*recovering) == [None] * 9


def test_where_everything_has_been_counted_nothing_is_held() -> None:
    assert rows_after(reports(first=9, seen_ms=1)) == [0]


def test_a_lag_names_the_partition_that_is_furthest_behind() -> None:
    assert lag_of({"a/0": 5, "a/1": 5}, {"a/0": 5, "a/1": 6}) is None
    assert str(lag_of({"a/0": 5, "a/1": 5}, {"a/0": 3})) == "7 records behind, 5 of them in a/1"


# --- What workers say


def status(
    worker: str, at_ms: int, position: int = 0, job: str = "aggregate", **details: object
) -> records.Status:
    return records.Status(
        records.VERSION,
        job,
        worker,
        0,
        at_ms,
        ready=True,
        inputs={f"{ACTIONS}/0": records.Input(position, -1)},
        counters={},
        details=dict(details),
    )


def board_of(*statuses: records.Status) -> StatusBoard:
    board = StatusBoard()
    for said in statuses:
        board.take(said)
    return board


def test_the_furthest_position_is_true_whoever_said_it() -> None:
    board = board_of(status("old", 1, 70), status("new", 2, 50), status("other", 3, 99, job="results"))
    assert board.reports("aggregate", ACTIONS)[0].position == 70
    assert board.reports("aggregate", ACTIVATIONS) == {}


def test_a_workers_newest_status_replaces_its_last() -> None:
    board = board_of(status("w", 1, 5), status("w", 2, 5))
    assert board.reports("aggregate", ACTIONS)[0].at_ms == 2


def test_the_highest_published_offset_counts() -> None:
    board = board_of(status("a", 1, published=5), status("b", 2, published=3), status("c", 3, published=None))
    assert board.furthest_detail("aggregate", "published") == {0: 5}


def test_every_live_ingest_worker_must_have_a_snapshot_later_than_the_load() -> None:
    now_ms = 10 * LIVE_MS
    ready = status("a", now_ms, job="ingest", snapshot_as_of_ms=101)
    early = status("b", now_ms, job="ingest", snapshot_as_of_ms=100)
    none = status("c", now_ms, job="ingest", snapshot_as_of_ms=None)
    dead = status("d", now_ms - LIVE_MS, job="ingest", snapshot_as_of_ms=1)
    assert unready_workers(board_of(ready, early, none, dead), 100, now_ms) == ["b", "c"]
    assert unready_workers(board_of(ready, dead), 100, now_ms) == []
    assert unready_workers(board_of(dead), 100, now_ms) is None
