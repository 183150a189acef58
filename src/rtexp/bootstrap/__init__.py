"""The one composition root: settings become adapters, adapters and agents become an app; one module for each job."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.bootstrap.heap import keep_trimmed
from rtexp.engine.worker import leave_out_banner
from rtexp.errors import RtexpError
from rtexp.kafka.probe import until_usable
from rtexp.logs import Setup, is_json, secrets_of
from rtexp.settings import CONFIG_VARIABLE, load

if TYPE_CHECKING:
    from rtexp.engine.app import EngineApp
    from rtexp.settings import Settings

EXIT_CONFIG = 2
KAFKA_SECONDS = 60.0
"""For so long a worker that starts waits for a Kafka that is away."""

log = logging.getLogger(__name__)


def worker_app(job: str) -> EngineApp:
    """Return the app of one job, from the configuration of this process; ends it with one line if that's wrong."""
    try:
        config = os.environ.get(CONFIG_VARIABLE)
        settings = load(Path(config) if config else None, os.environ)
        app = create_app(job, settings)
    except RtexpError as exc:
        sys.stderr.write(f"rtexp {job}: {exc}\n")
        raise SystemExit(EXIT_CONFIG) from None
    logs = Setup(settings.log, secrets_of(settings, os.environ))
    logs.begin()
    app.set_up_logging = logs.begin
    if is_json(settings.log, sys.stdout):
        leave_out_banner()
    return app


def create_app(job: str, settings: Settings) -> EngineApp:
    """Return a job's app, not started. ConfigError for settings that it can't follow.

    Only the job's own modules are imported: that of SQL alone takes a second of a start.
    """
    app: EngineApp = import_module(f"rtexp.bootstrap.{job}").create(settings)
    keep_trimmed(app)
    app.until_usable = partial(until_usable, settings.kafka, within_s=KAFKA_SECONDS, say=log.info)
    return app
