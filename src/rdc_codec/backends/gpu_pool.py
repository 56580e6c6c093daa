"""What the backends on a GPU share: workers with a stream each, and buffers that are kept from picture to picture.

A *lane* is a stream with the memory operations that go through it (`CudaLane` in cuda.py). A *slot* is what
one graph needs at one size: a buffer on the device and one in pinned host memory for each of its tensors, and what a
launcher has prepared for them. A worker owns a lane and the slots that it used last.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from queue import Empty, LifoQueue
from typing import Any, Protocol

import numpy as np

from ..bundle import HYPER_STRIDE, Bundle, Tensor
from ..errors import BackendError, CodecError, InputError, LimitError
from ..interop import DeviceImage, describe, is_on_device
from .base import BackendInfo, Inputs, is_out_of_memory

MAX_WORKERS = 4  # pictures under way on the GPU at once
MAX_SLOTS = 4  # that a worker keeps: both ways of two sizes
Launch = Callable[[], None]


class Block(Protocol):
    """Memory, on the device or pinned on the host; freed when nothing refers to it any more."""

    @property
    def pointer(self) -> int: ...


class Recorded(Protocol):
    """Work of a lane that can be queued again at once: a CUDA graph."""

    def launch(self) -> None: ...


class Lane(Protocol):
    """A stream of a GPU. Everything but `synchronise` is queued on it, and the caller keeps the memory meanwhile."""

    handle: int

    def current(self) -> contextlib.AbstractContextManager[None]:
        """Its CUDA context is the calling thread's within, which has its own again afterwards."""
        ...

    def device(self, size: int) -> Block: ...

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray: ...

    def upload(self, array: np.ndarray, block: Block) -> None: ...

    def download(self, block: Block, array: np.ndarray) -> None: ...

    def pad(self, image: DeviceImage, block: Block, rows: int, columns: int) -> None:
        """uint8 picture -> int8 [rows, columns, 3] of value - 128, edges repeated."""
        ...

    def crop(self, block: Block, columns: int, image: DeviceImage) -> None:
        """The inverse: the upper left part of int8 [?, columns, 3]."""
        ...

    def picture(self, height: int, width: int) -> Any:
        """A new picture on the device, with `__cuda_array_interface__` and DLPack."""
        ...

    def check(self, image: DeviceImage) -> None:
        """Raises InputError for memory that is not this device's."""
        ...

    def wait_for(self, stream: int) -> None: ...

    def be_waited_for(self, stream: int) -> None: ...

    def capture(self, work: Callable[[], None], device_only: bool = False) -> Recorded | None:
        """What `work` queues on the lane, recorded and not run; None where it cannot be.

        device_only: None, too, where it reads or writes memory of the host, which may be freed before it is launched.
        """
        ...

    def synchronise(self) -> None: ...


class Launcher(Protocol):
    """Runs graphs on buffers."""

    def prepare(self, lane: Lane, graph: str, slot: Slot) -> Launch:
        """What queues the graph on the lane, from the slot's inputs to its outputs, each time it is called."""
        ...


class Slot:
    """Buffers of one graph at one size. inputs, outputs: what the tensors are; shapes: theirs at this size."""

    def __init__(self, lane: Lane, bundle: Bundle, graph: str, size: tuple[int, int, int]) -> None:
        self.inputs, self.outputs = bundle.inputs[graph], bundle.outputs[graph]
        self.shapes = {t.name: t.sizes(*size) for t in self.tensors}
        self.device = {t.name: lane.device(self.bytes_of(t)) for t in self.tensors}
        self.host = {t.name: lane.pinned(self.shapes[t.name], t.dtype) for t in self.tensors}
        self.launch: Launch | None = None

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.inputs, *self.outputs]

    def bytes_of(self, tensor: Tensor) -> int:
        return int(np.prod(self.shapes[tensor.name])) * tensor.dtype.itemsize


class Worker:
    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._slots: OrderedDict[tuple[str, tuple[int, int, int]], Slot] = OrderedDict()

    def slot(self, bundle: Bundle, graph: str, size: tuple[int, int, int]) -> Slot:
        key = graph, size
        if key not in self._slots:
            while len(self._slots) >= MAX_SLOTS:
                self._slots.popitem(last=False)
            self._slots[key] = Slot(self.lane, bundle, graph, size)
        self._slots.move_to_end(key)
        return self._slots[key]


class Pool:
    """Workers, made when all others are busy; at most so many. One that an error left in doubt is not used again."""

    def __init__(self, make: Callable[[], Worker], most: int) -> None:
        self._make = make
        self._free: LifoQueue[Worker] = LifoQueue()
        self._room = threading.Semaphore(most)

    @contextlib.contextmanager
    def one(self) -> Iterator[Worker]:
        """A worker with nothing queued, whose context is current."""
        with self._room:
            try:
                worker = self._free.get_nowait()
            except Empty:
                worker = self._make()
            with worker.lane.current():
                try:
                    worker.lane.synchronise()  # a picture may have been left on its way to the caller's stream
                    yield worker
                except BaseException:
                    with contextlib.suppress(Exception):
                        worker.lane.synchronise()  # its buffers are freed now
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
        open_lane: Callable[[], Lane],
        trial: tuple[str, tuple[int, int, int]] = ("decode_base", (1, 1, 1)),
    ) -> None:
        """trial: graph and size (pictures, rows and columns of strides) that `try_out` runs."""
        self.info = info
        self._bundle, self._launcher, self._trial = bundle, launcher, trial
        self._pool = Pool(lambda: Worker(open_lane()), MAX_WORKERS)

    def run(self, graph: str, inputs: Inputs, stream: int | None = None) -> list[np.ndarray]:
        """As `Backend.run`. Pixels may be an array in GPU memory, ready in the order of its own stream or after what is
        queued on the caller's, `stream`."""
        pixels = inputs.get("pixels")
        size = self._size(inputs)  # an InputError for what is no picture comes before anything is queued
        with self._launched(graph, inputs, size, stream if is_on_device(pixels) else None) as (lane, slot):
            for tensor in slot.outputs:
                lane.download(slot.device[tensor.name], slot.host[tensor.name])
            lane.synchronise()
            return [slot.host[tensor.name].copy() for tensor in slot.outputs]

    def try_out(self) -> None:
        """Run a graph on zeros. Raises BackendError or LimitError where that fails."""
        graph, size = self._trial
        self.run(graph, {t.name: np.zeros(t.sizes(*size), t.dtype) for t in self._bundle.inputs[graph]})

    def run_to_device(
        self, graph: str, inputs: Inputs, height: int, width: int, out: Any, stream: int | None
    ) -> Any:
        """The picture of a decoder graph, in GPU memory: `out`, or a new one where that is None.

        With a stream it is ready in that stream's order, without one it is ready. Raises InputError where `out` is no
        writable picture of this size.
        """
        if out is not None:
            _check_target(describe(out), height, width)
        with self._launched(graph, inputs, self._size(inputs), None) as (lane, slot):
            picture = lane.picture(height, width) if out is None else out
            target = describe(picture, lane.handle)
            lane.check(target)
            for before in (stream, target.stream):  # what reads or writes that memory
                if before is not None:
                    lane.wait_for(before)
            name = slot.outputs[0].name
            lane.crop(slot.device[name], slot.shapes[name][2], target)
            if stream is None:
                lane.synchronise()
            else:
                lane.be_waited_for(stream)
            return picture

    @contextlib.contextmanager
    def _launched(
        self, graph: str, inputs: Inputs, size: tuple[int, int, int], stream: int | None
    ) -> Iterator[tuple[Lane, Slot]]:
        """A lane on which the graph is queued, and its slot; both are the caller's until the end."""
        try:
            with self._pool.one() as worker:
                lane, slot = worker.lane, worker.slot(self._bundle, graph, size)
                if stream is not None:
                    lane.wait_for(stream)
                for tensor in slot.inputs:
                    _fill(lane, slot, tensor, inputs[tensor.name])
                if slot.launch is None:
                    slot.launch = self._launcher.prepare(lane, graph, slot)
                slot.launch()
                yield lane, slot
        except CodecError:
            raise
        except Exception as error:  # of CUDA, TensorRT and ONNX Runtime, which share no base class
            if is_out_of_memory(error):
                raise LimitError(f"not enough memory to run {graph}") from error
            raise BackendError(f"{self.info.name} failed in {graph}: {error}") from error

    def _size(self, inputs: Inputs) -> tuple[int, int, int]:
        """Pictures, and their sides in strides. Raises InputError for an array in GPU memory that is no picture."""
        if "pixels" not in inputs:
            n, _, rows, columns = inputs["z1"].shape
            return n, rows, columns
        pixels = inputs["pixels"]
        if isinstance(pixels, np.ndarray):
            n, height, width, _ = pixels.shape
        else:
            image = describe(pixels)
            n, height, width = 1, image.height, image.width
        return n, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE)


def _check_target(target: DeviceImage, height: int, width: int) -> None:
    if (target.height, target.width) != (height, width):
        raise InputError(
            f"out is {target.width}x{target.height}, the picture {width}x{height} (width x height)"
        )
    if target.readonly:
        raise InputError("out cannot be written to")


def _fill(lane: Lane, slot: Slot, tensor: Tensor, value: Any) -> None:
    """Queue the upload of an input; a picture in GPU memory is padded there."""
    block = slot.device[tensor.name]
    if isinstance(value, np.ndarray):
        host = slot.host[tensor.name]
        np.copyto(host, value, casting="no")
        lane.upload(host, block)
        return
    image = describe(value, lane.handle)
    lane.check(image)
    if image.stream is not None:
        lane.wait_for(image.stream)
    _, rows, columns, _ = slot.shapes[tensor.name]
    lane.pad(image, block, rows, columns)
