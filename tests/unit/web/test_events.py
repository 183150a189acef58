"""Event streams over real sockets: a snapshot, then changes; nothing is missed, and nobody holds up others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.store.databases import open_database
from tests.unit.web.sites import TOKEN, experiment, look
from tests.unit.web.streams import LiveSite, live_site

from rtexp.settings import WebSettings
from rtexp.store.engine import writing
from rtexp.store.operations import PipelineRow, upsert_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LiveSite]:
    with live_site(tmp_path) as opened:
        opened.define(experiment())
        opened.freeze(search="up")
        opened.write(look(53, state="no_difference_yet", crossed=False, z=1.5))
        yield opened


def test_a_connection_begins_with_all_regions_of_its_page(site: LiveSite) -> None:
    stream = site.stream("/experiments/feed")
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert "content-encoding" not in stream.headers
    event = stream.next()
    assert event is not None
    assert event.kind == "snapshot"
    assert list(event.data["regions"]) == event.data["order"]
    assert "No difference in search propensity shown yet" in event.data["regions"]["headline"]
    assert event.data["title"] == "feed \N{MIDDLE DOT} rtexp"


def test_then_only_what_changed_comes(site: LiveSite) -> None:
    stream = site.stream("/experiments/feed")
    stream.next()
    site.write(look(54))
    change = stream.next_of("change").data
    assert "A gain in search propensity" in change["regions"]["headline"]
    assert change["title"].startswith("\N{BLACK UP-POINTING TRIANGLE} feed")
    assert "order" not in change
    assert "plan" not in change["regions"]


def test_who_comes_back_with_the_last_id_gets_no_region_twice(site: LiveSite) -> None:
    first = site.stream("/experiments/feed")
    snapshot = first.next_of("snapshot")
    again = site.stream("/experiments/feed", last=snapshot.id).next_of("snapshot")
    assert "regions" not in again.data
    assert again.id == snapshot.id


def test_who_comes_back_after_a_change_misses_nothing(site: LiveSite) -> None:
    first = site.stream("/experiments/feed")
    snapshot = first.next_of("snapshot")
    first.close()
    site.write(look(54))
    again = site.stream("/experiments/feed", last=snapshot.id).next_of("snapshot")
    assert "A gain in search propensity" in again.data["regions"]["headline"]


def rows_of(order: list[str]) -> list[str]:
    return [name for name in order if name.startswith("row:")]


def test_a_new_experiment_changes_the_order_of_the_overview(site: LiveSite) -> None:
    stream = site.stream("/")
    assert rows_of(stream.next_of("snapshot").data["order"]) == ["row:feed"]
    site.define(experiment("second"))
    assert rows_of(stream.next_of("change").data["order"]) == ["row:feed", "row:second"]


def test_the_page_of_the_pipeline_is_live_as_well(site: LiveSite) -> None:
    stream = site.stream("/state")
    said = stream.next_of("snapshot").data
    assert said["order"][:1] == ["state-sentence"]
    with open_database(site.database) as engine, writing(engine) as connection:
        upsert_pipeline(
            connection,
            [
                PipelineRow(
                    "aggregate",
                    "rtexp.filtered-actions",
                    0,
                    "w-1",
                    7,
                    0,
                    1_000,
                    0,
                    0,
                    0,
                    int(time.time() * 1000),
                )
            ],
        )
    assert "w-1" in str(stream.next_of("change").data["regions"])


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("/experiments/nobody", 404),
        ("/experiments/feed?period=5", 404),
        ("/experiments/feed?period=x", 422),
        ("/nothing", 404),
        ("/api/v1/events?page=/", 422),
        ("/static/style.css", 422),
        ("http://example.org/", 422),
        ("/" + "x" * 10_000, 422),
        ("/experiments/\N{LATIN SMALL LETTER E WITH ACUTE}", 422),
    ],
)
def test_what_is_no_page_has_no_stream(site: LiveSite, page: str, status: int) -> None:
    assert site.stream(page).status == status


def test_more_streams_than_are_allowed_are_asked_to_come_later(tmp_path: Path) -> None:
    with live_site(tmp_path, web=WebSettings(most_streams=2)) as site:
        first, second = site.stream(), site.stream()
        assert (first.status, second.status) == (200, 200)
        refused = site.stream()
        assert refused.status == 503
        assert refused.headers["retry-after"] == "5"


def test_a_stream_needs_the_token(tmp_path: Path) -> None:
    with live_site(tmp_path, token=TOKEN) as site:
        assert site.stream().status == 401
        assert site.stream(token=TOKEN).status == 200


def test_there_is_at_most_one_message_a_second(site: LiveSite) -> None:
    other = site.stream("/experiments/feed")
    other.next_of("snapshot")
    for number in range(54, 57):
        time.sleep(0.6)  # the feed's next round, a second after the one before, is then nearer than a second
        stream = site.stream("/experiments/feed")
        stream.next_of("snapshot")
        began = time.monotonic()
        site.write(look(number))
        stream.next_of("change")
        assert time.monotonic() - began > 0.9
        other.next_of("change")


def test_an_idle_stream_is_told_that_the_server_is_there(
    site: LiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.web.events.BEAT_SECONDS", 1.5)
    stream = site.stream("/")
    stream.next_of("snapshot")
    beat = stream.next()
    assert beat is not None
    assert beat.kind == "beat"
    assert abs(beat.data["at_ms"] / 1000 - time.time()) < 60


def test_no_stream_outlives_the_right_to_read_for_long(
    site: LiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.web.events.LONGEST_SECONDS", 0.5)
    monkeypatch.setattr("rtexp.web.events.BEAT_SECONDS", 1.1)
    stream = site.stream("/")
    snapshot = stream.next_of("snapshot")
    assert stream.next() is None
    again = site.stream("/", last=snapshot.id).next_of("snapshot")
    assert "regions" not in again.data


def test_a_browser_that_goes_leaves_its_place_to_another(tmp_path: Path) -> None:
    with live_site(tmp_path, web=WebSettings(most_streams=1)) as site:
        site.stream().close()
        until = time.monotonic() + 10
        while (status := site.stream().status) == 503 and time.monotonic() < until:
            time.sleep(0.05)
        assert status == 200


def test_a_thousand_idle_streams_all_hear_of_a_change(tmp_path: Path) -> None:
    with live_site(tmp_path, web=WebSettings(most_streams=1_000)) as site:
        site.define(experiment())
        streams = [site.stream("/") for _ in range(1_000)]
        assert {stream.status for stream in streams} == {200}
        assert site.stream().status == 503
        site.write(look(54))
        assert all("row:feed" in stream.next_of("change").data["regions"] for stream in streams)
