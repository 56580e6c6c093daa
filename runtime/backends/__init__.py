"""Where the networks run. A backend is asked for by name; `auto` takes the best one that works."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from runtime.bundle import Bundle
from runtime.errors import BackendError

NAMES = ("auto", "onnxruntime")


class Backend(Protocol):
    """Runs the graphs of a bundle; safe to call from several threads."""

    name: str

    def run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of a graph, in the order of the manifest. Raises BackendError, LimitError."""
        ...


def create(name: str, bundle: Bundle, threads: int | None, session_options: Any) -> Backend:
    """Raise BackendError for a name that is unknown or a backend that is missing: never a silent fallback."""
    if name not in NAMES:
        raise BackendError(f"no backend named {name!r}; this version has {', '.join(NAMES)}")
    from runtime.backends.onnx import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads, session_options)
