"""Deployable neural image codec: `from rdc_codec import Codec`. Needs NumPy and ONNX Runtime, never PyTorch."""

__version__ = "0.2.0"  # pyproject.toml reads it here, and the command line imports it

from . import errors
from .codec import Codec
from .trimming import trim

__all__ = ["Codec", "__version__", "errors", "trim"]
