"""`[alerts]`: targets of each kind, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rtexp.errors import ConfigError
from rtexp.settings import as_toml, load

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings import Settings

SLACK = 'kind = "slack"\nurl_file = "url"'
MAIL = 'kind = "email"\nhost = "m"\nsender = "a@b.c"\nrecipients = ["x@y.z"]'


def loaded(directory: Path, text: str, **environ: str) -> Settings:
    path = directory / "rtexp.toml"
    path.write_text(text)
    return load(path, environ)


def refused(directory: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text, **environ)
    return str(caught.value).replace(f"{directory}/", "")


def target(text: str, name: str = "ops") -> str:
    return f'[[alerts.targets]]\nname = "{name}"\n{text}\n'


def test_targets_are_tables_and_come_back_as_they_were_written(tmp_path: Path) -> None:
    text = '[alerts]\nquiet = "22:00-07:00"\ntime_zone = "Europe/Berlin"\n'
    settings = loaded(tmp_path, text + target(SLACK) + target(MAIL, "mail") + target('kind = "log"', "here"))
    assert [one.kind for one in settings.alerts.targets] == ["slack", "email", "log"]
    assert loaded(tmp_path, as_toml(settings)) == settings


def test_targets_come_from_a_variable_as_json(tmp_path: Path) -> None:
    value = json.dumps([{"name": "here", "kind": "log"}])
    settings = loaded(tmp_path, target(SLACK), RTEXP_ALERTS__TARGETS=value)
    assert [one.name for one in settings.alerts.targets] == ["here"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('kind = "slack"', "expected url_file, which slack needs", id="no address"),
        pytest.param('kind = "email"\nhost = "m"', "expected sender, which email needs", id="no sender"),
        pytest.param(f'{SLACK}\nhost = "m"', "expected no host, which slack doesn't have", id="a stray key"),
        pytest.param(
            'kind = "fax"', " kind: expected 'slack', 'webhook', 'email' or 'log'", id="no such kind"
        ),
        pytest.param(
            f'{MAIL}\nusername = "u"', "expected username and password_file together", id="half a login"
        ),
        pytest.param(
            f'{MAIL}\nsecurity = "none"\nusername = "u"\npassword_file = "p"',
            "expected security starttls or tls, as a password is sent",
            id="a password in the clear",
        ),
        pytest.param(MAIL.replace("x@y.z", "x@y.z\\r\\nBcc: e@v.l"), "an e-mail address", id="a header"),
        pytest.param(
            MAIL.replace("a@b.c", "nobody"), " sender: expected an e-mail address", id="no address of mail"
        ),
        pytest.param(f"{SLACK}\ncolour = 1", "item 1 colour: expected no such key", id="an unknown key"),
    ],
)
def test_what_is_wrong_with_a_target_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    found = refused(tmp_path, target(text))
    assert found.startswith("rtexp.toml: [alerts] targets item 1")
    assert told in found


def test_an_address_that_stands_in_the_file_itself_is_refused_and_not_repeated(tmp_path: Path) -> None:
    found = refused(tmp_path, target('kind = "slack"\nurl = "https://hooks.example/s3cret"'))
    assert "item 1 url: expected no such key" in found
    assert "s3cret" not in found


def test_names_of_targets_are_distinct_and_fit_a_group_of_kafka(tmp_path: Path) -> None:
    assert "but ops comes twice" in refused(tmp_path, target(SLACK) + target(MAIL))
    assert " name: expected 1 to 32 of the letters" in refused(tmp_path, target(SLACK, "Ops!"))
    many = "".join(target(SLACK, f"t{number}") for number in range(17))
    assert "a list of at most 16" in refused(tmp_path, many)


@pytest.mark.parametrize("quiet", ["22-07", "22:00-22:00", "24:00-07:00", "22:00 - 07:00", "22:00-07:60"])
def test_quiet_hours_are_two_times_of_the_day(tmp_path: Path, quiet: str) -> None:
    assert "expected two times of the day" in refused(tmp_path, f'[alerts]\nquiet = "{quiet}"')


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_a_time_zone_is_known_by_name(tmp_path: Path, zone: str) -> None:
    assert "expected the name of a time zone" in refused(tmp_path, f'[alerts]\ntime_zone = "{zone}"')


@pytest.mark.parametrize(
    "url", ["ab.example.org", "ftp://x", "https://x/", "https://x?a=b", "https://u:p@x", "https://x#y"]
)
def test_where_people_find_the_pages_is_an_address_with_nothing_behind(tmp_path: Path, url: str) -> None:
    assert "expected where people find the pages" in refused(tmp_path, f'[web]\npublic_url = "{url}"')
