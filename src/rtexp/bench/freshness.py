"""How soon an action shows in SQL, while a steady stream is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.live import LiveStream, percentile
from rtexp.bench.pipeline import bench_settings, running

if TYPE_CHECKING:
    from rtexp.bench.pipeline import Stage


class FreshnessFigures(NamedTuple):
    """From handing an action to the producer to its row in SQL; milliseconds by the clock on the wall."""

    actions_a_second: int
    seconds: float
    samples: int
    p50_ms: float
    p99_ms: float
    join_delay_ms: float
    out_of_order_ms: float
    """Both are waited for by design, before an action is counted."""


async def measure_freshness(stage: Stage, *, actions_a_second: int, seconds: float) -> FreshnessFigures:
    """Run a stream with the live clock and default settings."""
    settings = bench_settings(stage.directory, clock="live")
    settings = settings.model_copy(
        update={"actions": settings.actions.model_copy(update={"cap_per_hour": 0})}
    )
    async with running(settings, stage.environ) as bench:
        stage.say(f"freshness: {actions_a_second:,} actions a second for {seconds:g} s")
        stream = LiveStream(bench, actions_a_second)
        await stream.run(seconds)
    pipeline = settings.pipeline
    return FreshnessFigures(
        actions_a_second,
        seconds,
        len(stream.latencies_ms),
        percentile(stream.latencies_ms, 0.5),
        percentile(stream.latencies_ms, 0.99),
        pipeline.join_delay_seconds * 1000,
        pipeline.out_of_order_seconds * 1000,
    )
