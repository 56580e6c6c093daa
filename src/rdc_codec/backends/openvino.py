"""This backend is OpenVINO on the CPU, or on what else it names on a machine ("GPU", "NPU")."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import cores, forking, interrupts
from ..bundle import Bundle
from ..errors import BackendError, InputError, LimitError, _text_of
from .base import BackendInfo, BackendOptions, Inputs, is_out_of_memory
from .ort_cpu import LARGE_BYTES, checked_path
from .precision import Reduced

if TYPE_CHECKING:
    import openvino

NAME = "openvino"
# Never left to the device: on processors with bf16 OpenVINO takes that for everything by itself, and pictures would be
# others. Where bf16 is wanted the graph says so, node by node, and this stays.
PRECISION = "f32"
REDUCED: Reduced = "bf16"


def create_backend(bundle: Bundle, options: BackendOptions) -> OpenVinoBackend:
    """Make the backend. Raises BackendError where OpenVINO, onnx or the device is missing, InputError for options."""
    if options.session_options is not None:
        raise InputError("session_options is for ONNX Runtime, OpenVINO takes threads")
    if options.device is not None and not isinstance(options.device, str):
        raise InputError(f'OpenVINO names its devices, such as "CPU" or "GPU.0", got {options.device!r}')
    try:
        from onnx import inliner  # noqa: F401 (graphs cannot be loaded without it)

        from .openvino_ready import core as shared  # before several threads use it
    except ImportError as error:
        raise BackendError(f'pip install "rdc-codec[openvino]" brings what is missing: {error}') from error
    core = shared()
    device = options.device or "CPU"
    try:
        full_name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    except Exception as error:  # OpenVINO's errors are plain RuntimeErrors
        known = ", ".join(core.available_devices) or "none"
        raise BackendError(f"OpenVINO has no device {device!r} here; it has {known}") from error
    reduced = options.precision == "fast" and bundle.precision == "fp32" and can_reduce(core, device)
    return OpenVinoBackend(bundle, core, device, full_name, options, reduced)


def can_reduce(core: openvino.Core, device: str) -> bool:
    """Tell whether a device is a processor with instructions for bf16. Others compute in fp32, whatever they have."""
    return device == "CPU" and "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend:
    """Compiles each graph when it is first used, or was cancelled before; threads that run one take turns.

    Function bodies are put in their places first, which OpenVINO's reader of ONNX cannot do.
    """

    parallel = False  # the networks of one picture use all cores already
    stoppable = True

    def __init__(
        self,
        bundle: Bundle,
        core: openvino.Core,
        device: str,
        full_name: str,
        options: BackendOptions,
        reduced: bool,
    ) -> None:
        self._reduced = reduced  # in bf16, as far as may be
        where = f"{device} ({full_name})" if full_name else device
        self.info = BackendInfo(NAME, where, "asked for", REDUCED if reduced else bundle.precision)
        self._bundle, self._core, self._device = bundle, core, device
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISION,
        }
        if device == "CPU" and (threads := options.threads or cores.limit()):
            self._settings["INFERENCE_NUM_THREADS"] = threads
        if options.cache_dir is not None:
            self._settings["CACHE_DIR"] = options.cache_dir
        self._compiled: dict[str, openvino.CompiledModel] = {}
        self._idle: dict[str, openvino.InferRequest] = {}  # of each graph, when it is not in use
        self._lock = threading.Lock()
        # One picture at a time is in a graph, so that no other one is in what `_forget` drops. OpenVINO has them wait,
        # too: all cores work on one picture. A signal's handler may come to it again.
        self._turns = {graph: threading.RLock() for graph in bundle.graphs}
        self._forked = False
        forking.register(self)

    def after_fork(self) -> None:
        """Be of no use any more: OpenVINO's threads belong to the whole process, and stayed in the other one."""
        forking.abandon((self._compiled, self._idle, self._core))
        self._forked, self._lock = True, threading.Lock()
        self._turns = {graph: threading.RLock() for graph in self._bundle.graphs}

    def _load(self, graph: str) -> openvino.CompiledModel:
        from onnx import inliner

        from .typed_graphs import in_16_bits, load_graph

        path = checked_path(self._bundle, graph)
        try:
            model = load_graph(path)
            if self._reduced:
                model = in_16_bits(model, REDUCED)
            read = self._core.read_model(inliner.inline_local_functions(model).SerializeToString())
            return self._core.compile_model(read, self._device, self._settings)
        except Exception as error:
            if is_out_of_memory(error):
                raise LimitError(f"not enough memory to load {graph}") from error
            raise BackendError(f"OpenVINO cannot load {path}: {_text_of(error)}") from error

    def _request(self, graph: str) -> openvino.InferRequest:
        if self._forked:
            raise BackendError(
                "OpenVINO cannot be used in a forked process: start it with spawn, or use onnxruntime"
            )
        with self._lock:
            if graph not in self._compiled:
                self._compiled[graph] = self._load(graph)
            if graph in self._idle:
                return self._idle.pop(graph)
            return self._compiled[graph].create_infer_request()

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        interrupts.check()
        with self._turns[graph]:
            interrupts.check()  # others may have taken their time
            request = self._request(graph)
            ended = threading.Event()

            def end() -> None:
                ended.set()
                request.cancel()

            try:
                with interrupts.ended_by(end):
                    request.start_async(dict(inputs), share_inputs=True)
                    request.wait()
                if ended.is_set():  # at the very end, perhaps: its outputs may be those of a part
                    interrupts.check()
                # Copies: the request's own memory is written again by the next picture.
                outputs = [np.array(request.get_tensor(t.name).data) for t in self._bundle.outputs[graph]]
            except Exception as error:
                interrupts.check()
                if is_out_of_memory(error):
                    raise LimitError(f"not enough memory to run {graph}") from error
                raise BackendError(f"OpenVINO failed in {graph}: {_text_of(error)}") from error
            finally:
                if ended.is_set():
                    self._forget(graph)
            if sum(a.nbytes for a in inputs.values()) < LARGE_BYTES:
                with self._lock:
                    self._idle[graph] = request
            else:  # it would keep the memory of one large picture for as long as the codec lives
                del request
                self._compiled[graph].release_memory()
            return outputs

    def _forget(self, graph: str) -> None:
        """Have a graph compiled anew when it is used next.

        Of one that was cancelled OpenVINO keeps the shapes of a part of its nodes: the next picture of another size is
        an error, or a wrong one without a word (2026.4).
        """
        with self._lock:
            self._compiled.pop(graph, None)
            self._idle.pop(graph, None)
