"""What a run's looks must be, beside what stands in SQL and what was sent to `results` and `alerts`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from tests.faults.committed import committed_records
from tests.faults.expected_looks import comparable, expected_looks, judged, look_key

from rtexp.store.engine import opened, reading
from rtexp.store.looks import read_look_inputs, read_looks
from rtexp.store.metadata import read_experiments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import ConsumerRecord
    from sqlalchemy import Connection
    from tests.faults.expected_looks import Expected

    from rtexp.settings import Settings

VERSION_KEYS = ("result_version", "alert_version")


class LooksComparison(NamedTuple):
    looks: int
    """As are rows, those that there must be."""
    rows: int
    states: Counter[str]
    """Of the last look of each comparison."""
    alerts: Counter[str]
    """By kind, those that were sent."""
    differing: list[str]

    def __str__(self) -> str:
        return (
            f"{len(self.differing)} differences in {self.rows} rows of {self.looks} looks "
            f"({self.alerts.total()} alerts: {dict(self.alerts)})"
        )


class Sent(NamedTuple):
    """What was committed to the two topics, decoded, in order."""

    results: list[tuple[bytes, dict[str, Any]]]
    alerts: list[dict[str, Any]]


class Stored(NamedTuple):
    """The two tables, whole rows by key."""

    looks: dict[tuple[Any, ...], dict[str, Any]]
    inputs: dict[tuple[str, int, int], str]


async def compare_looks(settings: Settings) -> LooksComparison:
    """Recompute all looks of a run from its `partials`, its plans and its allocations, and compare."""
    records = await committed_records(settings, "partials")
    sent = Sent(
        [(record.key, msgspec.json.decode(record.value)) for record in await _valued(settings, "results")],
        [msgspec.json.decode(record.value) for record in await _valued(settings, "alerts")],
    )
    with opened(settings.store) as engine, reading(engine) as connection:
        expected = expected_looks(settings, records, judged(connection))
        stored = read_stored(connection)
    return LooksComparison(
        len(expected.inputs),
        len(expected.looks),
        Counter(row["state"] for row in expected.newest.values()),
        Counter(alert["kind"] for alert in sent.alerts),
        [
            *_differing("looks", expected.looks, {key: comparable(row) for key, row in stored.looks.items()}),
            *_differing("look_inputs", expected.inputs, stored.inputs),
            *_differing_results(expected, sent, stored),
            *_differing_alerts(expected, sent, stored),
        ],
    )


def read_stored(connection: Connection) -> Stored:
    rows = (row._asdict() for row in read_looks(connection))
    inputs = {
        (row.experiment, row.period_start_ms, row.look): row.inputs
        for experiment in read_experiments(connection)
        for row in read_look_inputs(connection, experiment=experiment.name)
    }
    return Stored({look_key(row): row for row in rows}, inputs)


async def _valued(settings: Settings, topic: str) -> list[ConsumerRecord]:
    return [record for record in await committed_records(settings, topic) if record.value is not None]


def _differing_results(expected: Expected, sent: Sent, stored: Stored) -> list[str]:
    """Compare the newest record of every key; each look was sent once, and is the one that SQL has."""
    newest = {key: _without_version(record) for key, record in sent.results}
    times = Counter((key, record["look"]) for key, record in sent.results)
    evaluated = {look_key(record): record["evaluated_ms"] for _, record in sent.results}
    in_sql = {key: stored.looks[key]["evaluated_ms"] for key in evaluated if key in stored.looks}
    return [
        *_differing("results", expected.newest, {key: comparable(record) for key, record in newest.items()}),
        *(f"results: {key!r} was sent {n} times" for key, n in times.items() if n > 1),
        *_differing("evaluated_ms in results and SQL", evaluated, in_sql),
    ]


def _differing_alerts(expected: Expected, sent: Sent, stored: Stored) -> list[str]:
    """Compare alerts by id; each was sent once, at the look of which SQL has the row."""
    times = Counter(alert["id"] for alert in sent.alerts)
    found = {alert["id"]: comparable(_without_version(alert)) for alert in sent.alerts}
    wanted = {alert["id"]: _without_version(alert) for alert in expected.alerts}
    evaluated = {
        (key[0], key[1], key[7]): row["evaluated_ms"] for key, row in sorted(stored.looks.items(), key=str)
    }
    return [
        *_differing("alerts", wanted, found),
        *(f"alerts: {name} was sent {n} times" for name, n in times.items() if n > 1),
        *(
            f"alerts: {alert['id']} is of another evaluation than the look in SQL"
            for alert in sent.alerts
            if evaluated.get((alert["experiment"], alert["period_start_ms"], alert["look"]))
            != alert["evaluated_ms"]
        ),
    ]


def _differing(what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> list[str]:
    """Say of each key that differs what differs.

    >>> _differing("looks", {1: {"z": 2.0, "p": 1.0}, 2: {}}, {1: {"z": 3.0, "p": 1.0}})
    ["looks 1: expected {'z': 2.0}, found {'z': 3.0}", 'looks 2: expected {}, found None']
    """
    lines = []
    for key in expected.keys() | found.keys():
        wanted, got = expected.get(key), found.get(key)
        if wanted == got:
            continue
        if isinstance(wanted, dict) and isinstance(got, dict):
            names = [n for n in wanted.keys() | got.keys() if wanted.get(n) != got.get(n)]
            wanted, got = ({n: row.get(n) for n in names} for row in (wanted, got))
        lines.append(f"{what} {key}: expected {wanted}, found {got}")
    return sorted(lines)


def _without_version(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in VERSION_KEYS}
