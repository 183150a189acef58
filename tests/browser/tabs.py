"""A tab of the browser, and all that went wrong in it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

AXE = Path(__file__).parent / "vendor" / "axe.min.js"


class Tab:
    """A page in a context of its own, with neither cookies nor cache of others."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = address
        self.faults: list[str] = []
        self.finished: list[Request] = []
        page.on("console", lambda message: self._note(message.type in {"error", "warning"}, message.text))
        page.on("requestfinished", self._finish)
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("requestfailed", lambda request: self._note(True, f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: self._note(not request.url.startswith(address), f"foreign: {request.url}"),
        )

    def _note(self, wrong: bool, what: str) -> None:  # noqa: FBT001 - private
        if wrong:
            self.faults.append(what)

    def _finish(self, request: Request) -> None:
        self.finished.append(request)

    def open(self, path: str) -> Page:
        """Go to a path of the site, below its address."""
        self.page.goto(self._address + path.lstrip("/"))
        return self.page

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong for people who see, hear or move otherwise."""
        # As the browser's debugger does: the page's own policy would let no script in.
        debugger = self.page.context.new_cdp_session(self.page)
        debugger.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        answer: dict[str, Any] = debugger.send(
            "Runtime.evaluate",
            {
                "expression": "axe.run().then(found => JSON.stringify(found.violations))",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        debugger.detach()
        found = json.loads(answer["result"]["value"])
        return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


@contextmanager
def open_tab(browser: Browser, address: str, **options: Any) -> Iterator[Tab]:
    """Yield a tab; ``options`` are those of a browser context: viewport, color_scheme, java_script_enabled."""
    context = browser.new_context(**options)
    try:
        yield Tab(context.new_page(), address)
    finally:
        context.close()
