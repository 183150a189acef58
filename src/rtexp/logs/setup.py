"""One handler for all loggers: JSON lines, or lines for people where a terminal shows them."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import structlog

from rtexp.logs.fields import Cleaned

if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping
    from types import TracebackType

    from structlog.typing import Processor

    from rtexp.settings import LogSettings

_FIRST = ("timestamp", "level", "event", "logger")
_log = logging.getLogger("rtexp")


class Setup(NamedTuple):
    """How a process logs."""

    settings: LogSettings
    secrets: Collection[str] = ()
    """Masked wherever they stand."""

    def begin(self, stream: TextIO | None = None, *, level: int = logging.CRITICAL) -> None:
        """Log so from now on, to standard output unless to ``stream``; of ``level`` and settings the finer counts."""
        configure(self.settings, stream or sys.stdout, secrets=self.secrets, level=level)


def is_json(settings: LogSettings, stream: TextIO) -> bool:
    """Return whether lines are JSON: if they are to be, or if no terminal shows them."""
    return settings.format == "json" or (settings.format == "auto" and not stream.isatty())


def configure(
    settings: LogSettings, stream: TextIO, *, secrets: Collection[str] = (), level: int = logging.CRITICAL
) -> None:
    """Let all loggers of the process, structlog's included, write to ``stream``; may be called again.

    What nobody catches is logged as well, in this thread and in others.
    """
    least = min(level or logging.CRITICAL, logging.getLevelNamesMapping()[settings.level.upper()])
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Of records that didn't come by structlog, fields are what was given as `extra`.
    foreign: list[Processor] = [*shared, structlog.stdlib.ExtraAdder(), _without_twice]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=foreign,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # text: no local variables, which hold what nobody should read
            Cleaned(secrets),
            *([_with_pid, _as_json] if is_json(settings, stream) else [_console(stream)]),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(_is_news)
    logging.root.handlers = [handler]
    logging.root.setLevel(least)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and "NO_COLOR" not in os.environ,
        pad_event_to=0,
        exception_formatter=structlog.dev.plain_traceback,  # rich's would show local variables
    )


def _without_twice(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    fields.pop("data", None)  # mode's own, for tools that we don't have
    fields.pop("color_message", None)  # uvicorn's event once more
    return fields


def _is_news(record: logging.LogRecord) -> bool:
    """Alembic tells of which kind the database is at every look at its revision, as at each probe of health."""
    is_of_schema = record.name == "alembic.runtime.migration"
    return not (is_of_schema and str(record.msg).startswith(("Context impl", "Will assume")))


def _with_pid(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    fields["pid"] = os.getpid()
    return fields


def _as_json(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    ordered = {key: fields.pop(key) for key in _FIRST if key in fields}
    text = json.dumps({**ordered, **fields}, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate can't be written as UTF-8; as an escape it's JSON.
    return text.encode("utf-8", "backslashreplace").decode()


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("uncaught", exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        thread = given.thread.name if given.thread else ""
        _log.critical(
            "uncaught",
            exc_info=(given.exc_type, given.exc_value, given.exc_traceback),
            extra={"in_thread": thread},
        )
