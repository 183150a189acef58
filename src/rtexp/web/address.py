"""Where the pages are, and whether that place needs a token; imports little, as `rtexp up` asks too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.errors import ConfigError
from rtexp.settings import read_secret
from rtexp.settings.binding import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.settings import WebSettings

TOKEN_VARIABLE = "RTEXP_WEB_TOKEN"  # noqa: S105 - the name of a variable
LEAST_TOKEN_CHARACTERS = 16
WORKER_HOST = "--web-bind, [web] worker_host"
ALERTS_HOST = "[alerts] host"
"""Which setting says where something listens, for errors."""


def address_of(web: WebSettings, port: int | None = None) -> str:
    """Return where a browser on this machine finds the pages.

    >>> from rtexp.settings import WebSettings
    >>> address_of(WebSettings(host="::1", port=80, base_path="/rtexp")), address_of(WebSettings(host="0.0.0.0"))
    ('http://[::1]:80/rtexp/', 'http://127.0.0.1:8000/')
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(web.host, web.host)  # noqa: S104 - what is listened at
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{web.port if port is None else port}{web.base_path}/"


def read_token(
    web: WebSettings,
    environ: Mapping[str, str],
    *,
    host: str | None = None,
    key: str = WORKER_HOST,
) -> str | None:
    """Return the token of ``token_file`` or the environment, None if there is none and none is needed.

    ``host`` is what is listened at, as ``key`` says; without it, that of the pages.

    ConfigError if the address can be reached from elsewhere and there is none, or it is too short to keep anyone out.
    """
    if web.token_file is not None:
        token, source = read_secret("[web] token_file", web.token_file), f"[web] token_file: {web.token_file}"
    else:
        token, source = environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
        if not token:
            if is_loopback(host or web.host):
                if host is not None or not web.trusted_proxies:
                    return None
                raise ConfigError(
                    "[web] trusted_proxies: who reaches such a proxy reads everything, which needs a token: name a "
                    f"file that holds one in [web] token_file, or set {TOKEN_VARIABLE}"
                )
            named = "[web] host" if host is None else key
            raise ConfigError(
                f"{named}: {host or web.host} can be reached from other machines, which needs a token: name a file "
                f"that holds one in [web] token_file, or set {TOKEN_VARIABLE}; or set it to 127.0.0.1"
            )
    if len(token) < LEAST_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"{source}: expected at least {LEAST_TOKEN_CHARACTERS} printable characters of ASCII, "
            "such as `openssl rand -hex 24` prints"
        )
    return token
