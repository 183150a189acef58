"""The secrets of a configuration, so that logs can mask them wherever a library repeats them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rtexp.settings import Settings

TOKEN_VARIABLE = "RTEXP_WEB_TOKEN"  # noqa: S105 - the name of a variable
LEAST_CHARACTERS = 6
"""A shorter one would be masked in half of all words; where a URL or a name tells it, it is masked all the same."""


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> frozenset[str]:
    """Return all secrets as they are now; files that can't be read are told of by those who need them."""
    found = {environ.get(TOKEN_VARIABLE, "")}
    for url in (settings.store.url, settings.metadata.url):
        with suppress(ValueError):
            raw = urlsplit(url).password or ""
            found |= {raw, unquote(raw)}
    alerts = [path for target in settings.alerts.targets for path in (target.url_file, target.password_file)]
    for path in (
        settings.store.password_file,
        settings.metadata.password_file,
        settings.kafka.password_file,
        settings.kafka.key_password_file,
        settings.web.token_file,
        *alerts,
    ):
        if path is not None:
            found.add(_content(path))
    return frozenset(text for text in found if len(text) >= LEAST_CHARACTERS)


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
