"""Where a demo lives, what it shows, and how it judges; the demo itself is run by `make demo`."""

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.unit.commands.command_line import CommandLine

from rtexp.core import sketches
from rtexp.errors import UsageError
from rtexp.local.demo_home import demo_broker, demo_environ, demo_settings, make_home, write_config
from rtexp.local.demo_states import FRESH, ExpectedState, FoundState, expected_states
from rtexp.local.demo_verdict import Verdict, compare
from rtexp.local.demo_view import Scene, Totals, read_totals, showing, status_line
from rtexp.local.lock import AlreadyRunning, directory_lock
from rtexp.local.story import Story
from rtexp.local.truth import HOUR_MS, Action, Activation, Rules, Truth
from rtexp.settings import AlertSettings, KafkaSettings, Settings, StoreSettings, Target, WebSettings, load
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.engine import opened, reading, writing
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.local.demo import Stage


START_MS = 1_420_416_000_000
LG_K = 12


# --- Its own place


def test_a_demo_empties_the_directory_of_the_one_before(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    make_home(home)
    (home / "kafka").mkdir()
    (home / "kafka" / "log").write_text("x")
    (home / "rtexp.db").write_text("x")
    make_home(home)
    assert sorted(path.name for path in home.iterdir()) == [".rtexp-demo", "rtexp.lock"]


def test_a_directory_that_is_no_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="no demo's"):
        make_home(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_directory_in_which_a_demo_runs_is_left_alone(tmp_path: Path) -> None:
    make_home(tmp_path)
    (tmp_path / "rtexp.db").write_text("x")
    with directory_lock(tmp_path), pytest.raises(AlreadyRunning):
        make_home(tmp_path)
    assert (tmp_path / "rtexp.db").exists()


def test_of_the_users_settings_a_demo_takes_ports_and_alerts_only(tmp_path: Path) -> None:
    users = Settings(
        kafka=KafkaSettings(brokers=("kafka.example:9555",), prefix="mine"),
        store=StoreSettings(url="sqlite:////precious.db"),
        alerts=AlertSettings(targets=(Target(name="ops", kind="slack", url_file=tmp_path / "url"),)),
    )
    settings = demo_settings(users, tmp_path, shares_broker=False)
    assert settings.kafka.brokers == ("127.0.0.1:9555",)
    assert settings.kafka.prefix == "rtexp-demo"
    assert settings.store.url == f"sqlite:///{tmp_path / 'rtexp.db'}"
    assert settings.pipeline.clock == "records"
    assert settings.alerts == users.alerts, "whoever wants to hear of alerts hears of the demo's"
    assert "mine" not in repr(settings)
    assert load(write_config(settings, tmp_path), {}) == settings


def test_alerts_of_a_demo_are_served_to_this_machine_alone(tmp_path: Path) -> None:
    users = Settings(alerts=AlertSettings(host="0.0.0.0", targets=(Target(name="here", kind="log"),)))
    settings = demo_settings(users, tmp_path, shares_broker=False)
    assert (settings.alerts.host, settings.alerts.targets) == ("127.0.0.1", users.alerts.targets)


def test_a_demos_pages_are_for_this_machine_at_the_users_port_or_a_free_one(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        users = Settings(web=WebSettings(host="0.0.0.0", port=port, token_file=tmp_path / "token"))
        other.listen()
        web = demo_settings(users, tmp_path, shares_broker=False).web
        assert web.port not in {0, port}
    assert demo_settings(users, tmp_path, shares_broker=False).web == WebSettings(port=port)
    assert demo_settings(Settings(web=WebSettings(port=0)), tmp_path, shares_broker=False).web.port != 0


def test_a_demos_own_broker_makes_way_for_whatever_is_at_the_users_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        users = Settings(kafka=KafkaSettings(brokers=(taken,), protocol="SSL"))
        assert demo_broker(users.kafka, configured=False) == KafkaSettings(brokers=(taken,))
        found = demo_settings(users, tmp_path, shares_broker=False).kafka
    assert found.brokers != (taken,)
    assert found.local_address() is not None


def test_on_a_shared_broker_no_demo_meets_another_ones_topics(tmp_path: Path) -> None:
    prefixes = {demo_settings(Settings(), tmp_path, shares_broker=True).kafka.prefix for _ in range(3)}
    assert len(prefixes) == 3


def test_on_the_configured_broker_a_demo_has_the_users_security_and_stays_behind_their_prefix(
    tmp_path: Path,
) -> None:
    kafka = KafkaSettings(
        brokers=("kafka-1:9093", "kafka-2:9093"),
        prefix="ab.rtexp",
        replication=3,
        protocol="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        username="me",
        password_file=tmp_path / "password",
        ca_file=tmp_path / "ca.pem",
    )
    settings = demo_settings(Settings(kafka=kafka), tmp_path, shares_broker=True, configured=True)
    own = settings.kafka.prefix.removeprefix("ab.rtexp-demo-")
    assert len(own) == 8
    kept = {"prefix": "ab.rtexp", "partitions": kafka.partitions}
    assert settings.kafka.model_copy(update=kept) == kafka
    assert {settings.actions.topic, settings.activations.topic} == {
        f"ab.rtexp-demo-{own}-actions",
        f"ab.rtexp-demo-{own}-activations",
    }
    assert load(write_config(settings, tmp_path), {}) == settings
    longest = KafkaSettings(prefix="x" * 100)
    found = demo_settings(Settings(kafka=longest), tmp_path, shares_broker=True, configured=True).kafka
    assert KafkaSettings.model_validate(found.model_dump()) == found


def test_the_users_environment_does_not_override_a_demos_settings() -> None:
    environ = {"PATH": "/bin", "RTEXP_KAFKA_LIBS": "/libs", "RTEXP_ACTIONS__TRACKED": "x"}
    assert demo_environ(environ) == {"PATH": "/bin", "RTEXP_KAFKA_LIBS": "/libs"}


def test_the_command_refuses_a_directory_that_is_no_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rtexp = CommandLine(tmp_path, monkeypatch, capfd)
    (tmp_path / "thesis.tex").write_text("x")
    ended = rtexp("demo", "--directory", str(tmp_path))
    assert ended.code == 2
    assert "no demo's" in ended.err


def test_help_has_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "Example: rtexp demo" in CommandLine(tmp_path, monkeypatch, capfd)("demo", "--help").out


# --- Its verdict


def a_truth(users: int = 300) -> Truth:
    """So many users exposed in one cell, each with one action in another."""
    truth = Truth(Rules.of(Settings()), Story(START_MS, 72 * HOUR_MS))
    for number in range(users):
        at_ms = START_MS + 2 * HOUR_MS + number
        truth.tell("activations", at_ms, Activation(f"u{number}", "new-icon", "control", at_ms))
        truth.tell("actions", at_ms, Action(f"u{number}", "search", at_ms))
    truth.finish()
    return truth


def rows_of(truth: Truth) -> list[CellRow]:
    """The same as SQL would have it."""
    users = truth.users()
    return [
        CellRow(
            *key,
            *counts,
            sketches.to_bytes(sketches.sparse(entries_of(users[key])), LG_K),
            sequence=1,
        )
        for key, counts in truth.cells().items()
    ]


def entries_of(users: set[str]) -> sketches.Entries:
    return np.array([sketches.entry(user, LG_K) for user in users], np.uint32)


def test_equal_cells_are_right() -> None:
    truth = a_truth()
    verdict = compare(truth, rows_of(truth), LG_K)
    assert verdict.is_right
    assert verdict.estimates == 2
    assert verdict.lines()[0] == "0 cells differ from the truth (of 2)"


def test_a_cell_that_is_missing_wrong_or_too_many_is_told() -> None:
    truth = a_truth()
    exposures, search = rows_of(truth)
    stray = search._replace(event="click", volume=1)
    wrong = search._replace(volume=search.volume + 1)
    for rows, differing in (
        ([exposures], ["search"]),
        ([exposures, wrong], ["search"]),
        ([exposures, search, stray], ["click"]),
        ([exposures, search, stray._replace(volume=0, actors=0, sum_squares=0)], []),
    ):
        verdict = compare(truth, rows, LG_K)
        assert [key.event for key in verdict.differing] == differing
        assert verdict.is_right == (not differing)
    assert "1 cells differ" in compare(truth, [exposures], LG_K).lines()[0]
    assert "true (300, 300, 300, 0, 0), found (0, 0, 0, 0, 0)" in compare(truth, [exposures], LG_K).lines()[1]


def test_an_estimate_far_from_the_exact_uniques_is_wrong_though_all_cells_are_right() -> None:
    truth = a_truth()
    exposures, search = rows_of(truth)
    few = sketches.to_bytes(sketches.sparse(entries_of({f"u{n}" for n in range(200)})), LG_K)
    verdict = compare(truth, [exposures, search._replace(sketch=few)], LG_K)
    assert not verdict.differing
    assert verdict.worst_errors > 5
    assert not verdict.is_right


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param((1.5, "collecting"), 0, id="right"),
        pytest.param((9.0, "collecting"), 1, id="a wrong estimate"),
        pytest.param((1.5, "significant_gain"), 1, id="a wrong state"),
    ],
)
def test_a_program_gets_the_comparison_alone_and_an_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    found: tuple[float, str],
    code: int,
) -> None:
    worst_errors, state = found
    expected = ExpectedState("second-try", START_MS, "a fresh start", FRESH)

    async def run_demo(stage: Stage) -> Verdict:
        stage.say("ready")
        return Verdict(2, {}, 1, worst_errors, [FoundState(expected, 5, state)])

    monkeypatch.setattr("rtexp.commands.demo.run_demo", run_demo)
    rtexp = CommandLine(tmp_path, monkeypatch, capfd)
    ended = rtexp("demo", "--json")
    assert (ended.code, ended.err) == (code, "ready\n")
    assert json.loads(ended.out) == {
        "cells": 2, "differing": 0, "estimates": 1, "worst_errors": worst_errors,
        "states": 1, "wrong_states": int(state not in FRESH),
    }  # fmt: skip
    shown = rtexp("demo").out
    assert shown.startswith("ready\n0 cells differ from the truth (of 2)\n")
    assert f"second-try: {state} at look 5" in shown


def test_only_what_was_streamed_to_the_end_of_a_cycle_has_states_that_must_be() -> None:
    story = Story(START_MS, 72 * HOUR_MS)
    assert expected_states(story, 0) == []
    states = {expected.experiment: expected.states for expected in expected_states(story, 1)}
    assert states == {
        "bolder-buttons": ("significant_gain",),
        "heavier-page": ("significant_drop",),
        "new-icon": ("final_no_difference",),
        "broken-split": ("blocked_srm",),
        "second-try": FRESH,
    }


# --- Its view


def test_totals_are_those_of_each_experiments_newest_period(tmp_path: Path) -> None:
    rows = [
        CellRow("a", 10, "control", "", 0, 0, 0, 0, 5, 0, None, 1),
        CellRow("a", 20, "control", "", 0, 0, 0, 0, 7, 0, None, 1),
        CellRow("a", 20, "control", "search", 0, 3, 2, 5, 0, 0, None, 1),
        CellRow("a", 20, "control", "search", 1, 1, 0, 3, 0, 0, None, 1),
        CellRow("b", 10, "treatment", "", 0, 0, 0, 0, 1, 0, None, 1),
    ]
    with opened(StoreSettings(url=f"sqlite:///{tmp_path / 'x.db'}")) as engine:
        upgrade(engine)
        with writing(engine) as connection:
            upsert_cells(connection, rows)
        with reading(engine) as connection:
            assert read_totals(connection) == [
                Totals("a", 20, "control", 7, 4, 2),
                Totals("b", 10, "treatment", 1, 0, 0),
            ]


def test_elsewhere_than_on_a_terminal_a_line_comes_every_few_seconds() -> None:
    stream, seconds = io.StringIO(), [0.0]
    scene = Scene([Totals("a", START_MS, "control", 7, 4, 2)], {}, 1234, 99.5, START_MS, 0)
    with showing(stream, clock=lambda: seconds[0]) as show:
        for _ in range(12):
            show(scene)
            seconds[0] += 1
    assert stream.getvalue().splitlines() == [status_line(scene)] * 3
    assert status_line(scene) == (
        "1,234 records sent, 100 a second; simulated time 2015-01-05 00:00, nothing counted yet; "
        "7 exposures, 4 actions in the newest periods"
    )


def test_on_a_terminal_the_results_stand_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    totals = [
        Totals("new-icon", START_MS, "control", 8, 4, 2),
        Totals("new-icon", START_MS, "treatment", 0, 0, 0),
        Totals("x", START_MS, "treatment", 0, 0, 0),
    ]
    with showing(stream) as show:
        show(Scene(totals, {"new-icon": "collecting"}, 1, 1.0, None, START_MS))
    shown = stream.getvalue()
    assert shown.count("collecting") == shown.count("no look yet") > 0, "of a treatment alone"
    for text in (
        "no look yet",
        "new-icon",
        "no difference",
        "0.500",
        "0.250",
        "none",
        "counted up to 2015-01-05 00:00",
    ):
        assert text in shown
