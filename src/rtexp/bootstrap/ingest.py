"""The ingest job, put together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rtexp.agents.filter_actions import filter_actions
from rtexp.agents.filter_activations import filter_activations
from rtexp.agents.metadata_reader import follow_snapshots
from rtexp.bootstrap.common import engine_config, or_die, report_status
from rtexp.bootstrap.metrics import show_metrics
from rtexp.bootstrap.sender import Sender
from rtexp.bootstrap.worker_web import serve
from rtexp.engine.app import EngineApp
from rtexp.records.letters import PARTITIONS
from rtexp.settings import client_options

if TYPE_CHECKING:
    from rtexp.settings import Settings


def create(settings: Settings) -> EngineApp:
    """Return the app of `filter_actions` and `filter_activations`."""
    app = EngineApp(engine_config("ingest", settings))
    kafka, actions, activations = settings.kafka, filter_actions(settings), filter_activations(settings)
    dead_letters = {kafka.topic("dead-letters"): PARTITIONS}
    app.forward_agent(
        activations,
        name="filter_activations",
        inputs=(settings.activations.topic,),
        outputs={kafka.topic("filtered-activations"): kafka.partitions, **dead_letters},
    )
    app.forward_agent(
        actions,
        name="filter_actions",
        inputs=(settings.actions.topic,),
        outputs={kafka.topic("filtered-actions"): kafka.partitions, **dead_letters},
    )
    sender = Sender(partial(client_options, kafka))
    server = serve(app, "ingest", settings, checks={"broker": sender.is_well})
    show_metrics(server, app, "ingest", sender)
    report_status(app, "ingest", settings, lambda _: activations.details(), sender=sender, server=server)

    async def read_metadata() -> None:
        reading = follow_snapshots(
            client_options(kafka), kafka.topic("ramped-groups"), activations.set_snapshot
        )
        await or_die("reading metadata", reading)

    app.task(read_metadata)
    return app
