"""What has threads or locks does not survive a fork: objects that are registered here are told in the child."""

from __future__ import annotations

import _thread
import os
import threading
import weakref
from dataclasses import dataclass
from typing import Protocol


class Forkable(Protocol):
    """Makes anew, in a forked process, what belonged to threads that are not there any more."""

    def after_fork(self) -> None: ...


_ALIVE: weakref.WeakSet[Forkable] = weakref.WeakSet()
_ABANDONED: list[object] = []
# Held while a library may hold a lock of the whole process, as ONNX Runtime does while it makes a session: a process
# that is forked then would wait for it for ever. A signal's handler may come to it again.
UNFORKED = threading.RLock()


@dataclass
class _Fork:
    """Says of a fork that is under way whether the lock was taken for it, and whether Ctrl-C came meanwhile."""

    taken: bool
    interrupted: bool = False


_FORKS: list[_Fork] = []


def register(thing: Forkable) -> None:
    """Have `after_fork` called in every process that is forked while this object lives."""
    _ALIVE.add(thing)


def abandon(thing: object) -> None:
    """Keep an object for ever: its end would wait for threads that a forked process does not have."""
    _ABANDONED.append(thing)


def _before() -> None:
    """Take the lock, whatever Ctrl-C raises meanwhile: an exception of this would be printed, and the fork done."""
    fork = _Fork(taken=not UNFORKED._is_owned())  # type: ignore[attr-defined]
    _FORKS.append(fork)
    while not UNFORKED._is_owned():  # type: ignore[attr-defined]
        try:
            UNFORKED.acquire()
        except KeyboardInterrupt:
            fork.interrupted = True


def _in_parent() -> None:
    fork = _FORKS.pop()
    if fork.taken:
        UNFORKED.release()
    if fork.interrupted:  # again, once this, of which it would be printed as well, is over
        again = threading.Timer(0.02, _thread.interrupt_main)
        again.daemon = True
        again.start()


def _in_child() -> None:
    global UNFORKED
    UNFORKED = threading.RLock()
    _FORKS.clear()
    for thing in list(_ALIVE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
