"""Deployable neural image codec: `from runtime import Codec`. Needs numpy and onnxruntime, never torch."""

from runtime import errors
from runtime.codec import Codec

__all__ = ["Codec", "errors"]
