"""`rtexp` as a person runs it, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from rtexp.cli import main

if TYPE_CHECKING:
    from pathlib import Path


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class CommandLine:
    """Runs `rtexp` in a directory of its own, whose database is ``x.db``."""

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.database = directory / "x.db"
        self._capfd = capfd
        monkeypatch.chdir(directory)
        monkeypatch.delenv("RTEXP_CONFIG", raising=False)
        monkeypatch.setenv("RTEXP_STORE__URL", f"sqlite:///{self.database}")

    def __call__(self, *arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, *self._capfd.readouterr())
