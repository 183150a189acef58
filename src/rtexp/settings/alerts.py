"""What can be set of alerts: who is told, when, and of what."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rtexp.settings.binding import bind_host, is_loopback

MAX_TARGETS = 16
MAX_RECIPIENTS = 50

_MODEL = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
_QUIET = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_NEEDS = {
    "slack": ("url_file",),
    "webhook": ("url_file",),
    "email": ("host", "sender", "recipients"),
    "log": (),
}
_TAKES = {
    "slack": ("url_file", "ca_file"),
    "webhook": ("url_file", "ca_file"),
    "email": ("host", "port", "security", "username", "password_file", "ca_file", "sender", "recipients"),
    "log": (),
}


def _target_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", text):
        raise ValueError("1 to 32 of the letters a-z, digits, '_' and '-', with a letter or digit first")
    return text


def _address(text: str) -> str:
    # Printable ASCII: other mailboxes need an extension that few servers have.
    if not re.fullmatch(r"[^@\s<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,189}", text) or not text.isascii():
        raise ValueError("an e-mail address, such as team@example.org")
    return text


def _host(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", text):
        raise ValueError("a name or address, such as mail.example.org")
    return text


def _quiet(text: str) -> str:
    found = _QUIET.fullmatch(text)
    if text and (found is None or text[:5] == text[6:]):
        raise ValueError("two times of the day that differ, such as 22:00-07:00, or nothing")
    return text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, OSError, ValueError) as exc:  # not found, a directory of zones, no such path
        raise ValueError("the name of a time zone, such as Europe/Berlin") from exc
    return text


def _distinct_targets(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    names = [target.name for target in targets]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"targets of distinct names, but {', '.join(repeated)} comes twice")
    return targets


class Target(BaseModel):
    """One place that alerts go to."""

    model_config = _MODEL

    name: Annotated[str, AfterValidator(_target_name)]
    """How far it is, is kept under this name: another one begins at the newest alert."""
    kind: Literal["slack", "webhook", "email", "log"]
    """What it is."""
    url_file: Path | None = None
    """Holds the address to post to, which is a secret; read at each attempt."""
    host: Annotated[str, AfterValidator(_host)] = ""
    """Of the mail server."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0: 587 with starttls, 465 with tls, 25 with none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How mail is sent: on a connection that turns to TLS, on one that begins with it, or without."""
    username: str = ""
    """Of a login to the mail server."""
    password_file: Path | None = None
    """Read at each attempt."""
    ca_file: Path | None = None
    """Certificates (PEM) that the server's own is checked with; none: those of the system."""
    sender: Annotated[str, AfterValidator(_address)] | None = None
    """The address that mails come from."""
    recipients: Annotated[
        tuple[Annotated[str, AfterValidator(_address)], ...], Field(max_length=MAX_RECIPIENTS)
    ] = ()
    """The addresses that mails go to."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Target:
        for key in _NEEDS[self.kind]:
            if not getattr(self, key):
                raise ValueError(f"{key}, which {self.kind} needs")
        for key, field in type(self).model_fields.items():
            known = key in ("name", "kind") or key in _TAKES[self.kind]
            if not known and getattr(self, key) != field.default:
                raise ValueError(f"no {key}, which {self.kind} doesn't have")
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file together")
        if self.security == "none" and self.username and not is_loopback(self.host):
            raise ValueError("security starttls or tls, as a password is sent")
        return self


class AlertSettings(BaseModel):
    """Who is told, when, and of what; without targets nobody is."""

    model_config = _MODEL

    targets: Annotated[
        tuple[Target, ...], Field(max_length=MAX_TARGETS), AfterValidator(_distinct_targets)
    ] = ()
    """Written as tables ``[[alerts.targets]]``, whose keys stand below."""
    quiet: Annotated[str, AfterValidator(_quiet)] = ""
    """Two times of the day, such as 22:00-07:00: what comes between is sent afterwards."""
    quiet_passes: Literal["nothing", "critical"] = "critical"
    """What is sent within quiet hours all the same."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    """Of the quiet hours, such as Europe/Berlin."""
    minimum_age_hours: Annotated[float, Field(ge=0, le=24 * 28)] = 0.0
    """Alerts of a period that is younger wait."""
    minimum_users: Annotated[int, Field(ge=0)] = 0
    """Alerts of a comparison with fewer users wait until a later look has as many."""
    stale_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 10.0
    """Say so when counts are complete only to a time this long ago; 0: never."""
    stopped_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 2.0
    """Say so when no worker of a job has reported for this long, or SQL can't be read; 0: never."""
    host: Annotated[str, AfterValidator(bind_host)] = "127.0.0.1"
    """Where the process that delivers serves its health and metrics; other than a loopback address: with a token."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 6069
    """0: any that is free."""
    give_up_hours: Annotated[float, Field(gt=0, le=24 * 28)] = 24.0
    """What a target hasn't taken after trying for this long is kept as undelivered, and the next one is tried."""
