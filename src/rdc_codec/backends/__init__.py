"""A backend is what the networks run on. It is asked for by name; `auto` takes the best one that works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..bundle import Bundle
from ..errors import BackendError, CorruptError, InputError, LimitError
from .base import Backend, BackendInfo, BackendOptions
from .gpu_pool import GpuBackend
from .precision import checked

__all__ = ["NAMES", "Backend", "BackendInfo", "BackendOptions", "create"]


def create(backend: str | Backend, bundle: Bundle, options: BackendOptions) -> Backend:
    """Make the backend of this name for a bundle, or take one that the application made.

    Raises BackendError for a name that is unknown or a backend that is missing: there is no silent fallback. "auto"
    tries backends, the best first, those on a GPU on a picture of the smallest size, and its info says what was
    wrong with the better ones. It takes OpenVINO only where the codec may be "fast" and the processor has bf16.
    Raises InputError where an object is no backend, where options are given for it or for another backend than theirs,
    or where a bundle in fp16 should be "exact".
    """
    checked(options.precision)
    if not isinstance(backend, str):
        return _given(backend, options)
    if backend not in NAMES:
        raise BackendError(f"no backend named {backend!r}; this version has {', '.join(NAMES)}")
    device = options.device
    if backend != "openvino" and device is not None and (type(device) is not int or device < 0):
        raise InputError(f"device must be the number of a GPU or None, got {device!r}")
    if backend not in ("auto", "openvino") and options.cache_dir is not None:
        raise InputError(f"cache_dir is for openvino, not for {backend}")
    if options.providers is None and options.provider_options is not None:
        raise InputError("provider_options belong to providers, which are missing")
    if options.providers is not None and backend not in ("auto", "onnxruntime"):
        raise InputError(f"providers are for onnxruntime, not for {backend}")
    if options.precision == "exact" and bundle.precision != "fp32":
        raise InputError(
            f"the graphs of {bundle.path} are {bundle.precision}, precision='exact' needs fp32 ones"
        )
    if backend != "auto":
        return _MAKERS[backend](bundle, options)
    missing = []
    for candidate in _candidates(options):
        try:
            made = _MAKERS[candidate](bundle, options)
            if candidate == "openvino" and made.info.precision != "bf16":
                raise BackendError(f"no bf16 on {made.info.device}, or for these graphs")
            if isinstance(made, GpuBackend):
                made.try_out()
        except (BackendError, CorruptError, LimitError) as error:  # damaged engines, a GPU without room
            missing.append(f"no {candidate}: {error}")
            continue
        why = "; ".join([*missing, "the best that works"])
        made.info = dataclasses.replace(made.info, why=why)
        return made
    raise BackendError("; ".join(missing))


def _candidates(options: BackendOptions) -> tuple[str, ...]:
    if options.providers is not None:  # who names them has chosen ONNX Runtime
        return ("onnxruntime",)
    # OpenVINO in fp32 is faster than ONNX Runtime for some graphs and slower for others (docs/performance.md).
    # And who gives it options of its own has chosen it before OpenVINO, who numbers a GPU something else than a CPU.
    fast = options.precision == "fast" and options.session_options is None and options.device is None
    return tuple(name for name in _MAKERS if fast or name != "openvino")


def _given(backend: Backend, options: BackendOptions) -> Backend:
    if missing := [name for name in ("info", "parallel", "run") if not hasattr(backend, name)]:
        raise InputError(f"backend must be a name or a Backend; {type(backend).__name__} has no {missing[0]}")
    if options != BackendOptions():
        raise InputError(
            "threads, session_options, device, cuda_graphs, providers, provider_options, cache_dir and precision are "
            "for backends that are made by name"
        )
    return backend


def _onnx(bundle: Bundle, options: BackendOptions) -> Backend:
    from .ort_cpu import OnnxRuntimeBackend

    return OnnxRuntimeBackend(
        bundle, options.threads, options.session_options, options.providers, options.provider_options
    )


def _openvino(bundle: Bundle, options: BackendOptions) -> Backend:
    from .openvino import create_backend

    return create_backend(bundle, options)


def _onnx_cuda(bundle: Bundle, options: BackendOptions) -> Backend:
    from .ort_cuda import create_backend

    return create_backend(bundle, options)


def _tensorrt(bundle: Bundle, options: BackendOptions) -> Backend:
    from .tensorrt import create_backend

    return create_backend(bundle, options)


# The best first. What a backend needs is imported with it.
_MAKERS: dict[str, Callable[[Bundle, BackendOptions], Backend]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnx_cuda,
    "openvino": _openvino,
    "onnxruntime": _onnx,
}
NAMES = ("auto", *_MAKERS)
