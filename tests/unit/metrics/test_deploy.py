"""Dashboard and alert rules name metrics and labels that there are, and say what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.unit.metrics.promql import named

from rtexp.metrics.definitions import BY_NAME, METRICS
from rtexp.records.raw import REASONS
from rtexp.settings import AlertSettings

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "rtexp.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that come from scraping, and from histograms."""


class Expression(NamedTuple):
    where: str
    text: str


EXPRESSIONS = [
    *(Expression(rule["alert"], rule["expr"]) for rule in RULES),
    *(Expression(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
]


def defined(name: str) -> str | None:
    """The metric that a series is of, None if there is none: a summary's and a histogram's have names of their own."""
    base, _, part = name.rpartition("_")
    parts = {"summary": {"sum", "count"}, "histogram": {"sum", "count", "bucket"}}
    if base in BY_NAME and part in parts.get(BY_NAME[base].kind, ()):
        return base
    return name if name in BY_NAME and BY_NAME[name].kind not in parts else None


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: e.where)
def test_every_metric_in_an_expression_is_defined(expression: Expression) -> None:
    found = named(expression.text).metrics
    assert found
    assert [name for name in found if defined(name) is None] == []


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: e.where)
def test_every_label_in_an_expression_is_one_of_its_metrics(expression: Expression) -> None:
    found = named(expression.text)
    known = {label for name in found.metrics for label in BY_NAME[defined(name) or ""].labels}
    assert found.labels <= known | OF_PROMETHEUS


def test_all_reasons_of_dead_letters_are_looked_at_wherever_any_is() -> None:
    seen = 0
    for expression in EXPRESSIONS:
        for label, text in named(expression.text).matchers:
            if label == "reason" and "invalid-json" in text:
                seen += 1
                assert set(REASONS) <= set(text.split("|")), expression.where
    assert seen >= 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert len(rule["annotations"]["summary"]) < 120
    assert len(rule["annotations"]["runbook"]) > 80


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_what_a_rule_tells_of_a_series_is_a_label_that_its_result_has(rule: dict[str, Any]) -> None:
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    found = named(rule["expr"])
    known = {label for name in found.metrics for label in BY_NAME[defined(name) or ""].labels}
    assert told <= known | OF_PROMETHEUS


def test_what_people_wake_up_for_has_a_rule() -> None:
    names = {rule["alert"] for rule in RULES}
    assert {
        "RtexpStale", "RtexpPartitionStopped", "RtexpSqlAway", "RtexpDeadLetters", "RtexpRestarts", "RtexpMemory",
        "RtexpRecoveryStands", "RtexpNoWeb", "RtexpNoWorker", "RtexpAlertTargetFails", "RtexpAlertsUndelivered",
        "RtexpAlertsGone",
    } <= names  # fmt: skip
    assert len(names) == len(RULES)


def test_panels_are_apart_and_have_names() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_most_of_what_is_defined_is_looked_at_somewhere() -> None:
    """All the rest is in docs/metrics.md, which says what it is for."""
    looked_at = {defined(name) for expression in EXPRESSIONS for name in named(expression.text).metrics}
    assert len(looked_at) > 0.75 * len(METRICS)


def test_metrics_that_do_not_exist_are_found_wherever_they_stand() -> None:
    for text in (
        "rtexp_no_such > 0",
        'sum by (agent) (rate(rtexp_no_such{partition="0"}[5m])) / 2',
        "time() - min(rtexp_no_such)",
        "absent(rtexp_no_such) or vector(0)",
        "histogram_quantile(0.99, sum by (le) (rate(rtexp_no_such_bucket[5m])))",
        "rtexp_task_ready * on (partition) group_left (agent) rtexp_no_such offset 5m",
        "rtexp_task_ready unless rtexp_no_such",
        "rtexp_flush_seconds",  # of a summary only sum and count are series
    ):
        assert [name for name in named(text).metrics if defined(name) is None], text


def test_text_and_labels_are_no_metrics() -> None:
    found = named('sum without (worker) (rtexp_task_ready{agent=~"a|b", partition!="up{x}"}) > bool 1e3')
    assert found.metrics == {"rtexp_task_ready"}
    assert found.labels == {"worker", "agent", "partition"}
    with pytest.raises(ValueError, match="no PromQL"):
        named("rtexp_task_ready ; drop")


PROMTOOL = shutil.which("promtool")


@pytest.mark.parametrize(
    "words",
    [
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["check", "config", "--syntax-only", "compose.yml"],
        ["test", "rules", "rules_test.yml"],
    ],
    ids=" ".join,
)
@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool isn't installed (package prometheus); names are checked anyway"
)
def test_prometheus_own_tool_accepts_it(words: list[str]) -> None:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "host"), [("prometheus.yml", "127.0.0.1"), ("compose.yml", "alerts")])
def test_prometheus_asks_the_process_of_alerts_at_its_port(name: str, host: str) -> None:
    jobs = yaml.safe_load((PROMETHEUS / name).read_text())["scrape_configs"]
    targets = [
        each["targets"] for job in jobs if job["job_name"] == "rtexp-alerts" for each in job["static_configs"]
    ]
    assert targets == [[f"{host}:{AlertSettings().port}"]]
