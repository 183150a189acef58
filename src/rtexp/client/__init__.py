"""The API of `rtexp web` from Python, typed: ``pip install 'rtexp[client]'``.

>>> from rtexp.client import Client
>>> with Client("http://127.0.0.1:8000") as rtexp:  # doctest: +SKIP
...     for verdict in rtexp.verdicts("new-feed"):
...         print(verdict.group_name, verdict.event, verdict.state, verdict.lift)
"""

from rtexp.client.api import TOKEN_VARIABLE, URL_VARIABLE, ApiError, Client
from rtexp.client.rows import (
    Allocation,
    Cell,
    Experiment,
    ExperimentDetails,
    JudgedPeriod,
    Look,
    Period,
    Plan,
    Standing,
    Uniques,
    Verdict,
)

__all__ = [
    "TOKEN_VARIABLE",
    "URL_VARIABLE",
    "Allocation",
    "ApiError",
    "Cell",
    "Client",
    "Experiment",
    "ExperimentDetails",
    "JudgedPeriod",
    "Look",
    "Period",
    "Plan",
    "Standing",
    "Uniques",
    "Verdict",
]
