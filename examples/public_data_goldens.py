"""What the data set of `public_data_set.py` must give: totals of its table, and published figures of its one look.

Figures are texts: a result agrees if it rounds to all digits that are given.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTROL, TREATMENT = "gate_30", "gate_40"


class Total(NamedTuple):
    """One group's numbers for one event, over all buckets."""

    exposures: int
    volume: int
    sum_squares: int
    actors: int


TOTALS = {
    (CONTROL, "game_round"): Total(44_700, 2_344_795, 3_068_811_771, 42_763),
    (TREATMENT, "game_round"): Total(45_489, 2_333_530, 605_052_202, 43_432),
    (CONTROL, "retention_1"): Total(44_700, 20_034, 20_034, 20_034),
    (TREATMENT, "retention_1"): Total(45_489, 20_119, 20_119, 20_119),
    (CONTROL, "retention_7"): Total(44_700, 8_502, 8_502, 8_502),
    (TREATMENT, "retention_7"): Total(45_489, 8_279, 8_279, 8_279),
}
"""Sums over the table of the published data set."""

Comparison = tuple[str, str, str]
"""(experiment, event, metric)."""

FIGURES: Mapping[Comparison, Mapping[str, str]] = {
    ("gate", "retention_1", "propensity"): {
        "n_control": "44700", "n_treatment": "45489", "a_control": "20034", "a_treatment": "20119",
        "srm_log_e": "1.15672141", "srm_p": "0.31451566",
        "effect": "-0.0059051698", "z": "-1.7840862248", "p_value": "0.0744096553",
        "interval_low": "-0.0123924394", "interval_high": "0.0005820999",
        "lift": "-0.0131756559", "lift_low": "-0.0275540990", "lift_high": "0.0012027873",
        "information": "72375.068291",
    },
    ("gate", "retention_7", "propensity"): {
        "a_control": "8502", "a_treatment": "8279",
        "effect": "-0.0082012983", "z": "-3.1643589127", "p_value": "0.0015542500",
        "interval_low": "-0.0132815524", "interval_high": "-0.0031210442",
        "lift": "-0.0431190349", "lift_low": "-0.0692445770", "lift_high": "-0.0169934928",
    },
    ("gate", "game_round", "volume"): {
        "s1_control": "2344795", "s1_treatment": "2333530",
        "s2_control": "3068811771", "s2_treatment": "605052202",
        "effect": "-1.1574884540", "std_error": "1.3072504173", "z": "-0.8854306937", "p_value": "0.3759243841",
        "interval_low": "-3.7197051165", "interval_high": "1.4047282086",
        "lift": "-0.0220657814", "lift_low": "-0.0699821695", "lift_high": "0.0258506067",
    },
    ("gate", "game_round", "propensity"): {
        "a_control": "42763", "a_treatment": "43432",
        "effect": "-0.0018863901", "z": "-1.3767978756", "p_value": "0.1685747478",
        "interval_low": "-0.0045712873", "interval_high": "0.0007985071",
    },
    ("gate-of-12", "retention_7", "propensity"): {
        "interval_low": "-0.0156280930", "interval_high": "-0.0007745036", "p_always_valid": "0.0186509997",
    },
    ("gate-day-1", "retention_1", "propensity"): {
        "interval_low": "-0.015951385", "interval_high": "0.004141045", "p_always_valid": "0.72734676",
        "srm_p": "0.95871198",
    },
    ("gate-day-7", "retention_7", "propensity"): {
        "interval_low": "-0.0160686025", "interval_high": "-0.0003339941", "p_always_valid": "0.035068891",
        "srm_p": "0.14163000",
    },
    ("gate-day-7", "game_round", "volume"): {
        "interval_low": "-5.125266673", "interval_high": "2.810289765", "p_always_valid": "1",
    },
}  # fmt: skip
"""By column of the newest look. Where only half the width of an interval is published, its ends are sums of two
rounded figures, and have a digit less."""

STATES = {
    ("gate", "retention_1", "propensity"): "final_no_difference",
    ("gate-of-12", "retention_7", "propensity"): "significant_drop",
    ("gate-day-1", "retention_1", "propensity"): "final_no_difference",
    ("gate-day-7", "retention_7", "propensity"): "significant_drop",
}


def differing(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each figure or state that differs in ``rows``, which are those of `rtexp results`."""
    by_comparison = {(row["experiment"], row["event"], row["metric"]): row for row in rows}
    lines = []
    for comparison, figures in FIGURES.items():
        row = by_comparison.get(comparison, {})
        lines += [
            f"{' '.join(comparison)} {column}: expected {figure}, found {row.get(column)}"
            for column, figure in figures.items()
            if not agrees(row.get(column), figure)
        ]
    lines += [
        f"{' '.join(comparison)}: expected {state}, found {by_comparison.get(comparison, {}).get('state')}"
        for comparison, state in STATES.items()
        if by_comparison.get(comparison, {}).get("state") != state
    ]
    return lines


def agrees(found: float | None, figure: str) -> bool:
    """Tell whether a number rounds to all digits of a figure.

    >>> agrees(0.0744096553499, "0.0744096553"), agrees(0.07440965536, "0.0744096553"), agrees(None, "1")
    (True, False, False)
    """
    if found is None:
        return False
    wanted = Decimal(figure)
    half = Decimal((0, (5,), int(wanted.as_tuple().exponent) - 1))
    return abs(Decimal(found) - wanted) <= half
