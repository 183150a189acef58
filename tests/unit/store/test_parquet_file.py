"""Tables as Parquet: groups of rows, and no more of them in memory than one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq

from rtexp.store import parquet_file
from rtexp.store.parquet_file import write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Record(NamedTuple):
    name: str
    share: float | None
    number: int


def test_rows_are_taken_a_group_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 2)
    file, written = io.BytesIO(), []

    def rows() -> Iterator[tuple[int, float | None]]:
        for n in range(5):
            written.append(file.tell())
            yield n, None if n % 2 else n / 2

    write_parquet(file, Record, ["number", "share"], rows())
    assert written[0] == written[1] < written[2] == written[3] < written[4]
    whole = pq.ParquetFile(file)
    assert (whole.num_row_groups, whole.schema_arrow.names) == (3, ["number", "share"])
    assert whole.read().to_pydict() == {"number": [0, 1, 2, 3, 4], "share": [0.0, None, 1.0, None, 2.0]}
