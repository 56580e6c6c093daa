"""This backend is ONNX Runtime on the CPU, which is there wherever the package is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime as ort

from ..bundle import WEIGHTS, Bundle
from ..errors import BackendError, CorruptError, InputError, LimitError, _text_of
from .base import BackendInfo, Inputs, is_out_of_memory

LARGE_BYTES = 8 << 20  # of inputs: about 2.7 megapixels to encode, 4 to decode
CPU = "CPUExecutionProvider"


def options_of(threads: int | None, session_options: Any) -> ort.SessionOptions:
    """Return the options given, or default ones with so many intra-op threads. Raises InputError for both."""
    if session_options is None:
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = threads or 0
        session_options.log_severity_level = 3
    elif threads is not None:
        raise InputError("give either threads or session_options, which has them too")
    elif not isinstance(session_options, ort.SessionOptions):
        raise InputError("session_options must be an onnxruntime.SessionOptions")
    return session_options


def open_session(
    bundle: Bundle, graph: str, options: ort.SessionOptions, providers: list[Any]
) -> ort.InferenceSession:
    """Load a graph into ONNX Runtime.

    Raises CorruptError if the graph's files are not the bundle's any more, BackendError for any other failure.
    """
    file = bundle.graphs[graph]
    path = bundle.path / file
    try:
        # Once more: a bundle that was replaced since then would not fit the tables in memory.
        bundle.check_files((file, WEIGHTS))
    except (ValueError, OSError) as error:
        raise CorruptError(f"{path} has changed since the bundle was loaded: {_text_of(error)}") from error
    try:
        return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise BackendError(f"ONNX Runtime cannot load {path}: {_text_of(error)}") from error


class OnnxRuntimeBackend:
    """Runs each graph in a session of its own, made when it is first used.

    session_options (an onnxruntime.SessionOptions) are used as they are; without them, threads says how many
    intra-op threads a session has.
    """

    parallel = False  # the networks of one picture use all cores already

    def __init__(self, bundle: Bundle, threads: int | None, session_options: Any) -> None:
        self.info = BackendInfo("onnxruntime", CPU, "asked for")
        self._options = options_of(threads, session_options)
        self._bundle = bundle
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    def _session(self, graph: str) -> ort.InferenceSession:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = open_session(self._bundle, graph, self._options, [CPU])
            return self._sessions[graph]

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        session = self._session(graph)
        options = None
        large = sum(a.nbytes for a in inputs.values()) >= LARGE_BYTES
        if large and self._options.enable_cpu_mem_arena:
            # The arena would keep the memory of one large picture for as long as the codec lives.
            options = ort.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            return session.run(None, inputs, options)
        except Exception as error:
            if is_out_of_memory(error):
                raise LimitError(f"not enough memory to run {graph}") from error
            raise BackendError(f"ONNX Runtime failed in {graph}: {_text_of(error)}") from error
