"""Simulations over all processors of this machine."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING

from rtexp.local.child import die_with
from rtexp.statistics.simulation.rates import Tally, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.statistics.simulation.decisions import Decider
    from rtexp.statistics.simulation.rates import Experiment

_PART = 50
"""Runs handed to a process at once: about half a second of them."""


def simulate(
    experiment: Experiment,
    deciders: Mapping[str, Decider],
    *,
    runs: int,
    seed: tuple[int, ...],
    done: Callable[[int], object] = lambda _: None,
    processes: int | None = None,
) -> dict[str, Tally]:
    """Return what each decider did in so many runs; the same for any number of processes.

    Args:
        experiment: What is simulated.
        deciders: By name; all see the same runs.
        runs: At least one.
        seed: Of all random numbers.
        done: Called now and then with the number of runs so far.
        processes: None for as many as there are processors.
    """
    parts = [range(first, min(first + _PART, runs)) for first in range(0, runs, _PART)]
    found = dict.fromkeys(deciders, Tally())
    workers = min(processes or os.cpu_count() or 1, len(parts))
    # Not forked: the parent may hold locks and threads of libraries that a copy of it would wait for.
    # Without a request of theirs, processes of a pool wait for ever for work when their parent is killed.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=die_with, initargs=(os.getpid(),)
    ) as pool:
        waiting = [pool.submit(tally, experiment, deciders, part, seed) for part in parts]
        try:
            for future in as_completed(waiting):
                for name, one in future.result().items():
                    found[name] = found[name].plus(one)
                done(max(one.runs for one in found.values()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found
