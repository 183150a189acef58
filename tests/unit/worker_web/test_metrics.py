"""`/metrics` of a worker: behind the same guard as its pages, as of the moment of asking."""

from __future__ import annotations

from tests.unit.metrics.scrapes import Scrape
from tests.unit.metrics.test_tasks import LIVE, OPENING
from tests.unit.worker_web.servers import BEARER, TOKEN, make_server, serving

from rtexp.metrics.exposition import Exposition, Sample
from rtexp.metrics.tasks import TaskSamples
from rtexp.worker_web.metrics import metrics


async def test_a_scrape_gets_what_tasks_say_then() -> None:
    server, tasks = make_server(), [OPENING]
    server.add("/metrics", metrics(Exposition([TaskSamples(lambda: tasks)])))
    async with serving(server) as ask:
        first = await ask("/metrics")
        tasks[0] = LIVE
        second = await ask("/metrics")
    assert first.headers["Content-Type"].startswith("text/plain; version=")
    assert Scrape(first.text.encode()).all("rtexp_task_ready") == {("users", "4"): 0}
    assert Scrape(second.text.encode()).all("rtexp_task_ready") == {("users", "3"): 1}


async def test_whoever_has_no_token_learns_nothing() -> None:
    server = make_server(token=TOKEN)
    server.add("/metrics", metrics(Exposition([TaskSamples(lambda: [LIVE])])))
    async with serving(server) as ask:
        refused = await ask("/metrics")
        let_in = await ask("/metrics", headers=BEARER)
    assert refused.status == 401
    assert "rtexp_" not in refused.text
    assert let_in.status == 200


async def test_a_fault_in_a_source_is_an_answer_and_ends_nothing() -> None:
    server = make_server()
    server.add("/metrics", metrics(Exposition([lambda: [Sample("rtexp_task_ready", (), 1)]])))
    async with serving(server) as ask:
        assert (await ask("/metrics")).status == 500
        assert (await ask("/metrics")).status == 500
