"""Agreement with scipy.stats and statsmodels on 1,000 random inputs each."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest
from tests.unit.statistics.golden import actors

from rtexp.statistics.adjust import benjamini_hochberg, bonferroni, holm
from rtexp.statistics.counts import recounted
from rtexp.statistics.effects import Effect, Metric, effect, interval
from rtexp.statistics.levels import critical_z
from rtexp.statistics.srm import chi_square_p

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CASES = 1_000


@pytest.mark.filterwarnings(
    "ignore:Precision loss"
)  # one group's users are all alike: where scipy doubts its own
def test_welchs_t_its_p_its_freedom_and_its_interval_equal_scipys() -> None:
    random = np.random.default_rng(20_261_120)
    for _ in range(CASES):
        x, y = (
            random.negative_binomial(
                random.uniform(0.2, 5), random.uniform(0.02, 0.9), random.integers(2, 400)
            )
            for _ in range(2)
        )
        if np.var(x) + np.var(y) == 0:
            continue
        found = effect(Metric.VOLUME, recounted(x.tolist()), recounted(y.tolist()))
        assert isinstance(found, Effect)
        oracle = scipy.stats.ttest_ind(y, x, equal_var=False)
        assert found.difference / found.std_error == pytest.approx(oracle.statistic, rel=1e-9)
        assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
        assert found.dof == pytest.approx(oracle.df, rel=1e-9)
        alpha = random.uniform(0.001, 0.4)
        expected = oracle.confidence_interval(1 - alpha)
        assert interval(found, critical_z(alpha)) == pytest.approx(
            (expected.low, expected.high), rel=1e-9, abs=1e-9
        )


def test_the_pooled_z_test_equals_statsmodels() -> None:
    random = np.random.default_rng(20_261_121)
    for _ in range(CASES):
        n = random.integers(2, 10 ** random.integers(1, 9), 2)
        a = random.binomial(n, random.uniform(0, 1, 2) if random.random() < 0.5 else random.uniform(0, 1))
        if a.sum() in (0, n.sum()):
            continue
        found = effect(
            Metric.PROPENSITY, *(actors(int(acted), int(users)) for acted, users in zip(a, n, strict=True))
        )
        assert isinstance(found, Effect)
        z, p = proportions_ztest(a[::-1], n[::-1])
        if p > 1e-280:
            assert found.z == pytest.approx(z, rel=1e-9, abs=1e-9)
            assert found.p_value == pytest.approx(p, rel=1e-9)
        else:
            assert abs(found.z) > 35


@pytest.fixture
def frozen_objects() -> Iterator[None]:
    """Statsmodels collects garbage in every Holm adjustment: 0.1 s for all that is loaded, unless that is frozen."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_objects")
@pytest.mark.parametrize(
    ("adjust", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (bonferroni, "bonferroni")]
)
def test_adjusted_p_values_equal_statsmodels(
    adjust: Callable[[Sequence[float]], list[float]], method: str
) -> None:
    random = np.random.default_rng(20_261_122)
    for _ in range(CASES):
        p = random.uniform(size=random.integers(1, 60)) ** random.integers(1, 8)
        p = p.round(random.integers(1, 12))  # so that some are equal, and some 0
        assert adjust(p.tolist()) == pytest.approx(multipletests(p, method=method)[1].tolist(), rel=1e-9)


def test_chi_squared_equals_scipys() -> None:
    random = np.random.default_rng(20_261_123)
    for _ in range(CASES):
        weights = random.uniform(0.05, 1, random.integers(2, 6))
        counts = random.multinomial(random.integers(1, 10**6), weights / weights.sum())
        oracle = scipy.stats.chisquare(counts, counts.sum() * weights / weights.sum())
        assert chi_square_p(counts.tolist(), weights.tolist()) == pytest.approx(oracle.pvalue, rel=1e-9)
