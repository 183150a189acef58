"""However segments are cut, repeated, overlapped or lost and sent again: each row counts once, in order."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from rtexp.core.progress import SourceProgress

ROWS = 12


class Sent(NamedTuple):
    first: int
    following: int
    watermark_ms: int


def watermark_before(offset: int) -> int:
    """A source whose record ``o`` arrived at 10 (o + 1): what a segment that ends here may claim."""
    return 10 * offset


segments = st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)).map(
    lambda ends: Sent(min(ends), max(ends), watermark_before(max(ends)))
)


def whole(progress: SourceProgress, sent: list[Sent], source: int = 0) -> list[tuple[int, int]]:
    """Return (offset, arrival as it counts) of every row taken."""
    taken = []
    for first, following, watermark_ms in sent:
        fresh = progress.accept(
            source, first_offset=first, next_offset=following, log_start=0, watermark_ms=watermark_ms
        )
        if fresh is not None:
            rows = range(max(first, fresh.from_offset), following)
            taken += [(o, max(watermark_before(o + 1), fresh.raised_to_ms)) for o in rows]
    return taken


def fresh_progress() -> SourceProgress:
    progress = SourceProgress()
    progress.expect(1)
    return progress


@settings(deadline=None, max_examples=200)
@given(st.lists(segments, max_size=12), st.integers(1, ROWS))
def test_every_row_is_taken_once_in_order_whatever_was_sent_before(noise: list[Sent], size: int) -> None:
    # Whatever zombies and lost records made of it, the owner at last sends all from the start again.
    owner = [
        Sent(o, min(o + size, ROWS), watermark_before(min(o + size, ROWS))) for o in range(0, ROWS, size)
    ]
    progress = fresh_progress()
    taken = whole(progress, [*noise, *owner])
    assert [offset for offset, _ in taken] == list(range(ROWS))
    assert progress.watermark_ms == watermark_before(ROWS)
    assert all(arrival == watermark_before(offset + 1) for offset, arrival in taken), (
        "true claims raise no row"
    )


@settings(deadline=None, max_examples=200)
@given(st.lists(segments, max_size=12))
def test_the_watermark_never_falls_and_claims_only_what_was_taken(sent: list[Sent]) -> None:
    progress = fresh_progress()
    taken: list[int] = []
    before_ms = 0
    for segment in sent:
        taken += [offset for offset, _ in whole(progress, [segment])]
        assert progress.watermark_ms >= before_ms
        before_ms = progress.watermark_ms
        assert taken == list(range(len(taken)))
        assert progress.watermark_ms <= watermark_before(len(taken))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 2), segments, st.integers(1, 3)), max_size=20), st.integers(0, 20))
def test_it_goes_on_the_same_from_its_plain_value(sent: list[tuple[int, Sent, int]], cut: int) -> None:
    def run(progress: SourceProgress, part: list[tuple[int, Sent, int]]) -> list[list[tuple[int, int]]]:
        taken = []
        for source, segment, sources in part:
            progress.expect(sources)
            taken.append(whole(progress, [segment], source))
        return taken

    straight = SourceProgress()
    expected = run(straight, sent)
    first = SourceProgress()
    got = run(first, sent[:cut])
    second = SourceProgress.from_plain(first.to_plain())
    got += run(second, sent[cut:])
    assert got == expected
    assert second.to_plain() == straight.to_plain()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 60), st.integers(1, 3)), max_size=30
    )
)
def test_no_row_ever_lies_below_the_watermark_of_all(sent: list[tuple[int, int, int, int]]) -> None:
    """Not even with sources that are added, and watermarks that nothing vouches for."""
    progress = SourceProgress()
    next_offsets = [0, 0, 0]
    for source, rows, watermark_ms, sources in sent:
        progress.expect(sources)
        before_ms = progress.watermark_ms
        first = next_offsets[source]
        next_offsets[source] += rows
        fresh = progress.accept(
            source, first_offset=first, next_offset=first + rows, log_start=0, watermark_ms=watermark_ms
        )
        assert fresh is not None
        assert fresh.raised_to_ms >= before_ms
        assert progress.watermark_ms >= before_ms
