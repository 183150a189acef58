"""What a worker has done since the last minute, one line an agent: enough to see from logs alone that it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rtexp.engine.sensors import TaskStatus

SECONDS = 60.0
_SUMMED = ("rows", "flushes", "flush_seconds", "checkpoints")


class _Key(NamedTuple):
    agent: str
    partition: int


class Minutes:
    """Compares what tasks have counted with what they had at the call before."""

    def __init__(self, tasks: Callable[[], Iterable[TaskStatus]]) -> None:
        self._tasks = tasks
        self._before: Mapping[_Key, Mapping[str, float]] = {}

    def next(self) -> list[dict[str, Any]]:
        """Return the fields of one line for each agent: what was done, and what is left to do."""
        tasks = list(self._tasks())
        now = {_Key(t.agent, t.partition): {name: t.details.get(name, 0) for name in _SUMMED} for t in tasks}
        before, self._before = self._before, now
        lines = []
        for agent in dict.fromkeys(task.agent for task in tasks):
            own = [task for task in tasks if task.agent == agent]
            done = dict.fromkeys(_SUMMED, 0.0)
            for task in own:
                key = _Key(agent, task.partition)
                for name, value in now[key].items():
                    known = before.get(key, {}).get(name, 0)
                    # Less than before: the partition was lost, and opened again.
                    done[name] += value - known if value >= known else value
            inputs = [source for task in own for source in task.inputs.values()]
            lines.append(
                {
                    "agent": agent,
                    "partitions": len(own) if own[0].partition >= 0 else len(inputs),
                    "ready": sum(task.ready for task in own),
                    "rows": int(done["rows"]),
                    "flushes": int(done["flushes"]),
                    "flush_ms": round(1000 * done["flush_seconds"] / max(done["flushes"], 1)),
                    "checkpoints": int(done["checkpoints"]),
                    "lag": sum(max(source.end - source.position, 0) for source in inputs),
                    "held": sum(source.held_rows for source in inputs),
                }
            )
        return lines
