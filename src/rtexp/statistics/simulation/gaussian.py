"""Scores of looks without users: what the bounds assume, drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def scores(rng: np.random.Generator, runs: int, t: Sequence[float]) -> Floats:
    """Return Z without an effect at each look of each run, shape (runs, looks); a drift adds drift * √t."""
    times = np.asarray(t)
    steps = rng.standard_normal((runs, len(times))) * np.sqrt(np.diff(times, prepend=0.0))
    z: Floats = np.cumsum(steps, axis=1, out=steps) / np.sqrt(times)
    return z


def first_crossings(z: Floats, bounds: Sequence[float]) -> Ints:
    """Return the index of each run's first look at which |z| reaches its bound; the number of looks if none does."""
    crossed = np.abs(z) >= np.asarray(bounds)
    first: Ints = np.where(crossed.any(axis=1), crossed.argmax(axis=1), z.shape[1])
    return first
