"""ONNX Runtime on an NVIDIA GPU: bound buffers, the lane's stream, CUDA graphs where a size comes again."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

import onnxruntime as ort

from runtime.backends.base import Backend, BackendInfo
from runtime.backends.gpu import GpuBackend, Lane, Launch, Slot
from runtime.backends.onnx import open_session, options_of
from runtime.bundle import Bundle
from runtime.errors import BackendError

CUDA = "CUDAExecutionProvider"
MAX_GRAPHS = 16  # captured by a session, which keeps them for as long as it lives


class OnnxLauncher:
    """Sessions for each lane, because a session has one stream.

    provider: the execution provider. kind, number: of the device that buffers are on. capture: with CUDA graphs, where
    the provider can.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: ort.SessionOptions,
        provider: str,
        kind: str,
        number: int = 0,
        capture: bool = False,
    ) -> None:
        self._bundle, self._options, self._provider = bundle, options, provider
        self._kind, self._number, self._capture = kind, number, capture
        self._sessions: weakref.WeakKeyDictionary[Lane, dict[str, ort.InferenceSession]]
        self._sessions = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._captures = itertools.count(1)

    def prepare(self, lane: Lane, graph: str, slot: Slot) -> Launch:
        session = self._session(lane, graph)
        binding = session.io_binding()
        for tensors, bind in ((slot.inputs, binding.bind_input), (slot.outputs, binding.bind_output)):
            for t in tensors:
                place = (self._kind, self._number, t.dtype.type, slot.shapes[t.name])
                bind(t.name, *place, slot.device[t.name].pointer)
        options = ort.RunOptions()
        if self._provider == CUDA:
            number = next(self._captures)
            options.add_run_config_entry("gpu_graph_id", str(number if number <= MAX_GRAPHS else -1))
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # the lane does
        return lambda: session.run_with_iobinding(binding, options)

    def _session(self, lane: Lane, graph: str) -> ort.InferenceSession:
        with self._lock:
            sessions = self._sessions.setdefault(lane, {})
        if graph not in sessions:  # a lane is one thread's at a time
            sessions[graph] = self._open(lane, graph)
        return sessions[graph]

    def _open(self, lane: Lane, graph: str) -> ort.InferenceSession:
        if self._provider != CUDA:
            return open_session(self._bundle, graph, self._options, [self._provider])
        own = {"device_id": str(self._number), "user_compute_stream": str(lane.handle)}
        try:
            captured = own | {"enable_cuda_graph": "1"} if self._capture else own
            session = open_session(self._bundle, graph, self._options, [(CUDA, captured)])
        except BackendError:  # some node of the graph runs on the CPU: then launch by launch
            session = open_session(self._bundle, graph, self._options, [(CUDA, own)])
        if session.get_providers()[0] != CUDA:  # it goes on with the CPU, having said so on stderr
            raise BackendError(
                "ONNX Runtime could not start its CUDAExecutionProvider (CUDA or cuDNN is missing)"
            )
        return session


def create_backend(bundle: Bundle, threads: int | None, session_options: Any, number: int | None) -> Backend:
    """Raises BackendError where ONNX Runtime has no CUDA provider or there is no GPU."""
    options = options_of(threads, session_options)
    if CUDA not in ort.get_available_providers():
        raise BackendError("this onnxruntime has no CUDAExecutionProvider: onnxruntime-gpu has")
    from runtime.backends.cuda import CudaLane, Gpu

    gpu = Gpu(number)
    if not gpu.is_primary():
        raise BackendError(
            "ONNX Runtime works in the GPU's primary CUDA context only, and the current one is another"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN of pip's packages
    launcher = OnnxLauncher(bundle, options, CUDA, "cuda", gpu.device.device_id, capture=True)
    info = BackendInfo("onnxruntime-cuda", gpu.name, "asked for")
    return GpuBackend(info, bundle, launcher, lambda: CudaLane(gpu))
