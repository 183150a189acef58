"""During a broker outage the Kafka client logs hundreds of lines a second; a few are enough."""

from __future__ import annotations

import logging
import time


class RateLimit(logging.Filter):
    """Let each message of a logger pass once in ``seconds``, whatever its arguments; say how many were left out."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record."""
        if record.levelno < logging.WARNING:
            return True
        now, text = time.monotonic(), str(record.msg)
        if now - self._last.get(text, -self._seconds) < self._seconds:
            self._left_out[text] = self._left_out.get(text, 0) + 1
            return False
        self._last[text] = now
        if left_out := self._left_out.pop(text, 0):
            record.msg = f"{text} [{left_out} more like this in the last {self._seconds:.0f} s]"
        return True


def limit_client_logs() -> None:
    """Keep the client to warnings, and those at a limited rate; safe to call twice."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    limit = RateLimit()
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]:
        logger = logging.getLogger(name)
        if not any(isinstance(present, RateLimit) for present in logger.filters):
            logger.addFilter(limit)
