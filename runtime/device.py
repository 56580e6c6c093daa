"""Pictures in GPU memory, as applications have them: anything with `__cuda_array_interface__` or DLPack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError

_CUDA = (2, 13)  # DLPack's numbers of device and managed memory


@dataclass(frozen=True)
class DeviceImage:
    """A picture uint8 [height, width, 3] in GPU memory.

    pointer: its address. strides: bytes to the next row, pixel and colour. owner: what keeps the memory. stream: handle
    of the stream that its producer works on, None where it is ready.
    """

    pointer: int
    height: int
    width: int
    strides: tuple[int, int, int]
    owner: Any
    stream: int | None = None
    readonly: bool = False


def is_on_device(image: Any) -> bool:
    """Does this object say that it is an array in GPU memory? Host arrays with DLPack say that they are not."""
    if hasattr(image, "__cuda_array_interface__"):
        return True
    device = getattr(image, "__dlpack_device__", None)
    return callable(device) and int(device()[0]) in _CUDA


def describe(image: Any, consumer: int) -> DeviceImage:
    """Raises InputError for what is no uint8 [height, width, 3].

    consumer: handle of the stream that will read or write it. DLPack makes that stream wait itself; for the CUDA array
    interface the caller waits for `stream`.
    """
    if hasattr(image, "__cuda_array_interface__"):
        about = image.__cuda_array_interface__
        pointer, readonly = about["data"]
        shape, kind, strides = tuple(about["shape"]), about["typestr"], about.get("strides")
        if kind[1:] != "u1" or about.get("mask") is not None:
            raise InputError(f"image in GPU memory must be uint8 without a mask, got {kind}")
        stream = about.get("stream")
        if stream == 0:
            raise InputError("image in GPU memory names stream 0, which its interface forbids")
    else:
        try:
            from cuda.core.utils import StridedMemoryView
        except ImportError as error:
            raise InputError("arrays that have DLPack only need the package cuda-core") from error
        try:
            view = StridedMemoryView.from_dlpack(image, stream_ptr=consumer)
        except Exception as error:  # of many types, by the producer
            raise InputError(f"image in GPU memory cannot be taken over DLPack: {error}") from error
        pointer, readonly, stream = view.ptr, view.readonly, None
        shape, strides = tuple(view.shape), view.strides  # in elements, of one byte
        if str(view.dtype) != "uint8":
            raise InputError(f"image in GPU memory must be uint8, got {view.dtype}")
        image = view
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"image array must have shape (height, width, 3), got {shape}")
    if 0 in shape:
        raise InputError("image has no pixels")
    height, width, _ = shape
    given = (3 * width, 3, 1) if strides is None else tuple(map(int, strides))
    return DeviceImage(int(pointer), height, width, given, image, stream, bool(readonly))  # type: ignore[arg-type]


def size_on_device(image: Any) -> tuple[int, int]:
    """(height, width) from its description alone. Raises InputError as `describe` does."""
    shape = (
        image.__cuda_array_interface__["shape"] if hasattr(image, "__cuda_array_interface__") else image.shape
    )
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InputError(f"image array must have shape (height, width, 3) and pixels, got {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def stream_handle(stream: Any) -> int:
    """Address of a CUDA stream of any library: a number, or an object with `__cuda_stream__` or one of the attributes
    `handle` (pycuda, numba), `ptr` (CuPy), `cuda_stream` (PyTorch). Raises InputError for anything else."""
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("handle", "ptr", "cuda_stream"):
        if hasattr(stream, name):
            stream = getattr(stream, name)
            break
    stream = getattr(stream, "value", stream)  # ctypes
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0:
        raise InputError(f"stream must be a CUDA stream or its address, got {stream!r}")
    return stream
