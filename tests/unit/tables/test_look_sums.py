"""Running sums, and what they were when a look became due."""

from __future__ import annotations

import pytest
from tests.look_sums_streams import all_frozen, clicked, exposed, partials_of, waiting
from tests.oracle.look_sums import Delta, Record

from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables.look_sums import LookSums

MINUTE = 60_000
BUCKET = 15 * MINUTE
HOUR = 60 * MINUTE
START = 1_699_999_200_000  # an edge of buckets
PERIOD = ("feed", START)
SETTLE = MINUTE


def make_sums() -> LookSums:
    return LookSums(bucket_ms=BUCKET, period_ms=2 * HOUR, settle_ms=SETTLE)


@pytest.fixture
def sums() -> LookSums:
    return make_sums()


def count(sums: LookSums, *deltas: Delta, watermark_ms: int = 0) -> None:
    """Add a record, as `merge` does."""
    sums.add(partials_of(Record(0, watermark_ms, deltas), sources=1))
    sums.advance(watermark_ms)


def click(bucket: int, times: int = 1, *, group: str = "t") -> Delta:
    return clicked(*PERIOD, group, START + bucket * BUCKET, times)


def clicks(sums: LookSums) -> dict[int, int]:
    """Return, by number of buckets since the start, how many clicks of group t wait in frozen sums."""
    return {
        (at_ms - START) // BUCKET: frozen.sums.get(("t", "click"), (0,))[0]
        for (experiment, start_ms, at_ms), frozen in waiting(sums).items()
        if (experiment, start_ms) == PERIOD
    }


def due(bucket: int) -> int:
    """Return the least watermark at which the look after so many buckets is due."""
    return START + bucket * BUCKET + SETTLE


def pages_of(sums: LookSums, known: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    pages = dict(known or {})
    for key, value in sums.changed_pages():
        if value is None:
            pages.pop(key, None)
        else:
            pages[key] = value
    return pages


def restored(pages: dict[bytes, bytes], watermark_ms: int) -> LookSums:
    again = make_sums()
    for key, value in sorted(pages.items()):
        again.load(key, value)
    again.loaded(watermark_ms)
    return again


def test_a_look_counts_the_buckets_that_end_by_its_time(sums: LookSums) -> None:
    count(sums, click(0), click(1, 10), click(2, 100))
    count(sums, watermark_ms=due(2))
    assert clicks(sums) == {1: 1, 2: 11}


def test_a_look_is_frozen_at_the_watermark_that_is_past_it_by_the_settling_time(sums: LookSums) -> None:
    count(sums, click(0), watermark_ms=due(1) - 1)
    assert clicks(sums) == {}
    count(sums, watermark_ms=due(1))
    assert clicks(sums) == {1: 1}


def test_the_record_that_makes_a_look_due_is_still_counted(sums: LookSums) -> None:
    count(sums, click(0))
    count(sums, click(0, 10), watermark_ms=due(1))
    assert clicks(sums) == {1: 11}


def test_late_deltas_change_nothing_that_is_frozen_and_count_from_the_next_look_on(sums: LookSums) -> None:
    count(sums, click(0), watermark_ms=due(1))
    count(sums, click(0, 10))
    assert clicks(sums) == {1: 1}
    count(sums, watermark_ms=due(2))
    assert clicks(sums) == {1: 1, 2: 11}


def test_several_looks_that_one_record_makes_due_differ_by_their_buckets(sums: LookSums) -> None:
    count(sums, click(0), click(1, 10), click(2, 100), click(3, 1000), watermark_ms=due(3))
    assert clicks(sums) == {1: 1, 2: 11, 3: 111}


def test_the_last_look_counts_all_and_none_follows(sums: LookSums) -> None:
    begun = ("feed", START + 7 * MINUTE)  # its last bucket ends after the period
    last = (START + 2 * HOUR) // BUCKET * BUCKET
    count(sums, clicked(*begun, "t", last))
    count(sums, watermark_ms=START + 9 * HOUR)
    found = waiting(sums)
    assert len(found) == 8
    *before, at_end = [found[key].sums["t", "click"][0] for key in sorted(found)]
    assert (set(before), at_end) == ({0}, 1)
    count(sums, clicked(*begun, "t", last), watermark_ms=START + 19 * HOUR)
    assert len(waiting(sums)) == 8


def test_looks_that_were_due_before_the_first_delta_are_missed(sums: LookSums) -> None:
    count(sums, watermark_ms=due(3))
    count(sums, click(0), watermark_ms=due(5))
    assert clicks(sums) == {4: 1, 5: 1}


def test_a_period_of_which_nothing_came_until_its_last_look_has_none(sums: LookSums) -> None:
    count(sums, watermark_ms=due(8))
    count(sums, click(0), watermark_ms=due(20))
    assert clicks(sums) == {}


def test_exposures_are_kept_bucket_by_bucket_and_group_by_group(sums: LookSums) -> None:
    def users(group: str, bucket: int, n: int) -> Delta:
        return exposed(*PERIOD, group, START + bucket * BUCKET, n)

    count(sums, users("t", 0, 3), users("c", 0, 4), users("t", 1, 5))
    again = Delta(*PERIOD, "t", "", START, (0, 0, 0, 2, 1))
    count(sums, again, watermark_ms=due(1))
    (frozen,) = waiting(sums).values()
    assert frozen.exposures == {(START, "c"): (4, 0), (START, "t"): (5, 1)}
    assert frozen.sums == {("t", ""): (0, 0, 0, 5, 1), ("c", ""): (0, 0, 0, 4, 0)}


def test_periods_and_experiments_have_sums_of_their_own(sums: LookSums) -> None:
    other = clicked("Feed", START, "t", START, 7)
    later = clicked("feed", START + BUCKET, "t", START + BUCKET, 9)
    count(sums, click(0), other, later, watermark_ms=due(1))
    assert {key[:2]: frozen.sums["t", "click"][0] for key, frozen in waiting(sums).items()} == {
        PERIOD: 1,
        ("Feed", START): 7,
    }


def test_sums_beyond_four_billion_are_exact(sums: LookSums) -> None:
    huge = Delta(*PERIOD, "t", "click", START, (2**40, 2**33, 2**61, 0, 0))
    count(sums, huge)
    count(sums, huge, watermark_ms=due(1))
    (frozen,) = waiting(sums).values()
    assert frozen.sums["t", "click"] == (2**41, 2**34, 2**62, 0, 0)


def test_more_series_than_there_was_room_for_keep_their_open_buckets(sums: LookSums) -> None:
    def series(bucket: int) -> list[Delta]:
        return [clicked("feed", START, f"g{i}", START + bucket * BUCKET, i + 1) for i in range(300)]

    count(sums, *series(1)[:1])
    count(sums, *series(0), *series(1)[1:], watermark_ms=due(1))
    (frozen,) = waiting(sums).values()
    assert frozen.sums == {(f"g{i}", "click"): (i + 1, 1, (i + 1) ** 2, 0, 0) for i in range(300)}


def test_what_was_evaluated_is_dropped_and_dropping_it_again_is_harmless(sums: LookSums) -> None:
    count(sums, click(0), watermark_ms=due(2))
    first, second = all_frozen(sums.frozen.values())
    sums.drop(first)
    sums.drop(first)
    assert list(sums.frozen.values()) == [[second]]
    sums.drop(second)
    sums.drop(second)
    assert sums.frozen == {}


def test_a_series_that_is_used_again_begins_at_zero(sums: LookSums) -> None:
    count(sums, click(0), click(7, 10), exposed(*PERIOD, "t", START))
    sums.forget(PERIOD)
    assert len(sums) == 0
    other = ("new", START)
    count(
        sums, clicked(*other, "t", START, 3), clicked(*other, "c", START + 7 * BUCKET, 4), watermark_ms=due(8)
    )
    first, last = (
        frozen for key, frozen in sorted(waiting(sums).items()) if key[2] in (START + BUCKET, due(8) - SETTLE)
    )
    assert {key: counts[0] for key, counts in first.sums.items()} == {("t", "click"): 3, ("c", "click"): 0}
    assert {key: counts[0] for key, counts in last.sums.items()} == {("t", "click"): 3, ("c", "click"): 4}
    assert (first.exposures, last.exposures) == ({}, {})


def test_a_forgotten_period_leaves_no_page(sums: LookSums) -> None:
    count(
        sums,
        click(0),
        exposed(*PERIOD, "t", START),
        exposed(*PERIOD, "t", START + BUCKET),
        watermark_ms=due(1),
    )
    pages = pages_of(sums)
    assert len(pages) == 4, "sums, exposures of a day, a frozen look, and that sums are kept"
    sums.forget(PERIOD)
    assert list(pages_of(sums, pages)) == [b"sums/kept"]


def test_a_period_is_over_once_it_has_ended_and_no_frozen_look_is_left_in_a_checkpoint(
    sums: LookSums,
) -> None:
    count(sums, click(0), watermark_ms=START + 9 * HOUR)
    assert sums.ended_before(START + 2 * HOUR) == [], "frozen looks wait"
    pages_of(sums)
    for frozen in all_frozen(sums.frozen.values()):
        sums.drop(frozen)
    assert sums.ended_before(START + 2 * HOUR) == [], "a rewind would meet them again"
    pages_of(sums)
    assert sums.ended_before(START + 2 * HOUR - 1) == []
    assert sums.ended_before(START + 2 * HOUR) == [PERIOD]


def test_reloaded_sums_freeze_what_they_would_have_frozen(sums: LookSums) -> None:
    count(sums, click(0), click(1, 10), exposed(*PERIOD, "t", START), watermark_ms=due(1))
    again = restored(pages_of(sums), due(1))
    assert waiting(again) == waiting(sums)
    for each in (sums, again):
        count(each, click(2, 100), watermark_ms=due(3))
    assert waiting(again) == waiting(sums)
    assert clicks(again) == {1: 1, 2: 11, 3: 111}


def of_period(pages: dict[bytes, bytes], start_ms: int) -> dict[bytes, bytes]:
    """The pages of feed's series and of its open buckets."""
    period = b"/feed/%d" % start_ms
    return {
        key: page for key, page in pages.items() if key.startswith((b"sums/t" + period, b"sums/u" + period))
    }


def test_a_period_page_says_nothing_of_buckets_that_are_open_for_others_only(sums: LookSums) -> None:
    count(sums, click(0), click(1), watermark_ms=due(0))
    pages = pages_of(sums)
    count(sums, clicked("zoo", START, "t", START + 5 * BUCKET))
    count(sums, click(0))
    alone = make_sums()
    count(alone, click(0), click(1), watermark_ms=due(0))
    count(alone, click(0))
    only = of_period(pages_of(alone), START)
    assert of_period(pages_of(sums, pages), START) == only
    assert len(only) == 2, "its series, and one bucket that is open"


def test_a_page_says_nothing_of_buckets_that_no_look_leaves_out_any_more(sums: LookSums) -> None:
    begun = ("feed", START + 7 * MINUTE)
    last = clicked(*begun, "t", START + 8 * BUCKET)  # begins within the period and ends after it
    end_ms = begun[1] + 2 * HOUR + SETTLE
    later = make_sums()
    for each in (sums, later):
        count(each, last, watermark_ms=end_ms)
    count(later, clicked("zoo", START + 2 * HOUR, "t", START + 9 * BUCKET))
    count(later, watermark_ms=end_ms + HOUR)
    assert of_period(pages_of(later), begun[1]) == of_period(pages_of(sums), begun[1])


def test_a_bucket_that_no_look_leaves_out_any_more_loses_its_page(sums: LookSums) -> None:
    count(sums, click(0), click(1), watermark_ms=due(0))
    open_page = b"sums/u/feed/%d/%d" % (START, START + BUCKET)
    pages = pages_of(sums)
    assert open_page in pages
    count(sums, watermark_ms=due(1) + BUCKET)
    assert {page.key: page.value for page in sums.changed_pages()}[open_page] is None


def test_names_with_slashes_have_pages_of_their_own(sums: LookSums) -> None:
    count(sums, clicked("a/b", 1, "t", START), clicked("a", 1, "t", START), clicked("a%2Fb", 1, "t", START))
    assert len({key for key in pages_of(sums) if key.startswith(b"sums/t/")}) == 3


def test_a_damaged_page_is_refused(sums: LookSums) -> None:
    count(sums, click(0), exposed(*PERIOD, "t", START), watermark_ms=due(1))
    for key, value in pages_of(sums).items():
        with pytest.raises(StateError, match="damaged"):
            make_sums().load(key, value[:-1] + bytes([value[-1] ^ 1]))


def test_nothing_changed_is_no_page_at_all(sums: LookSums) -> None:
    count(sums, click(0))
    pages_of(sums)
    count(sums, watermark_ms=START)
    assert list(sums.changed_pages()) == []


def test_pages_of_a_checkpoint_are_tombstones_for_what_was_dropped(sums: LookSums) -> None:
    count(sums, click(0), watermark_ms=due(1))
    pages_of(sums)
    (frozen,) = all_frozen(sums.frozen.values())
    sums.drop(frozen)
    assert list(sums.changed_pages()) == [Page(b"frozen/feed/%d/%d" % (START, START + BUCKET), None)]
