"""The backends on a GPU share this: workers with a stream each, and buffers kept from picture to picture.

A `GpuStream` is a CUDA stream with the memory operations that go through it (`CudaStream` in cuda.py). `Buffers` are
what one graph needs at one size: a block on the device and one in pinned host memory for each of its tensors, and what
a launcher has prepared for them. A worker owns a stream and the buffers that it used last.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from queue import Empty, LifoQueue
from typing import Any, Protocol

import numpy as np

from ..bundle import Bundle, Size, Tensor
from ..errors import BackendError, CodecError, InputError, LimitError, _text_of
from ..interop import DeviceImage, describe, is_on_device
from .base import BackendInfo, Inputs, is_out_of_memory

MAX_WORKERS = 4  # pictures under way on the GPU at once
MAX_KEPT = 4  # buffers that a worker keeps: both ways of two sizes
Launch = Callable[[], None]


class Block(Protocol):
    """Describes memory, on the device or pinned on the host; it is freed when nothing refers to it any more."""

    @property
    def pointer(self) -> int: ...


class CapturedWork(Protocol):
    """Describes work of a stream that can be queued again with one call: a CUDA graph."""

    def launch(self) -> None:
        """Queue the work on the stream that it was captured from."""
        ...


class GpuStream(Protocol):
    """Describes a stream of a GPU.

    Work is queued on it, and the caller keeps the memory until it has been waited for.
    """

    handle: int

    def current(self) -> contextlib.AbstractContextManager[None]:
        """Makes this stream's context current for the calling thread, and restores the previous one."""
        ...

    def device(self, size: int) -> Block:
        """Allocates so many bytes on the device; their values are undefined."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Allocates an array in host memory that the GPU copies from and to while the host goes on."""
        ...

    def upload(self, array: np.ndarray, block: Block) -> None:
        """Queues a copy of the array's bytes to the device."""
        ...

    def download(self, block: Block, array: np.ndarray) -> None:
        """Queues a copy that fills the array from the device; it can be read after `synchronise`."""
        ...

    def pad(self, image: DeviceImage, block: Block, rows: int, columns: int) -> None:
        """Queues a copy of a uint8 picture to int8 [rows, columns, 3] of value - 128, with its edges repeated."""
        ...

    def crop(self, block: Block, columns: int, image: DeviceImage) -> None:
        """Queues the inverse of `pad`: it fills the picture from the upper left part of int8 [?, columns, 3]."""
        ...

    def picture(self, height: int, width: int) -> Any:
        """Allocates a picture on the device, with `__cuda_array_interface__` and DLPack."""
        ...

    def check(self, image: DeviceImage) -> None:
        """Refuses, with InputError, a picture in memory that this stream's kernels cannot use."""
        ...

    def wait_for(self, cuda_stream: int) -> None:
        """Lets what is queued here from now on run after what is queued on the other stream so far."""
        ...

    def be_waited_for(self, cuda_stream: int) -> None:
        """Lets what is queued on the other stream from now on run after what is queued here so far."""
        ...

    def capture(self, work: Callable[[], None], device_only: bool = False) -> CapturedWork | None:
        """Records what `work` queues on this stream without running it; returns None if that is not possible.

        device_only: returns None also if the work touches memory of the host, which may be freed before a launch.
        """
        ...

    def synchronise(self) -> None:
        """Waits until everything that was queued here has run."""
        ...


class Launcher(Protocol):
    """Runs graphs on buffers."""

    def prepare(self, gpu_stream: GpuStream, graph: str, buffers: Buffers) -> Launch:
        """Returns a call that queues the graph on the stream, from the inputs in the buffers to their outputs."""
        ...


class Buffers:
    """Holds the memory of one graph at one size.

    inputs, outputs: the tensors. shapes: theirs at this size, by name. device, host: their memory, by name.
    """

    def __init__(self, gpu_stream: GpuStream, bundle: Bundle, graph: str, size: Size) -> None:
        self.inputs, self.outputs = bundle.inputs[graph], bundle.outputs[graph]
        self.shapes = {t.name: t.sizes(*size) for t in self.tensors}
        self.device = {t.name: gpu_stream.device(self.bytes_of(t)) for t in self.tensors}
        self.host = {t.name: gpu_stream.pinned(self.shapes[t.name], t.dtype) for t in self.tensors}
        # The last to go: a picture may still be on its way, and freeing the memory above waits for that.
        self.launch: Launch | None = None

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.inputs, *self.outputs]

    def bytes_of(self, tensor: Tensor) -> int:
        return int(np.prod(self.shapes[tensor.name])) * tensor.dtype.itemsize


class Worker:
    """Owns a stream and the buffers that were used on it last, at most MAX_KEPT."""

    def __init__(self, gpu_stream: GpuStream) -> None:
        self.gpu_stream = gpu_stream
        self._kept: OrderedDict[tuple[str, Size], Buffers] = OrderedDict()

    def buffers(self, bundle: Bundle, graph: str, size: Size) -> Buffers:
        """Return the buffers of a graph at a size; making new ones drops those that were used longest ago."""
        key = graph, size
        if key not in self._kept:
            while len(self._kept) >= MAX_KEPT:
                self._kept.popitem(last=False)
            self._kept[key] = Buffers(self.gpu_stream, bundle, graph, size)
        self._kept.move_to_end(key)
        return self._kept[key]


class Pool:
    """Lends workers, and makes one when all others are busy, up to a limit.

    A worker that an error left in doubt is not used again.
    """

    def __init__(self, make: Callable[[], Worker], most: int) -> None:
        self._make = make
        self._free: LifoQueue[Worker] = LifoQueue()
        self._room = threading.Semaphore(most)

    @contextlib.contextmanager
    def one(self) -> Iterator[Worker]:
        """Lend a worker with nothing queued, whose context is current."""
        with self._room:
            try:
                worker = self._free.get_nowait()
            except Empty:
                worker = self._make()
            with worker.gpu_stream.current():
                try:
                    # A picture may have been left on its way to the caller's stream.
                    worker.gpu_stream.synchronise()
                    yield worker
                except BaseException:
                    with contextlib.suppress(Exception):
                        worker.gpu_stream.synchronise()  # its buffers are freed now
                    raise
            self._free.put(worker)


class GpuBackend:
    """Runs graphs through a launcher. One object serves any number of threads, up to MAX_WORKERS at a time."""

    parallel = True  # transfers and kernels of several pictures overlap

    def __init__(
        self,
        info: BackendInfo,
        bundle: Bundle,
        launcher: Launcher,
        open_stream: Callable[[], GpuStream],
        trial: tuple[str, Size] = ("decode_base", Size(1, 1, 1)),
    ) -> None:
        """Keep what is given and run nothing yet. trial: the graph and the size that `try_out` runs."""
        self.info = info
        self._bundle, self._launcher, self._trial = bundle, launcher, trial
        self._pool = Pool(lambda: Worker(open_stream()), MAX_WORKERS)

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        """Run a graph, as `Backend.run` does.

        Pixels may be an array in GPU memory. It is read in the order of its own stream, and after what is queued on
        the caller's, `cuda_stream`.
        """
        pixels = inputs.get("pixels")
        size = self._size(inputs)  # an InputError for what is no picture comes before anything is queued
        before = cuda_stream if is_on_device(pixels) else None
        with self._launched(graph, inputs, size, before) as (gpu_stream, buffers):
            for tensor in buffers.outputs:
                gpu_stream.download(buffers.device[tensor.name], buffers.host[tensor.name])
            gpu_stream.synchronise()
            return [buffers.host[tensor.name].copy() for tensor in buffers.outputs]

    def try_out(self) -> None:
        """Run a graph on zeros. Raises BackendError or LimitError if that fails."""
        graph, size = self._trial
        self.run(graph, {t.name: np.zeros(t.sizes(*size), t.dtype) for t in self._bundle.inputs[graph]})

    def run_to_device(
        self, graph: str, inputs: Inputs, height: int, width: int, out: Any, cuda_stream: int | None
    ) -> Any:
        """Run a decoder graph and leave its picture in GPU memory: in `out`, or in a new one if that is None.

        With a stream it is ready in that stream's order, without one it is ready. Raises InputError unless `out` is a
        writable picture of this size.
        """
        if out is not None:
            _check_target(describe(out), height, width)
        with self._launched(graph, inputs, self._size(inputs), None) as (gpu_stream, buffers):
            picture = gpu_stream.picture(height, width) if out is None else out
            target = describe(picture, gpu_stream.handle)
            gpu_stream.check(target)
            for before in (cuda_stream, target.stream):  # what reads or writes that memory
                if before is not None:
                    gpu_stream.wait_for(before)
            name = buffers.outputs[0].name
            gpu_stream.crop(buffers.device[name], buffers.shapes[name][2], target)
            if cuda_stream is None:
                gpu_stream.synchronise()
            else:
                gpu_stream.be_waited_for(cuda_stream)
            return picture

    @contextlib.contextmanager
    def _launched(
        self, graph: str, inputs: Inputs, size: Size, cuda_stream: int | None
    ) -> Iterator[tuple[GpuStream, Buffers]]:
        """Queue a graph; the stream that it is queued on and its buffers are the caller's until the end."""
        try:
            with self._pool.one() as worker:
                gpu_stream, buffers = worker.gpu_stream, worker.buffers(self._bundle, graph, size)
                if cuda_stream is not None:
                    gpu_stream.wait_for(cuda_stream)
                for tensor in buffers.inputs:
                    _fill(gpu_stream, buffers, tensor, inputs[tensor.name])
                if buffers.launch is None:
                    buffers.launch = self._launcher.prepare(gpu_stream, graph, buffers)
                buffers.launch()
                yield gpu_stream, buffers
        except CodecError:
            raise
        except Exception as error:  # of CUDA, TensorRT and ONNX Runtime, which share no base class
            if is_out_of_memory(error):
                raise LimitError(f"not enough memory to run {graph}") from error
            raise BackendError(f"{self.info.name} failed in {graph}: {_text_of(error)}") from error

    def _size(self, inputs: Inputs) -> Size:
        """Tell the size of a graph's inputs. Raises InputError for an array in GPU memory that is no picture."""
        if "pixels" not in inputs:
            n, _, rows, columns = inputs["z1"].shape
            return Size(n, rows, columns)
        pixels = inputs["pixels"]
        if isinstance(pixels, np.ndarray):
            n, height, width, _ = pixels.shape
        else:
            image = describe(pixels)
            n, height, width = 1, image.height, image.width
        return Size.of_pictures(n, height, width)


def _check_target(target: DeviceImage, height: int, width: int) -> None:
    if (target.height, target.width) != (height, width):
        raise InputError(
            f"out is {target.width}x{target.height}, the picture {width}x{height} (width x height)"
        )
    if target.readonly:
        raise InputError("out cannot be written to")


def _fill(gpu_stream: GpuStream, buffers: Buffers, tensor: Tensor, value: Any) -> None:
    """Queue the upload of an input; a picture in GPU memory is padded there."""
    block = buffers.device[tensor.name]
    if isinstance(value, np.ndarray):
        host = buffers.host[tensor.name]
        np.copyto(host, value, casting="no")
        gpu_stream.upload(host, block)
        return
    image = describe(value, gpu_stream.handle)
    gpu_stream.check(image)
    if image.stream is not None:
        gpu_stream.wait_for(image.stream)
    _, rows, columns, _ = buffers.shapes[tensor.name]
    gpu_stream.pad(image, block, rows, columns)
