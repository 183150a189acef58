"""Numbers, words and charts: what people read."""

from __future__ import annotations

import doctest

import pytest
from tests.unit.web.sites import START, look

from rtexp.web import address, charts, figures, names, words

HOUR = 3_600_000
PERIOD = (START, START + 72 * HOUR)


@pytest.mark.parametrize("module", [address, figures, names], ids=lambda module: module.__name__)
def test_the_examples_of_a_module_are_right(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("code", words.STATES)
def test_no_state_is_called_equal_or_sure(code: str) -> None:
    row = look(54, state=code, crossed=False, reason=None)
    said = f"{words.headline(row)} {words.why(row, None)} {words.state(code).label}".lower()
    for word in ("equal", "same", "no effect", "proven", "winner", "trending", "guarantee"):
        assert word not in said


def test_no_difference_shown_is_said_to_be_no_proof_of_none() -> None:
    row = look(54, state="no_difference_yet", crossed=False)
    assert "doesn't mean that there is none" in words.why(row, None)


def test_a_verdict_whose_newest_interval_includes_zero_says_since_when_it_stands() -> None:
    row = look(60, lift_low=-0.01)
    assert "includes 0; the verdict stays from look 54" in words.why(row, look(54))


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("nothing_to_spend", "in control. Nothing was tested yet: too early to spend any error."),
        ("too_few_actors", "in control, too few to test: too few users who acted."),
    ],
)
def test_only_what_lacks_users_is_said_to_lack_them(reason: str, said: str) -> None:
    assert said in words.why(look(2, state="collecting", crossed=False, reason=reason), None)


def test_a_state_of_a_newer_version_is_shown_by_its_code() -> None:
    assert words.state("gone_fishing").label == "gone_fishing"
    assert words.headline(look(state="gone_fishing")) == "Collecting: too early for a first look"


def test_means_are_undefined_without_users() -> None:
    row = look(n_control=0, a_control=0)
    assert words.mean_of(row, "control") is None
    assert figures.mean(words.mean_of(row, "control"), "propensity") == figures.NONE


def test_a_look_without_z_leaves_a_gap_in_the_chart() -> None:
    chart = charts.evidence([look(1), look(2, z=None, boundary=None), look(3)], period=PERIOD)
    assert chart is not None
    assert [path.count("M") for path in (chart.evidence, chart.upper, chart.lower)] == [2, 2, 2]
    assert "L" not in chart.evidence


def test_what_lies_far_out_is_cut_off_at_the_edge_of_the_chart() -> None:
    chart = charts.evidence([look(1, z=-1e9, boundary=1e9), look(2)], period=PERIOD)
    assert chart is not None
    assert float(chart.evidence.removeprefix("M").split("L")[0].split()[1]) == chart.bottom
    assert float(chart.upper.removeprefix("M").split("L")[0].split()[1]) == chart.top


def test_evidence_beyond_the_highest_boundary_that_is_shown_stays_in_the_chart() -> None:
    chart = charts.evidence([look(1, z=-8.0, boundary=9.0), look(2, z=-12.0, boundary=3.0)], period=PERIOD)
    assert chart is not None
    assert chart.top < chart.newest[1] < chart.bottom


def test_a_guardrail_has_a_boundary_towards_harm_only() -> None:
    chart = charts.evidence([look(1, role="guardrail"), look(2, role="guardrail")], period=PERIOD)
    assert chart is not None
    assert chart.upper
    assert not chart.lower


def test_only_the_first_crossing_is_marked() -> None:
    rows = [look(1, crossed=False), look(2, crossed=True), look(3, crossed=True)]
    chart = charts.evidence(rows, period=PERIOD)
    assert chart is not None
    (at, _) = chart.crossings[0]
    assert len(chart.crossings) == 1
    assert f"L{at:g} " in chart.evidence


def test_looks_without_any_z_have_no_chart() -> None:
    assert charts.evidence([look(1, z=None)], period=PERIOD) is None
