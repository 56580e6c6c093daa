"""These types say what callers hand over and get back; none is needed at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


class CudaArray(Protocol):
    """Describes an array in GPU memory with the CUDA array interface: CuPy, PyTorch, numba, pycuda."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


class DlpackArray(Protocol):
    """Describes an array with DLPack in GPU memory: CuPy, PyTorch, JAX."""

    def __dlpack__(self, *, stream: Any = ...) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, int]: ...


class HasCudaStream(Protocol):
    """Describes a stream of cuda-core or of a library that follows its protocol."""

    def __cuda_stream__(self) -> tuple[int, int]: ...


class HasHandle(Protocol):
    """Describes a stream of pycuda or numba."""

    @property
    def handle(self) -> Any: ...


class HasPointer(Protocol):
    """Describes a stream of CuPy."""

    @property
    def ptr(self) -> int: ...


class TorchStream(Protocol):
    """Describes a stream of PyTorch."""

    @property
    def cuda_stream(self) -> int: ...


Picture: TypeAlias = NDArray[np.uint8]  # [height, width, 3], RGB
Plane: TypeAlias = NDArray[np.uint8]  # [height, width]
Pixels: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"  # [height, width] or [height, width, 1, 3 or 4]
DeviceArray: TypeAlias = CudaArray | DlpackArray  # uint8 [height, width, 3] in GPU memory
HostImage: TypeAlias = "Pixels | Image.Image"
ImageLike: TypeAlias = "Pixels | Image.Image | DeviceArray"
CudaStreamLike: TypeAlias = int | HasCudaStream | HasHandle | HasPointer | TorchStream
Buffer: TypeAlias = bytes | bytearray | memoryview  # of an .rdc stream
