"""From ``rtexp.toml`` and the environment to `Settings`, or to a message about everything that is wrong.

Plain tomllib and pydantic, not pydantic-settings: that one merges its sources before it validates, so its
errors can't say which file or variable a bad value came from.
"""

from __future__ import annotations

import json
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

from pydantic import BaseModel, ValidationError

from rtexp.errors import ConfigError
from rtexp.settings.display import shown
from rtexp.settings.models import Settings
from rtexp.settings.values import Contradiction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

DEFAULT_FILE = Path("rtexp.toml")
CONFIG_VARIABLE = "RTEXP_CONFIG"

_PREFIX = "RTEXP_"
_SECTIONS: dict[str, dict[str, FieldInfo]] = {
    name: section.annotation.model_fields
    for name, section in Settings.model_fields.items()
    if isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel)
}


_EXPECTED = {
    "value_error": "{error}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "string_type": "a text",
    "path_type": "a text",
    "tuple_type": "a list",
    "missing": "a value",
    "extra_forbidden": "no such key",
    "model_type": "a table of keys",
    "model_attributes_type": "a table of keys",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
"""What a setting should have been, by pydantic's type of error; checks of our own raise it in full."""


class _Override(NamedTuple):
    variable: str
    value: object


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: ``config``, else ``RTEXP_CONFIG``, else ``rtexp.toml`` here, else none.

    ConfigError if a file that was asked for doesn't exist.
    """
    if config is None and (named := environ.get(CONFIG_VARIABLE)):
        config, asked_by = Path(named), f"{CONFIG_VARIABLE}={named}"
    else:
        asked_by = f"--config {config}"
    if config is None:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    if not config.is_file():
        raise ConfigError(f"{asked_by}: there is no such file")
    return config


def load(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file (see `find_config`), overridden by ``RTEXP_<SECTION>__<KEY>`` variables.

    A list in a variable is JSON, or separated by commas. ConfigError has a line for each thing that is wrong,
    with its key, where it stands, what was expected and what was found (secrets masked).
    """
    path = find_config(config, environ)
    tree = _read(path) if path else {}
    problems = list(_unknown(tree, str(path)))
    in_file = {(section, key) for section, table in tree.items() if isinstance(table, dict) for key in table}
    overrides, more = _overrides(environ)
    problems += more
    for (section, key), override in overrides.items():
        if isinstance(table := tree.setdefault(section, {}), dict):
            table[key] = override.value
    known = {
        section: {key: value for key, value in table.items() if key in _SECTIONS[section]}
        if isinstance(table, dict)
        else table
        for section, table in tree.items()
        if section in _SECTIONS
    }
    settings: Settings | None = None
    try:
        # JSON mode is strict, yet takes what TOML has: a list for a tuple, a text for a path.
        settings = Settings.model_validate_json(json.dumps(known, default=_Foreign.found))
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        # A list with a bad item is told to be too short as well, as if that item weren't there.
        around_others = {error["loc"][:2] for error in errors if len(error["loc"]) > 2}  # noqa: PLR2004
        sources = _Sources(path, in_file, overrides)
        problems += [_told(error, sources) for error in errors if error["loc"] not in around_others]
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return settings


def sources(config: Path | None, environ: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return by (section, key) the file or variable that a setting comes from; the others are defaults.

    Both must be such that `load` takes them.
    """
    tree = _read(config) if config else {}
    in_file = {(section, key): str(config) for section, table in tree.items() for key in table}
    overrides, _ = _overrides(environ)
    return in_file | {key: override.variable for key, override in overrides.items()}


class _Foreign:
    """TOML's dates and times: no setting is one, so they become what no model accepts."""

    @staticmethod
    def found(value: object) -> dict[str, str]:
        return {"date or time": str(value)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: this isn't valid TOML: {exc}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: can't be read: {exc}") from exc


def _unknown(tree: Mapping[str, object], source: str) -> Iterator[str]:
    for section, table in tree.items():
        if section not in _SECTIONS:
            what = f"[{section}]" if isinstance(table, dict) else section
            yield f"{source}: {what}: there is no such section{_closest(section, _SECTIONS, '[{}]')}"
        elif isinstance(table, dict):
            known = _SECTIONS[section]
            for key in (key for key in table if key not in known):
                yield f"{source}: [{section}] {key}: there is no such key{_closest(key, known, '{}')}"


def _closest(name: str, known: Mapping[str, object], style: str) -> str:
    if close := get_close_matches(name, known, n=1):
        return f"; did you mean {style.format(close[0])}?"
    return f"; known are {', '.join(known)}"


def _overrides(environ: Mapping[str, str]) -> tuple[dict[tuple[str, str], _Override], list[str]]:
    found: dict[tuple[str, str], _Override] = {}
    problems: list[str] = []
    by_one_underscore = {
        f"{_PREFIX}{section}_{key}".upper(): f"{_PREFIX}{section}__{key}".upper()
        for section, fields in _SECTIONS.items()
        for key in fields
    }
    for variable, text in environ.items():
        if meant := by_one_underscore.get(variable):
            problems.append(f"{variable}: there is no such variable; did you mean {meant}?")
        section, separator, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if not variable.startswith(_PREFIX) or not separator:
            continue
        if section not in _SECTIONS:
            names = {name.upper(): fields for name, fields in _SECTIONS.items()}
            closest = _closest(section.upper(), names, f"{_PREFIX}{{}}__{key.upper()}")
            problems.append(f"{variable}: there is no section {section}{closest}")
        elif key not in _SECTIONS[section]:
            closest = _closest(key, _SECTIONS[section], "{}")
            problems.append(f"{variable}: there is no key {key} in [{section}]{closest}")
        elif not _is_text(text):
            problems.append(f"{variable}: expected UTF-8 text")
        else:
            found[section, key] = _Override(variable, _parsed(text, _SECTIONS[section][key]))
    return found, problems


def _is_text(text: str) -> bool:
    # Bytes that aren't UTF-8 come out of the environment as lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _parsed(text: str, field: FieldInfo) -> object:
    """Read a variable as its field's type; what can't be read so stays text, for validation to refuse."""
    if get_origin(field.annotation) is tuple:
        return _parsed_list(text)
    try:
        if field.annotation is int:
            return int(text)
        if field.annotation is float:
            return float(text)
    except ValueError:
        return text
    if field.default is None and not text:
        return None
    return text


def _parsed_list(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [item.strip() for item in text.split(",")]


class _Sources(NamedTuple):
    """Where settings come from: a variable, else the file, else they are defaults."""

    path: Path | None
    in_file: set[tuple[str, str]]
    overrides: Mapping[tuple[str, str], _Override]

    def of(self, section: str, key: str) -> str:
        if override := self.overrides.get((section, key)):
            return override.variable
        name = f"[{section}] {key}"
        return f"{self.path}: {name}" if (section, key) in self.in_file else f"{name} (the default)"


def _told(error: ErrorDetails, sources: _Sources) -> str:
    problem = error.get("ctx", {}).get("error")
    if isinstance(problem, Contradiction):
        return f"{' and '.join(sources.of(*key) for key in problem.keys)}: expected {problem}"
    section, key, index, inner = ([str(part) for part in error["loc"]] + ["", "", "", ""])[:4]
    where = sources.of(section, key) if key else f"{sources.path}: [{section}]"
    item = f" item {int(index) + 1}" if index else ""
    item += f" {inner}" if inner else ""
    # What stands under a key that isn't known may be anything, a secret too; and the whole table it is missing from.
    hidden = not key or error["type"] in {"extra_forbidden", "missing"}
    found = "" if hidden else f", found {shown(inner or key, error['input'])}"
    return f"{where}{item}: expected {expected_of(error)}{found}"


def expected_of(error: ErrorDetails) -> str:
    """Return what pydantic expected where it found an error, in a person's words."""
    context = error.get("ctx", {})
    # What a custom check raises, and what a limit is, are in the context; the rest are types.
    told = _EXPECTED.get(error["type"])
    return told.format(**context) if told else error["msg"]
