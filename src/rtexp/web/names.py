"""Names in addresses: any text may be a name, slashes and dots included."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


ONE = "/experiments/{name:name}"
"""The path of one experiment in routes; importing it makes the convertor known."""


class NameConvertor(Convertor[str]):
    """One part of a path, as it stands in the address: percent-encoded."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the name; bytes that aren't UTF-8 become U+FFFD, so that nothing has this name."""
        return unquote(value, errors="replace")

    def to_string(self, value: str) -> str:
        """Return the name as a part of a path."""
        return in_path(value)


def in_path(name: str) -> str:
    """Return a name as one part of a path.

    >>> in_path("a/b?c")
    'a%2Fb%3Fc'
    """
    return quote(name, safe="")


class EncodedPaths:
    """Lets routes see paths as they were sent: a server decodes them first, and then a name's slash parts it.

    Where a proxy has put the pages below a base path, and keeps it, it is taken off.
    """

    def __init__(self, app: ASGIApp, *, base_path: str) -> None:
        self._app = app
        self._base = base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its path encoded."""
        if scope["type"] == "http" and (sent := scope.get("raw_path")):
            path = sent.decode("latin-1")
            if f"{path}/".startswith(f"{self._base}/"):
                path = path.removeprefix(self._base) or "/"
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


register_url_convertor("name", NameConvertor())
