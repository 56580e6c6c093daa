"""Where the networks run. A backend is asked for by name; `auto` takes the best one that works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..bundle import Bundle
from ..errors import BackendError, CorruptError, InputError, LimitError
from .base import Backend, BackendInfo, BackendOptions
from .gpu_pool import GpuBackend

__all__ = ["NAMES", "Backend", "BackendInfo", "BackendOptions", "create"]


def create(name: str, bundle: Bundle, wanted: BackendOptions) -> Backend:
    """Raise BackendError for a name that is unknown or a backend that is missing: never a silent fallback.

    "auto" tries the backends in the order of `NAMES`, each on a picture of the smallest size, and its info says what
    was wrong with the better ones.
    """
    if name not in NAMES:
        raise BackendError(f"no backend named {name!r}; this version has {', '.join(NAMES)}")
    device = wanted.device
    if device is not None and (type(device) is not int or device < 0):
        raise InputError(f"device must be the number of a GPU or None, got {device!r}")
    if name != "auto":
        return _MAKERS[name](bundle, wanted)
    missing = []
    for candidate, make in _MAKERS.items():
        try:
            backend = make(bundle, wanted)
            if isinstance(backend, GpuBackend):
                backend.try_out()
        except (BackendError, CorruptError, LimitError) as error:  # damaged engines, a GPU without room
            missing.append(f"no {candidate}: {error}")
            continue
        why = "; ".join([*missing, "the best that works"])
        backend.info = dataclasses.replace(backend.info, why=why)
        return backend
    raise BackendError("; ".join(missing))


def _onnx(bundle: Bundle, wanted: BackendOptions) -> Backend:
    from .ort_cpu import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, wanted.threads, wanted.session_options)


def _onnx_cuda(bundle: Bundle, wanted: BackendOptions) -> Backend:
    from .ort_cuda import create_backend

    return create_backend(bundle, wanted)


def _tensorrt(bundle: Bundle, wanted: BackendOptions) -> Backend:
    from .tensorrt import create_backend

    return create_backend(bundle, wanted)


# The best first. What a backend needs is imported with it.
_MAKERS: dict[str, Callable[[Bundle, BackendOptions], Backend]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnx_cuda,
    "onnxruntime": _onnx,
}
NAMES = ("auto", *_MAKERS)
