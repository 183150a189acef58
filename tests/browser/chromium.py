"""The machine's own Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """Start it and end it; it needs no files of Playwright's own."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path, "this needs Chromium: `scripts/setup.sh chromium` installs it, or says what to do"
    # Containers run as root, and there its sandbox can't be had; nothing but our own pages is opened.
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    yield browser
    browser.close()
