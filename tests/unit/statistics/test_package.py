from __future__ import annotations

import subprocess
import sys

from rtexp.statistics.undefined import Reason

EVERY_MODULE = """
import pkgutil, sys, rtexp.statistics
for module in pkgutil.iter_modules(rtexp.statistics.__path__, "rtexp.statistics."):
    __import__(module.name)
assert "scipy.special" in sys.modules
print("scipy.stats" in sys.modules, "statsmodels" in sys.modules, "faust" in sys.modules)
"""


def test_no_module_imports_what_only_tests_may_or_takes_a_second_to_load() -> None:
    run = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "False"]


def test_reasons_have_the_texts_that_are_stored_with_looks() -> None:
    assert {
        "empty_group", "group_too_small", "too_few_users", "too_few_actors", "zero_variance", "control_mean_zero",
        "control_mean_near_zero", "inconsistent_counts", "look_not_scheduled", "no_information_growth",
        "nothing_to_spend", "unequal_allocation", "plan_missing", "plan_exhausted", "srm_alarm",
    } <= {str(reason) for reason in Reason}  # fmt: skip
