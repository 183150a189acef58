from __future__ import annotations

import pytest

from rtexp.statistics.adjust import benjamini_hochberg, bonferroni, holm

FOUR = [0.01, 0.04, 0.03, 0.005]


def test_holm_raises_the_least_most() -> None:
    assert holm(FOUR) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-9)
    assert holm([0.04, 0.04, 0.001]) == pytest.approx([0.08, 0.08, 0.003], rel=1e-9)


def test_benjamini_hochberg_raises_by_rank() -> None:
    assert benjamini_hochberg(FOUR) == pytest.approx([0.02, 0.04, 0.04, 0.02], rel=1e-9)
    assert benjamini_hochberg([0.9, 0.02, 0.04]) == pytest.approx([0.9, 0.06, 0.06], rel=1e-9)


def test_bonferroni_raises_all_alike_up_to_one() -> None:
    assert bonferroni(FOUR) == pytest.approx([0.04, 0.16, 0.12, 0.02], rel=1e-9)
    assert bonferroni([0.5, 1.0]) == [1.0, 1.0]


def test_a_single_p_stays_and_none_give_none() -> None:
    for adjust in (holm, benjamini_hochberg, bonferroni):
        assert adjust([0.3]) == [0.3]
        assert adjust([]) == []


def test_what_is_no_p_value_is_refused() -> None:
    for adjust in (holm, benjamini_hochberg, bonferroni):
        for wrong in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match="is no p-value"):
                adjust([0.5, wrong])
