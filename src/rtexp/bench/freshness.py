"""How soon an action shows in SQL, while a steady stream is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.live import LiveStream, live_settings, percentile
from rtexp.bench.pipeline import running

if TYPE_CHECKING:
    from rtexp.bench.pipeline import Stage


class FreshnessFigures(NamedTuple):
    """From handing an action to the producer to its row in SQL; milliseconds by the clock on the wall."""

    actions_a_second: float
    """As they were sent."""
    seconds: float
    samples: int
    p50_ms: float
    p99_ms: float
    join_delay_ms: float
    out_of_order_ms: float
    """Both are waited for by design, before an action is counted."""


async def measure_freshness(stage: Stage, *, actions_a_second: int, seconds: float) -> FreshnessFigures:
    """Run a stream with the live clock and default settings; a poll of SQL every 50 ms sees the probes."""
    settings = live_settings(stage.directory)
    async with running(settings, stage.environ) as bench:
        stage.say(f"freshness: {actions_a_second:,} actions a second for {seconds:g} s")
        stream = LiveStream(bench, actions_a_second)
        await stream.begin()
        await stream.run(seconds)
        bench.require_undisturbed()
    pipeline = settings.pipeline
    return FreshnessFigures(
        stream.sent / stream.sending_seconds,
        stream.sending_seconds,
        len(stream.latencies_ms),
        percentile(stream.latencies_ms, 0.5),
        percentile(stream.latencies_ms, 0.99),
        pipeline.join_delay_seconds * 1000,
        pipeline.out_of_order_seconds * 1000,
    )
