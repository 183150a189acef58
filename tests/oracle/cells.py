"""The cells, recomputed from raw input in plain Python: the answer that every run must equal.

Written from the rules alone, without sight of the implementation, for pipelines whose clock is "records".
One record at a time, no batches, no state to recover, nothing expires. Times are epoch milliseconds.
Two promises of the pipeline make this so short: actions are held back until the activations that may count
for them are there, so here all activations come first; and nothing is judged before its metadata is known.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CellKey = tuple[str, int, str, str, int]
"""(experiment, period_start_ms, group, event, bucket_start_ms); exposures stand under the event ''."""

Kind = Literal["actions", "activations"]
TimeFormat = Literal["ms", "s", "us", "iso8601"]

EARLIEST_MS = 946_684_800_000  # 2000-01-01T00:00Z
HOUR_MS = 3_600_000
MAX_USER_BYTES = 256
MAX_NAME_BYTES = 128
MARKER_HEADER = "rtexp-watermark"


@dataclass(frozen=True)
class RawRecord:
    """One record of a raw topic, as Kafka gives it; `timestamp_ms` is Kafka's, not the one in the JSON."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Allocation:
    group: str
    percent: float
    at_ms: int


@dataclass(frozen=True)
class Experiment:
    """An experiment and its whole history; `allocations` in order of (time, id)."""

    name: str
    groups: tuple[str, ...]
    allocations: tuple[Allocation, ...]


@dataclass(frozen=True)
class ActionFields:
    """Where an action's fields lie in its JSON: dotted paths."""

    user: str = "user_id"
    event: str = "event"
    time: str = "ts"
    time_format: TimeFormat = "ms"


@dataclass(frozen=True)
class ActivationFields:
    """Where an activation's fields lie in its JSON: dotted paths."""

    user: str = "user_id"
    experiment: str = "experiment"
    group: str = "group"
    time: str = "ts"
    time_format: TimeFormat = "ms"


@dataclass(frozen=True)
class Rules:
    """The settings that decide what counts, by default as in the configuration; `cap_per_hour` 0: no cap."""

    tracked: frozenset[str] = frozenset({"search", "click"})
    cap_per_hour: int = 1000
    period_ms: int = 72 * HOUR_MS
    bucket_ms: int = 15 * 60_000
    dedup_ms: int = 5 * 60_000
    join_delay_ms: int = 10_000
    out_of_order_ms: int = 2_000
    grace_ms: int = 60 * 60_000
    max_ahead_ms: int = 300_000
    max_message_bytes: int = 65_536
    actions: ActionFields = ActionFields()
    activations: ActivationFields = ActivationFields()


@dataclass
class Cell:
    """The numbers of one cell; `users` acted in it or, under the event '', were exposed in it."""

    volume: int = 0
    actors: int = 0
    sum_squares: int = 0
    exposures: int = 0
    multiple_exposures: int = 0
    users: set[str] = field(default_factory=set)


@dataclass
class Result:
    """The cells, and what is in none of them: bad input and drops, by (kind, reason).

    Drops are counted for untracked, unknown-experiment, unknown-group, outside-period, late-activation,
    repeat, capped and marker.
    """

    cells: dict[CellKey, Cell] = field(default_factory=lambda: defaultdict(Cell))
    dead: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[Kind, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Row:
    """A record that is no bad input: its text fields by name, its event time, its arrival."""

    texts: Mapping[str, str]
    at_ms: int
    arrival_ms: int


@dataclass
class _Trigger:
    """A user's entry into a group in a period; `counts` is k, by event."""

    experiment: str
    period_start_ms: int
    period_end_ms: int
    group: str
    at_ms: int
    arrival_ms: int
    counts: Counter[str] = field(default_factory=Counter)


def recompute(
    actions: Sequence[RawRecord],
    activations: Sequence[RawRecord],
    experiments: Sequence[Experiment],
    rules: Rules,
) -> Result:
    """Count everything; partitions may be interleaved in any way, each in order of its offsets.

    ValueError for offsets that don't increase within a partition, and for a user whose good records lie in
    more than one partition of a topic: nothing says in which order those count.
    """
    result = Result()
    triggers = _make_triggers(activations, experiments, rules, result)
    for row in _uncapped(_unrepeated(_tracked(actions, rules, result), rules, result), rules, result):
        for trigger in triggers.get(row.texts["user"], ()):
            _join(row, trigger, rules, result)
    result.cells = dict(result.cells)
    return result


# --- Periods and triggers


def periods(experiment: Experiment, period_ms: int) -> list[tuple[int, int]]:
    """[start, end) of every period: each ramp opens one, unless it lies in one that is open."""
    opened: list[tuple[int, int]] = []
    percents: dict[str, float] = {}
    for allocation in experiment.allocations:
        is_ramp = allocation.percent > percents.get(allocation.group, 0)
        percents[allocation.group] = allocation.percent
        if is_ramp and not (opened and allocation.at_ms < opened[-1][1]):
            opened.append((allocation.at_ms, allocation.at_ms + period_ms))
    return opened


def _make_triggers(
    activations: Sequence[RawRecord], experiments: Sequence[Experiment], rules: Rules, result: Result
) -> dict[str, list[_Trigger]]:
    """The triggers by user, their exposures counted into `result`."""
    by_name = {experiment.name: experiment for experiment in experiments}
    opened = {experiment.name: periods(experiment, rules.period_ms) for experiment in experiments}
    triggers: dict[str, list[_Trigger]] = defaultdict(list)
    for row in _good_rows("activations", activations, rules.activations, rules, result):
        user, name, group = row.texts["user"], row.texts["experiment"], row.texts["group"]
        period = next(((start, end) for start, end in opened.get(name, ()) if start <= row.at_ms < end), None)
        if name not in by_name:
            result.dropped["activations", "unknown-experiment"] += 1
        elif group not in by_name[name].groups:
            result.dropped["activations", "unknown-group"] += 1
        elif period is None:
            result.dropped["activations", "outside-period"] += 1
        elif row.arrival_ms >= period[1] + rules.grace_ms:
            result.dropped["activations", "late-activation"] += 1
        else:
            trigger = _Trigger(name, *period, group, row.at_ms, row.arrival_ms)
            _expose(user, trigger, triggers[user], rules, result)
    return triggers


def _expose(user: str, trigger: _Trigger, earlier: list[_Trigger], rules: Rules, result: Result) -> None:
    """Add the trigger to the user's `earlier` ones and count it, unless the user is in that group already."""
    groups = {
        other.group
        for other in earlier
        if (other.experiment, other.period_start_ms) == (trigger.experiment, trigger.period_start_ms)
    }
    if trigger.group in groups:
        return
    cell = result.cells[_cell_key(trigger, "", trigger.at_ms, rules)]
    cell.exposures += 1
    cell.multiple_exposures += 1 if groups else 0
    cell.users.add(user)
    earlier.append(trigger)


# --- Actions, step by step: each step passes on what it does not drop


def _tracked(actions: Sequence[RawRecord], rules: Rules, result: Result) -> Iterator[_Row]:
    for row in _good_rows("actions", actions, rules.actions, rules, result):
        if row.texts["event"] in rules.tracked:
            yield row
        else:
            result.dropped["actions", "untracked"] += 1


def _unrepeated(rows: Iterator[_Row], rules: Rules, result: Result) -> Iterator[_Row]:
    """Drop what has the user, event and time of a kept action and an arrival slot at most 1 away from its."""
    kept_slots: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for row in rows:
        slots = kept_slots[row.texts["user"], row.texts["event"], row.at_ms]
        slot = row.arrival_ms // rules.dedup_ms
        if any(abs(slot - kept) <= 1 for kept in slots):
            result.dropped["actions", "repeat"] += 1
        else:
            slots.append(slot)
            yield row


def _uncapped(rows: Iterator[_Row], rules: Rules, result: Result) -> Iterator[_Row]:
    """Drop what is numbered above the cap in its user's hour of arrival; only the two newest hours number."""
    counters: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows:
        hours = counters[row.texts["user"]]
        hour = row.arrival_ms // HOUR_MS
        hours[hour] = hours.get(hour, 0) + 1
        number = hours[hour]
        if len(hours) > 2:
            oldest = min(hours)
            del hours[oldest]
            if oldest == hour:
                number = 0
        if rules.cap_per_hour and number > rules.cap_per_hour:
            result.dropped["actions", "capped"] += 1
        else:
            yield row


def _join(row: _Row, trigger: _Trigger, rules: Rules, result: Result) -> None:
    """Count the action for the trigger, if it belongs to it."""
    if not trigger.at_ms <= row.at_ms < trigger.period_end_ms:
        return
    if trigger.arrival_ms > row.arrival_ms + rules.join_delay_ms:
        return
    if row.arrival_ms >= trigger.period_end_ms + rules.grace_ms:
        return
    event = row.texts["event"]
    k = trigger.counts[event]
    cell = result.cells[_cell_key(trigger, event, row.at_ms, rules)]
    cell.volume += 1
    cell.sum_squares += 2 * k + 1
    cell.actors += 1 if k == 0 else 0
    cell.users.add(row.texts["user"])
    trigger.counts[event] = k + 1


def _cell_key(trigger: _Trigger, event: str, at_ms: int, rules: Rules) -> CellKey:
    bucket_start_ms = at_ms // rules.bucket_ms * rules.bucket_ms
    return trigger.experiment, trigger.period_start_ms, trigger.group, event, bucket_start_ms


# --- Raw records: arrival, and what is bad input


class _BadInputError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _good_rows(
    kind: Kind,
    records: Sequence[RawRecord],
    fields: ActionFields | ActivationFields,
    rules: Rules,
    result: Result,
) -> Iterator[_Row]:
    """Give every record its arrival, count markers and bad input, pass on the rest."""
    paths = {name: path.split(".") for name, path in vars(fields).items() if name != "time_format"}
    floors_ms: dict[int, int] = {}  # by partition, its watermark: what follows arrives no earlier
    homes: dict[str, int] = {}  # partition by user
    for record in _in_offset_order(records):
        floor_ms = floors_ms.get(record.partition, 0)
        marker_ms = _marker_ms(record)
        if marker_ms is not None:
            floors_ms[record.partition] = max(floor_ms, marker_ms)
            result.dropped[kind, "marker"] += 1
            continue
        floors_ms[record.partition] = max(floor_ms, record.timestamp_ms - rules.out_of_order_ms)
        arrival_ms = max(floor_ms, record.timestamp_ms)
        try:
            texts, at_ms = _judge(record.value, paths, fields.time_format, arrival_ms, rules)
        except _BadInputError as bad:
            result.dead[kind, bad.reason] += 1
            continue
        if homes.setdefault(texts["user"], record.partition) != record.partition:
            raise ValueError(f"user {texts['user']!r} has {kind} in two partitions; their order is undefined")
        yield _Row(texts, at_ms, arrival_ms)


def _in_offset_order(records: Sequence[RawRecord]) -> Iterator[RawRecord]:
    newest: dict[int, int] = {}
    for record in records:
        if record.offset <= newest.get(record.partition, -1):
            raise ValueError(f"partition {record.partition}: offset {record.offset} comes too late or twice")
        newest[record.partition] = record.offset
        yield record


def _marker_ms(record: RawRecord) -> int | None:
    """The marker's watermark; None for any other record."""
    if record.key is not None or record.value is not None:
        return None
    text = dict(record.headers).get(MARKER_HEADER, b"")
    return int(text) if re.fullmatch(rb"[0-9]{1,18}", text) else None


_ABSENT = object()


def _judge(
    value: bytes | None,
    paths: Mapping[str, list[str]],
    time_format: TimeFormat,
    arrival_ms: int,
    rules: Rules,
) -> tuple[dict[str, str], int]:
    """The text fields by name, and the event time; _BadInputError with the first reason that holds."""
    if value is None:
        raise _BadInputError("null-value")
    if len(value) > rules.max_message_bytes:
        raise _BadInputError("too-large")
    document = _parse(value)
    used = {name: _follow(document, path) for name, path in paths.items()}
    if any(isinstance(found, str) and _has_lone_surrogate(found) for found in used.values()):
        raise _BadInputError("invalid-json")
    present = {name: found for name, found in used.items() if found is not _ABSENT}
    # Every field's type is judged before any field's absence.
    at_ms = _time_ms(present.pop("time"), time_format) if "time" in present else None
    texts = {name: _text(name, found) for name, found in present.items()}
    if at_ms is None or len(texts) < len(used) - 1:
        raise _BadInputError("missing-field")
    if "" in texts.values():
        raise _BadInputError("empty-field")
    for name, text in texts.items():
        if len(text.encode()) > (MAX_USER_BYTES if name == "user" else MAX_NAME_BYTES):
            raise _BadInputError("too-large")
    if not EARLIEST_MS <= at_ms <= arrival_ms + rules.max_ahead_ms:
        raise _BadInputError("time-out-of-range")
    return texts, at_ms


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# int() refuses more than 4,300 digits, which JSON allows; the first 400 are as far out of every range.
_DECODER = json.JSONDecoder(parse_int=lambda digits: int(digits[:400]), parse_constant=_refuse_constant)


def _parse(value: bytes) -> object:
    try:
        text = value.decode("utf-8")
        try:
            document: object = _DECODER.decode(text)
        except RecursionError:
            document = _decode_deep(text)
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise _BadInputError("invalid-json") from None
    if not isinstance(document, dict):
        raise _BadInputError("wrong-type")
    return document


def _decode_deep(text: str) -> object:
    """Decode JSON of any depth, by json's own reader in Python: its calls need no stack but the interpreter's."""
    decoder = json.JSONDecoder(parse_int=_DECODER.parse_int, parse_constant=_refuse_constant)
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * len(text))
    try:
        return decoder.decode(text)
    finally:
        sys.setrecursionlimit(limit)


def _follow(document: object, path: list[str]) -> object:
    """What lies at the path: _ABSENT if nothing; None, like a null, if it leads through no object."""
    found = document
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key, _ABSENT)
        if found is _ABSENT:
            return _ABSENT
    return found


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _text(name: str, found: object) -> str:
    if isinstance(found, str):
        return found
    if name == "user" and isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    raise _BadInputError("wrong-type")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _time_ms(found: object, time_format: TimeFormat) -> int:
    if time_format == "iso8601":
        return _iso8601_ms(found)
    if not isinstance(found, int) or isinstance(found, bool):
        raise _BadInputError("wrong-type")
    if time_format == "s":
        return found * 1000
    if time_format == "us":
        return found // 1000
    return found


def _iso8601_ms(found: object) -> int:
    if not isinstance(found, str):
        raise _BadInputError("wrong-type")
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        raise _BadInputError("wrong-type") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)
