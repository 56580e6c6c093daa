"""Several threads work on a stream of items; results come in order, and memory is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

from . import interrupts
from .ending import guarded

Item = TypeVar("Item")
Taken = TypeVar("Taken")
Result = TypeVar("Result")

_AT_ONCE: ContextVar[int] = ContextVar("rdc_at_once", default=1)


def at_once() -> int:
    """Return how many threads do the same as the calling one: the workers of its pool, 1 outside of any."""
    return _AT_ONCE.get()


def _begin(workers: int, stop: interrupts.Stop) -> None:
    _AT_ONCE.set(workers)
    interrupts.work_under(stop)


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
    waiting: deque[Future[Result]] = deque()
    stop = interrupts.Stop(parent=interrupts.current())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rdc", initializer=_begin, initargs=(workers, stop))
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
            waiting.append(_begun(pool, work, taken))
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
        pool.shutdown(wait=patient, cancel_futures=True)


def _begun(pool: ThreadPoolExecutor, work: Callable[[Taken], Result], taken: Taken) -> Future[Result]:
    """Return the result to come of a thread of the pool or, where that has none, of this one."""
    try:
        return pool.submit(work, taken)
    except RuntimeError:
        done: Future[Result] = Future()
        try:
            done.set_result(guarded(work)(taken))
        except Exception as error:
            done.set_exception(error)
        return done
