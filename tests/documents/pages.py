"""Which pages there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.documents import commands, configuration

from rtexp.metrics import page as metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCS = Path(__file__).parents[2] / "docs"
PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "commands.md": commands.page,
    DOCS / "configuration.md": configuration.page,
    DOCS / "metrics.md": metrics.page,
}
