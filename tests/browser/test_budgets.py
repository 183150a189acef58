"""What a person waits for: 200 experiments with 50 events each, from SQL to the first thing on the screen.

The machine is shared with other tests. So of each time the best of a few counts, of the server its CPU time, and what
the browser waits for is allowed to take as much longer as a loop takes longer than the CPU time that it gets.
"""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING
from urllib import request

import pytest
from tests.browser.crowds import fill_crowd
from tests.browser.servers import PATIENCE_SECONDS, WebProcess, web_process
from tests.browser.tabs import open_tab
from tests.unit.store.databases import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

TRIES = 4
FIRST_PAINT = """
new Promise(done => new PerformanceObserver((list, observer) => {
  for (const entry of list.getEntriesByName('first-contentful-paint')) { observer.disconnect(); done(entry.startTime); }
}).observe({type: 'paint', buffered: true}))
"""
SHIFTED = """
new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const entry of list.getEntries()) sum += entry.value; })
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 500);
})
"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """A site of 200 experiments x 50 events, 8 hours and looks into their periods."""
    with web_process(tmp_path_factory.mktemp("crowd")) as process:
        with open_database(process.database) as engine:
            fill_crowd(engine, experiments=200, events=50, hours=8.1, now_ms=int(time.time() * 1000))
        process.start()
        yield process


def fetched(site: WebProcess, path: str) -> bytes:
    asked = request.Request(site.address + path, headers={"Accept-Encoding": "gzip"})
    with request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
        body: bytes = answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
        return body


def slowness() -> float:
    """How many times as long as with a core of one's own anything takes now."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < 0.05:
        pass
    return (time.perf_counter() - wall) / (time.process_time() - cpu)


@pytest.mark.parametrize(("path", "most_ms"), [("", 500), ("experiments/exp-007", 1000)])
def test_the_first_paint_comes_in_time(
    browser: Browser, crowded: WebProcess, path: str, most_ms: int
) -> None:
    times = []
    for _ in range(TRIES):
        slow = slowness()
        with open_tab(browser, crowded.address) as tab:
            painted = tab.open(path).evaluate(FIRST_PAINT)
        times.append((painted / max((slow + slowness()) / 2, 1), painted, slow))
    assert min(times)[0] <= most_ms, times


@pytest.mark.parametrize("path", ["", "experiments/exp-007"])
def test_the_server_makes_a_page_in_150_ms(crowded: WebProcess, path: str) -> None:
    times = []
    for _ in range(TRIES):
        before = crowded.cpu_seconds()
        fetched(crowded, path)
        times.append(crowded.cpu_seconds() - before)
    assert min(times) <= 0.15, times


def test_the_first_page_with_all_its_files_is_small(browser: Browser, crowded: WebProcess) -> None:
    for path in ("", "experiments/exp-007"):
        with open_tab(browser, crowded.address) as tab:
            tab.open(path).wait_for_timeout(500)  # for what scripts fetch
            sizes = {each.url: each.sizes()["responseBodySize"] for each in tab.finished}
        assert len(sizes) >= 3
        assert sum(sizes.values()) <= 150_000, sizes


def test_the_list_of_200_experiments_keeps_its_size(crowded: WebProcess) -> None:
    packed = fetched(crowded, "")
    assert len(packed) <= 45_000
    assert len(gzip.decompress(packed)) <= 400_000


def test_nothing_moves_while_a_page_is_read(browser: Browser, crowded: WebProcess) -> None:
    for path in ("", "experiments/exp-007"):
        with open_tab(browser, crowded.address) as tab:
            assert tab.open(path).evaluate(SHIFTED) <= 0.02
