from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agents.raw_records import Reader

from rtexp.agents.packing import Drops, Packer, Rows, Stretch
from rtexp.records.filtered import FilteredActivations, Kind, Segment, decode_activations, encode

KINDS = [Kind("e" * 128, f"{number:0128d}", 0, 1, 0) for number in range(40)]


def make(kinds: list[Kind], reasons: list[str], segments: list[Segment]) -> bytes:
    return encode(FilteredActivations(1, 2, kinds, reasons, segments))


def stretch(source: int, rows: list[tuple[str, int]], drops: int, *, after: int = 0) -> Stretch:
    """Rows at even offsets from ``after`` on, drops at odd ones."""
    next_offset = after + 2 * max(len(rows), drops) + 1
    return Stretch(
        source=source,
        first_offset=after,
        next_offset=next_offset,
        log_start=0,
        watermark_before_ms=50,
        watermark_ms=90,
        rows=Rows(
            after + 2 * np.arange(len(rows)),
            [user for user, _ in rows],
            np.array([place for _, place in rows], np.int64),
            1_000 + np.arange(len(rows)),
            2_000 + np.arange(len(rows)),
        ),
        drops=Drops(after + 1 + 2 * np.arange(drops), np.arange(drops) % 5),
    )


def read(records: list[bytes]) -> Reader:
    reader = Reader()
    for record in records:
        reader.read("filtered-activations", record)
    return reader


ROWS = st.lists(
    st.tuples(st.text("a\U0001f600", min_size=1, max_size=64), st.integers(0, len(KINDS) - 1)), max_size=60
)


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, st.integers(0, 400), st.sampled_from([2_000, 4_000, 20_000]))
def test_cut_to_any_size_the_pieces_join_to_the_same(
    one: list[tuple[str, int]], other: list[tuple[str, int]], drops: int, max_bytes: int
) -> None:
    stretches = [stretch(0, one, drops, after=7), stretch(1, other, 0)]
    whole = [record for _, record in Packer(1, make).pack(stretches, KINDS)]
    cut = [record for _, record in Packer(1, make, max_bytes).pack(stretches, KINDS)]
    assert len(whole) == 1
    assert all(len(record) <= max_bytes for record in cut)
    expected, found = read(whole), read(cut)
    assert (found.rows, found.drops) == (expected.rows, expected.drops)
    for source, told in found.told.items():
        assert [segment.watermark_ms for segment in told] == [50] * (len(told) - 1) + [90]
        assert told[-1].next_offset == expected.told[source][-1].next_offset


def test_a_record_names_only_what_its_rows_point_to() -> None:
    ((_, record),) = Packer(1, make).pack([stretch(0, [("u", 7), ("u", 3), ("u", 7)], 0)], KINDS)
    decoded = decode_activations(record)
    assert decoded.kinds == [KINDS[3], KINDS[7]]
    assert decoded.reasons == []
    assert [row.name for row in read([record]).rows[0]] == [KINDS[7], KINDS[3], KINDS[7]]


def test_a_single_row_that_is_larger_than_allowed_still_goes() -> None:
    ((_, record),) = Packer(1, make, 1_000).pack([stretch(0, [("u" * 256, 0)], 0)], KINDS)
    assert len(read([record]).rows[0]) == 1
