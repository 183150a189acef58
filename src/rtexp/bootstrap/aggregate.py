"""The aggregate job, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.agents import aggregate
from rtexp.bootstrap.common import engine_config, report_status
from rtexp.engine.app import EngineApp

if TYPE_CHECKING:
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

    report_status(app, "aggregate", settings, lambda _: {})
    return app
