"""What values of settings may be: names, paths, addresses, URLs; each refuses with what was expected."""

from __future__ import annotations

import ipaddress
import re
from itertools import permutations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from rtexp.settings.binding import bind_host, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_NAME_BYTES = 128
"""Of an experiment, group or event in UTF-8: so that it fits MySQL's index limit as utf8mb4 text."""


class Contradiction(ValueError):  # noqa: N818 - it is about settings that are right one by one
    """What settings should be beside each other; ``keys`` are those concerned, as (section, key)."""

    def __init__(self, expected: str, *keys: tuple[str, str]) -> None:
        super().__init__(expected)
        self.keys = keys


def _name(text: str) -> str:
    if not text or len(text.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"a name of 1 to {MAX_NAME_BYTES} bytes of UTF-8")
    return text


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"distinct names, but {', '.join(map(repr, repeated))} comes twice")
    return names


def _field_path(text: str) -> str:
    if not text or "" in text.split(".") or not text.isprintable() or set('"\\') & set(text):
        raise ValueError("a field path, such as user_id or context.user.id")
    return text


def _topic(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in {".", ".."}:
        raise ValueError("a topic's name: 1 to 249 of the letters a-z and A-Z, digits, '.', '_' and '-'")
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(
            "1 to 100 of the letters a-z and A-Z, digits, '.', '_' and '-', with a letter or digit first"
        )
    return text


def _broker(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):  # noqa: PLR2004
        raise ValueError("host:port, such as 127.0.0.1:9092")
    return text


def is_loopback_broker(broker: str) -> bool:
    """Tell whether a broker, as ``host:port``, is at an address that no other machine has."""
    return is_loopback(broker.rpartition(":")[0].strip("[]"))


# Several processes share it, so it can't be in memory.
_SQLITE_FILE = re.compile(r"sqlite(\+pysqlite)?:///(?!:memory:|file:)[^?]+(\?.*)?")
# The place may be missing: a socket is named behind the question mark.
_SERVER = re.compile(
    r"(mysql|mariadb)\+pymysql://[^:/@]+(?P<password>:[^@]*)?@"
    r"(\[[0-9A-Fa-f:.]+\]|[^/@:\[\]]*)(:[0-9]+)?/[^/?]+(\?.*)?"
)


def _database(url: str) -> str:
    if not (_SQLITE_FILE.fullmatch(url) or _SERVER.fullmatch(url)):
        raise ValueError(
            "a SQLite file, as in sqlite:///data/rtexp.db, or a database of MySQL or MariaDB, "
            "as in mysql+pymysql://user@host/rtexp"
        )
    return url


def _other_database(url: str) -> str:
    return _database(url) if url else ""


_WRITES_A_FILE = re.compile(r"\binto\s+(outfile|dumpfile)\b", re.IGNORECASE)
_READS = re.compile(r"(\s|--[^\n]*\n|/\*.*?\*/|\()*(select|with|values|table)\b", re.IGNORECASE | re.DOTALL)


def _query(text: str) -> str:
    # The transaction in which it runs is read-only: this is for those who have put something else here.
    if text and (not _READS.match(text) or _WRITES_A_FILE.search(text)):
        raise ValueError("a SELECT that yields experiment, group, control, percent and changed_at")
    return text


def refuse_other_passwords(section: str, url: str, password_file: Path | None) -> None:
    """Raise Contradiction if there is a file for a password that the URL can't have, or has."""
    if password_file is None:
        return
    if not (server := _SERVER.fullmatch(url)):
        raise Contradiction("no password_file, as SQLite has no passwords", (section, "password_file"))
    if server["password"]:
        raise Contradiction(
            "the password in one place: leave it out of the URL", (section, "url"), (section, "password_file")
        )


def _place(url: str) -> str:
    protocol, separator, path = url.partition("://")
    if not separator:
        return url
    if protocol in {"file", "local"}:
        if not path.startswith("/"):
            raise ValueError("a path, or a URL such as file:///var/ramped_groups.csv or s3://bucket/key")
        return url
    from fsspec.registry import get_filesystem_class  # noqa: PLC0415 - few need it, and it costs all 0.1 s

    try:
        get_filesystem_class(protocol.rpartition("::")[2])
    except (ImportError, ValueError) as exc:
        raise ValueError(f"a path, or a URL that fsspec can write to here ({exc})") from exc
    return url


def _no_limit(minutes: float) -> float:
    # Which actions went on without their activations would depend on when they were read.
    if minutes:
        raise ValueError("0: this version can't go on without activations")
    return minutes


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError("an address or network of a proxy, such as 10.0.0.1 or 10.0.0.0/8") from exc
    return text


def _base_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", text):
        raise ValueError("a path such as /rtexp, with no slash at its end, or nothing")
    return text


def _public_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]{1,255}(/[A-Za-z0-9._~-]+)*", text):
        raise ValueError("where people find the pages, such as https://ab.example.org/rtexp, or nothing")
    return text


def refuse_overlaps(section: str, paths: Mapping[str, str]) -> None:
    """Raise Contradiction if a field path is another one, or leads through it."""
    for (key, path), (other, longer) in permutations(paths.items(), 2):
        if f"{longer}.".startswith(f"{path}."):
            raise Contradiction(
                f"field paths that don't lead through each other, found {path} and {longer}",
                (section, key),
                (section, other),
            )


def _divisor_of_an_hour(minutes: int) -> int:
    # A period is whole hours, so that such buckets fill it exactly too.
    if 60 % minutes:
        raise ValueError("a divisor of 60, so that buckets fill an hour and a period exactly")
    return minutes


Name = Annotated[str, AfterValidator(_name)]
FieldPath = Annotated[str, AfterValidator(_field_path)]
Topic = Annotated[str, AfterValidator(_topic)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Broker = Annotated[str, AfterValidator(_broker)]
BindHost = Annotated[str, AfterValidator(bind_host)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
OtherDatabaseUrl = Annotated[str, AfterValidator(_other_database)]
Query = Annotated[str, AfterValidator(_query)]
Place = Annotated[str, AfterValidator(_place)]
Network = Annotated[str, AfterValidator(_network)]
BasePath = Annotated[str, AfterValidator(_base_path)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Distinct = AfterValidator(_distinct)
NoLimit = AfterValidator(_no_limit)
DivisorOfAnHour = AfterValidator(_divisor_of_an_hour)
TimeFormat = Literal["ms", "s", "us", "iso8601"]
Share = Annotated[float, Field(gt=0, lt=1)]
Level = Annotated[float, Field(gt=0, lt=0.5)]
"""Of error. From one half on a test that rejects says nothing."""
