"""How engines are made; nothing connects here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.errors import ConfigError
from rtexp.settings import StoreSettings
from rtexp.store.engine import make_engine
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from pathlib import Path


def test_a_password_file_that_cannot_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match=rf"\[store\] password_file: {missing} can't be read"):
        make_engine(StoreSettings(url="mysql+pymysql://me@host/rtexp", password_file=missing))


def test_both_names_of_the_dialect_lead_to_the_same_server_and_none_shows_a_password() -> None:
    for driver in ("mysql", "mariadb"):
        engine = make_engine(StoreSettings(url=f"{driver}+pymysql://me:s3cret@host/rtexp"))
        assert masked(engine.url) == "mysql+pymysql://me:***@host/rtexp"
        assert "s3cret" not in f"{engine!r} {engine} {engine.url} {engine.url!r} {engine.pool!r}"


@pytest.mark.parametrize(
    "place", ["host/rtexp", "/rtexp?unix_socket=/run/s", "[::1]:3306/rtexp", "h:1/x?ssl_ca=/ca.pem"]
)
def test_whatever_settings_accept_is_a_url(place: str) -> None:
    assert make_engine(StoreSettings(url=f"mysql+pymysql://me:a:b%40/c@{place}")).url.password == "a:b@/c"
