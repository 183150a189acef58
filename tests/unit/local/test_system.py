"""The whole system on one machine: what it refuses before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.errors import ConfigError
from rtexp.local.system import local_system
from rtexp.settings import DataSettings, Settings, WebSettings

if TYPE_CHECKING:
    from pathlib import Path


async def test_pages_for_all_without_a_token_are_refused_before_anything_starts(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = Settings(web=WebSettings(host="0.0.0.0"), data=DataSettings(directory=tmp_path / "data"))
    with pytest.raises(ConfigError, match="needs a token"):
        async with local_system(settings, None, on_line=lambda _, line: lines.append(line), environ={}):
            pass
    assert lines == []
    assert not (tmp_path / "data").exists()
