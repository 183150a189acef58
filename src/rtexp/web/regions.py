"""The parts of a page that change while it is open: elements with ``data-live``, found in the HTML of our templates.

Every value in a template is escaped, and there are neither comments nor scripts in them: a ``<`` always begins a tag,
and a ``>`` always ends one. So the end of an element is where as many of its tags have been closed as opened.
"""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from typing import NamedTuple

_MARK = ' data-live="'
_NAME = re.compile(r"<([a-z][a-z0-9]*)")
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


class Regions(NamedTuple):
    """What a browser needs to bring a page that it shows up to date."""

    title: str
    html: dict[str, str]
    """Each whole element by the name in its ``data-live``, in the order in which they stand."""


def regions_of(page: str) -> Regions:
    """Return a page's title and regions; one that lies in another is part of that one.

    ValueError if two have the same name, or one isn't closed.
    """
    title = _TITLE.search(page)
    html: dict[str, str] = {}
    at = page.find(_MARK)
    while at >= 0:
        start = page.rindex("<", 0, at)
        opened = _NAME.match(page, start)
        if opened is None:
            raise ValueError(f"no tag has the attribute at {at}")
        end = _end(page, opened[1], start)
        since = at + len(_MARK)
        name = unescape(page[since : page.index('"', since)])
        if name in html:
            raise ValueError(f"two regions are called {name}")
        html[name] = page[start:end]
        at = page.find(_MARK, end)
    return Regions(unescape(title[1]) if title else "", html)


def _end(page: str, tag: str, start: int) -> int:
    depth = 0
    for found in _tags(tag).finditer(page, start):
        depth += -1 if found[1] else 1
        if depth == 0:
            return found.end()
    raise ValueError(f"a region is never closed by </{tag}>")


@cache
def _tags(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<(/?){tag}(?=[\s>])[^>]*>")
