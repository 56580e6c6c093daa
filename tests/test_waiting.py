"""Ctrl-C between the step that takes a lock and the next one: no lock is left held, and no forked process waits.

The moment is made certain: another thread holds the lock, and computes on when it has given it back, without letting
go of Python. So the main thread has the lock, and its next step is the one in which the signal is handled.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from rdc_codec import forking, interrupts, ordered
from rdc_codec.waiting import Outcome

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers of POSIX"),
    pytest.mark.timeout(60),
]


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Have SIGALRM do what Ctrl-C does, and Python keep a thread at work for longer than these tests take."""
    interval, alarms = sys.getswitchinterval(), signal.signal(signal.SIGALRM, _raise)
    interrupts_before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.setswitchinterval(5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.setswitchinterval(interval)
    signal.signal(signal.SIGALRM, alarms)
    signal.signal(signal.SIGINT, interrupts_before)


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def interrupted(lock: Any, call: Callable[[], object], after: float = 0.4) -> None:
    """Make a call that has to wait 0.2 s for a lock, and is interrupted once it has it (or earlier)."""
    held = threading.Lock()
    held.acquire()

    def other() -> None:
        with lock:
            held.release()
            time.sleep(0.2)
        compute(0.4)

    thread = threading.Thread(target=other)
    thread.start()
    held.acquire()
    signal.setitimer(signal.ITIMER_REAL, after)
    with pytest.raises(KeyboardInterrupt):
        call()
        compute(0.5)
    thread.join()


def is_free(lock: Any) -> bool:
    return bool(lock.acquire(timeout=1)) and lock.release() is None


def test_a_condition_of_python_is_left_held() -> None:
    """What these tests are about; where this fails, `waiting` is not needed any more."""
    condition = threading.Condition(threading.Lock())

    def enter() -> None:
        with condition:
            pass

    interrupted(condition._lock, enter)  # type: ignore[attr-defined]
    assert condition._lock.locked()  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", ["submit", "end"])
def test_the_threads_of_a_batch_can_be_ended_wherever_it_is_interrupted(step: str) -> None:
    threads = ordered._Threads(2, interrupts.Stop())
    threads.submit(lambda: None).result()
    interrupted(
        threads._lock,
        lambda: threads.submit(lambda: None) if step == "submit" else threads.end(wait=True),
    )
    assert is_free(threads._lock)
    threads.end(wait=True)


@pytest.mark.parametrize("good", [True, False])
def test_an_outcome_arrives_though_its_reader_is_interrupted(good: bool) -> None:
    outcome: Outcome[int] = Outcome()

    def make() -> None:
        time.sleep(0.2)
        if good:
            outcome.set_result(7)
        else:
            outcome.set_exception(ValueError("none"))
        compute(0.4)

    maker = threading.Thread(target=make)
    maker.start()
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    with pytest.raises(KeyboardInterrupt):
        outcome.wait()
        compute(0.5)
    maker.join()
    assert outcome.wait(0)
    if good:
        assert outcome.result() == 7
    else:
        with pytest.raises(ValueError, match="none"):
            outcome.result()


def test_an_outcome_is_waited_for_no_longer_than_asked() -> None:
    outcome: Outcome[int] = Outcome()
    assert not outcome.wait(0.01)
    outcome.set_result(1)
    assert outcome.wait(0.01) and outcome.result() == 1


class Registered:
    told = False

    def after_fork(self) -> None:
        self.told = True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("after", [0.1, 0.4], ids=["while it waits", "once it has the lock"])
def test_a_fork_that_is_interrupted_while_a_session_is_made_is_told(after: float) -> None:
    """Without the lock, the child would have the other one's locks and threads, and wait for ever."""
    thing = Registered()
    forking.register(thing)

    def fork() -> None:
        if not os.fork():
            free = forking.UNFORKED.acquire(timeout=1)
            os._exit(0 if thing.told and free else 1)
        time.sleep(1)  # Ctrl-C comes again

    interrupted(forking.UNFORKED, fork, after)
    _, status = os.waitpid(-1, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not thing.told and not forking._FORKS
    taken: list[bool] = []
    other_thread = threading.Thread(target=lambda: taken.append(is_free(forking.UNFORKED)))
    other_thread.start()
    other_thread.join()
    assert taken == [True]
