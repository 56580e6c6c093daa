"""This module captures what is queued on a stream as a CUDA graph, and replays it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cuda import CudaStream


def check(result: tuple[Any, ...]) -> Any:
    """Return the value of a call of cuda-bindings. Raises RuntimeError for its errors."""
    code, *values = result
    if int(code) != 0:
        raise RuntimeError(f"CUDA driver: {code.name}")
    return values[0] if values else None


class CudaGraph:
    """Holds work of a stream that can be queued again with one call."""

    def __init__(self, gpu_stream: CudaStream, executable: Any) -> None:
        self._gpu_stream, self._executable = gpu_stream, executable

    def launch(self) -> None:
        check(self._gpu_stream.gpu.driver.cuGraphLaunch(self._executable, self._gpu_stream.handle))

    def __del__(self) -> None:
        if (executable := getattr(self, "_executable", None)) is not None:
            with contextlib.suppress(Exception), self._gpu_stream.gpu.current():
                self._gpu_stream.gpu.driver.cuGraphExecDestroy(executable)


def capture(gpu_stream: CudaStream, work: Callable[[], None], device_only: bool) -> CudaGraph | None:
    """Capture what `work` queues on the stream, as `CudaStream.capture` says. The caller keeps other captures away."""
    driver = gpu_stream.gpu.driver
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    graph, collecting = None, gc.isenabled()
    gc.disable()  # memory that this thread frees meanwhile would spoil it
    try:
        check(driver.cuStreamBeginCapture(gpu_stream.handle, mode))
        try:
            work()
        finally:
            code, found = driver.cuStreamEndCapture(gpu_stream.handle)
            graph = found if int(code) == 0 and int(found) else None
        if graph is None:
            return None
        nodes = _nodes(driver, graph)
        if not nodes or (device_only and not all(_is_of_device(driver, node) for node in nodes)):
            return None
        code, executable = driver.cuGraphInstantiate(graph, 0)
        return CudaGraph(gpu_stream, executable) if int(code) == 0 else None
    finally:
        if collecting:
            gc.enable()
        if graph is not None:
            driver.cuGraphDestroy(graph)


def _nodes(driver: Any, graph: Any) -> list[Any]:
    code, _, count = driver.cuGraphGetNodes(graph)
    if int(code) == 0 and count:
        code, nodes, _ = driver.cuGraphGetNodes(graph, count)
    else:
        nodes = []
    check((code,))
    return list(nodes)


def _is_of_device(driver: Any, node: Any) -> bool:
    """Tell whether a node is a kernel or a copy within the memory of GPUs."""
    kinds = driver.CUgraphNodeType
    kind = check(driver.cuGraphNodeGetType(node))
    if kind == kinds.CU_GRAPH_NODE_TYPE_MEMCPY:
        copy = check(driver.cuGraphMemcpyNodeGetParams(node))
        ends = ((copy.srcMemoryType, copy.srcDevice), (copy.dstMemoryType, copy.dstDevice))
        return all(_is_device_memory(driver, *end) for end in ends)
    return kind in (
        kinds.CU_GRAPH_NODE_TYPE_KERNEL,
        kinds.CU_GRAPH_NODE_TYPE_MEMSET,
        kinds.CU_GRAPH_NODE_TYPE_EMPTY,
    )


def _is_device_memory(driver: Any, kind: Any, pointer: Any) -> bool:
    kinds = driver.CUmemorytype
    if kind == kinds.CU_MEMORYTYPE_UNIFIED:  # "look at the address", not managed memory
        attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
        code, found = driver.cuPointerGetAttribute(attribute, int(pointer))
        return int(code) == 0 and int(found) == int(kinds.CU_MEMORYTYPE_DEVICE)
    return kind == kinds.CU_MEMORYTYPE_DEVICE
