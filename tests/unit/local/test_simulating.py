"""Simulations in several processes: the same figures for any number of them, and none outlives its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from rtexp.local.simulating import simulate
from rtexp.statistics.effects import Metric
from rtexp.statistics.simulation.decisions import Decider
from rtexp.statistics.simulation.rates import Experiment
from rtexp.statistics.simulation.users import Behaviour

EXPERIMENT = Experiment(Behaviour(Metric.PROPENSITY, 0.3, is_final=True), (400, 400), buckets=4)
DECIDERS = {"a": Decider("unadjusted", 4)}


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_any_number_of_processes_gives_the_same_figures() -> None:
    done: list[int] = []
    one = simulate(EXPERIMENT, DECIDERS, runs=120, seed=(1,), processes=1, done=done.append)
    two = simulate(EXPERIMENT, DECIDERS, runs=120, seed=(1,), processes=2)
    assert (one["a"].runs, one["a"].crossed) == (two["a"].runs, two["a"].crossed)
    assert 0 < one["a"].crossed < 120
    assert done == sorted(done)
    assert done[-1] == 120


def test_no_process_is_left_when_the_one_that_started_them_is_killed() -> None:
    arguments = [sys.executable, "-m", "rtexp", "simulate", "--runs", "100000"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as parent:
        assert parent.stderr is not None
        # The first line of progress: all processes are at work.
        assert " of 100,000 runs" in parent.stderr.readline()
        started = children(parent.pid)
        # One or more that simulate, and the resource tracker of multiprocessing.
        assert len(started) >= 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, started)):
        assert time.monotonic() < deadline, started
        time.sleep(0.05)
