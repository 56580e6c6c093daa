"""Where the networks run. A backend is asked for by name; `auto` takes the best one that works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from runtime.backends.base import Backend, BackendInfo, Wanted
from runtime.backends.gpu import GpuBackend
from runtime.bundle import Bundle
from runtime.errors import BackendError, CorruptError, InputError, LimitError

__all__ = ["NAMES", "Backend", "BackendInfo", "Wanted", "create"]


def create(name: str, bundle: Bundle, wanted: Wanted) -> Backend:
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


def _onnx(bundle: Bundle, wanted: Wanted) -> Backend:
    from runtime.backends.onnx import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, wanted.threads, wanted.session_options)


def _onnx_cuda(bundle: Bundle, wanted: Wanted) -> Backend:
    from runtime.backends.onnx_cuda import create_backend

    return create_backend(bundle, wanted)


def _tensorrt(bundle: Bundle, wanted: Wanted) -> Backend:
    from runtime.backends.tensorrt import create_backend

    return create_backend(bundle, wanted)


# The best first. What a backend needs is imported with it.
_MAKERS: dict[str, Callable[[Bundle, Wanted], Backend]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnx_cuda,
    "onnxruntime": _onnx,
}
NAMES = ("auto", *_MAKERS)
