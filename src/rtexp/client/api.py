"""A client of the API: one method a path, pages followed, faults as one exception."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from rtexp.client import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

URL_VARIABLE, TOKEN_VARIABLE = "RTEXP_URL", "RTEXP_WEB_TOKEN"
Row = TypeVar("Row", bound=msgspec.Struct)


class ApiError(Exception):
    """What the server answered instead (RFC 9457): ``code`` is stable, ``detail`` is for people."""

    def __init__(self, answer: httpx2.Response) -> None:
        told: Any = {}
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            told = answer.json()
        self.status = answer.status_code
        self.code: str = told.get("code", "http")
        self.detail: str = told.get("detail", answer.reason_phrase)
        wait = answer.headers.get("retry-after", "")
        self.retry_seconds = int(wait) if wait.isdecimal() else None
        """How long to wait before asking again, where the server says so."""
        super().__init__(f"{self.status} {self.code}: {self.detail}")


class Client:
    """Asks one server, for one thread at a time; a context manager. Rows come page by page, as they are taken.

    ``url`` and ``token`` default to RTEXP_URL and RTEXP_WEB_TOKEN. Methods raise ApiError for what the server refuses,
    and httpx2.TransportError if it can't be reached.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, timeout: float = 30.0) -> None:
        base = url or os.environ.get(URL_VARIABLE) or "http://127.0.0.1:8000"
        token = token or os.environ.get(TOKEN_VARIABLE)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=f"{base.rstrip('/')}/api/v1/", headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def experiments(self) -> Iterator[rows.Experiment]:
        """Yield all experiments in order of their creation, with periods and users."""
        return self._pages("experiments", rows.Experiment)

    def experiment(self, name: str) -> rows.ExperimentDetails:
        """Return an experiment: definition, plans, and the newest look of each comparison."""
        return msgspec.json.decode(self._get(_of(name), {}).content, type=rows.ExperimentDetails)

    def standings(self) -> Iterator[rows.Standing]:
        """Yield where each experiment stands, and why it needs a person, in order of their creation."""
        return self._pages("verdicts", rows.Standing)

    def verdicts(self, name: str, *, period: int | None = None) -> Iterator[rows.Verdict]:
        """Yield what the newest look of each comparison says."""
        return self._pages(_of(name, "verdicts"), rows.Verdict, period=period)

    def cells(
        self,
        name: str,
        *,
        view: Literal["bucket", "cumulative"] = "bucket",
        period: int | None = None,
        group: str | None = None,
        event: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Iterator[rows.Cell]:
        """Yield counts of buckets that start in [from_ms, to_ms), as they are or as sums since the period's start."""
        asked = {"view": view, "period": period, "group": group, "event": event}
        return self._pages(_of(name, "cells"), rows.Cell, **asked, from_ms=from_ms, to_ms=to_ms)

    def uniques(
        self,
        name: str,
        *,
        period: int | None = None,
        group: str | None = None,
        event: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Iterator[rows.Uniques]:
        """Yield about how many distinct users each group and event has over the buckets of a range."""
        asked = {"period": period, "group": group, "event": event}
        return self._pages(_of(name, "uniques"), rows.Uniques, **asked, from_ms=from_ms, to_ms=to_ms)

    def looks(
        self,
        name: str,
        *,
        period: int | None = None,
        group: str | None = None,
        event: str | None = None,
        metric: str | None = None,
        role: str | None = None,
    ) -> Iterator[rows.Look]:
        """Yield looks in order of period, group, event, metric and look."""
        asked = {"period": period, "group": group, "event": event, "metric": metric, "role": role}
        return self._pages(_of(name, "looks"), rows.Look, **asked)

    def plans(self, name: str) -> Iterator[rows.Plan]:
        """Yield the plans that were frozen, one a period."""
        return self._pages(_of(name, "plans"), rows.Plan)

    def _pages(self, path: str, row: type[Row], **asked: str | int | None) -> Iterator[Row]:
        parameters = {key: value for key, value in asked.items() if value is not None}
        while True:
            page = msgspec.json.decode(self._get(path, parameters).content, type=_Page)
            yield from msgspec.json.decode(page.items, type=list[row])  # type: ignore[valid-type]
            if page.next is None:
                return
            parameters["cursor"] = page.next

    def _get(self, path: str, parameters: dict[str, str | int]) -> httpx2.Response:
        answer = self._http.get(path, params=parameters)
        if not answer.is_success:
            raise ApiError(answer)
        return answer


class _Page(msgspec.Struct):
    items: msgspec.Raw
    next: str | None


def _of(name: str, table: str = "") -> str:
    """Return the path of an experiment, or of a table of it; a name's dots and slashes stay its own."""
    encoded = quote(name, safe="").replace(".", "%2E")
    return f"experiments/{encoded}/{table}".rstrip("/")
