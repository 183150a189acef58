"""The minute's line: what was done since the one before, by agent."""

from __future__ import annotations

from rtexp.engine.sensors import InputStatus, TaskStatus
from rtexp.metrics.minute import Minutes


def task(partition: int, rows: int, flushes: int = 0, *, agent: str = "users", lag: int = 0) -> TaskStatus:
    details = {"rows": rows, "flushes": flushes, "flush_seconds": flushes * 0.02, "checkpoints": 1}
    inputs = {f"t/{partition}": InputStatus(10, 10 + lag, 3, 0)}
    return TaskStatus(agent, partition, ready=True, phase="live", inputs=inputs, details=details)


def test_each_line_has_what_was_done_since_the_one_before() -> None:
    tasks = [task(0, 100, 4), task(1, 50, 1)]
    minutes = Minutes(lambda: tasks)
    (first,) = minutes.next()
    assert (first["rows"], first["flushes"], first["flush_ms"], first["checkpoints"]) == (150, 5, 20, 2)
    tasks[:] = [task(0, 130, 6), task(1, 50, 1, lag=7)]
    (second,) = minutes.next()
    assert (second["rows"], second["flushes"], second["checkpoints"]) == (30, 2, 0)
    assert (second["lag"], second["held"], second["partitions"], second["ready"]) == (7, 6, 2, 2)


def test_a_partition_that_was_opened_again_counts_from_its_opening() -> None:
    tasks = [task(0, 100)]
    minutes = Minutes(lambda: tasks)
    minutes.next()
    tasks[:] = [task(0, 5)]
    assert minutes.next()[0]["rows"] == 5


def test_agents_have_lines_of_their_own_and_none_without_tasks() -> None:
    tasks = [task(-1, 10, agent="filter_actions"), task(-1, 20, agent="filter_activations")]
    minutes = Minutes(lambda: tasks)
    assert [(line["agent"], line["rows"]) for line in minutes.next()] == [
        ("filter_actions", 10),
        ("filter_activations", 20),
    ]
    tasks.clear()
    assert minutes.next() == []
