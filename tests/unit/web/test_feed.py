"""The feed: each page is made once for all who watch it, and each of them hears of all that changed."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rtexp.errors import StateError, StoreUnavailable
from rtexp.web import events
from rtexp.web import feed as feeds
from rtexp.web.feed import Feed
from rtexp.web.problems import Problem
from rtexp.web.watched import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Message

SOON = 5.0


class Scripted:
    """Pages, and a database that says what it is told to."""

    def __init__(self) -> None:
        self.pages = {"/": '<title>t</title><p data-live="a">1</p><p data-live="b">1</p>'}
        self.made: list[str] = []
        self.new = False
        self.away = False
        self.asked = 0

    async def get(self, page: str) -> str:
        self.made.append(page)
        if self.away:
            raise StoreUnavailable("away")
        if page not in self.pages:
            raise Problem(404, "not-found", "no such page")
        return self.pages[page]

    def are_new(self) -> bool:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        new, self.new = self.new, False
        return new

    def close(self) -> None:
        """Nothing is open."""

    def set(self, page: str, **regions: str) -> None:
        self.pages[page] = "".join(f'<p data-live="{name}">{text}</p>' for name, text in regions.items())
        self.new = True


@asynccontextmanager
async def running(script: Scripted, *, most: int = 10, now_s: float = 1_000.0) -> AsyncIterator[Feed]:
    feed = Feed(script.get, script, most=most, clock=lambda: now_s)
    yield feed
    await feed.stop()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr(feeds, "POLL_SECONDS", 0.01)
    return Scripted()


def data(message: bytes) -> dict[str, Any]:
    (line,) = [line for line in message.decode().splitlines() if line.startswith("data: ")]
    parsed: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return parsed


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - some of it comes about on other threads
            await asyncio.sleep(0.005)


async def rounds(script: Scripted, count: int = 2) -> None:
    """Return after so many further rounds of the feed."""
    wanted = script.asked + count
    await until(lambda: script.asked >= wanted)


async def test_a_page_is_made_once_for_all_who_watch_it(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/") as one, feed.watching("/") as other:
        assert one is other
        assert script.made == ["/"]
        script.set("/", a="2", b="1")
        assert await one.moved(1, SOON)
        assert script.made == ["/", "/"]


async def test_nothing_is_made_while_nothing_was_committed(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/"):
        await rounds(script, 5)
        assert script.made == ["/"]


async def test_a_page_that_is_the_same_after_a_commit_is_not_news(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/") as watched:
        script.new = True
        await rounds(script)
        assert script.made == ["/", "/"]
        assert watched.round == 1


async def test_a_page_is_made_again_after_a_while_without_any_commit(
    script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "REFRESH_SECONDS", 0.0)
    async with running(script) as feed, feed.watching("/"):
        await rounds(script, 4)
        assert len(script.made) >= 4


async def test_who_was_told_of_an_older_round_hears_of_all_since_and_no_more(script: Scripted) -> None:
    script.set("/", a="1", b="1", c="1")
    async with running(script) as feed, feed.watching("/") as watched:
        script.set("/", a="2", b="1", c="1")
        assert await watched.moved(1, SOON)
        script.set("/", a="2", b="3", c="1")
        assert await watched.moved(2, SOON)
        assert list(data(watched.message(1))["regions"]) == ["a", "b"]
        assert list(data(watched.message(2))["regions"]) == ["b"]
        assert list(data(watched.message(None))["regions"]) == ["a", "b", "c"]


async def test_all_who_were_told_the_same_get_the_same_bytes(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/") as watched:
        assert watched.message(None) is watched.message(None)


async def test_a_region_that_comes_or_goes_changes_the_order(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/") as watched:
        script.set("/", b="1", c="1")
        assert await watched.moved(1, SOON)
        said = data(watched.message(1))
        assert said["order"] == ["b", "c"]
        assert list(said["regions"]) == ["c"]


async def test_a_database_that_is_away_makes_pages_stale_until_it_is_back(script: Scripted) -> None:
    async with running(script, now_s=1_000.0) as feed, feed.watching("/") as watched:
        await rounds(script)
        script.away = True
        assert await watched.moved(1, SOON)
        said = data(watched.message(1))
        assert said["stale_since_ms"] == 1_000_000
        assert said["regions"] == {}
        assert data(watched.message(None))["stale_since_ms"] == 1_000_000
        script.away = False
        assert await watched.moved(2, SOON)
        assert "stale_since_ms" not in data(watched.message(2))


async def test_a_page_is_old_since_it_was_made_however_long_nobody_watched_before(script: Scripted) -> None:
    now_s = 1_000.0
    feed = Feed(script.get, script, most=10, clock=lambda: now_s)
    now_s = 9_000.0
    async with feed.watching("/") as watched:
        script.away = True
        assert await watched.moved(1, SOON)
        assert watched.stale_ms == 9_000_000
    await feed.stop()


async def test_a_page_that_is_asked_for_while_the_database_is_away_is_refused(script: Scripted) -> None:
    script.away = True
    async with running(script) as feed:
        with pytest.raises(StoreUnavailable):
            async with feed.watching("/"):
                raise AssertionError("was let in")
        script.away = False
        async with feed.watching("/") as watched:
            assert watched.round == 1


async def test_a_page_that_is_gone_ends_its_streams_alone(script: Scripted) -> None:
    script.set("/other", a="1")
    async with running(script) as feed, feed.watching("/") as kept, feed.watching("/other") as gone:
        del script.pages["/other"]
        script.new = True
        assert await gone.moved(1, SOON)
        assert gone.ended
        assert not kept.ended


async def test_a_page_that_cannot_be_made_any_more_does_not_hold_up_others(script: Scripted) -> None:
    script.set("/broken", a="1")
    fault = StateError("can't be read")

    async def get(page: str) -> str:
        if page == "/broken" and script.asked:
            raise fault
        return await script.get(page)

    feed = Feed(get, script, most=10)
    async with feed.watching("/broken") as broken, feed.watching("/") as watched:
        script.set("/", a="2")
        assert await watched.moved(1, SOON)
        assert broken.ended
    await feed.stop()


async def test_streams_beyond_the_limit_are_refused_until_one_ends(script: Scripted) -> None:
    async with running(script, most=1) as feed:
        async with feed.watching("/"):
            with pytest.raises(Problem) as refused:
                async with feed.watching("/"):
                    raise AssertionError("was let in")
            assert (refused.value.status, refused.value.code) == (503, "too-many-streams")
        async with feed.watching("/"):
            pass


async def test_it_asks_nothing_while_nobody_watches(script: Scripted) -> None:
    async with running(script) as feed:
        async with feed.watching("/"):
            await rounds(script)
        await asyncio.sleep(0.05)
        asked = script.asked
        await asyncio.sleep(0.05)
        assert script.asked == asked
        async with feed.watching("/"):
            await rounds(script)


def test_at_most_a_fifth_of_a_core_is_taken_and_a_quick_round_comes_every_second() -> None:
    for spent in (0.0, 0.05, 0.2, 0.4, 3.0):
        assert spent / (spent + feeds.rest_seconds(spent)) <= 0.2
    assert feeds.rest_seconds(0.1) == 0.9


async def test_closing_ends_all_streams_and_lets_nobody_in(script: Scripted) -> None:
    async with running(script) as feed, feed.watching("/") as watched:
        feed.close()
        assert await watched.moved(1, SOON)
        with pytest.raises(Problem):
            async with feed.watching("/"):
                raise AssertionError("was let in")


async def test_a_browser_that_does_not_read_gets_the_newest_once_and_no_queue(
    script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LEAST_SECONDS", 0.0)
    reading = asyncio.Event()
    got: list[bytes] = []

    async def send(message: Message) -> None:
        await reading.wait()
        got.append(message.get("body", b""))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    reading.set()
    async with running(script) as feed, feed.watching("/") as watched:
        stream = asyncio.create_task(events.EventStream(feed, "/", None)({}, receive, send))
        await until(lambda: len(got) == 2)
        reading.clear()
        for number in range(2, 7):
            script.set("/", a=str(number), b="1")
            assert await watched.moved(watched.round, SOON)
        reading.set()
        await until(lambda: b'"a\\">6<' in got[-1])
        assert [list(data(message)["regions"]) for message in got[1:]] in (
            [["a", "b"], ["a"]],
            [["a", "b"], ["a"], ["a"]],  # one was on its way already
        )
        feed.close()
        await stream


def test_the_messages_of_many_rounds_are_not_kept() -> None:
    watched = Watched("/")
    for number in range(100):
        watched.take(f'<p data-live="a">{number}</p>', number)
    for told in range(100):
        watched.message(told)
    assert len(watched._messages) <= 8


def test_the_id_is_that_of_what_the_page_says() -> None:
    one, other = Watched("/"), Watched("/")
    for watched in (one, other):
        watched.take('<p data-live="a">1</p>', 5)
    other.take('<p data-live="a">2</p>', 6)
    assert one.id != other.id
    other.take('<p data-live="a">1</p>', 7)
    assert one.id == other.id


async def test_a_database_that_is_damaged_or_refuses_makes_pages_stale_as_well(script: Scripted) -> None:
    class Damaged(Scripted):
        broken = False

        def are_new(self) -> bool:
            if self.broken:
                raise StateError("can't be read as a database")
            return super().are_new()

    damaged = Damaged()
    async with running(damaged) as feed, feed.watching("/") as watched:
        await rounds(damaged)
        damaged.broken = True
        assert await watched.moved(1, SOON)
        assert "stale_since_ms" in data(watched.message(1))
        damaged.broken = False
        assert await watched.moved(2, SOON), "it goes on once that is over"
        assert "stale_since_ms" not in data(watched.message(2))
