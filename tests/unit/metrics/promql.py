"""Which metrics and labels an expression of PromQL names; enough of its grammar for that, and no more."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    | (?P<range>\[[^\]]*\])                        # [5m], [15m:1m]
    | (?P<number>(?:0x[0-9a-fA-F]+|\d[\d.]*(?:e[+-]?\d+)?)(?:ms|[smhdwy])?)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>@])
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_AFTER_FUNCTIONS = {"(", "by", "without"}
"""What follows functions and aggregations; a metric is never followed by these."""
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", *_GROUPING}


class Named(NamedTuple):
    """What an expression names."""

    metrics: frozenset[str]
    labels: frozenset[str]
    matchers: frozenset[tuple[str, str]]
    """Each label of a selector with the text that it is compared with."""


def named(expression: str) -> Named:
    """Return what ``expression`` names; ValueError if part of it isn't PromQL as far as this knows.

    >>> sorted(named('sum by (a) (rate(x_total{b="c"}[5m])) > 0.1 * on (a) group_left () y').metrics)
    ['x_total', 'y']
    """
    tokens = _tokens(expression)
    metrics, labels, matchers = set(), set(), set()
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        after = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        place += 1
        if text == "{":
            end = _end_of(tokens, place, "}")
            found = _matchers(tokens[place:end])
            matchers |= found
            labels |= {label for label, _ in found}
            place = end + 1
        elif text in _GROUPING and after == "(":
            end = _end_of(tokens, place, ")")
            labels |= {word for kind_, word in tokens[place:end] if kind_ == "name"}
            place = end + 1
        elif kind == "name" and text not in _WORDS and after not in _AFTER_FUNCTIONS:
            metrics.add(text)
    return Named(frozenset(metrics), frozenset(labels), frozenset(matchers))


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, place = [], 0
    while place < len(expression):
        token = _TOKEN.match(expression, place)
        if token is None:
            raise ValueError(f"no PromQL from here on: {expression[place : place + 20]!r}")
        if token.lastgroup != "space":
            assert token.lastgroup
            found.append((token.lastgroup, token[0]))
        place = token.end()
    return found


def _end_of(tokens: list[tuple[str, str]], start: int, sign: str) -> int:
    for place in range(start, len(tokens)):
        if tokens[place][1] == sign:
            return place
    raise ValueError(f"{sign!r} is missing")


def _matchers(tokens: list[tuple[str, str]]) -> set[tuple[str, str]]:
    found = set()
    for (kind, label), _, (kind_of_text, text) in zip(tokens[::4], tokens[1::4], tokens[2::4], strict=True):
        if (kind, kind_of_text) != ("name", "text"):
            raise ValueError(f"no matcher: {label} … {text}")
        found.add((label, text[1:-1]))
    return found
