"""Ctrl-C as a request."""

from __future__ import annotations

import signal
import threading

import pytest

from rtexp.local.signals import interruptible


def test_before_the_work_begins_ctrl_c_ends_it() -> None:
    with interruptible() as state, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not state.asked


def test_the_first_one_asks_and_the_second_one_ends() -> None:
    with interruptible() as state:
        state.begun = True
        signal.raise_signal(signal.SIGINT)
        assert state.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_thread_that_gets_no_signals_works_all_the_same() -> None:
    asked: list[bool] = []

    def work() -> None:
        with interruptible() as state:
            asked.append(state.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
