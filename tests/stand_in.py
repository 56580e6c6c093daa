"""This stands in for a GPU on machines that have none: the driver is stand_in_cuda/driver.cpp, and ONNX Runtime's
CPU provider computes on its memory, which is the host's.

The driver is loaded into the process before cuda-bindings looks for libcuda.so.1, and found by that name from then on.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import onnxruntime as ort

from rdc_codec.backends.gpu_pool import GpuStream
from rdc_codec.backends.ort_cuda import OnnxLauncher
from rdc_codec.bundle import Bundle

FOLDER = Path(__file__).parent / "stand_in_cuda"
NAME = "libcuda.so.1"
WORK = ctypes.CFUNCTYPE(ctypes.c_int)
LEFT: list[str] = []  # sessions that were destroyed while their stream had work for them


class OtherDriver(Exception):
    """Says that the process has a real driver, which the stand-in cannot take the place of."""


def load(folder: Path) -> ctypes.CDLL:
    """Build the driver in a folder and load it. Raises OtherDriver if the process has a real one."""
    library = folder / NAME
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    command = ["c++", *flags, str(FOLDER / "driver.cpp"), "-o", str(library), f"-Wl,-soname,{NAME}", "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    built = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    found = ctypes.CDLL(NAME)  # as everyone else finds it
    if not hasattr(found, "stand_in_counts"):
        raise OtherDriver("a real driver is loaded in this process: run without -m gpu")
    return built


def counts(driver: ctypes.CDLL) -> dict[str, int]:
    """Tell what was launched so far, and what is allocated now."""
    names = ("kernels", "graphs", "blocks", "streams", "executables", "pinned", "events")
    found = (ctypes.c_long * len(names))()
    driver.stand_in_counts(found)
    return dict(zip(names, found, strict=True))


def finish(driver: ctypes.CDLL, handle: int, what: str) -> None:
    """Run what is queued on a stream, because what it calls is about to go, and note if there was anything."""
    pending = ctypes.c_long()
    driver.stand_in_pending(ctypes.c_void_p(handle), ctypes.byref(pending))
    if pending.value:
        LEFT.append(what)
        driver.stand_in_finish()


class QueuedSession:
    """Runs a session of the CPU provider in work queued on a stream, as the CUDA provider queues its own."""

    def __init__(self, session: ort.InferenceSession, handle: int) -> None:
        self._session, self._handle, self._driver = session, handle, ctypes.CDLL(NAME)
        self._works: dict[int, tuple[Any, Any]] = {}  # callbacks, which CUDA graphs call as well

    def get_providers(self) -> list[str]:
        return self._session.get_providers()

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        if id(binding) not in self._works:
            session = self._session  # not self, which would be garbage of a cycle then, and go later

            def run() -> int:
                try:
                    session.run_with_iobinding(binding)
                except Exception as error:
                    print(error)
                    return 1
                return 0

            self._works[id(binding)] = binding, WORK(run)
        if self._driver.stand_in_queue(ctypes.c_void_p(self._handle), self._works[id(binding)][1]):
            raise RuntimeError("the stand-in could not queue a run")

    def __del__(self) -> None:
        finish(self._driver, self._handle, "a session")


class StandInLauncher(OnnxLauncher):
    """Is the launcher of ONNX Runtime, with sessions that queue their runs on the stand-in's streams."""

    def __init__(self, bundle: Bundle, options: ort.SessionOptions) -> None:
        super().__init__(bundle, options, "CPUExecutionProvider", "cpu")

    def open(self, graph: str, gpu_stream: GpuStream) -> Any:
        return QueuedSession(super().open(graph, gpu_stream), gpu_stream.handle)
