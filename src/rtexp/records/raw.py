"""Raw actions and activations: users' own JSON, decoded by where the configuration says that its fields lie.

`RawDecoder.judge` is the definition: one record, and the first reason for which it is bad input.
`RawDecoder.decode` does the same for a batch, many times faster: msgspec fills one type that is made from the
field paths, which takes nothing but what is right, and `judge` finds out what is wrong with the rest.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from rtexp.errors import ConfigError, ContractError
from rtexp.records.nesting import flattened
from rtexp.records.surrogates import without_lone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

TimeFormat = Literal["ms", "s", "us", "iso8601"]

EARLIEST_MS = 946_684_800_000
"""2000-01-01T00:00Z: whatever is older has a broken clock, or another unit."""
MAX_USER_BYTES = 256
MAX_NAME_BYTES = 128
MARKER_HEADER = "rtexp-watermark"
REASONS = (
    "null-value",
    "too-large",
    "invalid-json",
    "wrong-type",
    "missing-field",
    "empty-field",
    "time-out-of-range",
)
"""Why a record may be bad input."""

_MARKER = re.compile(rb"[0-9]{1,18}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR = 2**62
"""Beyond every time that is accepted, in any unit; an int64."""

REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for what it doesn't take: no JSON, no UTF-8, another shape, too deep for it."""

_AT_ONCE = 1000
"""Records read as one text; where one of them is bad, all are read one by one."""
_OPENING, _CLOSING = b"{}"

_LEVELS = 100
"""Of arrays and objects within each other, that are read where there are too many of them; and all that paths need."""

_REPLACEMENTS = (rb"\ufffd", rb"\ufffc")

_NULL = "a null value, and no watermark marker"
_BLANKS = b" \t\r\n"
_INTEGER = re.compile(rb"-?[0-9]+")
_INTEGER_BYTES = 400
"""Python doesn't read integers of more than 4,300 digits; this many are out of every range already."""
_KINDS = {b"{": "an object", b"[": "an array", b"t": "a boolean", b"f": "a boolean", b"n": "null"}

_read_any = msgspec.json.Decoder(msgspec.Raw).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_text = msgspec.json.Decoder(str).decode


class Refused(NamedTuple):
    """A record of a batch that is bad input."""

    position: int
    error: ContractError


class Decoded(NamedTuple):
    """The records of a batch that are no bad input, in columns, and those that are."""

    positions: NDArray[np.int64]
    """Of each row, where its record stood in the batch; ascending."""
    texts: tuple[Sequence[str], ...]
    """The users, then one column for each field between user and time."""
    times_ms: NDArray[np.int64]
    refused: list[Refused]


class MaybeMarker(Protocol):
    """What of a Kafka record tells a marker."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102


def marker_ms(record: MaybeMarker) -> int | None:
    """Return the watermark that a marker announces; None if the record is no marker."""
    if record.key is not None or record.value is not None:
        return None
    text = dict(record.headers).get(MARKER_HEADER, b"")
    return int(text) if _MARKER.fullmatch(text) else None


class RawDecoder:
    """Decodes one raw topic. ``paths`` has the field paths by name: user first, time last, names between.

    ConfigError for a path that is another one, or leads through it, or has a quote or a backslash in it.
    """

    def __init__(
        self, paths: Mapping[str, str], *, time_format: TimeFormat, max_message_bytes: int, max_ahead_ms: int
    ) -> None:
        self._paths = dict(paths)
        self._user, *self._names, self._time = paths
        self._limits = (MAX_USER_BYTES, *(MAX_NAME_BYTES for _ in self._names))
        self._time_format = time_format
        self._max_message_bytes = max_message_bytes
        self._max_ahead_ms = max_ahead_ms
        self._levels = max(_LEVELS, *(len(_steps(path)) for path in paths.values()))
        _refuse_overlaps(self._paths)
        types: dict[str, Any] = dict.fromkeys(paths, _text_type(MAX_NAME_BYTES))
        types[self._user] = _text_type(MAX_USER_BYTES) | int
        types[self._time] = str if time_format == "iso8601" else int
        shape, attributes = _typed({_steps(path): types[name] for name, path in paths.items()})
        decoder = msgspec.json.Decoder(shape)
        self._decode: Callable[[bytes], Any] = decoder.decode
        self._decode_lines: Callable[[bytes], list[Any]] = decoder.decode_lines
        places = [attributes[_steps(path)] for path in paths.values()]
        self._fields: Callable[[Any], tuple[Any, ...]] = attrgetter(*places)
        self._columns_of = [_column_reader(place) for place in places]

    def judge(self, value: bytes | None, arrival_ms: int) -> tuple[list[str], int]:
        """Return texts and time (epoch ms) of one record; ContractError with the first reason that holds."""
        user, *names, time = self._find(value)
        texts = [str(user), *names]
        for text, name in zip(texts, self._paths, strict=False):
            if not text:
                raise ContractError("empty-field", f"{self._paths[name]} is empty")
        for text, name, limit in zip(texts, self._paths, self._limits, strict=False):
            if (size := len(text.encode())) > limit:
                raise ContractError(
                    "too-large", f"{self._paths[name]} has {size} bytes, the limit is {limit}"
                )
        at_ms = self._milliseconds(time)
        if not EARLIEST_MS <= at_ms <= arrival_ms + self._max_ahead_ms:
            earlier = at_ms < EARLIEST_MS
            why = "before the year 2000" if earlier else f"{at_ms - arrival_ms} ms after arrival"
            raise ContractError("time-out-of-range", f"{self._paths[self._time]} is {why}")
        return texts, at_ms

    def read(self, value: bytes) -> dict[str, str | int] | None:
        """Return what stands in the fields, by name, before it is judged; None if one can't be read: bad input."""
        try:
            fields = self._fields(self._decode(value))
        except REFUSALS:
            try:
                fields = self._find(value)
            except ContractError:
                return None
        return dict(zip(self._paths, fields, strict=True))

    def decode(self, values: Sequence[bytes | None], arrivals_ms: NDArray[np.int64]) -> Decoded:
        """Judge a batch of records, all at once; ``arrivals_ms`` has the same length.

        A record of 200 bytes costs 0.35 us, of which msgspec takes 0.26 (CPython 3.11, msgspec 0.22).
        """
        columns, refused = self._columns(values, arrivals_ms)
        positions = np.arange(len(values))
        if refused:
            positions = np.delete(positions, [position for position, _ in refused])
        users, *names, times = columns
        if not users:
            return Decoded(positions, (users, *names), positions, refused)
        has_integers = set(map(type, users)) != {str}
        if has_integers:
            users = list(map(str, users))
        times_ms = self._milliseconds_of(times)
        bad = (times_ms < EARLIEST_MS) | (times_ms > arrivals_ms[positions] + self._max_ahead_ms)
        for column, limit in zip((users, *names), self._limits, strict=True):
            # No text has more characters than its limit, so in ASCII none is too long; an integer may be.
            if has_integers or not "".join(column).isascii():
                bad |= [len(text.encode()) > limit for text in column]
        decoded = Decoded(positions, (users, *names), times_ms, refused)
        return self._without(bad, decoded, values, arrivals_ms) if bad.any() else decoded

    def _columns(
        self, values: Sequence[bytes | None], arrivals_ms: NDArray[np.int64]
    ) -> tuple[list[list[Any]], list[Refused]]:
        """Return the fields of records of the right shape, a list for each field, and the other records."""
        columns: list[list[Any]] = [[] for _ in self._columns_of]
        refused: list[Refused] = []
        for first in range(0, len(values), _AT_ONCE):
            some = values[first : first + _AT_ONCE]
            # Null values are markers, most of them: no reason to read their neighbours one by one.
            nulls = () if all(some) else [at for at, value in enumerate(some, first) if value is None]
            read = self._read_at_once([value for value in some if value is not None] if nulls else some)  # type: ignore[arg-type]
            if read is not None:
                for column, column_of in zip(columns, self._columns_of, strict=True):
                    column.extend(column_of(read))
                refused += [Refused(at, ContractError("null-value", _NULL)) for at in nulls]
            elif rows := self._rows(some, first, arrivals_ms, refused):
                for column, fields in zip(columns, zip(*rows, strict=True), strict=True):
                    column.extend(fields)
        return columns, refused

    def _read_at_once(self, values: Sequence[bytes]) -> list[Any] | None:
        """Decode records that are all of the right shape; None if any isn't, or may not be.

        They are read as one text with a line each. That no record is mistaken for a part of another, or for two,
        follows from three checks. Each begins with ``{`` and ends with ``}``; JSON has no raw line end in a text,
        and no ``}`` before ``{`` but between two documents: so each is one document or several. Several of them
        would be more than there are records.
        """
        if not values:
            return []
        lines = b"\n".join(values)
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        if sizes.min() < len(b"{}") or sizes.max() > self._max_message_bytes:
            return None
        ends = np.cumsum(sizes + 1) - 1
        text = np.frombuffer(lines, np.uint8)
        if (text[ends - sizes] != _OPENING).any() or (text[ends - 1] != _CLOSING).any():
            return None
        try:
            read = self._decode_lines(lines)
        except REFUSALS:
            return None
        return read if len(read) == len(values) else None

    def _rows(
        self,
        values: Sequence[bytes | None],
        first: int,
        arrivals_ms: NDArray[np.int64],
        refused: list[Refused],
    ) -> list[tuple[Any, ...]]:
        """Return the fields of records of the right shape, one by one; the others are added to ``refused``.

        The first of ``values`` has the position ``first``.
        """
        rows: list[tuple[Any, ...]] = []
        add, decode, fields = rows.append, self._decode, self._fields
        for position, value in enumerate(values, first):
            try:
                if value is not None and len(value) <= self._max_message_bytes:
                    add(fields(decode(value)))
                    continue
            except REFUSALS:
                pass
            try:
                self.judge(value, int(arrivals_ms[position]))
            except ContractError as exc:
                refused.append(Refused(position, _bare(exc)))
            else:  # right all the same: of a key that stands twice only the last value counts
                add(self._find(value))
        return rows

    def _without(
        self,
        bad: NDArray[np.bool],
        decoded: Decoded,
        values: Sequence[bytes | None],
        arrivals_ms: NDArray[np.int64],
    ) -> Decoded:
        """Move rows that have the right shape and the wrong content to those that are refused."""
        refused = list(decoded.refused)
        for position in decoded.positions[bad].tolist():
            try:
                self.judge(values[position], int(arrivals_ms[position]))
            except ContractError as exc:
                refused.append(Refused(position, _bare(exc)))
        good = ~bad
        return Decoded(
            decoded.positions[good],
            tuple(list(compress(column, good.tolist())) for column in decoded.texts),
            decoded.times_ms[good],
            sorted(refused, key=lambda refusal: refusal.position),
        )

    def _find(self, value: bytes | None) -> tuple[Any, ...]:
        """Return the fields as they stand in the record, like the typed decoder; user may be an integer."""
        if value is None:
            raise ContractError("null-value", _NULL)
        if len(value) > self._max_message_bytes:
            raise ContractError("too-large", f"{len(value)} bytes, the limit is {self._max_message_bytes}")
        try:
            value.decode()
        except UnicodeDecodeError as exc:
            raise ContractError("invalid-json", str(exc)) from exc
        try:
            found = self._leaves(value)
        except REFUSALS as exc:
            found = self._leaves_but_for_surrogates(value, exc)
        if found is None:
            raise ContractError("wrong-type", "not an object")
        for name, leaf in found.items():
            self._check_type(name, leaf)
        for name, leaf in found.items():
            if leaf is None:
                raise ContractError("missing-field", f"{self._paths[name]} is absent")
        return tuple(found.values())

    def _leaves_but_for_surrogates(
        self, value: bytes, refusal: Exception
    ) -> dict[str, str | int | _Odd | None] | None:
        """Return the leaves of what is JSON but for lone surrogates, if they are in none of the leaves.

        msgspec refuses them anywhere. Where a leaf depends on what stands instead of them, it has one.
        """
        try:
            one, other = (self._leaves(text) for text in (without_lone(value, r) for r in _REPLACEMENTS))
        except REFUSALS:
            raise ContractError("invalid-json", str(refusal)) from refusal
        if one != other:
            raise ContractError("invalid-json", "a lone surrogate in a used field") from refusal
        return one

    def _leaves(self, value: bytes) -> dict[str, str | int | _Odd | None] | None:
        """Return what lies at each path, by name; None if the document is no object."""
        try:
            document = _read_any(value)
            found = {name: _leaf(_follow(document, _steps(path))) for name, path in self._paths.items()}
        except RecursionError:
            return self._leaves(flattened(value, self._levels))
        return found if _is_object(document) else None

    def _check_type(self, name: str, leaf: str | int | _Odd | None) -> None:
        is_time = name == self._time
        wanted, article = (
            (str, "a string") if not is_time or self._time_format == "iso8601" else (int, "an integer")
        )
        if leaf is None or (name == self._user and isinstance(leaf, int)):
            return
        if not isinstance(leaf, wanted):
            kind = leaf.kind if isinstance(leaf, _Odd) else _name_of(leaf)
            raise ContractError("wrong-type", f"{self._paths[name]} is {kind}, not {article}")
        if is_time and isinstance(leaf, str) and _iso8601_ms(leaf) is None:
            raise ContractError("wrong-type", f"{self._paths[name]} is no ISO 8601 time")

    def _milliseconds(self, time: Any) -> int:
        return int(self._milliseconds_of([time])[0])

    def _milliseconds_of(self, times: Sequence[Any]) -> NDArray[np.int64]:
        """Turn times into epoch ms, rounded down; what can't be any time becomes one that is out of range."""
        if self._time_format == "iso8601":
            parsed = [_iso8601_ms(text) for text in times]
            return np.array([-_FAR if at_ms is None else at_ms for at_ms in parsed], np.int64)
        try:
            numbers = np.array(times, np.int64)
        except OverflowError:
            numbers = np.array([max(-_FAR, min(time, _FAR)) for time in times], np.int64)
        if self._time_format == "s":
            return np.clip(numbers, -_FAR // 1000, _FAR // 1000) * 1000
        return numbers // 1000 if self._time_format == "us" else numbers


def _bare(error: ContractError) -> ContractError:
    """Return the error without its history.

    A traceback holds the frames that it went through, and those the whole batch: kept in a list that one of these
    frames holds, they would live on until the cycle collector runs.
    """
    return ContractError(error.reason, error.detail)


class _Odd(NamedTuple):
    """A value that no field may have."""

    kind: str


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _refuse_overlaps(paths: Mapping[str, str]) -> None:
    for name, path in paths.items():
        for other, longer in paths.items():
            if name != other and f"{longer}.".startswith(f"{path}."):
                raise ConfigError(
                    f"the field paths of {name} ({path}) and {other} ({longer}) exclude each other"
                )


def _typed(fields: Mapping[tuple[str, ...], Any]) -> tuple[type[msgspec.Struct], dict[tuple[str, ...], str]]:
    """Make a type whose JSON has the fields at these paths, and tell which attribute each of them is.

    >>> shape, attributes = _typed({("context", "user"): str, ("ts",): int})
    >>> attributes
    {('context', 'user'): 'f0.f0', ('ts',): 'f1'}
    >>> msgspec.json.decode(b'{"ts": 7, "context": {"user": "u1"}}', type=shape).f0.f0
    'u1'
    """
    by_key: dict[str, dict[tuple[str, ...], Any]] = {}
    for (key, *rest), kind in fields.items():
        by_key.setdefault(key, {})[tuple(rest)] = kind
    attributes: dict[tuple[str, ...], str] = {}
    members: list[tuple[str, Any]] = []
    for number, (key, inner) in enumerate(by_key.items()):
        if () in inner:
            members.append((f"f{number}", inner[()]))
            attributes[key,] = f"f{number}"
            continue
        shape, below = _typed(inner)
        members.append((f"f{number}", shape))
        attributes |= {(key, *path): f"f{number}.{attribute}" for path, attribute in below.items()}
    names = {f"f{number}": key for number, key in enumerate(by_key)}
    try:
        return msgspec.defstruct("Raw", members, rename=names, gc=False), attributes
    except ValueError as exc:
        raise ConfigError(f"a field path can't be used: {exc}") from exc


def _column_reader(place: str) -> Callable[[list[Any]], Iterable[Any]]:
    """Return what reads one attribute of many objects; ``place`` is one that `_typed` has made.

    >>> shape, attributes = _typed({("context", "user"): str})
    >>> row = msgspec.json.decode(b'{"context": {"user": "u1"}}', type=shape)
    >>> list(_column_reader("f0.f0")([row, row]))
    ['u1', 'u1']
    """
    if "." not in place:
        return partial(map, attrgetter(place))
    # Compiled for the place, as the interpreter then specializes each step: 45 ns a record for three steps, with an
    # attrgetter 90. For one step that takes 26, this 41 (CPython 3.11, `rtexp bench decode`).
    return eval(f"lambda rows: [row.{place} for row in rows]")  # type: ignore[no-any-return]  # noqa: S307 - numbers alone


def _text_type(limit: int) -> Any:
    """Return the type of texts of 1 to ``limit`` characters: in UTF-8 some of them may still be too long."""
    return Annotated[str, msgspec.Meta(min_length=1, max_length=limit)]


def _is_object(raw: msgspec.Raw) -> bool:
    return bytes(raw).lstrip(_BLANKS).startswith(b"{")


def _follow(document: msgspec.Raw, steps: Sequence[str]) -> msgspec.Raw | _Odd | None:
    """Return what lies at a path: None if nothing, _Odd if it leads through something that is no object."""
    found: msgspec.Raw | None = document
    for step in steps:
        if found is None:
            return None
        if not _is_object(found):
            return _Odd("behind something that is no object")
        found = _read_members(found).get(step)
    return found


def _leaf(raw: msgspec.Raw | _Odd | None) -> str | int | _Odd | None:
    """Read a text or an integer; an integer of very many digits becomes another one, as far out of range."""
    if raw is None or isinstance(raw, _Odd):
        return raw
    json = bytes(raw).strip(_BLANKS)
    if json.startswith(b'"'):
        return _read_text(json)
    if _INTEGER.fullmatch(json):
        return int(json[:_INTEGER_BYTES])
    return _Odd(_KINDS.get(json[:1], "a number with a fraction or an exponent"))


def _name_of(leaf: str | int) -> str:
    return "a string" if isinstance(leaf, str) else "an integer"


def _iso8601_ms(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
