"""docs/metrics.md, from the definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.metrics.definitions import ALERTS, ALL, METRICS, WEB, WORKER, WORKER_AND_ALERTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.metrics.definitions import Metric, Process

_HEAD = """\
# Metrics

Every worker, the web application and `rtexp alerts run` answer `/metrics`, for Prometheus, behind the same token as the
pages ([docs/web.md](web.md)). Values are taken when somebody asks; no record costs anything for it. This page is made
from `src/rtexp/metrics/definitions.py` by `python -m rtexp.metrics > docs/metrics.md`. How to scrape, the dashboard and
the alert rules: [docs/operations.md](operations.md#metrics).

No label holds a user or an experiment. `agent` is `filter_actions` or `filter_activations` (ingest, whose partition is
-1: all that the worker reads), `users` (aggregate) or `buckets` (results); `rtexp_job` is ingest, aggregate, results,
web or alerts; `target` is a name of `[[alerts.targets]]`. Times are epoch seconds: `time() - …` is an age. A value that
isn't known is absent, never 0.
"""
_SECTIONS: tuple[tuple[str, tuple[Process, ...]], ...] = (
    ("Every process", ALL),
    ("Workers and the process of alerts", WORKER_AND_ALERTS),
    ("Workers", WORKER),
    ("The web application", WEB),
    ("The process of alerts", ALERTS),
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_section(title, where) for title, where in _SECTIONS)])


def _section(title: str, where: tuple[Process, ...]) -> str:
    rows = [_row(metric) for metric in METRICS if metric.where == where]
    head = ["metric", "kind", "labels", "meaning", "what to do, or what it is for"]
    return "\n".join([f"## {title}", "", _line(head), _line(["---"] * len(head)), *rows, ""])


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return _line([f"`{metric.name}`", metric.kind, labels, metric.help, metric.act])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
