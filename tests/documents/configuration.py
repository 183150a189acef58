"""docs/configuration.md, from the models of the settings: their types, limits, defaults and docstrings."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from tests.documents.tables import paragraph, table

from rtexp.settings import Settings, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

HEAD = """\
# Configuration

All keys of `rtexp.toml`, by section, with their defaults and limits; a file needs only what differs. The file is
`--config FILE`, else `RTEXP_CONFIG`, else `rtexp.toml` in the working directory. Variables of the environment override
keys, by the names that stand under them; a list in one is JSON, or separated by commas. Unknown keys and wrong values
are errors that name the key, where it stands and what was expected. Relative paths are relative to the working
directory.

This page is made from `src/rtexp/settings` by `make docs`; [examples/rtexp.toml](../examples/rtexp.toml) is a file with
all keys.
"""
PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
HEADER = ("key, variable", "value", "default", "meaning")


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for section, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        parts += _section(f"[{section}]", section, field.annotation)
    parts += _section("[[alerts.targets]]", None, Target)
    return "\n".join(parts)


def keys() -> Iterator[tuple[str, str]]:
    """Yield section and key of all settings."""
    for section, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        yield from ((section, key) for key in field.annotation.model_fields)


def _section(title: str, section: str | None, model: type[BaseModel]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield paragraph(inspect.getdoc(model) or "")
    yield ""
    meanings = docstrings(model)
    rows = []
    for key, field in model.model_fields.items():
        assert key in meanings, (
            f"{title} {key} has no docstring in {inspect.getfile(model)}: say what it means"
        )
        name = f"`{key}`" if section is None else f"`{key}`<br>`{f'RTEXP_{section}__{key}'.upper()}`"
        rows.append((name, _value(field), _default(field), meanings[key].replace("``", "`")))
    yield from table(HEADER, rows)
    yield ""


def docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what stands beneath the fields of a model."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = inspect.cleandoc(str(below.value.value))
    return found


def _value(field: FieldInfo) -> str:
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, metadata: Sequence[Any]) -> str:
    """Say what a value must be: its type, and the limits that pydantic checks."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in {Union, UnionType}:
        return _kind(next(kind for kind in get_args(annotation) if kind is not type(None)), metadata)
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        of = "tables" if item is Target else "texts"
        least = next((m.min_length for m in metadata if isinstance(m, limits.MinLen)), 0)
        most = next((m.max_length for m in metadata if isinstance(m, limits.MaxLen)), None)
        return f"list of {of}" + (f", {least} to {most}" if most else f", at least {least}" if least else "")
    if getattr(annotation, "__metadata__", None):
        return _kind(annotation.__origin__, annotation.__metadata__)
    return ", ".join([PLAIN[annotation], *_limits(metadata)])


def _limits(metadata: Sequence[Any]) -> list[str]:
    said = {
        name: f"{getattr(limit, name):,}"
        if isinstance(getattr(limit, name), int)
        else f"{getattr(limit, name):g}"
        for limit in metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    if {"ge", "le"} <= said.keys():
        return [f"{said['ge']} to {said['le']}"]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return [" and ".join(f"{words[name]} {limit}" for name, limit in said.items())] if said else []


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be given"
    if field.default is None:
        return "none"
    plain = str(field.default) if isinstance(field.default, Path) else field.default
    return f"`{json.dumps(plain)}`"
