"""Database URLs as people may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.settings import masked_url

if TYPE_CHECKING:
    from sqlalchemy import URL


def masked(url: URL) -> str:
    """Return the URL as text that may be logged: without its secrets."""
    return masked_url(url.render_as_string(hide_password=True))
