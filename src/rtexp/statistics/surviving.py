"""The score process among paths that have crossed no bound yet: its density, carried from look to look.

B = Z·√information is a Brownian motion at information time where Z is a Gaussian process with correlations
√(τ_i / τ_k), which is what alpha spending assumes. The density of B over the looks follows the recursion of Armitage,
McPherson and Rowe (1969): between the bounds of the last look it is a function, which the next increment blurs.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, isfinite, pi, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg  # noqa: F401 - `roots_legendre` would import it at the first look, which takes 0.2 s
from scipy.special import ndtr, ndtri, roots_legendre

from rtexp.statistics.spending import Sides  # noqa: TC001 - a field's type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FARTHEST = 9.0
"""Beyond this |Z| nothing is integrated: Φ(-9) is 1e-19."""
LARGEST_BOUND = 40.0
LEAST_NODES = 12
NODES_A_WIDTH = 1.8
"""Gauss-Legendre nodes per standard deviation of what is integrated, beside `LEAST_NODES`.

One rule over the whole range needs fewer than panels do. Against 32 nodes on panels of 6 deviations bounds differ by
less than 1e-12, for 1.6 nodes a width as for 2.4; alpha from 0.9 to 1e-9, 5 to 72 looks, even and very uneven.
"""
_MIRRORED = 12.0
_FAR = 9.5 / sqrt(2)
"""Kernels end after 9.5 deviations, here in units of √2 of them."""
_BAND = 64
_CLOSE = 1e-8
_MOST_STEPS = 100
_ROOT_2_PI = sqrt(2 * pi)


class SurvivingDensity:
    """Density of B over the paths that have crossed no bound so far; goes from look to look, never back.

    Two-sided densities are even, so only their upper half is kept. How fine the nodes of a look must be depends on how
    near the next one is, so a look's density is made when the next look comes; carried on or from scratch, the
    arithmetic is the same.
    """

    __slots__ = ("_bound", "_growth", "_mass", "_ratio", "_x", "information", "sides")

    def __init__(self, sides: Sides = 2) -> None:
        self.sides = sides
        self.information = 0.0
        """At the last look; 0 before the first."""
        self._growth = 0.0  # of information up to the last look, from the one before
        self._bound = 0.0  # of the last look, on the scale of B
        # Density times weight at the look before the last one. Before the first look, B is 0.
        self._x = np.zeros(1)
        self._mass = np.full(1, 1.0 / sides)
        self._ratio = 1.0

    def solve(self, information: float, spend: float) -> float:
        """Return the bound z that a surviving path crosses with probability ``spend``; that look is then the last one.

        Args:
            information: More than at the last look, in any unit.
            spend: Probability, without an effect, of crossing at this look and at none before; above 0.
        """
        x, mass = self._surviving(information)
        deviation, scale = sqrt(information - self.information), sqrt(information)
        wanted = -float(ndtri(spend / self.sides))
        # Bound and normal score of the look's own spending go almost in parallel from look to look.
        start = wanted * self._ratio * scale
        floor = 0.0 if self.sides == 2 else -FARTHEST * scale  # noqa: PLR2004
        c = _root(_Paths(x, mass, deviation, self.sides), wanted, start, floor, scale)
        self._ratio = c / (wanted * scale) if wanted > 0.5 and c > 0 else 1.0  # noqa: PLR2004 - near 0 it says nothing
        self._go_to(information, c, x, mass)
        return c / scale

    def pass_by(self, information: float, bound: float) -> Passage:
        """Go on to a look whose bound z is given; ``information`` is more than at the last one."""
        x, mass = self._surviving(information)
        c = bound * sqrt(information)
        passage = Passage(x, mass, self.information, information - self.information, c, self.sides)
        self._go_to(information, c, x, mass)
        return passage

    def _go_to(self, information: float, bound: float, x: Floats, mass: Floats) -> None:
        self._growth = information - self.information
        self.information, self._bound, self._x, self._mass = information, bound, x, mass

    def _surviving(self, information: float) -> tuple[Floats, Floats]:
        """Return nodes between the last look's bounds, fine enough for the next, and density times weight there."""
        if not self.information:
            return self._x, self._mass
        farthest = FARTHEST * sqrt(self.information)
        high, low = min(self._bound, farthest), 0.0 if self.sides == 2 else -farthest  # noqa: PLR2004
        length = max(high - low, 0.0)
        # The density is as smooth as the increment that it comes from, the kernel as the next one.
        width = 1 / sqrt(1 / self._growth + 1 / (information - self.information))
        nodes, weights = _legendre(8 * ceil((LEAST_NODES + NODES_A_WIDTH * length / width) / 8))
        x = low + length * nodes
        density = self._blurred(x)
        return x, density * weights * (length / (_ROOT_2_PI * sqrt(self._growth)))

    def _blurred(self, x: Floats) -> Floats:
        """Return, times the kernel's constant, the density at ``x`` that the last increment gives; x rises."""
        before = self.information - self._growth
        share = before / self.information
        # Where a path was before that is at x now: about share·x, give or take √share increments.
        scaled, was, far = (
            x * sqrt(0.5 / self._growth),
            self._x * sqrt(0.5 / self._growth),
            _FAR * sqrt(share),
        )
        density = np.empty_like(x)
        for first in range(0, len(x), _BAND):
            rows = scaled[first : first + _BAND]
            begin = was.searchsorted(rows[0] * share - far)
            end = was.searchsorted(rows[-1] * share + far, side="right")
            density[first : first + _BAND] = _kernel_sum(rows, was[begin:end], self._mass[begin:end])
        if self.sides == 2:  # noqa: PLR2004
            # The lower half is worth its kernel only near 0.
            rows = scaled[: scaled.searchsorted(_FAR / sqrt(share)) if share else None]
            end = was.searchsorted(far, side="right")
            density[: len(rows)] += _kernel_sum(rows, -was[:end], self._mass[:end])
        return density


class Passage(NamedTuple):
    """Paths that survived up to a look, and the bound that they meet there."""

    x: Floats
    mass: Floats
    information: float
    """Before the look."""
    growth: float
    bound: float
    """As a value of B."""
    sides: Sides

    def probability(self, drift: float = 0.0) -> float:
        """Return the probability of crossing at this look and at none before.

        Args:
            drift: Mean of B per unit of information.
        """
        deviation, moved = sqrt(self.growth), drift * self.growth
        # A drift weights paths by exp(θB - θ²τ/2): it needs no density of its own.
        found = 0.0
        for side in (1.0, -1.0)[: self.sides]:
            x = side * self.x
            weights = self.mass * np.exp(drift * x - drift * drift * self.information / 2)
            ends = ndtr((x + moved - self.bound) / deviation)
            if self.sides == 2:  # noqa: PLR2004
                ends += ndtr((-self.bound - x - moved) / deviation)
            found += float(np.einsum("i,i->", weights, ends))
        return found


class _Paths(NamedTuple):
    """Where surviving paths are at one look, and how far the next increment carries them."""

    x: Floats
    mass: Floats
    deviation: float
    sides: Sides

    def beyond(self, c: float) -> tuple[float, float]:
        """Return the probability of being above c next, and its derivative by -c; of two sides, for one of them."""
        u = (self.x - c) / self.deviation
        ends, heights = ndtr(u), np.exp(-0.5 * u * u)
        if self.sides == 2 and c < _MIRRORED * self.deviation:  # noqa: PLR2004
            u = (self.x + c) / self.deviation
            ends += ndtr(-u)
            heights += np.exp(-0.5 * u * u)
        probability, height = np.einsum("i,i->", self.mass, ends), np.einsum("i,i->", self.mass, heights)
        return float(probability), float(height) / (_ROOT_2_PI * self.deviation)


def _root(paths: _Paths, wanted: float, start: float, floor: float, scale: float) -> float:
    """Return the c beyond which paths are with the probability of normal score ``wanted``; at least ``floor``."""
    # Newton's method on the score of the probability, which is nearly linear in c: 3 to 4 evaluations, where Brent's
    # method on the probability takes 12. Bisection where it leaves what is known of the root.
    low, high = floor, LARGEST_BOUND * scale
    c = min(max(start, low), high)
    for _ in range(_MOST_STEPS):
        probability, density = paths.beyond(c)
        score = -float(ndtri(min(probability, 1.0)))
        if score < wanted:
            low = c
        else:
            high = c
        slope = density * _ROOT_2_PI * exp(score * score / 2) if isfinite(score) else 0.0
        after = c + (wanted - score) / slope if slope > 0 else low
        if not low < after < high and after != c:
            after = (low + high) / 2
        moved, c = abs(after - c), after
        if moved <= _CLOSE * scale:
            break
    # Even the lowest bound may not spend as much: rounding, or an alpha of 1.
    return c if c > floor + 2 * _CLOSE * scale else floor


def _kernel_sum(x: Floats, y: Floats, mass: Floats) -> Floats:
    # Of the 42 to 56 us of a look, at 72 equal ones, 14 to 22 are this matrix (2 shared cores, CPython 3.11).
    kernel = np.subtract.outer(x, y)
    np.multiply(kernel, kernel, out=kernel)
    np.negative(kernel, out=kernel)
    np.exp(kernel, out=kernel)
    # einsum and not @: BLAS may split sums over threads, and the bits would depend on how many there are.
    sums: Floats = np.einsum("ij,j->i", kernel, mass)
    return sums


@lru_cache(maxsize=256)
def _legendre(count: int) -> tuple[Floats, Floats]:
    """Return nodes and weights of the Gauss-Legendre rule on [0, 1]."""
    nodes, weights = roots_legendre(count)
    return (nodes + 1) / 2, weights / 2
