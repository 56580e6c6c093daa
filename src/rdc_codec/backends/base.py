"""This module says what every backend is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .precision import Precision

Inputs = Mapping[str, Any]  # name of the tensor -> array; "pixels" may be a picture in GPU memory


def number(value: float) -> np.ndarray:
    """Return a level or a beta of one picture as graphs take it, float32 [1]."""
    return np.array([value], np.float32)


@dataclass(frozen=True)
class BackendInfo:
    """Says what a codec's networks run on.

    name: what a caller asks for it by. device: what it runs on. why: the reason why it was taken. precision: the
    narrowest type in its graphs, "fp32", "fp16" or "bf16"; what carries the picture is fp32 always. (A CPU computes
    graphs in fp16 in fp32.)
    """

    name: str
    device: str
    why: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.name} in {self.precision} on {self.device} ({self.why})"


@dataclass(frozen=True)
class BackendOptions:
    """Says what a codec asks of its backend; the fields are arguments of `rdc_codec.Codec`.

    threads is for engines on the CPU; session_options, providers and provider_options are for ONNX Runtime; device is
    the number of a GPU, or a name for OpenVINO, which cache_dir is for; cuda_graphs is for a GPU. precision is for all.
    """

    threads: int | None = None
    session_options: Any = None
    device: int | str | None = None
    cuda_graphs: bool = True
    providers: Sequence[Any] | None = None
    provider_options: Sequence[Mapping[str, Any]] | None = None
    cache_dir: str | None = None
    precision: Precision | None = None

    @property
    def gpu(self) -> int | None:
        """Tells the number of the GPU; None for the current one."""
        return self.device if isinstance(self.device, int) else None


class Backend(Protocol):
    """Runs the graphs of a bundle; safe to call from several threads.

    parallel says whether a batch may have several pictures under way in it at once. Backends that take
    pictures in GPU memory are `rdc_codec.backends.gpu_pool.GpuBackend`s.

    A backend may have an attribute `stoppable` that is true: `run` may then be called in a thread that the codec makes,
    which the caller leaves when it is interrupted or out of time, and should end early then (`rdc_codec.interrupts`:
    `check`, `ended_by`). Any other backend is called in the caller's thread, and Ctrl-C and deadlines wait for its
    networks.
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
