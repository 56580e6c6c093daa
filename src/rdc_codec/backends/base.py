"""What every backend is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Inputs = Mapping[str, Any]  # name of the tensor -> array; "pixels" may be a picture in GPU memory


@dataclass(frozen=True)
class BackendInfo:
    """Says what a codec's networks run on. name: what to ask for it by. device: what it runs on. why: it was taken."""

    name: str
    device: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} on {self.device} ({self.why})"


@dataclass(frozen=True)
class BackendOptions:
    """What a codec asks of its backend, as `rdc_codec.Codec` does.

    threads, session_options: of ONNX Runtime. device, cuda_graphs: of a GPU.
    """

    threads: int | None = None
    session_options: Any = None
    device: int | None = None
    cuda_graphs: bool = True


class Backend(Protocol):
    """Runs the graphs of a bundle; safe to call from several threads.

    parallel: a batch may have several pictures under way in it at once. Those that take pictures in GPU memory are
    `rdc_codec.backends.gpu_pool.GpuBackend`s.
    """

    info: BackendInfo
    parallel: bool

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        """Run a graph and return its outputs, in the order of the manifest. Raises BackendError, LimitError."""
        ...


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error of NumPy, ONNX Runtime, CUDA or TensorRT means out of memory.

    They share no exception type, so the message decides.
    """
    return isinstance(error, MemoryError) or bool(
        re.search(r"failed to allocate|bad_alloc|out.of.memory", str(error), re.IGNORECASE)
    )
