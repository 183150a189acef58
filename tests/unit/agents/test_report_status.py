"""What a worker says in `status`, and when; and that older and newer workers understand each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rtexp.agents.report_status import StatusReporter
from rtexp.engine.sensors import InputStatus, TaskStatus
from rtexp.errors import FatalError
from rtexp.records import status as records
from rtexp.records.status import Input, Process, Status

if TYPE_CHECKING:
    from rtexp.engine.api import Output


class OldInput(msgspec.Struct, frozen=True):
    """As it was before rewinds and processes were told."""

    position: int
    end: int
    held_rows: int = 0
    watermark_ms: int = 0


class OldStatus(msgspec.Struct, frozen=True):
    version: int
    inputs: dict[str, OldInput]


def task(partition: int, position: int = 1) -> TaskStatus:
    inputs = {f"in/{partition}": InputStatus(position, 10, 2, 1_000, 3, 4)}
    return TaskStatus("users", partition, True, "live", inputs, {"actions/repeat": 5})


class Topic:
    """What was sent, and a worker that sends it."""

    def __init__(self, *tasks: TaskStatus) -> None:
        self.tasks = list(tasks)
        self.sent: list[Status] = []
        self.fails = False
        self.process = Process(1, 2, 3, 4.5)
        self.reporter = StatusReporter(
            job="aggregate",
            worker="host-1",
            topic="rtexp.status",
            tasks=lambda: self.tasks,
            details=lambda of: {"published": of.partition},
            send=self.send,
            process=lambda: self.process,
        )

    async def send(self, out: Output) -> None:
        if self.fails:
            raise FatalError("no broker")
        self.sent.append(records.decode(out.value or b""))


async def test_a_report_says_all_that_is_known_of_a_partition_and_its_process() -> None:
    topic = Topic(task(7))
    await topic.reporter.run_once()
    (said,) = topic.sent
    assert records.key_of(said) == b"aggregate/host-1/7"
    assert said.inputs == {"in/7": Input(1, 10, 2, 1_000, 3, 4)}
    assert (said.ready, said.counters, said.process) == (True, {"actions/repeat": 5}, Process(1, 2, 3, 4.5))
    assert said.details == {"users": {"phase": "live"}, "published": 7}


async def test_only_what_has_changed_is_said_again_so_soon() -> None:
    topic = Topic(task(0), task(1))
    await topic.reporter.run_once()
    topic.tasks = [task(0), task(1, position=2)]
    topic.process = Process(1, 2, 99, 9.9)  # as it is each time, and nothing to speak of by itself
    await topic.reporter.run_once()
    assert [said.partition for said in topic.sent] == [0, 1, 1]
    assert topic.sent[-1].process == topic.process


async def test_what_could_not_be_sent_is_said_at_the_next_call() -> None:
    topic = Topic(task(0))
    topic.fails = True
    await topic.reporter.run_once()
    topic.fails = False
    await topic.reporter.run_once()
    assert [said.partition for said in topic.sent] == [0]


async def test_workers_of_before_and_of_now_read_each_others_reports() -> None:
    topic = Topic(task(0))
    await topic.reporter.run_once()
    old = msgspec.json.decode(records.encode(topic.sent[0]), type=OldStatus)
    assert old == OldStatus(1, {"in/0": OldInput(1, 10, 2, 1_000)})

    of_before = (
        b'{"version":1,"job":"ingest","worker":"w","partition":-1,"at_ms":1,"ready":true,'
        b'"inputs":{"in/0":{"position":1,"end":2}},"counters":{},"details":{}}'
    )
    said = records.decode(of_before)
    assert (said.process, said.inputs["in/0"]) == (None, Input(1, 2, 0, 0, 0, 0))
