"""A process may end while threads that nobody waits for are in native code, which would abort it.

When the interpreter ends, a daemon thread that comes back from native code is ended there and then, which C++ takes for
an error (before Python 3.14). So the end waits for what is under way, and such threads begin nothing new.
"""

from __future__ import annotations

import atexit
import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from . import forking

Given = ParamSpec("Given")
Result = TypeVar("Result")

PATIENCE = 10.0  # seconds that the end waits at most


class _Ending:
    """Counts the threads other than the main one that are in guarded functions; keeps them out at the end."""

    def __init__(self) -> None:
        self.after_fork()
        forking.register(self)
        atexit.register(self.begin)

    def after_fork(self) -> None:
        """Start anew in a forked process, which has no other threads."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # entered by its lock: see `waiting`
        self._inside = 0
        self._begun = False
        self._mine = threading.local()

    def begin(self) -> None:
        """Wait until no thread is inside. Handlers of the end that were registered before may still use everything."""
        with self._lock:
            self._begun = True
            self._changed.wait_for(lambda: not self._inside, PATIENCE)

    def enter(self) -> None:
        depth = getattr(self._mine, "depth", 0)
        if not depth:  # what is within a guarded function goes on
            with self._lock:
                ending = self._begun
                self._inside += not ending
            if ending:
                threading.Event().wait()  # for ever, which is not long
        self._mine.depth = depth + 1

    def leave(self) -> None:
        self._mine.depth -= 1
        if not self._mine.depth:
            with self._lock:
                self._inside -= 1
                self._changed.notify_all()


_ENDING = _Ending()


def guarded(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Wrap a function that goes into native code: the process does not end within it.

    A thread other than the main one that comes to it when the process is ending waits there for ever.
    """

    @functools.wraps(function)
    def inside(*args: Given.args, **named: Given.kwargs) -> Result:
        if threading.current_thread() is threading.main_thread():
            return function(*args, **named)
        _ENDING.enter()
        try:
            return function(*args, **named)
        finally:
            _ENDING.leave()

    return inside
