"""From experiments in SQL to a snapshot on the wire and a CSV file."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from sqlalchemy import event
from structlog.testing import capture_logs
from tests.unit.store.databases import open_database

from rtexp.agents import snapshot_file
from rtexp.agents.snapshot_file import csv_place, ramped_groups
from rtexp.agents.sync_metadata import MetadataSync, snapshot
from rtexp.errors import FatalError
from rtexp.records import snapshot as wire
from rtexp.records.snapshot import Allocation, Period, Ramp
from rtexp.settings import DataSettings, MetadataSettings, PipelineSettings, Settings
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, writing, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

    from rtexp.engine.api import Output

HOUR = 3_600_000
START = 1_700_000_000_000
NOW = START + 500 * HOUR
FEED = Experiment(
    "feed",
    "control",
    ("control", "treatment", "unused"),
    (
        Allocation("treatment", 0, START - HOUR),
        Allocation("control", 5, START),
        Allocation("treatment", 5, START),
        Allocation("treatment", 9, START + HOUR),
        Allocation("treatment", 3, START + 2 * HOUR),
        Allocation("control", 10, START + 72 * HOUR),
    ),
)


def told(logs: Iterable[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """What an operator sees where debug isn't shown."""
    return [entry for entry in logs if entry["log_level"] != "debug"]


@pytest.fixture
def settings(store: Database, tmp_path: Path) -> Settings:
    return Settings(store=store.settings, data=DataSettings(directory=tmp_path / "data"))


class Sent(list["wire.Snapshot"]):
    """What was sent, checked for where and decoded."""

    async def __call__(self, output: Output) -> None:
        assert (output.topic, output.partition, output.key) == ("rtexp.ramped-groups", 0, b"snapshot")
        assert output.value is not None
        self.append(wire.decode(output.value))


def define(engine: Engine, *definitions: Experiment) -> None:
    with writing_alone(engine) as connection:
        load(connection, definitions, pipeline=PipelineSettings(), now_ms=NOW)


def names(taken: wire.Snapshot | None) -> list[str]:
    assert taken is not None
    return [experiment.name for experiment in taken.experiments]


def test_a_snapshot_holds_every_group_ramp_and_period() -> None:
    #  0 h            1 h          2 h                   72 h
    #  [--------------------- first period -------------------)[--- second period ---
    #  control 5      treatment 9  treatment 3 (no ramp)       control 10
    #  treatment 5
    taken = snapshot([FEED], as_of_ms=NOW, period_ms=72 * HOUR)
    assert (taken.version, taken.as_of_ms) == (1, NOW)
    assert taken.experiments == [
        wire.Experiment(
            "feed",
            "control",
            ["control", "treatment", "unused"],
            [Period(START, START + 72 * HOUR), Period(START + 72 * HOUR, START + 144 * HOUR)],
            [
                Ramp("control", START),
                Ramp("treatment", START),
                Ramp("treatment", START + HOUR),
                Ramp("control", START + 72 * HOUR),
            ],
            list(FEED.allocations),
        )
    ]


def test_the_lines_of_the_file_are_ramps_with_the_period_in_which_they_lie() -> None:
    first, second = (START, START + 72 * HOUR), (START + 72 * HOUR, START + 144 * HOUR)
    assert list(ramped_groups(snapshot([FEED], as_of_ms=NOW, period_ms=72 * HOUR))) == [
        ("feed", "control", START, *first),
        ("feed", "treatment", START, *first),
        ("feed", "treatment", START + HOUR, *first),
        ("feed", "control", START + 72 * HOUR, *second),
    ]


async def test_every_poll_sends_what_sql_holds_now(engine: Engine, settings: Settings) -> None:
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    await sync.run_once(NOW)
    define(engine, FEED)
    await sync.run_once(NOW + 5000)
    await sync.run_once(NOW + 10_000)
    assert [taken.as_of_ms for taken in sent] == [NOW, NOW + 5000, NOW + 10_000]
    assert [names(taken) for taken in sent] == [[], ["feed"], ["feed"]]


async def test_every_snapshot_tells_the_plans_of_the_periods_that_have_begun(
    engine: Engine, settings: Settings
) -> None:
    define(engine, FEED)
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    for hour in (0, 1, 72):
        await sync.run_once(START + hour * HOUR)
    assert [[(p.experiment, p.period_start_ms - START) for p in taken.plans] for taken in sent] == [
        [("feed", 0)],
        [("feed", 0)],
        [("feed", 0), ("feed", 72 * HOUR)],
    ]


async def test_no_snapshot_shows_a_period_whose_plan_could_not_be_stored(
    store: Database, settings: Settings
) -> None:
    with open_database(store) as engine:
        define(engine, FEED)
        sent = Sent()
        sync = MetadataSync(engine, settings, sent)
        with store.refusing_writes():
            assert await sync.run_once(START) is None
        assert await sync.run_once(START) is not None
    assert [len(taken.plans) for taken in sent] == [1]


async def test_the_snapshot_is_returned_once_it_is_delivered(engine: Engine, settings: Settings) -> None:
    define(engine, FEED)
    sent = Sent()
    assert await MetadataSync(engine, settings, sent).run_once(NOW) == sent[0]


async def test_what_is_committed_after_the_call_began_may_be_in_but_never_dates_it(
    engine: Engine, settings: Settings
) -> None:
    # An activation that arrived between the call and the read must be judged by a later snapshot: so the time
    # of a snapshot is the time of the call, whatever the read still saw.
    sync = MetadataSync(engine, settings, Sent())

    def define_late(*_: object) -> None:
        with opened(settings.store) as other:
            define(other, FEED)

    event.listen(engine, "checkout", define_late)
    taken = await sync.run_once(NOW)
    assert names(taken) == ["feed"]
    assert taken is not None
    assert taken.as_of_ms == NOW


async def test_sql_that_does_not_answer_is_logged_once_and_asked_again(
    engine: Engine, settings: Settings
) -> None:
    define(engine, FEED)
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    with capture_logs() as logs:
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE allocations RENAME TO gone")
        assert await sync.run_once(NOW) is None
        assert await sync.run_once(NOW + 5000) is None
        assert (sent, sync.store.is_up) == ([], False)
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO allocations")
        assert names(await sync.run_once(NOW + 10_000)) == ["feed"]
        assert names(await sync.run_once(NOW + 15_000)) == ["feed"]
    assert sync.store.is_up
    assert [entry["event"] for entry in told(logs)] == ["store_unavailable", "store_available"]


async def test_what_sending_raises_is_not_hidden(engine: Engine, settings: Settings) -> None:
    async def send(_: Output) -> None:
        raise FatalError("the broker said no")

    with pytest.raises(FatalError, match="the broker said no"):
        await MetadataSync(engine, settings, send).run_once(NOW)


async def test_more_experiments_than_a_record_holds_are_said_and_nothing_is_sent(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(engine, FEED)
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    monkeypatch.setattr(wire, "MOST_BYTES", 1000)
    with capture_logs() as logs:
        assert await sync.run_once(START) is None
    assert sent == []
    assert re.search(
        r"of 1 experiments with 1 plans takes 1,\d{3} bytes, and 1,000 are the most", logs[-1]["error"]
    )
    monkeypatch.undo()
    assert names(await sync.run_once(START + 1)) == ["feed"]


async def test_the_file_is_written_at_once_and_then_every_five_minutes(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    sync = MetadataSync(engine, settings, Sent())
    path = tmp_path / "data" / "ramped_groups.csv"
    header = "experiment,group,ramped_at_ms,period_start_ms,period_end_ms\n"
    await sync.run_once(NOW)
    assert path.read_text() == header
    define(engine, replace(FEED, name='a "feed", é', allocations=(Allocation("control", 5, START),)))
    await sync.run_once(NOW + 299_999)
    assert path.read_text() == header
    await sync.run_once(NOW + 300_000)
    end = START + 72 * HOUR
    assert path.read_text(encoding="utf-8") == f'{header}"a ""feed"", é",control,{START},{START},{end}\n'
    assert list(path.parent.iterdir()) == [path]


async def test_a_file_that_cannot_be_written_stops_nothing_and_is_tried_at_the_next_poll(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    (tmp_path / "data").write_text("in the way")
    with capture_logs() as logs:
        await sync.run_once(NOW)
    assert [entry["event"] for entry in told(logs)] == ["csv_not_written"]
    (tmp_path / "data").unlink()
    await sync.run_once(NOW + 5000)
    assert (tmp_path / "data" / "ramped_groups.csv").exists()
    assert len(sent) == 2


async def test_the_file_may_go_to_any_file_system_that_fsspec_knows(
    engine: Engine, settings: Settings
) -> None:
    url = "memory://bucket/groups.csv"
    elsewhere = settings.model_copy(update={"metadata": MetadataSettings(csv_url=url)})
    define(engine, replace(FEED, name="é", allocations=(Allocation("control", 5, START),)))
    await MetadataSync(engine, elsewhere, Sent()).run_once(NOW)
    with fsspec.open(url, "rb") as file:
        assert file.read().decode().splitlines() == [
            "experiment,group,ramped_at_ms,period_start_ms,period_end_ms",
            f"é,control,{START},{START},{START + 72 * HOUR}",
        ]


async def test_a_file_system_that_fails_in_a_way_of_its_own_stops_nothing(
    engine: Engine, settings: Settings
) -> None:
    url = "http://me:s3cret@127.0.0.1:1/groups.csv"  # fsspec reads from there, and writes not
    elsewhere = settings.model_copy(update={"metadata": MetadataSettings(csv_url=url)})
    sent = Sent()
    with capture_logs() as logs:
        await MetadataSync(engine, elsewhere, sent).run_once(NOW)
    assert len(sent) == 1
    assert [(entry["event"], entry["place"]) for entry in told(logs)] == [
        ("csv_not_written", "http://me:***@127.0.0.1:1/groups.csv")
    ]
    assert "s3cret" not in repr(logs)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("out/groups.csv", Path("out/groups.csv"), id="a path"),
        pytest.param("file:///var/groups.csv", Path("/var/groups.csv"), id="a file URL"),
        pytest.param("", Path("data/ramped_groups.csv"), id="the data directory"),
        pytest.param("memory://b/groups.csv", "memory://b/groups.csv", id="elsewhere"),
        pytest.param("out/", Path("out/ramped_groups.csv"), id="a path with a slash at its end"),
        pytest.param("file:///tmp", Path("/tmp/ramped_groups.csv"), id="a directory that is there"),
        pytest.param("memory://b/", "memory://b/ramped_groups.csv", id="a directory elsewhere"),
    ],
)
def test_where_the_file_goes(url: str, expected: Path | str) -> None:
    assert csv_place(Settings(metadata=MetadataSettings(csv_url=url))) == expected


async def test_the_file_goes_into_a_directory_elsewhere_that_is_there(
    engine: Engine, settings: Settings
) -> None:
    files = fsspec.filesystem("memory")
    files.makedirs("/there")
    elsewhere = settings.model_copy(update={"metadata": MetadataSettings(csv_url="memory://there")})
    await MetadataSync(engine, elsewhere, Sent()).run_once(NOW)
    assert files.ls("/there", detail=False) == ["/there/ramped_groups.csv"]


async def test_a_file_that_cannot_be_written_is_told_once_a_minute(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    sync = MetadataSync(engine, settings, Sent())
    (tmp_path / "data").write_text("in the way")
    with capture_logs() as logs:
        for seconds in (0, 5, 59, 60, 65):
            await sync.run_once(NOW + 1000 * seconds)
    assert [entry["event"] for entry in told(logs)] == ["csv_not_written"] * 2


async def test_a_file_system_that_never_answers_holds_no_snapshot_up(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Semaphore(0), threading.Event()

    def hang(*_: object) -> None:
        begun.release()
        assert ended.wait(60)

    monkeypatch.setattr(snapshot_file, "write_csv", hang)
    monkeypatch.setattr(snapshot_file, "PATIENCE_SECONDS", 0.01)
    sent = Sent()
    sync = MetadataSync(engine, settings, sent)
    try:
        await sync.run_once(NOW)
        await sync.run_once(NOW + 5000)
        assert len(sent) == 2
        assert begun.acquire(timeout=30)
        assert not begun.acquire(blocking=False), "a second thread hangs beside the first"
    finally:
        ended.set()
