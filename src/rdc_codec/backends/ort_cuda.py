"""This backend is ONNX Runtime on an NVIDIA GPU.

Buffers are bound, each stream has sessions of its own, and CUDA graphs replay sizes that repeat.

CUDA graphs are captured here, around a run, and not by ONNX Runtime (`enable_cuda_graph`): it captures in CUDA's
global mode, in which an allocation anywhere in the application fails meanwhile; it keeps one for each thread, and
workers change theirs; and it keeps them as long as the session. What a capture around a run must not hold, which is
memory of the host, is looked for when it is made (`CudaStream.capture`).
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

import onnxruntime as ort

from ..bundle import Bundle
from ..errors import BackendError
from .base import Backend, BackendInfo, BackendOptions
from .cuda import no_capture
from .gpu_pool import Buffers, CapturedWork, GpuBackend, GpuStream, Launch
from .ort_cpu import open_session, options_of

CUDA = "CUDAExecutionProvider"
RUNS_BEFORE_CAPTURE = 2  # the first plans convolutions and memory, the second allocates as planned
FATAL, UNCHANGED = 4, -1  # log levels of RunOptions: fatal only, as the session has it
MAX_FAILED_CAPTURES = 2  # capturing a session is given up after so many failures


class _Session:
    """Holds a session, and knows whose launch ran in it last: convolutions keep plans for the last size only.

    attempts_left says how many more captures may fail.
    """

    def __init__(self, session: ort.InferenceSession, attempts_left: int) -> None:
        self.session, self.attempts_left = session, attempts_left
        self._last: weakref.ref[OrtLaunch] | None = None

    def hand_to(self, launch: OrtLaunch) -> None:
        last = self._last() if self._last is not None else None
        if last is launch:
            return
        for changed in (last, launch):
            if changed is not None:
                changed.start_again()
        self._last = weakref.ref(launch)

    def __del__(self) -> None:
        with no_capture():
            del self.session


class OrtLaunch:
    """Runs a graph at one size; from the third run in a row of this size on it replays a CUDA graph instead.

    Another size in the session takes it back to runs: what the CUDA graph refers to may be gone by then.
    """

    def __init__(self, owner: _Session, gpu_stream: GpuStream, binding: Any, options: ort.RunOptions) -> None:
        self._captured_work: CapturedWork | None = None
        self._runs = 0
        self._binding, self._options, self._owner = binding, options, owner
        self._gpu_stream = gpu_stream  # the last to go: with it its stream, which the session is on

    def start_again(self) -> None:
        self._captured_work, self._runs = None, 0

    def __call__(self) -> None:
        self._owner.hand_to(self)
        if (
            self._captured_work is None
            and self._runs >= RUNS_BEFORE_CAPTURE
            and self._owner.attempts_left > 0
        ):
            self._captured_work = self._capture()
        if self._captured_work is not None:
            self._captured_work.launch()
        else:
            self._run()
            self._runs += 1

    def _run(self) -> None:
        self._owner.session.run_with_iobinding(self._binding, self._options)

    def _capture(self) -> CapturedWork | None:
        """Capture a run; returns None if that fails, and runs do as well, with more of the CPU's time."""
        self._options.log_severity_level = FATAL  # a capture that fails is no news: the work runs instead
        try:
            captured = self._gpu_stream.capture(self._run, device_only=True)
        except Exception:  # of ONNX Runtime, for what CUDA refused; they share no public base class
            with contextlib.suppress(Exception):
                self._run()  # finds the error that the CUDA runtime keeps from then, and clears it
            captured = None
        finally:
            self._options.log_severity_level = UNCHANGED
        if captured is None:
            self._owner.attempts_left -= 1
        return captured


def _shares_memory(options: ort.SessionOptions) -> bool:
    """Tell whether sessions share one allocator.

    Another session could then reuse memory that a captured graph still reads.
    """
    try:
        return options.get_session_config_entry("session.use_env_allocators") == "1"
    except RuntimeError:  # it is not set
        return False


class OnnxLauncher:
    """Opens a session for each graph on each stream, because a session has one stream.

    provider is the execution provider; kind and number tell the device that the buffers are on.
    """

    def __init__(
        self, bundle: Bundle, options: ort.SessionOptions, provider: str, kind: str, number: int = 0
    ) -> None:
        self._bundle, self._options, self._provider = bundle, options, provider
        self._kind, self._number = kind, number
        self._sessions: weakref.WeakKeyDictionary[GpuStream, dict[str, _Session]]
        self._sessions = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def prepare(self, gpu_stream: GpuStream, graph: str, buffers: Buffers) -> Launch:
        owner = self._session(gpu_stream, graph)
        binding = owner.session.io_binding()
        for tensors, bind in ((buffers.inputs, binding.bind_input), (buffers.outputs, binding.bind_output)):
            for t in tensors:
                place = (self._kind, self._number, t.dtype.type, buffers.shapes[t.name])
                bind(t.name, *place, buffers.device[t.name].pointer)
        options = ort.RunOptions()
        if self._provider == CUDA:
            options.add_run_config_entry(
                "disable_synchronize_execution_providers", "1"
            )  # the stream is waited for
        return OrtLaunch(owner, gpu_stream, binding, options)

    def _session(self, gpu_stream: GpuStream, graph: str) -> _Session:
        with self._lock:
            sessions = self._sessions.setdefault(gpu_stream, {})
        if graph not in sessions:  # a stream is one thread's at a time
            with no_capture():
                session = self.open(graph, gpu_stream)
            if session.get_providers()[0] != self._provider:
                raise BackendError(
                    f"ONNX Runtime could not start its {self._provider}: a library of it is missing"
                )
            sessions[graph] = _Session(session, 0 if _shares_memory(self._options) else MAX_FAILED_CAPTURES)
        return sessions[graph]

    def open(self, graph: str, gpu_stream: GpuStream) -> ort.InferenceSession:
        """Make the session that runs a graph on a stream."""
        provider = (self._provider, self._settings(gpu_stream))
        return open_session(self._bundle, graph, self._options, [provider])

    def _settings(self, gpu_stream: GpuStream) -> dict[str, str]:
        if self._provider != CUDA:
            return {}
        return {
            "device_id": str(self._number),
            "user_compute_stream": str(gpu_stream.handle),
            "use_tf32": "0",  # fp32 is fp32
            "cudnn_conv_algo_search": "HEURISTIC",  # measuring would choose other algorithms for every stream
        }


def create_backend(bundle: Bundle, options: BackendOptions) -> Backend:
    """Make the backend. Raises BackendError if ONNX Runtime has no CUDA provider or there is no GPU."""
    session_options = options_of(options.threads, options.session_options)
    if CUDA not in ort.get_available_providers():
        raise BackendError("this onnxruntime has no CUDAExecutionProvider: onnxruntime-gpu has")
    from .cuda import CudaStream, Gpu

    gpu = Gpu(options.gpu, options.cuda_graphs)
    if not gpu.is_primary():
        raise BackendError(
            "ONNX Runtime works in the GPU's primary CUDA context only, and the current one is another"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN of pip's packages
    launcher = OnnxLauncher(bundle, session_options, CUDA, "cuda", gpu.device.device_id)
    info = BackendInfo("onnxruntime-cuda", gpu.name, "asked for", bundle.precision)
    return GpuBackend(info, bundle, launcher, lambda: CudaStream(gpu))
