"""Parquet to streams of raw records: types, nested columns, times, what is refused, and how much memory it takes."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from rtexp.errors import UsageError
from rtexp.local import parquet_rows
from rtexp.local.input_files import rows_of
from rtexp.local.rows import Layout, Refused, Sendable
from rtexp.settings import ActionSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1_700_000_000_000
AT_NOON = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
SETTINGS = Settings()
NESTED = Settings(actions=ActionSettings(user="context.user.id", event="name", time="at"))


def layout(settings: Settings = SETTINGS, **options: Any) -> Layout:
    return Layout.of(settings, "actions", **options)


def in_format(time_format: str) -> Layout:
    return layout(Settings.model_validate({"actions": {"time_format": time_format}}))


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def three(user: Any = "u1", event: Any = "search", ts: Any = NOON) -> dict[str, Any]:
    """Columns of one row."""
    return {
        name: value if isinstance(value, pa.Array) else pa.array([value])
        for name, value in (("user_id", user), ("event", event), ("ts", ts))
    }


def sent(path: Path, how: Layout) -> list[tuple[int | None, bytes | None, bytes]]:
    return [(row.at_ms, row.key, row.value) for row in rows_of(path, how) if isinstance(row, Sendable)]


def values(path: Path, how: Layout) -> list[Any]:
    return [json.loads(value) for _, _, value in sent(path, how)]


def test_a_row_becomes_json_with_the_configured_fields_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", three() | {"colour": pa.array(["red"])})
    assert list(rows_of(path, layout())) == [
        Sendable(1, NOON, b"u1", b'{"user_id":"u1","event":"search","ts":%d}' % NOON)
    ]


def test_columns_within_structs_are_found_by_their_field_path(tmp_path: Path) -> None:
    contexts = pa.array([{"user": {"id": "u1", "age": 3}}, {"user": None}, None])
    path = write(
        tmp_path / "a.parquet",
        {"context": contexts, "name": pa.array(["e"] * 3), "at": pa.array([NOON] * 3)},
    )
    assert [value["context"]["user"]["id"] for value in values(path, layout(NESTED))] == ["u1", None, None]
    flat = write(tmp_path / "b.parquet", three())
    how = layout(NESTED, columns={"user": "user_id", "event": "event", "time": "ts"})
    assert values(flat, how) == [{"context": {"user": {"id": "u1"}}, "name": "search", "at": NOON}]
    assert [
        row[1]
        for row in sent(path, layout(columns={"user": "context.user.id", "event": "name", "time": "at"}))
    ] == [
        b"u1",
        None,
        None,
    ]


def test_a_column_whose_name_is_the_whole_path_comes_before_a_nested_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {
            "context": pa.array([{"user": {"id": "nested"}}]),
            "context.user.id": pa.array(["flat"]),
            "name": pa.array(["e"]),
            "at": pa.array([NOON]),
        },
    )
    assert [key for _, key, _ in sent(path, layout(NESTED))] == [b"flat"]


@pytest.mark.parametrize(
    ("user", "field"),
    [
        pytest.param(pa.array(["é\0💥"]), "é\0💥", id="text"),
        pytest.param(pa.array(["u"], pa.large_string()), "u", id="large text"),
        pytest.param(pa.array(["u"]).dictionary_encode(), "u", id="text by dictionary"),
        pytest.param(pa.array([b"u"]), "u", id="text as bytes"),
        pytest.param(pa.array([7], pa.int8()), 7, id="a small whole number"),
        pytest.param(pa.array([2**64 - 1], pa.uint64()), 2**64 - 1, id="a large whole number"),
        pytest.param(pa.array([Decimal(10**20)], pa.decimal128(38, 2)), 10**20, id="a whole decimal"),
        pytest.param(pa.array([Decimal("1.50")], pa.decimal128(9, 2)), 1.5, id="a fraction, which is bad input"),
        pytest.param(pa.array([1.0]), 1.0, id="a float, which is bad input"),
        pytest.param(pa.array([True]), True, id="a boolean, which is bad input"),
        pytest.param(pa.array([None], pa.string()), None, id="null, which is bad input"),
        pytest.param(pa.array([None], pa.null()), None, id="nothing but null"),
    ],
)  # fmt: skip
def test_users_of_any_type_are_sent_good_or_bad(tmp_path: Path, user: Any, field: object) -> None:
    path = write(tmp_path / "a.parquet", three(user))
    ((_, key, value),) = sent(path, layout())
    assert json.loads(value) == {"user_id": field, "event": "search", "ts": NOON}
    good = isinstance(field, str) or (isinstance(field, int) and not isinstance(field, bool))
    assert key == (str(field).encode() if good else None)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_timestamps_of_any_unit_and_zone_become_the_configured_format(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    # Without a zone they are UTC; with one, Parquet keeps the instant.
    path = write(tmp_path / "a.parquet", three(ts=pa.array([AT_NOON], pa.timestamp(unit, zone))))
    expected = {"ms": NOON, "s": NOON // 1000, "us": NOON * 1000, "iso8601": "2023-11-14T22:13:20+00:00"}
    for time_format, time in expected.items():
        ((at_ms, _, value),) = sent(path, in_format(time_format))
        assert (at_ms, json.loads(value)["ts"]) == (NOON, time)


@pytest.mark.parametrize(
    ("ts", "time", "at_ms"),
    [
        pytest.param(pa.array([NOON], pa.int64()), NOON, NOON, id="a number in the configured unit"),
        pytest.param(pa.array(["2023-11-14T22:13:20Z"]), NOON, NOON, id="ISO text"),
        pytest.param(pa.array(["1700000000000"]).dictionary_encode(), NOON, NOON, id="a number as text"),
        pytest.param(pa.array([date(2023, 11, 14)]), NOON - 80_000_000, NOON - 80_000_000, id="a date"),
        pytest.param(pa.array([1_999_999], pa.timestamp("ns")), 1, 1, id="rounded down"),
        pytest.param(pa.array([-1], pa.timestamp("ns")), -1, None, id="rounded down before 1970 too"),
        pytest.param(pa.array([2**62], pa.timestamp("us")), 2**62 // 1000, None, id="a year beyond all"),
        pytest.param(pa.array([None], pa.timestamp("ms")), None, None, id="null is bad input"),
        pytest.param(pa.array([1.7e12]), 1.7e12, None, id="a float is bad input"),
    ],
)
def test_times_of_other_types_are_sent_good_or_bad(
    tmp_path: Path, ts: Any, time: object, at_ms: int | None
) -> None:
    path = write(tmp_path / "a.parquet", three(ts=ts))
    ((found_ms, _, value),) = sent(path, layout())
    assert (found_ms, json.loads(value)["ts"]) == (at_ms, time)


def test_times_that_no_iso_text_can_say_stay_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", three(ts=pa.array([2**62], pa.timestamp("us"))))
    assert values(path, in_format("iso8601"))[0]["ts"] == str(2**62)


def test_old_writers_96_bit_times_are_read_beyond_the_years_of_nanoseconds(tmp_path: Path) -> None:
    far = datetime(2500, 1, 1, tzinfo=UTC)
    path = write(
        tmp_path / "a.parquet",
        three(ts=pa.array([far], pa.timestamp("us"))),
        use_deprecated_int96_timestamps=True,
    )
    assert [at_ms for at_ms, _, _ in sent(path, layout())] == [int(far.timestamp()) * 1000]


def test_record_times_may_come_from_a_column_and_a_row_without_one_is_refused(tmp_path: Path) -> None:
    arrivals = pa.array([AT_NOON, None], pa.timestamp("us"))
    columns = {name: pa.array([values[0].as_py()] * 2) for name, values in three(ts=5).items()}
    path = write(tmp_path / "a.parquet", columns | {"came": arrivals})
    first, second = rows_of(path, layout(arrival="came"))
    assert isinstance(first, Sendable)
    assert (first.at_ms, json.loads(first.value)["ts"]) == (NOON, 5)
    assert second == Refused(2, None, "came is no time in the configured format, ms")


def test_rows_that_cannot_be_sent_are_refused_with_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "BATCH_ROWS", 2)
    users = pa.array([b"a", b"b", b"\xff", b"c", b"x" * 1_000_000])
    columns = {"user_id": users, "event": pa.array(["e"] * 5), "ts": pa.array(range(1, 6))}
    path = write(tmp_path / "a.parquet", columns, row_group_size=3)
    found = list(rows_of(path, layout()))
    assert [row for row in found if isinstance(row, Refused)] == [
        Refused(3, None, "not UTF-8"),
        Refused(5, None, "more than 1000000 bytes"),
    ]
    assert [row.row for row in found if isinstance(row, Sendable)] == [1, 2, 4]


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_bytes_that_are_declared_text_and_are_none_refuse_their_row_alone(tmp_path: Path, kind: str) -> None:
    texts = pa.array([b"\xc3\xa9", b"\xff", None])
    declared = texts.view(pa.string())  # as it is, where a cast would check
    users = declared.dictionary_encode() if kind == "dictionary" else declared
    if kind == "large_string":
        users = texts.cast(pa.large_binary()).view(pa.large_string())
    path = write(
        tmp_path / "a.parquet", {"user_id": users, "event": pa.array(["e"] * 3), "ts": pa.array([1] * 3)}
    )
    found = list(rows_of(path, layout()))
    assert found[1] == Refused(2, None, "not UTF-8")
    assert [row.key for row in found if isinstance(row, Sendable)] == ["é".encode(), None]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        pytest.param({"user": pa.array(["u"])}, r"no column 'user_id' in the file \(user\); map", id="none"),
        pytest.param(three() | {"user_id": pa.array([{"id": 1}])}, "'user_id' is of type struct", id="a struct"),
        pytest.param(three(user=pa.array([[1]])), "expected text or whole numbers", id="a list"),
        pytest.param(three(ts=pa.array([1], pa.time64("us"))), "text, whole numbers or times", id="a time of day"),
        pytest.param(three(user=pa.array([AT_NOON])), "expected text or whole numbers", id="a time as user"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_do_is_an_error_before_anything_is_sent(
    tmp_path: Path, columns: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        next(rows_of(write(tmp_path / "a.parquet", columns), layout()))


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    names = ["user_id", "user_id", "event", "ts"]
    table = pa.Table.from_arrays([pa.array(["u"]), pa.array(["v"]), pa.array(["e"]), pa.array([1])], names)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="more than one column 'user_id'"):
        next(rows_of(tmp_path / "a.parquet", layout()))


def test_files_within_gzip_and_zstd_read_like_plain_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", three())
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "a.parquet.zst").write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    for packed in ("a.parquet.gz", "a.parquet.zst"):
        assert sent(tmp_path / packed, layout()) == sent(path, layout())


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"user_id,event,ts\n", b"PAR1" + bytes(100) + b"PAR1"],
    ids=["empty", "short", "text", "zeros"],
)
def test_what_is_no_parquet_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.parquet can't be read as Parquet: ") as told:
        list(rows_of(path, layout()))
    assert "\n" not in str(told.value)


def test_a_damaged_file_is_an_error_or_reads_the_same_never_other_values(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = 3000
    columns = {
        "user_id": pa.array([str(chance.random()) for _ in range(rows)]),
        "event": pa.array(["e"] * rows),
        "ts": pa.array([NOON + chance.randrange(10**9) for _ in range(rows)]),
    }
    path = write(tmp_path / "a.parquet", columns, write_page_checksum=True)
    whole, original = sent(path, layout()), path.read_bytes()
    errors = 0
    for cut in [len(original) // 2, len(original) - 1]:
        path.write_bytes(original[:cut])
        with pytest.raises(UsageError, match="can't be read as Parquet"):
            list(rows_of(path, layout()))
    for _ in range(30):
        place = chance.randrange(4, len(original) - 2000)  # before the footer, which has no checksum
        path.write_bytes(original[:place] + bytes([original[place] ^ 0x40]) + original[place + 1 :])
        try:
            assert sent(path, layout()) == whole
        except UsageError as exc:
            assert "can't be read as Parquet" in str(exc)  # noqa: PT017 - or the same rows
            errors += 1
    assert errors > 20


class Watched(io.FileIO):
    """A file that knows how much was read of it at once."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        read = super().read(size)
        self.largest = max(self.largest, len(read))
        return read


def test_a_large_row_group_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    rows = 400_000
    chance = random.Random(2)
    users = pa.array([f"{chance.getrandbits(256):064x}" for _ in range(rows)])
    columns = {"user_id": users, "event": pa.array(["e"] * rows), "ts": pa.array(range(rows))}
    path = write(
        tmp_path / "a.parquet", columns, row_group_size=rows, use_dictionary=False, compression="none"
    )
    assert pq.ParquetFile(path).num_row_groups == 1
    assert path.stat().st_size > 25_000_000
    del users, columns
    before, most = pa.total_allocated_bytes(), 0
    with Watched(path) as file:
        for n, _ in enumerate(parquet_rows.parquet_rows(file, path, layout())):
            if n % 1000 == 0:
                most = max(most, pa.total_allocated_bytes() - before)
    assert n == rows - 1
    assert most < 8_000_000
    assert file.largest < 2_000_000


def test_without_pyarrow_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", three())
    monkeypatch.delitem(sys.modules, "rtexp.local.parquet_rows")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'rtexp\[parquet\]'"):
        list(rows_of(path, layout()))
