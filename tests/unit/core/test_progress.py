"""Which rows of a source are new, and how far all sources are."""

from __future__ import annotations

import pytest

from rtexp.core.progress import Fresh, SourceProgress, Watermarks


def accept(
    progress: SourceProgress,
    first: int,
    following: int,
    watermark_ms: int = 0,
    *,
    source: int = 0,
    log_start: int = 0,
) -> Fresh | None:
    return progress.accept(
        source, first_offset=first, next_offset=following, log_start=log_start, watermark_ms=watermark_ms
    )


@pytest.fixture
def progress() -> SourceProgress:
    made = SourceProgress()
    made.expect(1)
    return made


def test_a_source_begins_at_its_first_offset(progress: SourceProgress) -> None:
    assert accept(progress, 0, 10) == Fresh(0, 0, 0)


def test_the_next_segment_is_new_from_its_first_offset(progress: SourceProgress) -> None:
    accept(progress, 0, 10)
    assert accept(progress, 10, 15) == Fresh(10, 0, 0)


def test_nothing_is_new_in_a_repeated_segment(progress: SourceProgress) -> None:
    accept(progress, 0, 10)
    assert accept(progress, 3, 7) == Fresh(10, 0, 0)
    assert accept(progress, 10, 12) == Fresh(10, 0, 0), "and it doesn't set the reader back"


def test_an_overlapping_segment_is_new_above_what_is_there(progress: SourceProgress) -> None:
    accept(progress, 0, 10)
    assert accept(progress, 4, 20) == Fresh(10, 0, 0)
    assert accept(progress, 20, 21) == Fresh(20, 0, 0)


def test_a_segment_behind_a_gap_is_ignored_with_its_watermark(progress: SourceProgress) -> None:
    accept(progress, 0, 10, 100)
    assert accept(progress, 11, 20, 900) is None
    assert (progress.watermark_ms, progress.ignored) == (100, 1)
    assert accept(progress, 10, 20, 200) == Fresh(10, 100, 0), (
        "whoever owns the source sends what was missing"
    )


def test_a_gap_that_retention_made_is_accepted_and_counted(progress: SourceProgress) -> None:
    accept(progress, 0, 10)
    assert accept(progress, 15, 20, log_start=15) == Fresh(15, 0, 5)


def test_a_gap_that_retention_made_only_in_part_is_ignored(progress: SourceProgress) -> None:
    accept(progress, 0, 10)
    assert accept(progress, 15, 20, log_start=14) is None


def test_a_source_seen_for_the_first_time_may_begin_at_its_log_start_and_nothing_was_lost(
    progress: SourceProgress,
) -> None:
    assert accept(progress, 500, 510, log_start=500) == Fresh(500, 0, 0)


def test_a_source_seen_for_the_first_time_in_its_middle_is_ignored(progress: SourceProgress) -> None:
    assert accept(progress, 500, 510, log_start=499) is None


def test_rows_are_raised_to_the_watermark_carried_before_their_segment(progress: SourceProgress) -> None:
    accept(progress, 0, 10, 100)
    assert accept(progress, 10, 20, 300) == Fresh(10, 100, 0)
    assert accept(progress, 20, 30, 300) == Fresh(20, 300, 0)


def test_a_segment_with_nothing_new_moves_the_watermark(progress: SourceProgress) -> None:
    accept(progress, 0, 10, 100)
    accept(progress, 10, 10, 200)
    assert progress.watermark_ms == 200, "a heartbeat"
    accept(progress, 2, 8, 300)
    assert progress.watermark_ms == 300, "a repeat: its claim is about rows that are all here"


def test_the_watermark_never_goes_back(progress: SourceProgress) -> None:
    accept(progress, 0, 10, 100)
    accept(progress, 10, 20, 50)
    assert progress.watermark_ms == 100


def test_the_watermark_of_all_is_the_least_and_waits_for_every_source() -> None:
    progress = SourceProgress()
    progress.expect(3)
    accept(progress, 0, 1, 300, source=0)
    accept(progress, 0, 1, 200, source=2)
    assert progress.watermark_ms == 0
    accept(progress, 0, 0, 100, source=1)
    assert progress.watermark_ms == 100
    accept(progress, 0, 0, 400, source=1)
    assert progress.watermark_ms == 200


def test_a_source_that_is_added_holds_the_watermark_and_is_raised_to_it() -> None:
    progress = SourceProgress()
    progress.expect(1)
    accept(progress, 0, 1, 100)
    progress.expect(2)
    accept(progress, 1, 2, 200)
    assert progress.watermark_ms == 100, "it waits for the new source, and doesn't fall to 0"
    assert accept(progress, 0, 1, 10, source=1) == Fresh(0, 100, 0)
    assert accept(progress, 1, 2, 20, source=1) == Fresh(1, 100, 0), "its own lower watermark isn't believed"
    assert progress.watermark_ms == 100
    accept(progress, 2, 2, 150, source=1)
    assert progress.watermark_ms == 150


def test_an_outdated_number_of_sources_is_ignored() -> None:
    watermarks = Watermarks()
    watermarks.expect(2)
    watermarks.expect(1)
    watermarks.carry(0, 100)
    assert watermarks.all_ms == 0


def test_a_copy_goes_its_own_way(progress: SourceProgress) -> None:
    accept(progress, 0, 10, 100)
    accept(progress.copy(), 10, 20, 200)
    assert progress.watermark_ms == 100
    assert accept(progress, 10, 20) == Fresh(10, 100, 0)
