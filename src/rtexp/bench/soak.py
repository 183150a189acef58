"""Whether memory stays flat: a steady stream for minutes, and what every process holds, minute by minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.live import LiveStream, live_settings
from rtexp.bench.pipeline import running
from rtexp.core.buckets import HOUR_MS
from rtexp.tables.buckets import HOT_MS, TURN_MS, TURNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.bench.accounting import Usage
    from rtexp.bench.pipeline import Stage

WARM_UP_MINUTES = 2
LEAST_MINUTES = 6
"""After the warm-up, the first three minutes and the last three, of which two are the same."""
FLAT_SHARE = 0.05
SAMPLES = 12
"""Within a minute."""
PAST_HOURS = -(-(HOT_MS + TURNS * TURN_MS) // HOUR_MS)
"""How many whole hours are in memory besides the one that runs."""


class SoakFigures(NamedTuple):
    """Resident memory in MB, by process: the least of each minute."""

    actions_a_second: int
    rss_mb: Mapping[str, list[float]]

    def growth(self) -> dict[str, float]:
        """Return by how much each process has grown after the warm-up, as a share of what it had then.

        The least of the first three minutes is held against the least of the last three: what a process holds for
        the moment comes and goes, what it keeps stays.
        """
        settled = {name: values[WARM_UP_MINUTES:] for name, values in self.rss_mb.items()}
        return {name: min(v[-3:]) / min(v[:3]) - 1 for name, v in settled.items() if v}

    @property
    def is_flat(self) -> bool:
        """Whether none has grown by more than 5 %."""
        return all(share <= FLAT_SHARE for share in self.growth().values())


async def measure_soak(stage: Stage, *, actions_a_second: int, minutes: int) -> SoakFigures:
    """Run a stream with the live clock; ``minutes`` include the warm-up.

    Cells of the last hours are in memory, those of older ones aren't, so that memory is at its level only once these
    hours have been full. A soak doesn't wait for them: it begins with what they would hold, every cell with every
    user who may act in it, sent at full speed. From then on, as on any day, a new bucket's cells come each 15 minutes,
    and as many leave.

    Repeats are looked for within one minute rather than five: what is kept for that, some 20 bytes an action of three
    slots, is complete after three minutes then, and not after fifteen.

    FatalError if a process ends meanwhile: its successor's memory says nothing.
    """
    settings = live_settings(stage.directory, dedup_minutes=1)
    rss_mb: dict[str, list[float]] = {}
    async with running(settings, stage.environ) as bench:
        stream = LiveStream(bench, actions_a_second)
        stage.say(f"soak: filling the last {PAST_HOURS} hours")
        await stream.begin(past_hours=PAST_HOURS)
        streaming = asyncio.create_task(stream.run(minutes * 60 + 10))
        try:
            for minute in range(1, minutes + 1):
                least_mb = await least_rss_mb(bench.usage, 60.0)
                if streaming.done():
                    await streaming  # it has failed: say why
                bench.require_undisturbed()
                for name, mb in least_mb.items():
                    rss_mb.setdefault(name, []).append(round(mb, 1))
                now = ", ".join(f"{name} {values[-1]:.0f} MB" for name, values in rss_mb.items())
                stage.say(f"soak: minute {minute} of {minutes}: {now}")
            await streaming
        finally:
            streaming.cancel()
    return SoakFigures(actions_a_second, rss_mb)


async def least_rss_mb(usage: Callable[[], Mapping[str, Usage]], seconds: float) -> dict[str, float]:
    """Return the least that each process holds, in MB, within so many seconds, which pass meanwhile.

    Single samples of a results worker were seen to lie up to 15 MB apart within minutes: what a checkpoint encodes, for
    one, comes and goes.
    """
    least_mb: dict[str, float] = {}
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)
        for name, used in usage().items():
            least_mb[name] = min(used.rss_mb, least_mb.get(name, used.rss_mb))
    return least_mb
