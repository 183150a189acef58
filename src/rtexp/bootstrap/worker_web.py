"""What each worker serves itself, put together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rtexp.web.address import read_token
from rtexp.worker_web import health
from rtexp.worker_web.server import WorkerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.engine.app import EngineApp
    from rtexp.settings import Settings


def serve(app: EngineApp, settings: Settings, *, checks: Mapping[str, Callable[[], bool]]) -> WorkerServer:
    """Make a worker serve its health; more can be added until it starts.

    ``checks`` say by code whether what the worker needs beside its partitions is there.
    """
    web = settings.web
    server = WorkerServer(app.conf, read_token=lambda host: read_token(web, os.environ, host=host))

    def judge() -> health.Readiness:
        return health.readiness(app.standing(), app.task_status(), checks)

    server.add("/health/live", health.live)
    server.add("/health/ready", health.ready(judge))
    app.serve(server)
    return server
