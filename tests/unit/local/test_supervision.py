from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtexp.local.supervision import BackOff, Do, Order, Supervision


def supervision(*names: str) -> Supervision:
    """Workers in stage 0, a broker in stage 1; all running since 0 s."""
    plan = Supervision()
    for name in names:
        plan.add(name, stage=1 if name == "broker" else 0, grace_s=30.0, now_s=0.0)
    assert plan.orders(0.0) == [Order(Do.START, name) for name in names]
    return plan


def test_a_child_starts_once() -> None:
    plan = supervision("worker")
    assert plan.orders(1.0) == []
    assert plan.wake_s() is None


def test_a_child_that_ends_starts_again_after_half_a_second() -> None:
    plan = supervision("worker")
    assert plan.ended("worker", now_s=100.0) == 0.5
    assert plan.wake_s() == 100.5
    assert plan.orders(100.4) == []
    assert plan.orders(100.5) == [Order(Do.START, "worker")]


def test_early_ends_double_the_wait_up_to_half_a_minute() -> None:
    plan = supervision("worker")
    now_s, waits = 0.0, []
    for _ in range(8):
        now_s += 1.0  # lives for a second
        delay_s = plan.ended("worker", now_s=now_s)
        assert delay_s is not None
        waits.append(delay_s)
        now_s += delay_s
        assert plan.orders(now_s) == [Order(Do.START, "worker")]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("life_s", "wait_s"),
    [
        pytest.param(59.9, 1.0, id="a life of under a minute"),
        pytest.param(60.0, 0.5, id="a life of a minute forgives all"),
    ],
)
def test_a_healthy_life_resets_the_wait(life_s: float, wait_s: float) -> None:
    plan = supervision("worker")
    plan.ended("worker", now_s=1.0)
    plan.orders(1.5)
    assert plan.ended("worker", now_s=1.5 + life_s) == wait_s


def test_one_child_that_fails_does_not_slow_the_others() -> None:
    plan = supervision("bad", "good")
    for now_s in (1.0, 2.0, 4.0):
        plan.ended("bad", now_s=now_s)
        plan.orders(now_s + 10)
    assert plan.ended("good", now_s=20.0) == 0.5


def test_workers_have_ended_before_the_broker_is_told_to() -> None:
    plan = supervision("broker", "one", "two")
    plan.stop()
    assert plan.orders(1.0) == [Order(Do.TERMINATE, "one"), Order(Do.TERMINATE, "two")]
    assert plan.ended("one", now_s=2.0) is None
    assert plan.orders(2.0) == []
    assert plan.ended("two", now_s=3.0) is None
    assert plan.orders(3.0) == [Order(Do.TERMINATE, "broker")]
    assert not plan.finished
    plan.ended("broker", now_s=4.0)
    assert plan.finished


def test_who_does_not_end_in_its_grace_is_killed_and_nobody_else() -> None:
    plan = supervision("deaf", "polite")
    plan.stop()
    plan.orders(10.0)
    plan.ended("polite", now_s=11.0)
    assert plan.wake_s() == 40.0
    assert plan.orders(39.9) == []
    assert plan.orders(40.0) == [Order(Do.KILL, "deaf")]
    assert plan.orders(41.0) == []
    assert not plan.finished
    plan.ended("deaf", now_s=41.5)
    assert plan.finished


def test_nothing_starts_once_told_to_stop() -> None:
    plan = supervision("waits for its back-off")
    plan.ended("waits for its back-off", now_s=1.0)
    plan.stop()
    plan.add("late", stage=0, grace_s=1.0, now_s=1.0)
    assert plan.orders(99.0) == []
    assert plan.finished


def test_the_wait_never_overflows() -> None:
    assert BackOff().delay_s(10**9) == 30.0


Happening = st.tuples(st.sampled_from(["ends", "time"]), st.integers(0, 4), st.floats(0.0, 50.0))


@given(st.integers(1, 4), st.lists(Happening, max_size=30), st.lists(Happening, max_size=30))
def test_whatever_happens_all_end_and_the_broker_last(  # noqa: C901 - a whole world of children in one place
    workers: int, before: list[tuple[str, int, float]], after: list[tuple[str, int, float]]
) -> None:
    """Children end when they like, or never; a stop still ends in bounded time, in order, each started once a life."""
    plan = Supervision()
    names = [f"worker-{n}" for n in range(workers)] + ["broker"]
    for name in names:
        plan.add(name, stage=1 if name == "broker" else 0, grace_s=30.0, now_s=0.0)
    now_s = 0.0
    alive: set[str] = set()
    terminated: list[str] = []

    def carry_out() -> None:
        for order in plan.orders(now_s):
            if order.do is Do.START:
                assert order.name not in alive
                alive.add(order.name)
            else:
                assert order.name in alive
                assert order.name != "broker" or alive == {"broker"}
                if order.do is Do.KILL:
                    assert order.name in terminated
                    alive.remove(order.name)
                    plan.ended(order.name, now_s=now_s)
                else:
                    terminated.append(order.name)

    def happen(happenings: list[tuple[str, int, float]]) -> None:
        nonlocal now_s
        for kind, index, seconds in happenings:
            name = names[index % len(names)]
            if kind == "time":
                now_s += seconds
            elif name in alive:
                alive.remove(name)
                plan.ended(name, now_s=now_s)
            carry_out()

    carry_out()
    happen(before)
    plan.stop()
    carry_out()
    happen(after)
    for _ in range(4):
        now_s += 30.0
        carry_out()
    assert plan.finished
    assert not alive
