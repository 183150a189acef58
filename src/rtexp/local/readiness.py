"""Waiting until every ingest worker knows the experiments as they are in SQL now."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from rtexp.errors import StoreUnavailable
from rtexp.local.status_board import StatusFollower

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.local.status_board import StatusBoard
    from rtexp.settings import KafkaSettings

SNAPSHOT_SECONDS = 120.0


def unready_workers(board: StatusBoard, loaded_ms: int, now_ms: int) -> list[str] | None:
    """Return the live ingest workers without a snapshot later than ``loaded_ms``; None if none lives."""
    live = board.live_workers("ingest", now_ms)
    if not live:
        return None
    return [
        worker
        for worker, status in live.items()
        if (status.details.get("snapshot_as_of_ms") or 0) <= loaded_ms
    ]


async def wait_for_snapshot(
    kafka: KafkaSettings,
    loaded_ms: int,
    *,
    timeout_seconds: float = SNAPSHOT_SECONDS,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Return when every live ingest worker has a snapshot of the experiments taken after ``loaded_ms``.

    StoreUnavailable after ``timeout_seconds``, saying who is missing.
    """
    give_up = clock() + timeout_seconds
    async with StatusFollower(kafka) as follower:
        while True:
            board = await follower.read()
            unready = unready_workers(board, loaded_ms, int(time() * 1000))
            if unready == []:
                return
            if clock() >= give_up:
                who = "no ingest worker runs" if unready is None else f"{', '.join(unready)} had none"
                raise StoreUnavailable(
                    f"no snapshot of the experiments reached ingest in {timeout_seconds:g} s: {who}; "
                    "are the ingest and results workers running?"
                )
