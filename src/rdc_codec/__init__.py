"""Deployable neural image codec: `from rdc_codec import Codec`. Needs NumPy and ONNX Runtime, never PyTorch."""

from . import errors
from .codec import Codec

__version__ = "0.2.0"  # pyproject.toml reads it here

__all__ = ["Codec", "__version__", "errors"]
