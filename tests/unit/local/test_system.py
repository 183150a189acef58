"""The whole system on one machine: what it refuses before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rtexp.errors import ConfigError
from rtexp.local.system import local_system
from rtexp.settings import AlertSettings, DataSettings, Settings, Target, WebSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "changes",
    [
        {"web": WebSettings(host="0.0.0.0")},
        {"alerts": AlertSettings(host="0.0.0.0", targets=(Target(name="here", kind="log"),))},
    ],
    ids=["pages", "alerts"],
)
async def test_what_is_served_to_all_without_a_token_is_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    lines: list[str] = []
    settings = Settings(data=DataSettings(directory=tmp_path / "data"), **changes)
    with pytest.raises(ConfigError, match="needs a token"):
        async with local_system(settings, None, on_line=lambda _, line: lines.append(line), environ={}):
            pass
    assert lines == []
    assert not (tmp_path / "data").exists()
