"""Pictures may lie in GPU memory: anything with `__cuda_array_interface__` or DLPack is described here."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, TypeGuard

from .errors import InputError, _text_of
from .types import CudaStreamLike, DeviceArray

_CUDA = (2, 13)  # DLPack's numbers of device and managed memory
NO_STREAM = -1


@dataclass(frozen=True)
class DeviceImage:
    """Describes a picture, uint8 [height, width, 3], in GPU memory.

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


def is_on_device(image: object) -> TypeGuard[DeviceArray]:
    """Return whether an object says that it is an array in GPU memory; host arrays with DLPack say no."""
    if hasattr(image, "__cuda_array_interface__"):
        return True
    device = getattr(image, "__dlpack_device__", None)
    try:
        return callable(device) and int(device()[0]) in _CUDA
    except (
        Exception
    ):  # a class, or an array that is nowhere or on a device of a kind that DLPack has no number for
        return False


def describe(image: DeviceArray, consumer: int = NO_STREAM) -> DeviceImage:
    """Describe an array in GPU memory. Raises InputError unless it is uint8 [height, width, 3].

    consumer is the handle of the stream that will read or write it (none: it is only asked what it is). DLPack
    makes that stream wait for the producer's; for the CUDA array interface the caller waits for `stream`.
    DLPack comes first: the other interface of PyTorch's tensors does not say which stream they are made on.
    """
    if hasattr(image, "__dlpack__") and hasattr(image, "__dlpack_device__"):
        return _from_dlpack(image, consumer)
    about = image.__cuda_array_interface__
    pointer, readonly = about["data"]
    kind, strides, stream = about["typestr"], about.get("strides"), about.get("stream")
    if kind[1:] != "u1" or about.get("mask") is not None:
        raise InputError(f"image in GPU memory must be uint8 without a mask, got {kind}")
    if stream == 0:
        raise InputError("image in GPU memory names stream 0, which its interface forbids")
    return _made(pointer, tuple(about["shape"]), strides, image, stream, readonly)


def _from_dlpack(image: DeviceArray, consumer: int) -> DeviceImage:
    try:
        from cuda.core.utils import StridedMemoryView
    except ImportError as error:
        raise InputError("arrays with DLPack need the package cuda-core") from error
    try:
        view = StridedMemoryView.from_dlpack(image, stream_ptr=consumer)
    except Exception as error:  # of many types, by the producer
        raise InputError(f"image in GPU memory cannot be taken over DLPack: {_text_of(error)}") from error
    if str(view.dtype) != "uint8":
        raise InputError(f"image in GPU memory must be uint8, got {view.dtype}")
    # Strides are in elements, which are bytes.
    return _made(view.ptr, tuple(view.shape), view.strides, view, None, view.readonly)


def _made(
    pointer: Any, shape: tuple[int, ...], strides: Any, owner: Any, stream: int | None, readonly: Any
) -> DeviceImage:
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"image array must have shape (height, width, 3), got {shape}")
    if 0 in shape:
        raise InputError("image has no pixels")
    height, width, _ = shape
    row, pixel, colour = (3 * width, 3, 1) if strides is None else map(int, strides)
    return DeviceImage(int(pointer), height, width, (row, pixel, colour), owner, stream, bool(readonly))


def stream_handle(cuda_stream: CudaStreamLike) -> int:
    """Return the address of a CUDA stream of any library.

    It may be a number, or an object with `__cuda_stream__` or one of the attributes `handle` (pycuda, numba), `ptr`
    (CuPy), `cuda_stream` (PyTorch). Raises InputError for anything else.
    """
    stream: Any = cuda_stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("handle", "ptr", "cuda_stream"):
        if hasattr(stream, name):
            stream = getattr(stream, name)
            break
    if isinstance(stream, ctypes.c_void_p):
        stream = stream.value or 0  # None there is the default stream
    try:
        if isinstance(stream, bool | float | str):
            raise TypeError
        handle = int(stream)  # a number of some type, or a CUstream of cuda-bindings
    except (TypeError, ValueError):
        handle = -1
    if handle < 0:
        raise InputError(f"cuda_stream must be a CUDA stream or its address, got {stream!r}")
    return handle
