"""This module gives streams and memory of an NVIDIA GPU, through cuda-core."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError, InputError, _text_of
from ..interop import DeviceImage
from . import cuda_graph
from .cuda_graph import CudaGraph, check

THREADS = 256  # of a block of the pixel kernels
_capturing = threading.RLock()  # of the process: a device is shared by all codecs
SOURCE = Path(__file__).with_name("pixels.cu")


def no_capture() -> contextlib.AbstractContextManager[Any]:
    """Keep captures of this process away as long as the context manager is entered.

    Whatever waits for the whole device needs it, as making or ending a session of ONNX Runtime does. Such a wait
    fails, and invalidates the capture, whichever thread makes it.
    """
    return _capturing


class Gpu:
    """Holds a GPU and the CUDA context that everything of a backend lives in.

    number is that of the device (None: that of the calling thread's context, else 0). graphs_enabled says
    whether its streams may capture CUDA graphs. The context is the calling thread's if it has one on that
    device, which is how applications built on pycuda keep theirs, else the device's primary one, which PyTorch,
    CuPy and numba use. Raises BackendError where there is no driver or device.
    """

    def __init__(self, number: int | None, graphs_enabled: bool = True) -> None:
        self.graphs_enabled = graphs_enabled
        try:
            from cuda.bindings import driver
            from cuda.core import Device, Program, ProgramOptions
        except ImportError as error:
            raise BackendError(f"the package cuda-core is missing: {error}") from error
        self.driver = driver
        try:
            check(driver.cuInit(0))
            self.device = Device(number)
            self.context = self._own_context()
            options = ProgramOptions(arch=f"sm_{self.device.arch}")
            compiled = Program(SOURCE.read_text(), "c++", options=options).compile("cubin")
            with self.current(), no_capture():
                self.pad, self.crop = (compiled.get_kernel(n) for n in ("pad_pixels", "crop_pixels"))
        except Exception as error:  # libraries that are missing, errors of the driver: no common base class
            raise BackendError(f"no usable GPU: {_text_of(error)}") from error
        self.name = self.device.name

    def _own_context(self) -> int:
        """Find the calling thread's context if it is one of this device, else the primary one; change neither."""
        driver, before = self.driver, self._current()
        own = before and int(check(driver.cuCtxGetDevice())) == self.device.device_id
        self.device.set_current()  # makes this object usable, and the primary context current
        primary = self._current()
        check(driver.cuCtxSetCurrent(driver.CUcontext(before)))
        return before if own else primary

    def is_primary(self) -> bool:
        """Tell whether the context is the one that the CUDA runtime uses, and all that is built on it."""
        driver, number = self.driver, self.device.device_id
        primary = int(check(driver.cuDevicePrimaryCtxRetain(number)))
        check(driver.cuDevicePrimaryCtxRelease(number))
        return primary == self.context

    def driver_version(self) -> int:
        """Return 1000 * major + 10 * minor of the CUDA version that the driver is for."""
        return int(check(self.driver.cuDriverGetVersion()))

    def _current(self) -> int:
        return int(check(self.driver.cuCtxGetCurrent()))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        before = self._current()
        if before == self.context:
            yield
            return
        check(self.driver.cuCtxSetCurrent(self.driver.CUcontext(self.context)))
        try:
            yield
        finally:
            check(self.driver.cuCtxSetCurrent(self.driver.CUcontext(before)))


class DeviceMemory:
    """Owns memory of the GPU and frees it. Freeing waits for what the GPU does, whichever stream that is on."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        """Allocate in the GPU's context, which must be current."""
        self._gpu, self.size = gpu, max(1, size)
        self.pointer = int(check(gpu.driver.cuMemAlloc(self.size)))

    def __del__(self) -> None:
        if pointer := getattr(self, "pointer", 0):
            with (
                contextlib.suppress(Exception),
                self._gpu.current(),
            ):  # the interpreter or the driver may be gone
                self._gpu.driver.cuMemFree(pointer)


class PinnedMemory:
    """Owns memory of the host that the GPU copies from and to by itself; any thread may free it."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        """Allocate in the GPU's context, which must be current."""
        self._gpu = gpu
        flags = gpu.driver.CU_MEMHOSTALLOC_PORTABLE
        self.pointer = int(check(gpu.driver.cuMemHostAlloc(max(1, size), flags)))

    def __del__(self) -> None:
        if pointer := getattr(self, "pointer", 0):
            with contextlib.suppress(Exception), self._gpu.current():
                self._gpu.driver.cuMemFreeHost(pointer)


class DevicePicture(DeviceMemory):
    """Holds a decoded picture in GPU memory: uint8 [height, width, 3], packed.

    It has `__cuda_array_interface__` and `__dlpack__`, so `cupy.asarray`, `torch.as_tensor`,
    `numba.cuda.as_cuda_array` and the like take it without a copy; `pointer` is the address. Where waiting when it is
    freed costs too much, decode into memory of your own.
    """

    def __init__(self, gpu: Gpu, height: int, width: int) -> None:
        super().__init__(gpu, height * width * 3)
        self.shape = (height, width, 3)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.pointer, False)
        return {"shape": self.shape, "typestr": "|u1", "data": data, "version": 3, "strides": None}

    def _view(self) -> Any:
        from cuda.core import Buffer
        from cuda.core.utils import StridedMemoryView

        buffer = Buffer.from_handle(self.pointer, self.size, owner=self)
        return StridedMemoryView.from_buffer(buffer, self.shape, dtype=np.dtype(np.uint8))

    def __dlpack__(self, **options: Any) -> Any:
        return self._view().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._gpu.device.device_id  # kDLCUDA


class _OwnedStream:
    """Owns a stream in the GPU's context (cuda-core from 1.3 on would take the device's primary one).

    It is an object of its own so that what refers to the `CudaStream` weakly, as sessions on it do, goes before.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        flags = gpu.driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        with gpu.current():
            self.handle = int(check(gpu.driver.cuStreamCreate(flags)))

    def __del__(self) -> None:
        if handle := getattr(self, "handle", 0):
            with contextlib.suppress(Exception), self._gpu.current():
                self._gpu.driver.cuStreamDestroy(handle)


class CudaStream:
    """Implements a stream of an NVIDIA GPU; `rdc_codec.backends.gpu_pool.GpuStream` says what each method does."""

    def __init__(self, gpu: Gpu) -> None:
        from cuda.core import Stream

        self.gpu = gpu
        self._owned = _OwnedStream(gpu)
        self.handle = self._owned.handle
        self._core_stream = Stream.from_handle(self.handle)

    def current(self) -> contextlib.AbstractContextManager[None]:
        return self.gpu.current()

    def device(self, size: int) -> DeviceMemory:
        return DeviceMemory(self.gpu, size)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        size = int(np.prod(shape)) * dtype.itemsize
        block = PinnedMemory(self.gpu, size)
        memory = (ctypes.c_uint8 * size).from_address(block.pointer)
        memory.owner = block  # type: ignore[attr-defined]  # lives as long as the array
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def upload(self, array: np.ndarray, block: Any) -> None:
        driver = self.gpu.driver
        check(driver.cuMemcpyHtoDAsync(block.pointer, array.ctypes.data, array.nbytes, self.handle))

    def download(self, block: Any, array: np.ndarray) -> None:
        driver = self.gpu.driver
        check(driver.cuMemcpyDtoHAsync(array.ctypes.data, block.pointer, array.nbytes, self.handle))

    def pad(self, image: DeviceImage, block: Any, rows: int, columns: int) -> None:
        self._launch(
            self.gpu.pad,
            rows * columns,
            image.pointer,
            *map(np.int64, image.strides),
            np.int32(image.height),
            np.int32(image.width),
            block.pointer,
            np.int32(rows),
            np.int32(columns),
        )

    def crop(self, block: Any, columns: int, image: DeviceImage) -> None:
        self._launch(
            self.gpu.crop,
            image.height * image.width,
            block.pointer,
            np.int32(columns),
            image.pointer,
            *map(np.int64, image.strides),
            np.int32(image.height),
            np.int32(image.width),
        )

    def _launch(self, kernel: Any, pixels: int, *arguments: Any) -> None:
        from cuda.core import LaunchConfig, launch

        launch(self._core_stream, LaunchConfig(grid=-(-pixels // THREADS), block=THREADS), kernel, *arguments)

    def picture(self, height: int, width: int) -> DevicePicture:
        return DevicePicture(self.gpu, height, width)

    def check(self, image: DeviceImage) -> None:
        """Refuse memory that is not this GPU's or not of the codec's context: a kernel that touched it would end the
        context. Raises InputError."""
        driver = self.gpu.driver
        attributes = driver.CUpointer_attribute
        code, number = driver.cuPointerGetAttribute(
            attributes.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, image.pointer
        )
        if int(code) != 0 or int(number) != self.gpu.device.device_id:
            raise InputError(
                f"array is not in the memory of GPU {self.gpu.device.device_id}, where the codec is"
            )
        code, context = driver.cuPointerGetAttribute(attributes.CU_POINTER_ATTRIBUTE_CONTEXT, image.pointer)
        if int(code) == 0 and int(context) not in (0, self.gpu.context):  # memory of pools may have none
            raise InputError(
                "array belongs to another CUDA context than the codec: make the codec where that is current"
            )

    def wait_for(self, cuda_stream: int) -> None:
        self._order(cuda_stream, self.handle)

    def be_waited_for(self, cuda_stream: int) -> None:
        self._order(self.handle, cuda_stream)

    def _order(self, first: int, then: int) -> None:
        """Let what is queued on one stream so far come before what is queued on the other from now on."""
        driver = self.gpu.driver
        event = check(driver.cuEventCreate(driver.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        try:
            check(driver.cuEventRecord(event, first))
            check(driver.cuStreamWaitEvent(then, event, 0))
        finally:
            check(driver.cuEventDestroy(event))  # freed when it has happened

    def capture(self, work: Callable[[], None], device_only: bool = False) -> CudaGraph | None:
        """Capture what `work` queues on this stream as a graph; nothing runs yet.

        Returns None if capturing is disabled, CUDA refuses, or the work queued nothing on this stream (it went
        elsewhere, and a launch would do nothing).

        device_only: returns None also if the graph holds more than kernels and copies within the GPU's memory. Without
        them it can be launched as long as that memory is there; memory of the host may have been freed after `work`.

        This calls the driver itself, because up to cuda-core 1.2 a capture that fails ends the process (cuda-python's
        issue 2834). What `work` raises is raised again, with the stream as it was.
        """
        if not self.gpu.graphs_enabled:
            return None
        with _capturing:  # one capture at a time: another one ending would re-enable the garbage collector
            return cuda_graph.capture(self, work, device_only)

    def synchronise(self) -> None:
        check(self.gpu.driver.cuStreamSynchronize(self.handle))
