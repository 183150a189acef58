"""Files to streams of raw records: what is sent, in which order, and what is refused."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from rtexp.errors import UsageError
from rtexp.local import replaying
from rtexp.local.input_files import rows_of
from rtexp.local.pacing import MARK_ROWS, Sent, stream
from rtexp.local.raw_records import RawRecord
from rtexp.local.refusals import refusals, refusals_path
from rtexp.local.replaying import Source, closing_ms, merged, shifted_to, survey
from rtexp.local.rows import Layout, Refused, Sendable
from rtexp.settings import ActionSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rtexp.local.raw_records import Kind

NOON = 1_700_000_000_000
SETTINGS = Settings()
NESTED = Settings(
    actions=ActionSettings(user="context.user.id", event="name", time="at", time_format="iso8601")
)


def layout(kind: Kind = "actions", settings: Settings = SETTINGS, **options: Any) -> Layout:
    return Layout.of(settings, kind, **options)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def sent(path: Path, how: Layout) -> list[tuple[int | None, bytes | None, bytes]]:
    return [(row.at_ms, row.key, row.value) for row in rows_of(path, how) if isinstance(row, Sendable)]


def values(path: Path, how: Layout) -> list[object]:
    return [json.loads(value) for _, _, value in sent(path, how)]


def refused(path: Path, how: Layout) -> list[Refused]:
    return [row for row in rows_of(path, how) if isinstance(row, Refused)]


# --- CSV


def test_a_line_of_csv_becomes_json_with_the_configured_fields_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"user_id,colour,event,ts\nu1,red,search,{NOON}\n")
    assert sent(path, layout()) == [
        (NOON, b"u1", b'{"user_id":"u1","event":"search","ts":%d}' % NOON),
    ]


def test_columns_of_other_names_are_mapped_to_the_configured_field_paths(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "userid,what,when\nu1,search,2023-11-14T22:13:20Z\n")
    how = layout(settings=NESTED, columns={"user": "userid", "event": "what", "time": "when", "group": "-"})
    assert sent(path, how)[0][:2] == (NOON, b"u1")
    assert values(path, how) == [
        {"context": {"user": {"id": "u1"}}, "name": "search", "at": "2023-11-14T22:13:20Z"}
    ]


@pytest.mark.parametrize(
    ("text", "time_format", "time", "at_ms"),
    [
        pytest.param("1700000000", "s", 1_700_000_000, NOON, id="seconds"),
        pytest.param(
            "1700000000000999", "us", 1_700_000_000_000_999, NOON, id="microseconds are rounded down"
        ),
        pytest.param("2023-11-14T22:13:20Z", "ms", NOON, NOON, id="ISO text to milliseconds"),
        pytest.param("2023-11-14 23:13:20+01:00", "s", NOON // 1000, NOON, id="ISO text to seconds"),
        pytest.param("2023-11-14T22:13:20", "ms", NOON, NOON, id="without a zone it is UTC"),
        pytest.param("soon", "ms", "soon", None, id="no time at all is sent as it is"),
        pytest.param("1_700_000_000_000", "ms", "1_700_000_000_000", None, id="not Python's way to write it"),
        pytest.param("1700000000", "iso8601", "1700000000", None, id="a number where text is configured"),
        pytest.param("-5", "ms", -5, None, id="before Kafka's times"),
        pytest.param("9" * 18, "ms", int("9" * 18), None, id="after the last year"),
    ],
)
def test_times_are_converted_to_the_configured_format(
    tmp_path: Path, text: str, time_format: str, time: object, at_ms: int | None
) -> None:
    settings = Settings.model_validate({"actions": {"time_format": time_format}})
    path = write(tmp_path / "a.csv", f"user_id,event,ts\nu1,search,{text}\n")
    assert values(path, layout(settings=settings)) == [{"user_id": "u1", "event": "search", "ts": time}]
    assert sent(path, layout(settings=settings))[0][0] == at_ms


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"u2,search", "2 columns, where the header has 3", id="too few columns"),
        pytest.param(b"u2,search,1,2", "4 columns, where the header has 3", id="too many columns"),
        pytest.param(b"\xff,search,1", "not UTF-8", id="no UTF-8"),
        pytest.param(b'"u2"x,search,1', "not CSV", id="text after a quote"),
    ],
)
def test_a_row_that_cannot_be_sent_is_refused_with_its_number(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = write(tmp_path / "a.csv", b'user_id,event,ts\n\n"u\n1",search,1\n' + line + b"\nu3,search,3\n")
    (row,) = refused(path, layout())
    assert (row.row, row.line) == (2, 5)
    assert reason in row.reason
    assert [key for _, key, _ in sent(path, layout())] == [b"u\n1", b"u3"]


def test_a_row_too_large_for_the_broker_is_refused(tmp_path: Path) -> None:
    text = b'{"user_id":"u","event":"search","ts":1,"pad":"%s"}'
    path = write(tmp_path / "a.jsonl", b"\n".join(text % (b"x" * size) for size in (999_900, 1_000_000)))
    assert len(sent(path, layout())) == 1
    assert refused(path, layout()) == [Refused(2, 2, "more than 1000000 bytes")]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"user,event,ts\n", "no column 'user_id'"),
        (b"user_id,event,ts,ts\n", "more than one column 'ts'"),
        (b"\n", "no column"),
        (b"", "is empty: expected CSV that begins with the names of its columns"),
        (b"user_id,event,\xfft\n", "its header isn't UTF-8"),
    ],
)
def test_a_header_without_a_needed_column_is_an_error_before_anything_is_sent(
    tmp_path: Path, header: bytes, problem: str
) -> None:
    path = write(tmp_path / "a.csv", header)
    with pytest.raises(UsageError, match=problem):
        list(rows_of(path, layout()))


# --- JSON lines


def test_lines_of_json_are_sent_as_their_bytes_good_or_bad(tmp_path: Path) -> None:
    good = b'{ "ts": %d, "user_id": 17, "event": "search", "more": [1] }' % NOON
    path = write(tmp_path / "a.jsonl", good + b"\r\n\n{broken\n[1]\n" + b'{"user_id":true,"ts":"x"}')
    assert sent(path, layout()) == [
        (NOON, b"17", good),
        (None, None, b"{broken"),
        (None, None, b"[1]"),
        (None, None, b'{"user_id":true,"ts":"x"}'),
    ]
    assert refused(path, layout()) == []


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(rb'"\ud83d"', id="a lone surrogate"),
        pytest.param(b'"caf\xe9"', id="no UTF-8"),
        pytest.param(b"9" * 5000, id="more digits than Python reads"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="more levels than Python follows"),
    ],
)
def test_a_line_that_ingest_counts_goes_to_its_users_partition_at_its_own_time(
    tmp_path: Path, ignored: bytes
) -> None:
    line = b'{"user_id":"u1","x":%s,"event":"search","ts":%d}' % (ignored, NOON + 5)
    path = write(tmp_path / "a.jsonl", b'{"user_id":"u2","event":"search","ts":%d}\n%s\n' % (NOON, line))
    assert sent(path, layout())[1] == (NOON + 5, b"u1", line)
    assert [values(path, replace(layout(), shift_ms=1000))[1]] == [
        {"user_id": "u1", "event": "search", "ts": NOON + 1005}
    ]


def test_a_line_that_is_sent_as_it_is_goes_to_the_partition_of_the_user_that_ingest_finds(
    tmp_path: Path,
) -> None:
    line = b'{"context.user.id":"u2","context":{"user":{"id":"u1"}},"name":"e","at":"2023-11-14T22:13:20Z"}'
    path = write(tmp_path / "a.jsonl", line)
    assert sent(path, layout(settings=NESTED)) == [(NOON, b"u1", line)]


@pytest.mark.parametrize("text", ['[{"user_id":"u","event":"e","ts":1}]', "[\n  {\n"])
def test_an_array_of_objects_is_an_error_and_not_lines_of_rubbish(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", text)
    with pytest.raises(UsageError, match=r"is a JSON array: expected an object a line, as `jq -c '\.\[\]'`"):
        sent(path, layout())


def test_mapped_json_keeps_the_types_of_its_fields_and_refuses_rows_without_them(tmp_path: Path) -> None:
    lines = [{"id": 5, "e": "search", "ts": NOON}, {"id": 5, "ts": NOON}, {"id": None, "e": {}, "ts": "x"}]
    good = "\n".join(map(json.dumps, lines)).encode()
    path = write(tmp_path / "a.ndjson", good + b'\nnull\nnope\n{"id":"\xff"}\n')
    how = layout(columns={"user": "id", "event": "e"})
    assert values(path, how) == [
        {"user_id": 5, "event": "search", "ts": NOON},
        {"user_id": None, "event": {}, "ts": "x"},
    ]
    assert [row.row for row in refused(path, how)] == [2, 4, 5, 6]


def test_record_times_come_from_the_arrival_column_where_one_is_named(tmp_path: Path) -> None:
    rows = [f'{{"user_id":"u","event":"e","ts":1,"got":{got}}}' for got in (NOON, '"x"')]
    path = write(tmp_path / "a.jsonl", "\n".join([*rows, '{"user_id":"u","event":"e","ts":1}', "{"]))
    how = layout(arrival="got")
    assert [at_ms for at_ms, _, _ in sent(path, how)] == [NOON]
    assert [row.row for row in refused(path, how)] == [2, 3, 4]
    table = write(tmp_path / "a.csv", f"user_id,event,ts,got\nu,e,1,{NOON}\nu,e,1,\n")
    assert [at_ms for at_ms, _, _ in sent(table, how)] == [NOON]
    assert [row.row for row in refused(table, how)] == [2]


# --- Kinds of files


def test_compressed_files_read_like_plain_ones(tmp_path: Path) -> None:
    text = b'{"user_id":"u","event":"e","ts":1}\n' * 50_000
    compress = zstandard.ZstdCompressor().compress
    plain = sent(write(tmp_path / "a.jsonl", text), layout())
    assert sent(write(tmp_path / "a.jsonl.gz", gzip.compress(text)), layout()) == plain
    two_frames = compress(text[:1_000_001]) + compress(text[1_000_001:])
    assert sent(write(tmp_path / "a.jsonl.zst", two_frames), layout()) == plain


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_cut_short_is_an_error_not_an_end(tmp_path: Path, suffix: str) -> None:
    text = "".join(f'{{"user_id":"{random.random()}","event":"e","ts":1}}\n' for _ in range(10_000)).encode()
    packed = gzip.compress(text) if suffix == "gz" else zstandard.ZstdCompressor().compress(text)
    path = write(tmp_path / f"a.jsonl.{suffix}", packed[: len(packed) // 2])
    with pytest.raises(UsageError, match="can't be read"):
        list(rows_of(path, layout()))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("a.tsv", "expected a name"), ("a.gz", "expected a name")],
)
def test_other_kinds_of_files_are_refused_in_one_line(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        list(rows_of(write(tmp_path / name, b""), layout()))


def test_refused_rows_stand_beside_the_file_and_old_ones_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with refusals(path) as refuse:
        refuse(Refused(7, 8, "2 columns, where the header has 3"))
    (line,) = refusals_path(path).read_text().splitlines()
    assert json.loads(line) == {"row": 7, "line": 8, "reason": "2 columns, where the header has 3"}
    with refusals(path):
        pass
    assert not refusals_path(path).exists()


# --- Merging


def lines_at(path: Path, kind: Kind, times: Iterable[int | str]) -> Source:
    rows = (f'{{"user_id":"{path.stem}","n":{n},"ts":{time}}}' for n, time in enumerate(times))
    return Source(write(path, "\n".join(rows)), layout(kind))


def in_order(*sources: Source, **options: Any) -> list[tuple[int, str, str, int]]:
    surveys = [survey(source, lambda _: None) for source in sources]
    return [
        (record.arrival_ms, record.kind, (record.key or b"").decode(), json.loads(record.value or b"")["n"])
        for record in merged(surveys, **options)
    ]


def test_files_are_merged_in_order_of_record_time_activations_first_where_equal(tmp_path: Path) -> None:
    one = lines_at(tmp_path / "a.jsonl", "actions", [10, 20, 20, 30])
    two = lines_at(tmp_path / "t.jsonl", "activations", [5, 20, 40])
    assert in_order(one, two) == [
        (5, "activations", "t", 0),
        (10, "actions", "a", 0),
        (20, "activations", "t", 1),
        (20, "actions", "a", 1),
        (20, "actions", "a", 2),
        (30, "actions", "a", 3),
        (40, "activations", "t", 2),
    ]


def test_a_row_without_a_readable_time_goes_with_the_row_before_it(tmp_path: Path) -> None:
    source = lines_at(tmp_path / "a.jsonl", "actions", ['"?"', 10, '"?"', 20])
    assert [(at, n) for at, _, _, n in in_order(source)] == [(10, 0), (10, 1), (10, 2), (20, 3)]


def test_an_unsorted_file_is_sorted_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "RUN_ROWS", 2500)
    chance = random.Random(1)
    times = [chance.randrange(3000) for _ in range(10_001)]
    source = lines_at(tmp_path / "a.jsonl", "actions", times)
    assert not survey(source, lambda _: None).is_sorted
    expected = sorted((at, n) for n, at in enumerate(times))
    assert [(at, n) for at, _, _, n in in_order(source)] == expected


def test_no_record_arrives_later_than_now(tmp_path: Path) -> None:
    source = lines_at(tmp_path / "a.jsonl", "actions", [10, 20, 30])
    assert [at for at, _, _, _ in in_order(source, latest_ms=20)] == [10, 20, 20]


@pytest.mark.parametrize("time_format", ["ms", "s", "us", "iso8601"])
def test_shifted_times_start_where_told_and_event_times_move_along(tmp_path: Path, time_format: str) -> None:
    settings = Settings.model_validate({"actions": {"time_format": time_format}})
    written = {"ms": ("7000", "9000"), "s": ("7", "9"), "us": ("7000000", "9000000")}.get(
        time_format, ('"1970-01-01T00:00:07"', '"1970-01-01T00:00:09+00:00"')
    )
    text = "\n".join(f'{{"user_id":"u","event":"e","more":0,"ts":{time}}}' for time in (*written, '"?"'))
    source = Source(write(tmp_path / "a.jsonl", text), layout(settings=settings))
    moved = shifted_to([survey(source, lambda _: None)], NOON)
    records = list(merged(moved))
    assert [record.arrival_ms for record in records] == [NOON, NOON + 2000, NOON + 2000]
    back = [json.loads(record.value or b"") for record in records]
    assert back[2] == {"user_id": "u", "event": "e", "more": 0, "ts": "?"}
    expected = {"ms": NOON + 2000, "s": NOON // 1000 + 2, "us": NOON * 1000 + 2_000_000}
    assert back[1]["ts"] == expected.get(time_format, "2023-11-14T22:13:22+00:00")
    assert back[1]["more"] == 0


def test_a_history_closes_after_every_periods_grace_and_the_last_actions_join_delay() -> None:
    assert closing_ms(500, [100, 300], grace_ms=50, join_delay_ms=10) == 511
    assert closing_ms(500, [100, 600], grace_ms=50, join_delay_ms=10) == 661
    assert closing_ms(500, [], grace_ms=50, join_delay_ms=10) == 511


# --- Pace


class Log:
    """A writer that keeps what it gets, with the real time of each call."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sent: list[tuple[float, int]] = []
        self.marks: list[tuple[float, int]] = []
        self.flushed_rows = 0

    async def send(self, records: Iterable[RawRecord]) -> None:
        self.sent += [(self.seconds, record.arrival_ms) for record in records]

    async def mark(self, watermark_ms: int) -> None:
        assert all(at_ms <= watermark_ms for _, at_ms in self.sent)
        self.marks.append((self.seconds, watermark_ms))

    async def flush(self) -> None:
        self.flushed_rows = len(self.sent)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def streamed(times: Sequence[int], **options: Any) -> tuple[Log, Sent]:
    log = Log()
    records = (RawRecord(at_ms, "actions", b"u", b"{}") for at_ms in times)
    result = await stream(records, log, clock=lambda: log.seconds, sleep=log.sleep, **options)
    return log, result


async def test_at_a_pace_no_record_goes_before_its_time_and_none_much_later() -> None:
    times = [NOON + 37 * n for n in range(200)]
    log, result = await streamed(times, speed=10)
    assert result == Sent(200, times[-1])
    assert [at_ms for _, at_ms in log.sent] == times
    for seconds, at_ms in log.sent:
        assert (at_ms - NOON) / 10_000 <= seconds <= (at_ms - NOON) / 10_000 + 0.11
    assert log.flushed_rows == 200


async def test_while_records_are_silent_the_marks_go_on() -> None:
    log, _ = await streamed([NOON, NOON + 10_000], speed=1)
    marks = [at_ms for _, at_ms in log.marks]
    assert len(marks) > 50
    assert marks == sorted(marks)


@pytest.mark.parametrize("speed", [None, 1000.0])
async def test_no_mark_promises_anything_after_the_last_record(speed: float | None) -> None:
    times = [NOON + n // 3 for n in range(2 * MARK_ROWS)]
    log, _ = await streamed(times, speed=speed)
    assert max(at_ms for _, at_ms in log.marks) == times[-1]


async def test_at_full_speed_marks_come_every_so_many_records() -> None:
    log, result = await streamed(range(1, 3 * MARK_ROWS + 2))
    assert [at_ms for _, at_ms in log.marks] == [MARK_ROWS, 2 * MARK_ROWS, 3 * MARK_ROWS]
    assert result.rows == 3 * MARK_ROWS + 1
    assert log.seconds == 0


@pytest.mark.parametrize("speed", [None, 1000.0])
async def test_a_stream_that_is_stopped_has_sent_all_that_it_took(speed: float | None) -> None:
    taken: list[int] = []
    calls: list[Sent] = []
    log = Log()

    def endless() -> Iterator[RawRecord]:
        for at_ms in itertools.count(NOON):
            taken.append(at_ms)
            yield RawRecord(at_ms, "actions", b"u", b"{}")

    result = await stream(
        endless(),
        log,
        speed=speed,
        progress=calls.append,
        stopping=lambda: len(calls) == 3,
        clock=lambda: log.seconds,
        sleep=log.sleep,
    )
    assert [at_ms for _, at_ms in log.sent] == taken
    assert result == Sent(len(taken), taken[-1])


async def test_an_empty_stream_is_no_error() -> None:
    log, result = await streamed([])
    assert result == Sent(0, None)
    assert log.marks == []
