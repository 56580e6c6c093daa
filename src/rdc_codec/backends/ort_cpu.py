"""This backend is ONNX Runtime on the CPU, which is there wherever the package is."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Before it is imported, or it writes an identifier of the machine to the home folder and looks up a host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from .. import cores, forking, interrupts, ordered
from ..bundle import HYPER_STRIDE, WEIGHTS, Bundle
from ..errors import BackendError, CorruptError, InputError, LimitError, _text_of
from .base import BackendInfo, Inputs, is_out_of_memory

LARGE_BYTES = 8 << 20  # of inputs: about 2.7 megapixels to encode, 4 to decode
BESIDE_BYTES = (
    4 << 20
)  # of inputs: at most 1.4 megapixels, of which each takes up to 300 MB while it is coded
CPU = "CPUExecutionProvider"


def options_of(threads: int | None, session_options: Any) -> ort.SessionOptions:
    """Return the options given, or default ones with so many intra-op threads. Raises InputError for both.

    None: as many as the process may use, which ONNX Runtime does not find out.
    """
    if session_options is None:
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = threads or cores.limit() or 0
        # Threads that wait in a loop take the cores from whatever else runs there (docs/performance.md).
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session_options.log_severity_level = 3
    elif threads is not None:
        raise InputError("give either threads or session_options, which has them too")
    elif not isinstance(session_options, ort.SessionOptions):
        raise InputError("session_options must be an onnxruntime.SessionOptions")
    return session_options


def checked_path(bundle: Bundle, graph: str) -> Path:
    """Return where a graph is. Raises CorruptError if its files are not the bundle's any more."""
    file = bundle.graphs[graph]
    path = bundle.path / file
    try:
        # Once more: a bundle that was replaced since then would not fit the tables in memory.
        bundle.check_files((file, WEIGHTS))
    except (ValueError, OSError) as error:
        raise CorruptError(f"{path} has changed since the bundle was loaded: {_text_of(error)}") from error
    return path


def open_session(
    bundle: Bundle,
    graph: str,
    options: ort.SessionOptions,
    providers: Sequence[Any],
    provider_options: Sequence[Mapping[str, Any]] | None = None,
) -> ort.InferenceSession:
    """Load a graph into ONNX Runtime.

    Raises CorruptError if the graph's files are not the bundle's any more, BackendError for any other failure.
    """
    path = checked_path(bundle, graph)
    try:
        with forking.UNFORKED:
            return ort.InferenceSession(
                str(path), options, providers=providers, provider_options=provider_options, enable_fallback=0
            )
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise BackendError(f"ONNX Runtime cannot load {path}: {_text_of(error)}") from error


def providers_of(providers: Sequence[Any] | None) -> tuple[list[Any], list[str]]:
    """Return the execution providers as ONNX Runtime takes them, and their names; the CPU's for None.

    Raises InputError where they are no list of names or of (name, options), BackendError for one that this build of
    ONNX Runtime has not: it would run on the CPU without a word.
    """
    if providers is None:
        return [CPU], [CPU]
    given = [] if isinstance(providers, str) else list(providers)
    names = [p[0] if isinstance(p, tuple) and p else p for p in given]
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            "providers must be a list of names or of (name, options), as ONNX Runtime takes them; "
            f"got {providers!r}"
        )
    known = ort.get_available_providers()
    if missing := [name for name in names if name not in known]:
        raise BackendError(f"this ONNX Runtime has no provider {missing[0]!r}; it has {', '.join(known)}")
    return given, names


class OnnxRuntimeBackend:
    """Runs each graph in a session of its own, made when it is first used.

    session_options (an onnxruntime.SessionOptions) are used as they are; without them, threads says how many
    intra-op threads a session has. Small pictures of a batch that keeps all of these threads busy run one on each,
    others of a batch one after the other (docs/performance.md). providers and provider_options are those of an
    InferenceSession: whatever they run on, the symbols are exact.
    """

    parallel = True  # as far as it pays: `run` says which wait for others
    stoppable = True

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        session_options: Any,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._providers, self._names = providers_of(providers)
        self._provider_options = provider_options
        if provider_options is not None and len(provider_options) != len(self._names):
            raise InputError("provider_options must have one entry for each of providers")
        self.info = BackendInfo("onnxruntime", ", ".join(self._names), "asked for", bundle.precision)
        self._options = options_of(threads, session_options)
        self._bundle = bundle
        own = session_options is None and self._names == [CPU]
        self._lanes = (threads or cores.limit() or os.cpu_count() or 1) if own else 1
        self._narrow = options_of(1, None)
        self._sessions: dict[tuple[str, bool], ort.InferenceSession] = {}
        self._make_locks()
        forking.register(self)

    def _make_locks(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._free_lanes = threading.Semaphore(self._lanes)

    def after_fork(self) -> None:
        """Forget the sessions, whose threads stayed in the other process; new ones are made when they are needed."""
        forking.abandon(self._sessions)
        self._sessions = {}
        self._make_locks()

    def _session(self, graph: str, narrow: bool) -> ort.InferenceSession:
        """Return the session of a graph, or the one that runs it on a single thread."""
        with self._lock:
            if (graph, narrow) not in self._sessions:
                options = self._narrow if narrow else self._options
                session = open_session(self._bundle, graph, options, self._providers, self._provider_options)
                # One that cannot start (no driver, say) is left out without an exception; the CPU's always can.
                asked = [name for name in self._names if name != CPU]
                if asked and (missing := set(asked) - set(session.get_providers())):
                    raise BackendError(f"ONNX Runtime could not start {min(missing)} for {graph}")
                self._sessions[graph, narrow] = session
            return self._sessions[graph, narrow]

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        size = sum(a.nbytes for a in inputs.values())
        if ordered.at_once() == 1:
            return self._run(self._session(graph, False), graph, inputs, size)
        # Threads that share the work on a small picture wait for each other more than they compute.
        if size <= BESIDE_BYTES and ordered.at_once() >= self._lanes > 1:
            session = self._session(graph, True)
            with self._free_lanes:
                return self._run(session, graph, inputs, size)
        with self._turn:
            return self._run(self._session(graph, False), graph, inputs, size)

    def _run(self, session: ort.InferenceSession, graph: str, inputs: Inputs, size: int) -> list[np.ndarray]:
        options = ort.RunOptions()
        large = size >= LARGE_BYTES and self._names == [CPU] and self._options.enable_cpu_mem_arena

        def end() -> None:
            options.terminate = True  # ONNX Runtime looks at it between the nodes of a graph

        interrupts.check()
        try:
            with interrupts.ended_by(end):
                if large:
                    return self._run_large(session, graph, inputs, options)
                return session.run(None, inputs, options)
        except Exception as error:
            interrupts.check()
            if is_out_of_memory(error):
                raise LimitError(f"not enough memory to run {graph}") from error
            raise BackendError(f"ONNX Runtime failed in {graph}: {_text_of(error)}") from error

    def _run_large(
        self, session: ort.InferenceSession, graph: str, inputs: Inputs, options: ort.RunOptions
    ) -> list[np.ndarray]:
        """Run a graph and give all memory that it took back, which the arena would keep for as long as the codec lives.

        Outputs lie in memory of ours: those of ONNX Runtime are in the arena, which then cannot shrink.
        """
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        tensors = self._bundle.outputs[graph]
        if "z1" in inputs:
            n, _, rows, columns = inputs["z1"].shape
        else:
            n, rows, columns = (
                inputs["pixels"].shape[0],
                *(s // HYPER_STRIDE for s in inputs["pixels"].shape[1:3]),
            )
        outputs = [np.empty(t.sizes(n, rows, columns), t.dtype) for t in tensors]
        for tensor, array in zip(tensors, outputs, strict=True):
            binding.bind_output(tensor.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        session.run_with_iobinding(binding, options)
        return outputs
