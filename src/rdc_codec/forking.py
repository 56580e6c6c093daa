"""What has threads or locks does not survive a fork: objects that are registered here are told in the child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Makes anew, in a forked process, what belonged to threads that are not there any more."""

    def after_fork(self) -> None: ...


_ALIVE: weakref.WeakSet[Forkable] = weakref.WeakSet()
_ABANDONED: list[object] = []
# Held while a library may hold a lock of the whole process, as ONNX Runtime does while it makes a session: a process
# that is forked then would wait for it for ever. A signal's handler may come to it again.
UNFORKED = threading.RLock()


def register(thing: Forkable) -> None:
    """Have `after_fork` called in every process that is forked while this object lives."""
    _ALIVE.add(thing)


def abandon(thing: object) -> None:
    """Keep an object for ever: its end would wait for threads that a forked process does not have."""
    _ABANDONED.append(thing)


def _in_child() -> None:
    UNFORKED.release()
    for thing in list(_ALIVE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=UNFORKED.acquire, after_in_parent=UNFORKED.release, after_in_child=_in_child)
