"""Pictures as users have them <-> the padded int8 tensors at the graphs' borders."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.errors import InputError

_PLAIN_MODES = ("RGB", "L", "1", "P")


def to_rgb(image: Any) -> np.ndarray:
    """uint8 [H, W, 3] of an array or a PIL image; raises InputError where there is no lossless rule.

    PIL modes RGB, L, 1 and P are taken (grey is repeated into the three channels). Transparency, 16-bit,
    float, CMYK and other colour spaces are refused: what to do with them is the caller's decision.
    """
    if isinstance(image, np.ndarray):
        return _checked(image)
    mode = getattr(image, "mode", None)
    if mode is None or not hasattr(image, "convert"):
        raise InputError(f"image must be a uint8 array or a PIL image, got {type(image).__name__}")
    if 0 in image.size:
        raise InputError("image has no pixels")
    if mode not in _PLAIN_MODES or "transparency" in getattr(image, "info", {}):
        what = mode if mode not in _PLAIN_MODES else f"{mode} with transparency"
        raise InputError(f"no rule for images of mode {what}: convert to RGB first")
    try:
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes files here
        raise InputError(f"damaged image: {error}") from None


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8:
        raise InputError(f"image array must be uint8, got {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image array must have shape (height, width, 3), got {image.shape}")
    if 0 in image.shape:
        raise InputError("image has no pixels")
    return image


def to_tensor(rgb: np.ndarray, stride: int) -> np.ndarray:
    """uint8 [H, W, 3] -> int8 [1, H', W', 3] of value - 128, edges repeated up to multiples of `stride`."""
    pad = [(0, -side % stride) for side in rgb.shape[:2]]
    padded = np.pad(rgb, (*pad, (0, 0)), mode="edge")
    return (padded ^ np.uint8(0x80)).view(np.int8)[None]


def from_tensor(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Inverse of `to_tensor`, without the padding; a new array."""
    return pixels[0, :height, :width].view(np.uint8) ^ np.uint8(0x80)
