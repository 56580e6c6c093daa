"""Work that takes seconds ends soon after nobody waits for it any more: at a deadline, or at Ctrl-C.

Python handles signals in the main thread, between two of its own steps, and a network is one step however large the
picture is. So `call` moves the work to another thread and waits. What should end early asks `check` between its steps,
or says with `ended_by` how it is ended from outside.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from . import container
from .errors import CodecError, DeadlineError, InputError
from .types import Buffer
from .waiting import Outcome

Result = TypeVar("Result")

LARGE_PIXELS = 1 << 18  # smaller pictures are done before anyone could wait, and another thread takes 0.2 ms
_STEP = 0.1  # seconds; on Windows a wait does not end at Ctrl-C


class Stopped(CodecError):
    """Ends work whose result nobody takes; whoever waited for it got another error."""


class Stop:
    """Tells work that it should end; several threads may use it.

    seconds: after which the work is late (None: never). parent: a stop that this one follows.
    """

    def __init__(self, seconds: float | None = None, parent: Stop | None = None) -> None:
        self._seconds = seconds
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._parent = parent
        self._lock = threading.Lock()
        self._set = False
        self._ends: list[Callable[[], None]] = []

    @property
    def remaining(self) -> float:
        """Tells how many seconds are left; infinity where there is no deadline."""
        return max(0.0, self._deadline - time.monotonic())

    def set(self) -> None:
        """Have `check` raise from now on, and end what said how."""
        with self._lock:
            self._set = True
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    @property
    def is_set(self) -> bool:
        """Tells whether the work should end."""
        return self._set or (self._parent is not None and self._parent.is_set)

    def check(self) -> None:
        """Raise Stopped if the work should end, DeadlineError if it is late."""
        if not self.remaining:
            raise DeadlineError(f"not done within {self._seconds:g} s")
        if self.is_set:
            raise Stopped("nobody waits for this any more")
        if self._parent is not None:
            self._parent.check()

    @contextlib.contextmanager
    def held(self) -> Iterator[Stop | None]:
        """Keep this from being set for a while; gives the stop that it follows. Raises Stopped if it is set."""
        with self._lock:
            if self._set:
                raise Stopped("nobody waits for this any more")
            yield self._parent

    @contextlib.contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Call `end`, from any thread and perhaps more than once, where the stop is set within this context.

        Not after it: what `end` ends may be somebody else's by then.
        """
        turn, over = threading.RLock(), False

        def end_within() -> None:
            with turn:
                if not over:
                    end()

        with contextlib.ExitStack() as stack:
            if self._parent is not None:
                stack.enter_context(self._parent.ending(end))
            with self._lock:
                self._ends.append(end_within)
                late = self._set
            if late:
                end_within()
            try:
                yield
            finally:
                with turn:  # waits for one that is being called
                    over = True
                with self._lock, contextlib.suppress(ValueError):
                    self._ends.remove(end_within)


_CURRENT: ContextVar[Stop | None] = ContextVar("rdc_stop", default=None)


def current() -> Stop | None:
    """Return the stop that the calling thread works under, if any."""
    return _CURRENT.get()


def work_under(stop: Stop | None) -> None:
    """Have all that the calling thread does from now on end by this stop; for threads of a pool."""
    _CURRENT.set(stop)


def check() -> None:
    """Raise Stopped or DeadlineError where the work of the calling thread should end."""
    if (stop := _CURRENT.get()) is not None:
        stop.check()


@contextlib.contextmanager
def wanted() -> Iterator[None]:
    """Write, within this context, to what belongs to whoever waits: no more once nobody does. Raises Stopped then."""
    with contextlib.ExitStack() as stack:
        stop = _CURRENT.get()
        while stop is not None:
            stop = stack.enter_context(stop.held())
        yield


@contextlib.contextmanager
def ended_by(end: Callable[[], None]) -> Iterator[None]:
    """Call `end`, from another thread, where what happens within this context should end."""
    if (stop := _CURRENT.get()) is None:
        yield
    else:
        with stop.ending(end):
            yield


def is_large_picture(image: Any) -> bool:
    """Tell whether an array or a PIL image takes so long to code that Ctrl-C should not wait for it."""
    try:
        shape = image.shape[:2] if hasattr(image, "shape") else image.size
        return int(shape[0]) * int(shape[1]) >= LARGE_PIXELS
    except (AttributeError, IndexError, TypeError, ValueError):  # no image, which others say better
        return False


def is_large_stream(data: Buffer) -> bool:
    """Tell whether a stream has a picture that takes so long to decode that Ctrl-C should not wait for it."""
    return container.claimed_pixels(data) >= LARGE_PIXELS


def checked_timeout(timeout: float | None) -> float | None:
    """Return a number of seconds, or None for no limit. Raises InputError unless it is above 0 and finite."""
    if timeout is None:
        return None
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout < math.inf:  # NaN neither
        raise InputError(f"timeout must be a number of seconds above 0 or None, got {timeout!r}")
    return float(timeout)


def call(work: Callable[[], Result], timeout: float | None, movable: bool, large: bool) -> Result:
    """Return the result of `work`, or leave it when `timeout` seconds are over or the caller is interrupted.

    movable: another thread may do it. Then this returns at the deadline, with DeadlineError, and the work ends at its
    next step; otherwise the caller's thread does it, and a deadline is noticed between its steps alone. large: it may
    take so long that Ctrl-C should not wait for it, without a deadline too. Raises InputError for a bad timeout, and
    whatever `work` raises.
    """
    seconds = checked_timeout(timeout)
    interruptible = large and threading.current_thread() is threading.main_thread()
    if seconds is None and not (movable and interruptible):
        return work()
    stop = Stop(seconds, current())
    if movable:
        return _elsewhere(work, stop)
    token = _CURRENT.set(stop)
    try:
        return work()
    finally:
        _CURRENT.reset(token)


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """End what is done in this context with DeadlineError after so many seconds (None: never), in its own thread."""
    if seconds is None:
        yield
        return
    stop = Stop(seconds, current())
    timer = threading.Timer(seconds + 0.001, stop.set)  # ends a network, which asks nobody
    timer.daemon = True
    token = _CURRENT.set(stop)
    try:
        with contextlib.suppress(RuntimeError):  # no thread starts any more: work ends at its next step then
            timer.start()
        yield
    finally:
        timer.cancel()
        _CURRENT.reset(token)


def _elsewhere(work: Callable[[], Result], stop: Stop) -> Result:
    context = copy_context()
    context.run(work_under, stop)
    outcome: Outcome[Result] = Outcome()

    def do() -> None:
        try:
            found = context.run(work)
        except BaseException as error:  # it is raised where the result is waited for
            outcome.set_exception(error)
        else:
            outcome.set_result(found)

    try:
        try:
            # No daemon: one that comes back from a network while the interpreter ends would end it with a crash.
            threading.Thread(target=do, name="rdc-call").start()
        except (
            RuntimeError
        ):  # no thread starts any more while the interpreter ends, nor beyond a limit of the system
            do()
        while not outcome.wait(min(_STEP, stop.remaining)):
            stop.check()
        return outcome.result()
    finally:  # also when a signal's handler raises: what was begun has no reader any more
        stop.set()
