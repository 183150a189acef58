"""What each job's worker serves, as it is put together: nothing without the token, and nothing of Faust's."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.worker_web.servers import BEARER, TOKEN, serving

from rtexp.settings import Settings, WebSettings
from rtexp.web.address import TOKEN_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

JOBS = ("ingest", "aggregate", "results")
FAUSTS = ("/", "/table/", "/table/users/", "/router/", "/graph/", "/stats/", "/asset/", "/metrics/")


@pytest.fixture(params=JOBS)
def app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's app, not started: only its web server will be."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    database = SqliteFile(tmp_path / "x.db")
    with open_database(database):
        pass
    settings = Settings(store=database.settings, web=WebSettings(worker_port=0))
    # Not by `create_app`, which begins this process's logging as well.
    return import_module(f"rtexp.bootstrap.{request.param}").create(settings)


def served(app: Any) -> Any:
    (server,) = app.boot_strategy.web_server()
    return server


async def test_every_route_of_every_worker_but_health_needs_the_token(app: Any) -> None:
    server = served(app)
    assert {"/health/live", "/health/ready", "/state/tables", "/state/users", "/state/owner"} <= set(
        server.paths
    )
    async with serving(server) as ask:
        for path in (*server.paths, *FAUSTS, "/nothing"):
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
                given = await ask(path, method)
                is_open = path.startswith("/health/")
                assert (given.status == 401) != is_open, f"{method} {path}: {given.status}"


async def test_nothing_of_fausts_own_is_served_with_the_token_either(app: Any) -> None:
    async with serving(served(app)) as ask:
        for path in FAUSTS:
            assert (await ask(path, headers=BEARER)).status == 404, path


async def test_a_worker_that_has_not_joined_its_group_says_so(app: Any) -> None:
    async with serving(served(app)) as ask:
        given = await ask("/health/ready")
        assert (given.status, json.loads(given.text)) == (503, {"ready": False, "reasons": ["not-started"]})
        assert (await ask("/health/live")).status == 200
        tables = json.loads((await ask("/state/tables", headers=BEARER)).text)
        assert (tables["partitions"], tables["inputs"]) == ([], [])
        assert (await ask("/state/users?key=u", headers=BEARER)).status == 403


def test_without_web_nothing_listens(app: Any) -> None:
    app.conf.web_enabled = False
    assert list(app.boot_strategy.web_server()) == []
