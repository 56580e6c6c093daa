"""ONNX Runtime on an NVIDIA GPU: bound buffers, and the lane's stream.

Without its CUDA graphs. The masks of the fused operations' bodies are computed from shapes, in part on the CPU, which
a capture does not allow; it captures in CUDA's global mode, which allocations of another worker spoil; and it keeps
what it captured for each thread.
"""

from __future__ import annotations

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


class OnnxLauncher:
    """Sessions for each lane, because a session has one stream.

    provider: the execution provider. kind, number: of the device that buffers are on.
    """

    def __init__(
        self, bundle: Bundle, options: ort.SessionOptions, provider: str, kind: str, number: int = 0
    ) -> None:
        self._bundle, self._options, self._provider = bundle, options, provider
        self._kind, self._number = kind, number
        self._sessions: weakref.WeakKeyDictionary[Lane, dict[str, ort.InferenceSession]]
        self._sessions = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def prepare(self, lane: Lane, graph: str, slot: Slot) -> Launch:
        session = self._session(lane, graph)
        binding = session.io_binding()
        for tensors, bind in ((slot.inputs, binding.bind_input), (slot.outputs, binding.bind_output)):
            for t in tensors:
                place = (self._kind, self._number, t.dtype.type, slot.shapes[t.name])
                bind(t.name, *place, slot.device[t.name].pointer)
        options = ort.RunOptions()
        if self._provider == CUDA:
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # the lane does
        return lambda: session.run_with_iobinding(binding, options)

    def _session(self, lane: Lane, graph: str) -> ort.InferenceSession:
        with self._lock:
            sessions = self._sessions.setdefault(lane, {})
        if graph not in sessions:  # a lane is one thread's at a time
            provider = (self._provider, self._settings(lane))
            session = open_session(self._bundle, graph, self._options, [provider])
            if session.get_providers()[0] != self._provider:
                raise BackendError(
                    f"ONNX Runtime could not start its {self._provider}: a library of it is missing"
                )
            sessions[graph] = session
        return sessions[graph]

    def _settings(self, lane: Lane) -> dict[str, str]:
        if self._provider != CUDA:
            return {}
        return {
            "device_id": str(self._number),
            "user_compute_stream": str(lane.handle),
            "use_tf32": "0",  # fp32 is fp32
            "cudnn_conv_algo_search": "HEURISTIC",  # measuring would choose other algorithms for every lane
        }


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
    launcher = OnnxLauncher(bundle, options, CUDA, "cuda", gpu.device.device_id)
    info = BackendInfo("onnxruntime-cuda", gpu.name, "asked for")
    return GpuBackend(info, bundle, launcher, lambda: CudaLane(gpu))
