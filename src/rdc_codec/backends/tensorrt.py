"""This backend runs the TensorRT engines of export/to_engine.py.

Each size has an execution context, and a CUDA graph from its second picture on."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from ..bundle import HYPER_STRIDE, WEIGHTS, Bundle, Size
from ..errors import BackendError, CodecError, CorruptError, _text_of
from .base import BackendInfo, BackendOptions
from .cuda import CudaStream, Gpu, no_capture
from .cuda_graph import CudaGraph
from .gpu_pool import Buffers, GpuBackend, GpuStream, Launch

RECORD = "engines.json"
FIELDS = {"file", "sha256", "graph", "weights", "version", "gpu", "version_compatible", "plugins", "library"}
MINIMUM_DRIVER = 13000  # CUDA 13, which TensorRT 11 is built for; with an older driver it crashes


def read_record(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Read which engines are in the bundle's folder.

    Raises BackendError if there are none, CorruptError if they are not those of its graphs.
    """
    path = bundle.path / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackendError(f"no engines in {bundle.path}: export/to_engine.py makes them") from None
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} cannot be read: {error}") from error
    try:
        for graph, engine in record.items():
            if engine["builder"] != "tensorrt":
                raise BackendError(f"{path} is of engines for {engine['builder']}, this backend is TensorRT")
            if missing := sorted(FIELDS - engine.keys()):
                raise CorruptError(f"{path}: the engine of {graph} has no {missing[0]}")
            made_of = engine["graph"], engine["weights"]
            if made_of != tuple(bundle.manifest["files"][name] for name in (bundle.graphs[graph], WEIGHTS)):
                raise CorruptError(f"{path}: the engine of {graph} was made of another graph")
    except (AttributeError, KeyError, TypeError) as error:
        raise CorruptError(f"{path} is no record of this bundle's engines: {error!r}") from error
    if not record:
        raise BackendError(f"no engines in {bundle.path}: export/to_engine.py makes them")
    return record


def _checked(path: Path, sha256: str) -> bytes:
    """Read a file. Raises CorruptError unless it is the one that was recorded: engines and libraries are code."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptError(f"{path} is not the file that {RECORD} names")
    return data


_loaded: dict[str, str] = {}  # of the process: library -> SHA-256
_loading = threading.Lock()


def load_plugins(trt: Any, library: Path, sha256: str) -> None:
    """Register the plugins of a library, once in a process: TensorRT refuses a second time.

    Plugins that the application has registered itself are taken for what they say they are. Raises CorruptError,
    and BackendError for a library that TensorRT does not take or that is another than the one in use.
    """
    with _loading:
        _checked(library, sha256)
        registry = trt.get_plugin_registry()
        if registry.get_creator("BlendToImage", "1", "rdc") is not None:
            if sha256 not in _loaded.values() and _loaded:
                raise BackendError(f"{library} is not the plugin library that this process uses already")
            return
        if registry.load_library(str(library)) is None:
            raise BackendError(f"{library} is no plugin library of this TensorRT")
        _loaded[str(library)] = sha256


class TensorRtLauncher:
    """Loads engines when they are first used, and shares them.

    All buffers have an execution context of their own, on scratch memory of its own size, so that a captured graph
    stays valid whatever other sizes come.
    """

    def __init__(self, bundle: Bundle, record: dict[str, dict[str, Any]]) -> None:
        try:
            import tensorrt
        except (ImportError, OSError) as error:
            raise BackendError(f"TensorRT is not installed or lacks its libraries: {error}") from error
        self._trt, self._bundle, self._record = tensorrt, bundle, record
        self._lock = threading.Lock()
        self._engines: dict[str, Any] = {}
        self._log = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._log)

    def engine(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._engines:
                self._engines[graph] = self._load(graph)
            return self._engines[graph]

    def _load(self, graph: str) -> Any:
        if graph not in self._record:
            raise BackendError(f"no engine of {graph} in {self._bundle.path}: export/to_engine.py makes one")
        about = self._record[graph]
        if about["plugins"]:
            load_plugins(self._trt, self._bundle.path / about["library"], about["plugins"])
        if about["version_compatible"]:
            self._runtime.engine_host_code_allowed = True  # such an engine brings a lean runtime along
        data = _checked(self._bundle.path / about["file"], about["sha256"])
        with no_capture():
            engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise BackendError(
                f"TensorRT {self._trt.__version__} does not take the engine of {graph}, built by "
                f"{about['version']} for {about['gpu']}: build it again (export/to_engine.py)"
            )
        return engine

    def smallest(self, graph: str) -> Size:
        """Tell the smallest size that the engine takes."""
        first = self._bundle.inputs[graph][0]
        n, *sides = tuple(self.engine(graph).get_tensor_profile_shape(first.name, 0)[0])
        rows, columns = sides[1:] if first.name == "z1" else (side // HYPER_STRIDE for side in sides[:2])
        return Size(n, rows, columns)

    def prepare(self, gpu_stream: GpuStream, graph: str, buffers: Buffers) -> Launch:
        assert isinstance(gpu_stream, CudaStream)
        engine = self.engine(graph)
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with no_capture():
            context = engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f"TensorRT cannot make a context for {graph}")
        for tensor in buffers.inputs:
            if not context.set_input_shape(tensor.name, buffers.shapes[tensor.name]):
                shapes = [tuple(shape) for shape in engine.get_tensor_profile_shape(tensor.name, 0)]
                raise BackendError(
                    f"the engine of {graph} takes {tensor.name} from {shapes[0]} to {shapes[2]}, not "
                    f"{buffers.shapes[tensor.name]}: build it for such sizes (export/to_engine.py --min --max --batch)"
                )
        if missing := context.infer_shapes():
            raise BackendError(f"the engine of {graph} lacks {', '.join(missing)}")
        size = context.update_device_memory_size_for_shapes()
        if size == 0 and engine.device_memory_size_v2 > 0:
            raise BackendError(
                f"TensorRT cannot tell what memory {graph} needs at this size; its log says why"
            )
        scratch = gpu_stream.device(size)
        context.set_device_memory(scratch.pointer, size)
        for tensor in buffers.tensors:
            if not context.set_tensor_address(tensor.name, buffers.device[tensor.name].pointer):
                raise BackendError(f"the engine of {graph} has no tensor {tensor.name}")
        return EngineLaunch(gpu_stream, context, scratch)


class EngineLaunch:
    """Runs an engine: the first call sets up what TensorRT defers, the second is captured, later ones replay it."""

    def __init__(self, gpu_stream: CudaStream, context: Any, scratch: Any) -> None:
        self._gpu_stream, self._context, self._scratch = gpu_stream, context, scratch
        self._calls = 0
        self._graph: CudaGraph | None = None

    def __call__(self) -> None:
        self._calls += 1
        if self._calls == 2:
            self._graph = self._capture()
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()

    def __del__(self) -> None:
        with no_capture():
            self._graph = self._context = None

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu_stream.handle):
            raise BackendError("TensorRT could not queue the engine; its log says why")

    def _capture(self) -> CudaGraph | None:
        """Capture the engine as a CUDA graph; returns None if that is not possible."""
        try:
            return self._gpu_stream.capture(self._enqueue)
        except BackendError:  # TensorRT's own way to say so
            return None


def open_backend(bundle: Bundle, record: dict[str, dict[str, Any]], options: BackendOptions) -> GpuBackend:
    """Make the backend of these engines.

    Raises BackendError if TensorRT or a GPU is missing or does not take the engines.
    """
    gpu = Gpu(options.gpu, options.cuda_graphs)  # before TensorRT, which does not survive its absence
    if gpu.driver_version() < MINIMUM_DRIVER:
        raise BackendError(
            f"TensorRT 11 needs a driver for CUDA 13, this one is for {gpu.driver_version() / 1000:g}"
        )
    try:
        with gpu.current():
            launcher = TensorRtLauncher(bundle, record)
            for graph in record:
                launcher.engine(graph)  # what cannot be loaded shows now
            graph = "decode_base" if "decode_base" in record else next(iter(record))
            trial = graph, launcher.smallest(graph)
    except CodecError:
        raise
    except Exception as error:
        raise BackendError(f"TensorRT cannot load the engines of {bundle.path}: {_text_of(error)}") from error
    info = BackendInfo("tensorrt", gpu.name, "asked for", bundle.precision)
    return GpuBackend(info, bundle, launcher, lambda: CudaStream(gpu), trial)


def create_backend(bundle: Bundle, options: BackendOptions) -> GpuBackend:
    """Make the backend of the engines in the bundle's folder. Raises as `read_record` and `open_backend` do."""
    return open_backend(bundle, read_record(bundle), options)
