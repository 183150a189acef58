from __future__ import annotations

from rtexp.engine.pace import BUSY_FACTOR, BUSY_SHARE, LOOK_SECONDS, Pace

INTERVAL = 0.5


class Machine:
    now = 100.0
    used = 7.0

    def pass_by(self, seconds: float, *, share: float) -> None:
        self.now += seconds
        self.used += share * seconds


def paced() -> tuple[Machine, Pace]:
    machine = Machine()
    return machine, Pace(INTERVAL, clock=lambda: machine.now, cpu=lambda: machine.used)


def test_a_worker_that_just_started_flushes_at_the_interval() -> None:
    assert paced()[1].interval() == INTERVAL


def test_a_busy_worker_flushes_more_rarely() -> None:
    machine, pace = paced()
    machine.pass_by(LOOK_SECONDS, share=2 * BUSY_SHARE)
    assert pace.interval() == INTERVAL * BUSY_FACTOR


def test_one_that_has_little_to_do_again_flushes_at_the_interval_again() -> None:
    machine, pace = paced()
    machine.pass_by(LOOK_SECONDS, share=1.0)
    pace.interval()
    machine.pass_by(LOOK_SECONDS, share=BUSY_SHARE / 2)
    assert pace.interval() == INTERVAL


def test_a_short_burst_changes_nothing_before_the_next_look() -> None:
    machine, pace = paced()
    machine.pass_by(LOOK_SECONDS / 4, share=1.0)
    assert pace.interval() == INTERVAL
