"""Experiments of ``[metadata] query`` come into rtexp's own tables at every poll; what can't is told each minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rtexp.store.foreign import make_foreign_engine, run_query
from rtexp.store.foreign_rows import experiments_of
from rtexp.store.importing import take_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.settings import Settings
    from rtexp.store.foreign_rows import Refusal

REMINDER_MS = 60_000
_TOLD = 5
"""So many refusals are in a line of the log; `rtexp experiments list` shows all."""


class ForeignExperiments:
    """What is asked before the experiments are read."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """``engine`` is that of rtexp's own tables; ConfigError if the other one's password can't be read."""
        self._engine = engine
        self._source = make_foreign_engine(settings)
        self._query = settings.metadata.query
        self._pipeline = settings.pipeline
        self._told: Sequence[Refusal] = ()
        self._told_ms = 0
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    def take_over(self, now_ms: int) -> None:
        """Bring rtexp's tables up to the query; it blocks. StoreUnavailable if one of both doesn't answer."""
        yielded = experiments_of(run_query(self._source, self._query))
        loaded, refusals = take_over(self._engine, yielded, pipeline=self._pipeline, now_ms=now_ms)
        if any(loaded):
            self._log.info(
                "experiments_taken_over",
                experiments=loaded.experiments,
                groups=loaded.groups,
                allocations=loaded.allocations,
            )
        self._tell(refusals, now_ms)

    def _tell(self, refusals: Sequence[Refusal], now_ms: int) -> None:
        if refusals and (not self._told or now_ms >= self._told_ms + REMINDER_MS):
            self._told_ms = now_ms
            self._log.warning(
                "experiments_refused",
                experiments=len({refusal.experiment for refusal in refusals}),
                reasons=[
                    f"row {refusal.row}, `{refusal.experiment}`: {refusal.reason}"
                    for refusal in refusals[:_TOLD]
                ],
                act="correct these rows of [metadata] query; what rtexp had of them before goes on, and so do the "
                "others. `rtexp experiments list` shows all",
            )
        elif self._told and not refusals:
            self._log.info("experiments_accepted_again")
        self._told = refusals
