"""The event stream of a page: one snapshot on every connection, then what changes, as server-sent events."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import asyncio
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.web.feed import Feed
from rtexp.web.problems import bad
from rtexp.web.questions import refuse_others
from rtexp.web.state import settings_of
from rtexp.web.watched import event

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from rtexp.web.watched import Watched

LEAST_SECONDS = 1.0
"""Between two messages to one browser."""
BEAT_SECONDS = 15.0
WRITE_SECONDS = 30.0
"""Who takes nothing for so long is let go; `rtexp.web.server` has the system end what doesn't even answer."""
LONGEST_SECONDS = 3_600.0
"""Then a browser connects anew, and the gate sees whether it still may."""
MOST_PAGE_CHARACTERS = 4_096
_ELSEWHERE = ("/api/", "/health/", "/static/", "/login")

routes = APIRouter()


# Not in the OpenAPI document: what reads that expects answers to end.
@routes.get("/events", include_in_schema=False)
async def events(
    request: Request,
    page: Annotated[
        str, Query(description="Path and query of a page, such as `/experiments/NAME?event=search`.")
    ] = "/",
    last: Annotated[
        str | None, Query(max_length=64, description="The id of the last event that was read, if any.")
    ] = None,
) -> Response:
    """Stream what changes in a page as `text/event-stream`.

    First comes one `snapshot` of all regions of the page as HTML by name, without any if `last` (or the header
    `Last-Event-ID`) says that nothing has changed since; then a `change` with those that did, at most one a second.
    `stale_since_ms` says since when the database doesn't answer. A `beat` comes when nothing else did for 15 seconds.
    """
    refuse_others(request, "page", "last")
    known = request.headers.get("last-event-id") if last is None else last
    return EventStream(
        request.app.state.feed, _checked_page(page, settings_of(request).web.base_path), known or None
    )


def _checked_page(page: str, base_path: str) -> str:
    """Return the address of a page without the base path; Problem if it can't be one."""
    path = page.removeprefix(base_path) if page.startswith(f"{base_path}/") else page
    if (
        len(page) > MOST_PAGE_CHARACTERS
        or not (path.startswith("/") and path.isascii() and path.isprintable())
        or path.startswith(_ELSEWHERE)
    ):
        raise bad("page", "the path and query of a page, as they stand in its address", page)
    return path


class EventStream(Response):
    """The stream of one browser, until it goes, the page ends, or the server does."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, feed: Feed, page: str, known: str | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._page = page
        self._known = known

    async def __call__(self, _: "Scope", receive: "Receive", send: "Send") -> None:
        """Send the events; Problem or StoreUnavailable before the first one if there can be none."""
        async with self._feed.watching(self._page) as watched:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            gone = asyncio.create_task(_gone(receive))
            talk = asyncio.create_task(self._talk(watched, send))
            try:
                await asyncio.wait({gone, talk}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                talk.cancel()
                await asyncio.gather(gone, talk, return_exceptions=True)

    async def _talk(self, watched: "Watched", send: "Send") -> None:
        told, message = (
            watched.round,
            watched.unchanged() if self._known == watched.id else watched.message(None),
        )
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            async with asyncio.timeout(WRITE_SECONDS):
                await send({"type": "http.response.body", "body": message, "more_body": True})
            await asyncio.sleep(LEAST_SECONDS)
            if not await watched.moved(told, BEAT_SECONDS - LEAST_SECONDS):
                message = event("beat", {"at_ms": int(time.time() * 1000)})
            elif watched.ended:
                break
            else:
                told, message = watched.round, watched.message(told)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
