"""The aggregate job, put together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from rtexp.agents import aggregate
from rtexp.agents.raw_history import keep_checking
from rtexp.bootstrap.common import engine_config, or_die, report_status
from rtexp.bootstrap.metrics import show_metrics
from rtexp.bootstrap.sender import Sender
from rtexp.bootstrap.worker_web import serve, users_of
from rtexp.engine.app import EngineApp
from rtexp.settings import client_options

if TYPE_CHECKING:
    from rtexp.engine.api import TopicPartition
    from rtexp.settings import Settings


def create(settings: Settings) -> EngineApp:
    """Return the app of `aggregate`."""
    app = EngineApp(engine_config("aggregate", settings))
    topic = settings.kafka.topic

    @app.batch_agent(
        name="users",
        inputs=(topic("filtered-activations"), topic("filtered-actions")),
        table=topic("aggregate-users-changelog"),
        outputs=(topic("partials"),),
        semantics=aggregate.semantics(settings),
    )
    def state(partition: int) -> aggregate.AggregateState:
        return aggregate.aggregate_state(settings, partition)

    async def compare_with_raw_topics() -> None:
        checking = keep_checking(lambda: _counted(app), app.ends)
        await or_die("comparing with the raw topics", checking)

    app.task(compare_with_raw_topics)
    sender = Sender(partial(client_options, settings.kafka))
    server = serve(app, "aggregate", settings, checks={"broker": sender.is_well}, measure=users_of)
    show_metrics(server, app, "aggregate", sender)
    report_status(app, "aggregate", settings, lambda _: {}, sender=sender, server=server)
    return app


async def _counted(app: EngineApp) -> dict[TopicPartition, int]:
    """Return how far any live task of this worker has counted each raw partition."""
    counted: dict[TopicPartition, int] = {}
    for task in app.tasks("users"):
        async with task.between_flushes() as committed:
            if committed is not None:
                state = cast("aggregate.AggregateState", committed[0])
                for tp, offset in state.raw_offsets().items():
                    counted[tp] = max(offset, counted.get(tp, 0))
    return counted
