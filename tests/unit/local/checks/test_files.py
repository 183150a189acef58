"""Secrets that others can read, and room and right to write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from rtexp.local.checks.files import data_directory, secret_files
from rtexp.settings import (
    AlertSettings,
    DataSettings,
    MetadataSettings,
    Settings,
    StoreSettings,
    Target,
    WebSettings,
)

if TYPE_CHECKING:
    from rtexp.local.checks.findings import Finding


def secret(path: Path, mode: int, text: str = "s3cret-s3cret-s3cret") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in found]


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o600, "ok"), (0o400, "ok"), (0o640, "ok"), (0o644, "warn"), (0o660, "warn"), (0o602, "warn")],
)
def test_a_secret_that_others_can_read_or_change_is_a_warning(tmp_path: Path, mode: int, level: str) -> None:
    token = secret(tmp_path / "token", mode)
    (finding,) = secret_files(Settings(web=WebSettings(token_file=token)), None)
    assert finding.level == level
    assert (f"`chmod 600 {token}`" in finding.text) == (level == "warn")
    assert "s3cret" not in finding.text


def test_every_file_that_holds_a_secret_is_looked_at(tmp_path: Path) -> None:
    mysql = "mysql+pymysql://me@host/rtexp"
    names = ["kafka", "store", "metadata", "web", "hook", "mail"]
    path = {name: secret(tmp_path / name, 0o604) for name in names}
    mail = Target.model_validate(
        {
            "name": "mail",
            "kind": "email",
            "host": "m",
            "sender": "a@b",
            "recipients": ("c@d",),
            "username": "u",
            "password_file": path["mail"],
        }
    )
    settings = Settings.model_validate(
        {
            "kafka": {"protocol": "SASL_SSL", "username": "u", "password_file": path["kafka"]},
            "store": StoreSettings(url=mysql, password_file=path["store"]),
            "metadata": MetadataSettings(query="SELECT 1", url=mysql, password_file=path["metadata"]),
            "web": WebSettings(token_file=path["web"]),
            "alerts": AlertSettings(targets=(Target(name="ops", kind="slack", url_file=path["hook"]), mail)),
        }
    )
    found = secret_files(settings, None)
    assert [level for level, _ in told(found)] == ["warn"] * len(names)
    for name in names:
        assert sum(str(path[name]) in text for _, text in told(found)) == 1, name


def test_a_secret_that_is_missing_or_empty_fails(tmp_path: Path) -> None:
    settings = Settings(web=WebSettings(token_file=tmp_path / "gone"))
    assert told(secret_files(settings, None)) == [
        ("fail", f"[web] token_file: {tmp_path / 'gone'} can't be read: No such file or directory")
    ]
    settings = Settings(web=WebSettings(token_file=secret(tmp_path / "empty", 0o600, "\n")))
    assert told(secret_files(settings, None)) == [
        ("fail", f"[web] token_file: {tmp_path / 'empty'} is empty")
    ]


def test_a_configuration_with_a_password_in_a_url_is_a_secret_too(tmp_path: Path) -> None:
    config = secret(tmp_path / "rtexp.toml", 0o644)
    with_password = Settings(store=StoreSettings(url="mysql+pymysql://me:s3cret@host/rtexp"))
    ((level, text),) = told(secret_files(with_password, config))
    assert (level, "s3cret" in text, str(config) in text) == ("warn", False, True)
    assert told(secret_files(Settings(), config)) == [("ok", "no files are named")]


def free(monkeypatch: pytest.MonkeyPatch, bytes_: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=bytes_))


@pytest.mark.parametrize(
    ("bytes_", "level", "text"),
    [
        (80_000_000_000, "ok", "80.0 GB free in DATA"),
        (4_000_000_000, "warn", "4.0 GB free in DATA: state and a local broker's log may need more"),
        (9_000_000, "fail", "9 MB free in DATA: make room, or set [data] directory to another place"),
    ],
)
def test_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_: int, level: str, text: str
) -> None:
    free(monkeypatch, bytes_)
    data = tmp_path / "to" / "be" / "made"
    found = told(data_directory(Settings(data=DataSettings(directory=data))))
    assert found == [(level, text.replace("DATA", str(data)))]
    assert not (tmp_path / "to").exists()


def test_a_directory_that_cannot_be_written_to_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)  # root may write anywhere
    settings = Settings(data=DataSettings(directory=tmp_path / "data"))
    ((level, text),) = told(data_directory(settings))
    assert (level, text.startswith(f"[data] directory: {tmp_path} can't be written to: `chown` it")) == (
        "fail",
        True,
    )
    (tmp_path / "in the way").touch()
    settings = Settings(data=DataSettings(directory=tmp_path / "in the way" / "data"))
    assert told(data_directory(settings))[0][1].endswith("in the way is no directory")


def test_the_directory_of_the_csv_file_is_looked_at_where_it_is_another(tmp_path: Path) -> None:
    place = MetadataSettings(csv_url=f"{tmp_path}/csv/")
    found = told(data_directory(Settings(data=DataSettings(directory=tmp_path), metadata=place)))
    assert found[1] == ("ok", f"[metadata] csv_url: {tmp_path}/csv can be written to")
