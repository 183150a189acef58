"""Figures as values that JSON knows, and as tables for people."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtexp.bench.accounting import calibrate

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE_WIDTH = 14


def machine() -> dict[str, Any]:
    """Return what figures depend on, besides the program."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "calibration": calibrate(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def plain(value: Any) -> Any:
    """Turn named tuples into mappings, and round to three digits behind the point."""
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table for each section; where a section has several runs, a column for each.

    Args:
        figures: By section, as `plain` returns them.
    """
    for number, (section, found) in enumerate(figures.items()):
        if number:
            yield ""
        yield section
        runs = [dict(_flat(run)) for run in (found if _is_runs(found) else [found])]
        names = list(dict.fromkeys(name for run in runs for name in run))
        width = max(map(len, names), default=0)
        for name in names:
            values = "".join(f" {_shown(run.get(name, '')):>{VALUE_WIDTH}}" for run in runs)
            yield f"  {name:<{width}}{values}"


def _is_runs(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(run, Mapping) for run in value)


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of all that is nested in a mapping, the names of what it is in before its own."""
    for key, item in value.items():
        name = f"{before}{str(key).replace('_', ' ') if '/' not in str(key) else key}"
        if _is_runs(item):
            for number, run in enumerate(item, 1):
                yield from _flat(run, f"{name} {number}: ")
        elif isinstance(item, Mapping):
            yield from _flat(item, f"{name}: ")
        else:
            yield name, item


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return str(value)
