"""A company's experiments on one day: one of each state that a page can show, by real names and real rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.simulated import Behaviour, Sample, simulate

from rtexp.records import partials
from rtexp.settings import PipelineSettings
from rtexp.statistics.plans import Guardrail
from rtexp.store.cells import upsert_cells
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import upsert_look_inputs, upsert_looks
from rtexp.store.metadata import load
from rtexp.store.operations import CounterRow, PipelineRow, upsert_counters, upsert_pipeline
from rtexp.store.plans import freeze_plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from rtexp.statistics.plans import Direction

NEW_FEED = Sample(
    "new-feed",
    ("control", "treatment"),
    41.5,
    420,
    {
        "search": Behaviour(0.32, 0.08, 1.8),
        "click": Behaviour(0.506, 0.006, 2.6),
        "purchase": Behaviour(0.003, -0.1, 1.1),
        "hide": Behaviour(0.038, 0.03, 1.2),
        "save": Behaviour(0.107, 0.012, 1.4),
        "follow": Behaviour(0.055, 0.04, 1.2),
    },
    [("search", "propensity"), ("click", "propensity"), ("purchase", "propensity")],
    [Guardrail("search", "volume", "drop"), Guardrail("hide", "propensity", "rise")],
    {"search": "up", "click": "up", "hide": "down", "purchase": "up"},
    missed=(17,),
    ramps=((0, 5), (20, 10)),
    sketched=True,
)


def _of(
    name: str, groups: str, hours: float, users: float, acts: tuple[str, Behaviour], *, good: Direction = "up"
) -> Sample:
    """Return an experiment that is about one event, with a guardrail on another."""
    event, behaviour = acts
    return Sample(
        name,
        tuple(groups.split(", ")),
        hours,
        users / hours,
        {event: behaviour, "hide": Behaviour(0.04, 0, 1.2)},
        [(event, "propensity")],
        [Guardrail("hide", "propensity", "rise")],
        {event: good, "hide": "down"},
    )


SAMPLES: Sequence[Sample] = (
    NEW_FEED,
    _of("pin-closeup-v3", "control, compact", 9.4, 31_844, ("search", Behaviour(0.31, -0.13))),
    Sample(
        "checkout-copy",
        ("control", "short", "long"),
        27.2,
        2_140,
        {"purchase": Behaviour(0.04, 0.05)},
        [("purchase", "propensity")],
        good={"purchase": "up"},
        split=(0.349, 0.326, 0.325),
    ),
    Sample(
        "quiet-hours",
        ("control", "on"),
        52.6,
        1_100,
        {"open": Behaviour(0.44, 0.003, 2.2), "hide": Behaviour(0.04, 0.14, 1.2)},
        [("open", "propensity")],
        [Guardrail("hide", "propensity", "rise")],
        {"open": "up", "hide": "down"},
    ),
    _of("ranker-2026-03", "control, a, b", 63.1, 120_000, ("click", Behaviour(0.4, 0.05))),
    _of("fewer-notifications", "control, half", 38.9, 22_074, ("mute", Behaviour(0.09, -0.17)), good="down"),
    _of("spelling-fix", "control, on", 66.8, 60_000, ("search", Behaviour(0.33, 0.004))),
    _of("board-cover", "control, large, small", 44, 30_000, ("save", Behaviour(0.1, -0.02))),
    _of("related-strip", "control, on", 31.3, 24_000, ("click", Behaviour(0.3, 0.012))),
    _of("language-picker", "control, on", 22.7, 9_120, ("follow", Behaviour(0.06, 0.01))),
    _of("video-autoplay", "control, muted, off", 12.1, 17_905, ("click", Behaviour(0.2, -0.03))),
    _of("price-alerts", "control, on", 3.6, 1_204, ("purchase", Behaviour(0.012, 0))),
    _of("empty-state-art", "control, a, b, c", 0.6, 86, ("follow", Behaviour(0.05, 0))),
    _of("onboarding-5", "control, on", 80, 38_820, ("follow", Behaviour(0.21, 0.09))),
    _of("share-sheet", "control, new", 90, 40_000, ("share", Behaviour(0.08, 0.004))),
    _of("dark-header", "control, on", 75, 50_000, ("click", Behaviour(0.45, -0.004))),
    _of("gift-cards", "control, on", 100, 2_310, ("purchase", Behaviour(0.011, 0))),
)


def fill(engine: Engine, samples: Sequence[Sample], *, now_ms: int) -> None:
    """Write all that the jobs would have written by now."""
    for sample in samples:
        found = simulate(sample, now_ms=now_ms)
        with writing_alone(engine) as connection:
            load(connection, [found.definition], pipeline=PipelineSettings(), now_ms=found.period_start_ms)
        with writing(engine) as connection:
            freeze_plans(connection, [(sample.name, found.period_start_ms, found.plan)])
            upsert_cells(connection, found.cells)
            upsert_look_inputs(connection, found.inputs)
            upsert_looks(connection, found.looks)


def fill_operations(engine: Engine, *, watermark_ms: int, now_ms: int) -> None:
    """Write how far the jobs are: all partitions as far as ``watermark_ms``, and some input was refused."""
    inputs = [
        ("aggregate", "rtexp.filtered-actions"),
        ("aggregate", "rtexp.filtered-activations"),
        ("results", "rtexp.partials"),
    ]
    with writing(engine) as connection:
        upsert_pipeline(
            connection,
            [
                PipelineRow(job, topic, partition, "w-1", 1000, 0, watermark_ms, 0, 0, 0, now_ms)
                for job, topic in inputs
                for partition in range(partials.PARTITIONS)
            ],
        )
        minute_ms = now_ms // 60_000 * 60_000 - 600_000
        upsert_counters(
            connection,
            [
                CounterRow("aggregate", 0, "actions/invalid-json", minute_ms, 12, 12),
                CounterRow("ingest", -1, "actions/read", minute_ms, 400_000, 400_000),
                CounterRow("aggregate", 0, "actions/capped", minute_ms, 41, 41),
            ],
        )
