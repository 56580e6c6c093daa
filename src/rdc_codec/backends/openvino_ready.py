"""Importing this readies what OpenVINO's bindings make when it is first used; `core` is the one of the process.

They make it under a guard of C++ and give up Python's lock meanwhile: two threads that come there at once wait for each
other for ever, with all others. Python lets one thread at a time import a module.
"""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import openvino

from .. import forking

# Of a type of tensor the type of arrays, of an array a tensor, and of that an array.
openvino.Type.f32.to_dtype()
_ = openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data[0]


class _Shared:
    """Holds the one core of a process, for as long as that lives.

    A core makes a stack for the signals of the thread that first uses it for the CPU. With its end it puts back the one
    that was there before, though that may be of another core which ended earlier: the next signal that Python handles
    then ends the process (OpenVINO 2026.4).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a handler of a signal may come to it again
        self._core: openvino.Core | None = self._made()
        forking.register(self)

    def _made(self) -> openvino.Core:
        core = openvino.Core()
        with contextlib.suppress(RuntimeError):  # where there is no CPU for it
            core.get_property("CPU", "FULL_DEVICE_NAME")
        return core

    def after_fork(self) -> None:
        """Make another one in a forked process when it is needed: the threads of this one are not there."""
        forking.abandon(self._core)
        self._lock, self._core = threading.RLock(), None

    def __call__(self) -> openvino.Core:
        with self._lock:
            if self._core is None:
                self._core = self._made()
            return self._core


core = _Shared()
