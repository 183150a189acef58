"""Faust's worker, which leaves logging to whoever put the app together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faust
from mode.utils.logging import level_number

if TYPE_CHECKING:
    from faust.cli.worker import worker as Command  # noqa: N812 - a class that Faust spells like its command


class EngineWorker(faust.Worker):  # type: ignore[misc]  # Faust ships no usable types
    """Set up by Faust's command line; ``--logfile`` is honoured, ``-l`` says what is logged at least."""

    def _setup_logging(self) -> None:
        set_up = self.app.set_up_logging
        if set_up is None:
            super()._setup_logging()
            return
        level = level_number(self.loglevel)
        # For as long as the process lives.
        stream = open(self.logfile, "a", encoding="utf-8") if self.logfile else self.stdout  # noqa: PTH123, SIM115
        set_up(stream, level=level)
        self.spinner = None  # it would set the root logger to everything
        if self.redirect_stdouts:
            self._redirect_stdouts()


def leave_out_banner() -> None:
    """Keep Faust's command from printing a table in front of lines that programs read."""
    from faust.cli.worker import worker  # noqa: PLC0415 - commands only, and Faust's own has it by then

    def print_nothing(_self: Command, _worker: Any) -> None:
        """Stand in for what prints it, and does nothing else."""

    worker.on_worker_created = print_nothing
