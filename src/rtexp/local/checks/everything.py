"""All checks of a set-up together, within 20 seconds whatever is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.local.checks.database import database
from rtexp.local.checks.definitions import definitions, query
from rtexp.local.checks.files import data_directory, secret_files
from rtexp.local.checks.findings import Check, Finding, in_thread, run_checks
from rtexp.local.checks.kafka import kafka
from rtexp.local.checks.ports import ports
from rtexp.local.checks.versions import versions
from rtexp.local.checks.workers import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rtexp.settings import Settings

_SQL_SECONDS = 8.0
_AFTER_SQL_SECONDS = 11.0
"""The query of others may take ten."""
_SLOW_QUERY = "see how long [metadata] query takes"
_LATER = ("experiments", "workers")


async def check_everything(settings: Settings, config: Path | None) -> list[Finding]:
    """Return what all checks find, in an order from this machine outward."""
    return await run_checks(
        [
            _blocking("versions", versions, 3, "see whether this machine is overloaded"),
            _blocking(
                "secrets",
                lambda: secret_files(settings, config),
                3,
                "see whether the file system of the secrets hangs",
            ),
            _blocking(
                "disk",
                lambda: data_directory(settings),
                3,
                "see whether the file system of [data] directory hangs",
            ),
            _blocking(
                "ports", lambda: ports(settings), 12, "see what listens at the ports of [web] and [alerts]"
            ),
            Check(
                "kafka", lambda: kafka(settings), 19.5, "see whether [kafka] brokers are up, and how loaded"
            ),
            Check(
                "database",
                lambda: check_sql(settings),
                _SQL_SECONDS + _AFTER_SQL_SECONDS + 0.5,
                "see whether it is up",
            ),
        ]
    )


async def check_sql(settings: Settings) -> list[Finding]:
    """Judge SQL. Ask the database first: where it doesn't answer, the others would say the same once more each."""
    found = await run_checks(
        [
            _blocking(
                "database",
                lambda: database(settings),
                _SQL_SECONDS,
                "see whether [store] url leads to it, and is up",
            )
        ]
    )
    faults = [finding.text for finding in found if finding.check == "database" and finding.level == "fail"]
    if faults:
        found += [Finding(name, "fail", "not known before the database is well") for name in _LATER]
        # Tables are yet to be made: the query, where most mistakes are, can be put right before that.
        has_answered = settings.metadata.url or all("rtexp db upgrade" in fault for fault in faults)
        if not (settings.metadata.query and has_answered):
            return found
        ask = _blocking("experiments", lambda: query(settings, []), _AFTER_SQL_SECONDS, _SLOW_QUERY)
        return found + await run_checks([ask])
    return found + await run_checks(
        [
            _blocking(
                "experiments",
                lambda: definitions(settings),
                _AFTER_SQL_SECONDS,
                _SLOW_QUERY,
            ),
            _blocking("workers", lambda: workers(settings), _AFTER_SQL_SECONDS, "see the workers' logs"),
        ]
    )


def _blocking(name: str, work: Callable[[], Sequence[Finding]], seconds: float, act: str) -> Check:
    return Check(name, lambda: in_thread(work), seconds, act)
