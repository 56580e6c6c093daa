"""A thread waits for what another one makes, and may be interrupted while it does.

Python handles signals in the main thread, between any two of its own steps, and a handler may raise, as that of Ctrl-C
does. `threading.Event`, `Condition`, `Semaphore`, `Queue` and `Future` take their locks in steps of Python: where the
handler raises between the one that takes a lock and the one that sees to its release, the lock is held for ever, and so
is everyone who wants it. `with` of a `threading.Lock` itself has no such moment. So whatever a main thread may be in
here takes plain locks, and a Condition is entered by its lock.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Outcome(Generic[Result]):
    """Holds what one thread makes and another one waits for: a result, or an exception."""

    def __init__(self) -> None:
        self._missing = threading.Lock()
        self._missing.acquire()
        self._there = False
        self._result: list[Result] = []
        self._error: BaseException | None = None

    def set_result(self, result: Result) -> None:
        """Give the result; this or `set_exception` is called once."""
        self._result.append(result)
        self._arrive()

    def set_exception(self, error: BaseException) -> None:
        """Give the exception that `result` raises."""
        self._error = error
        self._arrive()

    def _arrive(self) -> None:
        self._there = True
        self._missing.release()

    def wait(self, seconds: float = -1) -> bool:
        """Wait so long (negative: for ever), and tell whether the outcome is there. For one thread."""
        return self._there or self._missing.acquire(timeout=seconds)

    def result(self) -> Result:
        """Wait for the outcome, and return the result, once, or raise the exception."""
        self.wait()
        if self._error is not None:
            error, self._error = self._error, None  # so that its traceback does not hold this
            raise error
        return self._result.pop()
