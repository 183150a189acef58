"""Ports that rtexp listens at: free, or answered by rtexp itself."""

from __future__ import annotations

import errno
import json
import os
import socket
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from rtexp.errors import ConfigError
from rtexp.local.checks.findings import Finding
from rtexp.web.address import ALERTS_HOST, read_token

if TYPE_CHECKING:
    from rtexp.settings import Settings

ANSWER_SECONDS = 3.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened at
_MOST_BYTES = 1 << 16


class Listener(NamedTuple):
    """Something of rtexp's that others connect to."""

    key: str
    host: str
    port: int
    base: str = ""


def ports(settings: Settings) -> list[Finding]:
    """Judge each port that is configured, and whether its address needs a token that isn't there."""
    web, alerts = settings.web, settings.alerts
    found = [
        judge(Listener("[web] port", web.host, web.port, web.base_path)),
        judge(Listener("[web] worker_port", web.worker_host, web.worker_port)),
    ]
    tokens = [{}, {"host": web.worker_host}]
    if alerts.targets:
        found.append(judge(Listener("[alerts] port", alerts.host, alerts.port)))
        tokens.append({"host": alerts.host, "key": ALERTS_HOST})
    for where in tokens:
        try:
            read_token(web, os.environ, **where)
        except ConfigError as error:
            found.append(Finding("ports", "fail", str(error)))
    return found


def judge(listener: Listener) -> Finding:
    """Try to listen there, and where someone does already, ask who it is."""
    key, host, port, _ = listener
    if port == 0:
        return Finding("ports", "ok", f"{key}: any that is free")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding(
                "ports", "fail", f"{key}: {host}:{port} can't be listened at: {error.strerror or error}"
            )
    else:
        return Finding("ports", "ok", f"{key}: {host}:{port} is free")
    if is_ours(listener):
        return Finding("ports", "ok", f"{key}: rtexp answers at {host}:{port}")
    return Finding(
        "ports", "fail", f"{key}: another program has {host}:{port}: end that, or choose another port"
    )


def is_ours(listener: Listener) -> bool:
    """Ask whoever listens for its health, as all of rtexp's servers tell it to everybody."""
    host = _ANY_ADDRESS.get(listener.host, listener.host)
    place = f"[{host}]" if ":" in host else host
    url = f"http://{place}:{listener.port}{listener.base}/health/live"
    said = get_json(url)
    return said is not None and "live" in said


def get_json(url: str) -> dict[str, object] | None:
    """Return the object that an address answers with, whatever the status; None if it has none."""
    opener = build_opener(ProxyHandler({}))
    try:
        try:
            with opener.open(url, timeout=ANSWER_SECONDS) as answer:
                body = answer.read(_MOST_BYTES)
        except HTTPError as answer:
            with answer:
                body = answer.read(_MOST_BYTES)
        said = json.loads(body)
    except (URLError, HTTPException, OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
