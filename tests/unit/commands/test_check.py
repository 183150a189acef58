"""`rtexp check`, with everything down: one line each, and never a traceback or a secret."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.unit.commands.command_line import CommandLine

from rtexp.local.broker_files import free_port


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    made = CommandLine(tmp_path, monkeypatch, capfd)
    monkeypatch.delenv("RTEXP_WEB_TOKEN", raising=False)
    monkeypatch.setenv("RTEXP_WEB__WORKER_PORT", "0")
    Path("rtexp.toml").write_text(
        f'[kafka]\nbrokers = ["127.0.0.1:{free_port()}"]\n[web]\nport = {free_port()}\n'
        "[data]\ndirectory = \"my data\"\n[metadata]\ncsv_url = 'memory://me:s3cret@x/y'\n"
    )
    return made


def test_what_is_down_is_told_with_what_to_do_and_hides_nothing(rtexp: CommandLine) -> None:
    began = time.monotonic()
    code, out, err = rtexp("check")
    assert time.monotonic() - began < 60  # 20 on a machine that has nothing else to do
    assert (code, err) == (1, "rtexp: 4 of 9 checks failed\n")
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [(line[:4].strip(), line[6:20].strip()) for line in lines] == [
        ("ok", "settings"),
        ("ok", "versions"),
        ("warn", "secrets"),
        ("ok", "disk"),
        ("ok", "ports"),
        ("ok", "ports"),
        ("fail", "kafka"),
        ("fail", "database"),
        ("fail", "experiments"),
        ("fail", "workers"),
    ]
    assert "the configuration, whose URL has a password" in lines[2]
    assert "run `rtexp db upgrade`" in lines[7]
    assert "Traceback" not in out + err
    assert "\x1b" not in out, "colours outside of a terminal"


def test_settings_are_shown_with_their_sources_and_without_secrets(rtexp: CommandLine) -> None:
    out = rtexp("check").out
    assert '[data] directory = "my data"  (rtexp.toml)' in out
    assert "[web] worker_port = 0  (RTEXP_WEB__WORKER_PORT)" in out
    assert '[metadata] csv_url = "memory://me:***@x/y"  (rtexp.toml)' in out
    assert "s3cret" not in out
    assert "[pipeline]" not in out, "defaults are no news"


def test_nothing_is_made_or_changed(rtexp: CommandLine) -> None:
    before = sorted(Path().rglob("*"))
    rtexp("check")
    assert sorted(Path().rglob("*")) == before


def test_programs_get_all_findings_and_all_settings(rtexp: CommandLine) -> None:
    code, out, err = rtexp("check", "--json")
    found = json.loads(out)
    assert (code, found["well"], err) == (1, False, "rtexp: 4 of 9 checks failed\n")
    assert found["findings"][0]["check"] == "versions"
    assert {finding["level"] for finding in found["findings"]} == {"ok", "warn", "fail"}
    by_key = {(one["section"], one["key"]): one for one in found["settings"]}
    assert by_key["pipeline", "period_hours"] == {
        "section": "pipeline",
        "key": "period_hours",
        "value": 72,
        "source": "default",
    }
    assert by_key["data", "directory"]["source"] == "rtexp.toml"
    assert "s3cret" not in out


def test_a_configuration_that_cannot_be_read_is_wrong_usage(rtexp: CommandLine) -> None:
    Path("rtexp.toml").write_text("[kafka]\nbroker = []\n")
    ended = rtexp("check")
    assert (ended.code, ended.out) == (2, "")
    assert "[kafka] broker: there is no such key; did you mean brokers?" in ended.err


def test_waiting_takes_no_longer_than_it_was_given(rtexp: CommandLine) -> None:
    began = time.monotonic()
    assert rtexp("check", "--wait", "0.5").code == 1
    assert time.monotonic() - began < 60
