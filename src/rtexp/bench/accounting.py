"""What processes have used, by the system's own accounting; and how fast this machine is at the moment."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")
_MB = 1 << 20


class Usage(NamedTuple):
    """Of one process since its start, all of its threads together."""

    cpu_seconds: float
    rss_mb: float
    """Now."""
    peak_rss_mb: float


def usage(pid: int) -> Usage:
    """Return what a process has used; ProcessLookupError if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except FileNotFoundError as exc:
        raise ProcessLookupError(f"process {pid} has ended") from exc
    kb = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
    cpu_seconds = (int(stat[11]) + int(stat[12])) / _TICKS
    return Usage(cpu_seconds, int(kb["VmRSS"]) * 1024 / _MB, int(kb["VmHWM"]) * 1024 / _MB)


def machine_cpu_seconds() -> float:
    """Return the CPU time that all processes of this machine have used since it started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


class Calibration(NamedTuple):
    """CPU seconds of two fixed loops: figures of two runs compare only where these are alike."""

    python_seconds: float
    numpy_seconds: float


def calibrate() -> Calibration:
    """Run both loops; takes about half a second."""
    started = time.process_time()
    counts: dict[str, int] = {}
    for number in range(1_000_000):
        key = f"u{number % 5000}"
        counts[key] = counts.get(key, 0) + 1
    between = time.process_time()
    values = np.random.default_rng(1).integers(0, 1 << 40, 2_000_000)
    np.argsort(values, kind="stable")
    return Calibration(between - started, time.process_time() - between)
