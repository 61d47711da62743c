"""The deadline and SIGTERM are kept even by a flow that hangs."""

import threading
import time

from autotune_init.supervise import Completed, Crashed, Stopped, Supervisor, grace_of
from cache_store.clock import SystemClock


def supervisor(deadline_s=1.0):
    clock = SystemClock()
    return Supervisor(clock, deadline_s), clock


def test_a_flow_that_ends_is_not_kept_waiting():
    watch, _ = supervisor(60.0)
    began = time.monotonic()

    assert watch.run(lambda: 7) == Completed(7)
    assert time.monotonic() - began < 1.0


def test_a_flow_that_raises_is_reported_not_lost():
    watch, _ = supervisor()
    ended = watch.run(lambda: 1 // 0)

    assert isinstance(ended, Crashed)
    assert isinstance(ended.error, ZeroDivisionError)


def test_given_a_flow_that_sleeps_when_the_deadline_comes_then_it_is_stopped_a_little_before():
    watch, clock = supervisor(2.0)
    began = time.monotonic()

    assert watch.run(lambda: clock.sleep(600)) == Stopped("deadline", is_stuck=False)
    assert 2.0 - grace_of(2.0) - 0.1 <= time.monotonic() - began < 2.5


def test_given_a_flow_that_hangs_when_the_deadline_comes_then_it_is_left_behind():
    watch, _ = supervisor(1.0)
    began = time.monotonic()

    assert watch.run(lambda: threading.Event().wait(30)) == Stopped("deadline", is_stuck=True)
    assert time.monotonic() - began < 2.0


def test_given_sigterm_when_the_flow_waits_then_it_ends_at_once():
    watch, clock = supervisor(600.0)
    threading.Timer(0.2, watch.terminate).start()
    began = time.monotonic()

    assert watch.run(lambda: clock.sleep(600)) == Stopped("terminated", is_stuck=False)
    assert time.monotonic() - began < 2.0


def test_given_sigterm_when_the_flow_hangs_then_it_gets_the_grace_and_no_more():
    watch, _ = supervisor(10.0)
    threading.Timer(0.2, watch.terminate).start()
    began = time.monotonic()

    assert watch.run(lambda: threading.Event().wait(30)) == Stopped("terminated", is_stuck=True)
    assert time.monotonic() - began < 3.0
