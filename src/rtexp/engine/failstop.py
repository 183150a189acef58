"""The way out when the outcome of something is unknown: end the process, and let the marker sort it out."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import NoReturn

log = logging.getLogger(__name__)

EXIT_FATAL = 70
EXIT_STUCK = 71


def die(reason: str, exc: BaseException | None = None) -> NoReturn:
    """Log why and end the process at once, without clean-up: clean-up might write what may be wrong."""
    log.critical("fatal: %s; this worker ends, nothing is lost", reason, exc_info=exc)
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_FATAL)


def end_after(seconds: float, what: str) -> threading.Timer:
    """Start a watchdog that ends the process unless cancelled: a worker that hangs while stopping holds its
    partitions' place for nobody."""  # noqa: D205, D209 - one sentence

    def stuck() -> None:
        log.critical("fatal: %s took longer than %s s", what, seconds)
        os._exit(EXIT_STUCK)

    timer = threading.Timer(seconds, stuck)
    timer.daemon = True
    timer.start()
    return timer
