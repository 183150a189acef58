"""What is deployed with, read as the programs that use it would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from rtexp.settings import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.settings import Settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
VENDOR = Path(__file__).parent / "vendor"
TOKEN = "0123456789abcdef"


def faults(schema: Mapping[str, Any], instance: object) -> list[str]:
    """What a schema finds wrong, each with where."""
    errors = jsonschema_rs.validator_for(dict(schema)).iter_errors(instance)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


def vendored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VENDOR / name).read_text())
    return found


def settings_of(environ: Mapping[str, Any], tmp_path: Path, config: Path | None = None) -> Settings:
    """Load what a process would, with a token in the file that it names; ConfigError where it couldn't start."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    given = {name: str(value) for name, value in environ.items() if name != "RTEXP_CONFIG"}
    return load(config, given | {"RTEXP_WEB__TOKEN_FILE": str(token)})
