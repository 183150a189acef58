"""What every command gets from the root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings import Settings


@dataclass(frozen=True)
class Context:
    """The object of ``click.pass_obj``."""

    settings: Settings
    config_path: Path | None = None
    """The file that the settings come from; None if there is none."""
    debug: bool = False
