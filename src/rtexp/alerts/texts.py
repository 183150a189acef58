"""Text in which people's own names stand: plain, or as Slack's mrkdwn, in which a name can do nothing."""

from __future__ import annotations

from typing import NewType

Name = NewType("Name", tuple[str])
"""A name that somebody chose, apart from the words around it."""
Text = tuple["str | Name", ...]

MAX_SLACK_CHARACTERS = 2_900
"""Slack refuses a section of more than 3,000, and counts them after escaping."""


def name(text: str) -> Name:
    """Return a name as a part of a text; characters that aren't printable, such as ends of lines, become spaces."""
    return Name(("".join(c if c.isprintable() else " " for c in text),))


def plain(text: Text) -> str:
    """Return the text as it is read.

    >>> plain(("a gain in ", name("search"), "."))
    'a gain in search.'
    """
    return "".join(part if isinstance(part, str) else part[0] for part in text)


def mrkdwn(text: Text) -> str:
    """Return the text for Slack: names as code, where nothing is markup, mention or link.

    >>> mrkdwn(("a & ", name("<!channel> *x* `y`")))
    'a &amp; `&lt;!channel&gt; *x* \u02cby\u02cb`'
    """
    return "".join(escaped(part) if isinstance(part, str) else _code(part[0]) for part in text)


def escaped(text: str) -> str:
    """Return the text with the three characters replaced that control Slack's markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    # A backtick would end the code, and there is no way to escape one.
    without = text.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
    return f"`{escaped(without)}`"
