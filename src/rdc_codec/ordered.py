"""Several threads work on a stream of items; results come in order, and memory is bounded."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from . import interrupts
from .ending import guarded
from .waiting import Outcome

Item = TypeVar("Item")
Taken = TypeVar("Taken")
Result = TypeVar("Result")

_LINGER = 0.05  # seconds that a thread waits for more to do: starting another one can take 0.2 ms
_AT_ONCE: ContextVar[int] = ContextVar("rdc_at_once", default=1)


def at_once() -> int:
    """Return how many threads do the same as the calling one: the workers of its pool, 1 outside of any."""
    return _AT_ONCE.get()


class _Threads:
    """Does calls, at most so many at once, in threads that end soon when there is nothing to do.

    A ThreadPoolExecutor holds a lock of all of its kind while it starts a thread. A signal may be handled right then,
    and its handler, which may code a batch as well, would wait for that lock for ever. Here every lock is of one object
    (and Python's own is one that a thread may take twice).
    """

    def __init__(self, count: int, stop: interrupts.Stop) -> None:
        """Take how many threads there may be, and the stop that all calls end by."""
        self._count, self._stop = count, stop
        self._calls: deque[tuple[Outcome[Any], Callable[[], Any]]] = deque()
        self._live = 0  # threads that were or are about to be started
        self._serving = 0  # those that have begun
        self._idle = 0  # of these, those that wait for a call
        self._ended = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # entered by its lock: see `waiting`

    def submit(self, call: Callable[[], Result]) -> Outcome[Result]:
        """Have a call done. Raises RuntimeError where there is no thread, and none can be started."""
        outcome: Outcome[Result] = Outcome()
        with self._lock:
            self._calls.append((outcome, call))
            more = self._idle < len(self._calls) and self._live < self._count
            self._live += more
            self._changed.notify_all()
        if more:
            try:
                # No daemon, whoever asks for it: the end of the process waits for what is in native code.
                threading.Thread(target=self._serve, name="rdc-batch", daemon=False).start()
            except RuntimeError:
                with self._lock:
                    self._live -= 1
                    alone = not self._live and bool(self._calls)
                    if alone:
                        self._calls.pop()
                if alone:
                    raise
        return outcome

    def end(self, wait: bool) -> None:
        """Forget calls that were not begun; wait for the others."""
        with self._lock:
            self._calls.clear()
            self._ended = True
            self._changed.notify_all()
            while wait and self._serving:  # one that has yet to begin finds nothing to do
                self._changed.wait()

    def _serve(self) -> None:
        _AT_ONCE.set(self._count)
        interrupts.work_under(self._stop)
        with self._lock:
            self._serving += 1
        while True:
            with self._lock:
                if not self._calls and not self._ended:
                    self._idle += 1
                    self._changed.wait(_LINGER)
                    self._idle -= 1
                if not self._calls:
                    self._live -= 1
                    self._serving -= 1
                    self._changed.notify_all()
                    return
                outcome, call = self._calls.popleft()
            try:
                found = guarded(call)()
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(found)
                del found
            del outcome, call  # they hold a picture


def in_order(
    take: Callable[[Item], Taken],
    work: Callable[[Taken], Result],
    items: Iterable[Item],
    workers: int,
) -> Generator[Result, None, None]:
    """Yield results of `work` in the order of `items`, at most `workers` + 1 of them under way or waiting.

    Items are read when there is room for them, in the thread that takes results, and `take` is called there before the
    next one is asked for: whoever gives them may use their memory again then. `work` is done by other threads. An
    exception of `work` is raised in place of its result and ends the iteration, one of `items` or `take` after the
    results of those before it; so does closing the iterator. Items that were not begun then are dropped, and those
    under way are stopped (`interrupts`).

    Where no thread can be started, as after the end of the main thread, `work` is done by the one that takes results.
    """
    waiting: deque[Outcome[Result]] = deque()
    stop = interrupts.Stop(parent=interrupts.current())
    threads = _Threads(workers, stop)
    patient = True
    failure: Exception | None = None
    try:
        rest = iter(items)
        while True:
            try:
                taken = take(next(rest))
            except StopIteration:
                break
            except Exception as error:  # what was begun before it comes first
                failure = error
                break
            waiting.append(_begun(threads, work, taken))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failure is not None:
            raise failure
    except KeyboardInterrupt:
        patient = False  # a network may take a while to its next step
        raise
    finally:
        stop.set()
        threads.end(wait=patient)


def _begun(threads: _Threads, work: Callable[[Taken], Result], taken: Taken) -> Outcome[Result]:
    """Return the result to come of one of the threads or, where there are none, of this one."""
    try:
        return threads.submit(functools.partial(work, taken))
    except RuntimeError:
        done: Outcome[Result] = Outcome()
        try:
            done.set_result(guarded(work)(taken))
        except Exception as error:
            done.set_exception(error)
        return done
