"""A finished A/B test through the script of examples/: raw events in, verdicts out, and other software's figures.

`RTEXP_COOKIE_CATS=…/cookie_cats.csv` runs the public data set itself as well, whose figures are published; it isn't
part of this repository. A small table of the same kind always runs.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest
from tests.faults.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.integration

SCRIPT = ROOT / "examples" / "public_data_set.py"
DATA_SET = os.environ.get("RTEXP_COOKIE_CATS", "")
GATE_30, GATE_40 = "gate_30", "gate_40"
PLAYERS = 900
NINE_DIGITS = 1e-9


class Player(NamedTuple):
    """A line of the table."""

    userid: int
    version: str
    sum_gamerounds: int
    retention_1: bool
    retention_7: bool


def players() -> Iterator[Player]:
    """A table in which the later gate keeps fewer for a week, and nothing else differs."""
    chance = random.Random(7)
    for number in range(PLAYERS):
        version = (GATE_30, GATE_40)[number % 2]
        week = 0.4 if version == GATE_30 else 0.2
        yield Player(
            10_000 + number,
            version,
            chance.choice([0, 0, 1, 3, 10, 30, 90]),
            chance.random() < 0.45,
            chance.random() < week,
        )


async def replay(directory: Path, table: Path, broker: str, *options: str) -> str:
    """Run the script; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(table), str(directory / "out"),
        "--broker", broker, "--prefix", f"c{uuid4().hex[:8]}", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.fixture(scope="module")
def table() -> list[Player]:
    return list(players())


@pytest.fixture(scope="module")
def rows(
    table: list[Player], broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str, str], dict[str, Any]]:
    """What `rtexp results` says, by (experiment, event, metric)."""
    directory = tmp_path_factory.mktemp("players")
    with (directory / "players.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Player._fields)
        writer.writerows([(*p[:3], str(p.retention_1).upper(), str(p.retention_7).upper()) for p in table])
    asyncio.run(replay(directory, directory / "players.csv", broker))
    found = json.loads((directory / "out" / "results.json").read_text())
    return {(row["experiment"], row["event"], row["metric"]): row for row in found}


def groups_of(table: list[Player], column: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Values of a column by player, of the control and of the treatment."""
    control, treatment = (
        np.array([float(getattr(player, column)) for player in table if player.version == version])
        for version in (GATE_30, GATE_40)
    )
    return control, treatment


@pytest.mark.parametrize("event", ["retention_1", "retention_7"])
def test_retention_is_compared_as_a_z_test_of_the_table_compares_it(
    table: list[Player], rows: Mapping[tuple[str, str, str], dict[str, Any]], event: str
) -> None:
    control, treatment = groups_of(table, event)
    row = rows["gate", event, "propensity"]
    z, p = proportions_ztest([treatment.sum(), control.sum()], [len(treatment), len(control)])
    assert (row["n_control"], row["n_treatment"]) == (len(control), len(treatment))
    assert (row["a_control"], row["a_treatment"]) == (control.sum(), treatment.sum())
    assert row["effect"] == pytest.approx(treatment.mean() - control.mean(), rel=NINE_DIGITS)
    assert (row["z"], row["p_value"]) == pytest.approx((z, p), rel=NINE_DIGITS)


def test_rounds_are_compared_as_a_welch_test_of_the_table_compares_them(
    table: list[Player], rows: Mapping[tuple[str, str, str], dict[str, Any]]
) -> None:
    control, treatment = groups_of(table, "sum_gamerounds")
    row = rows["gate", "game_round", "volume"]
    welch = stats.ttest_ind(treatment, control, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (row["s1_control"], row["s1_treatment"]) == (control.sum(), treatment.sum())
    assert (row["s2_control"], row["s2_treatment"]) == ((control**2).sum(), (treatment**2).sum())
    assert row["p_value"] == pytest.approx(welch.pvalue, rel=NINE_DIGITS)
    assert (row["interval_low"], row["interval_high"]) == pytest.approx(interval, rel=NINE_DIGITS)


def test_a_twelfth_look_has_a_twelfth_of_the_level(
    rows: Mapping[tuple[str, str, str], dict[str, Any]],
) -> None:
    once, often = (rows[name, "retention_7", "propensity"] for name in ("gate", "gate-of-12"))
    assert often["look"] == 12
    assert often["p_always_valid"] == pytest.approx(12 * once["p_value"], rel=NINE_DIGITS)
    assert often["state"] == "significant_drop"
    width = stats.norm.isf(0.05 / 24) / stats.norm.isf(0.025)
    once_half, often_half = (row["interval_high"] - row["effect"] for row in (once, often))
    assert often_half == pytest.approx(width * once_half, rel=NINE_DIGITS)


def test_only_what_a_plan_declares_gets_a_verdict(
    rows: Mapping[tuple[str, str, str], dict[str, Any]],
) -> None:
    deciding = {key[:3] for key, row in rows.items() if row["role"] == "decision"}
    assert deciding == {
        ("gate", "retention_1", "propensity"),
        ("gate-of-12", "retention_7", "propensity"),
        ("gate-day-1", "retention_1", "propensity"),
        ("gate-day-7", "retention_7", "propensity"),
    }
    assert rows["gate", "retention_7", "propensity"]["state"] == "exploratory"
    assert all(row["final"] for row in rows.values())


@pytest.mark.skipif(not DATA_SET, reason="RTEXP_COOKIE_CATS names no file")
@pytest.mark.timeout(900)
async def test_the_public_data_set_gives_its_published_figures(broker: str, tmp_path: Path) -> None:
    said = await replay(tmp_path, Path(DATA_SET), broker, "--golden")
    assert "0 of 6 lines differ" in said
    assert "0 figures of the results differ" in said
