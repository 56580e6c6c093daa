"""This module turns pictures as users have them into the graphs' padded int8 tensors, and back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import forking
from .errors import InputError, _text_of
from .types import HostImage, Picture

_PLAIN_MODES = ("RGB", "L", "1", "P")
_ALPHA_MODES = ("RGBA", "LA", "PA")  # taken where every pixel is opaque, as in most screenshots
_CODED = "only 8-bit RGB, grey and palette pictures without transparency are"


def size_of(image: HostImage) -> tuple[int, int]:
    """Return (height, width) of what `to_rgb` would take, from its description alone: no pixel is decoded.

    Raises InputError for everything that is not an 8-bit picture with a rule: arrays must be uint8
    [H, W, 3]; PIL modes RGB, L, 1 and P are taken (grey is repeated into the three channels), and those with
    alpha, whose pixels `to_rgb` looks at. 16-bit, float, CMYK and other colour spaces are refused, because what to
    do with them is the caller's decision. Files that Pillow itself reduces to 8 bits (16-bit RGB in PNG, PPM or TIFF)
    are refused as long as they are not loaded yet; afterwards nothing tells them apart. Nor does anything in
    AVIF and JPEG 2000 files: they are taken as Pillow gives them.
    """
    if isinstance(image, np.ndarray):
        if isinstance(image, np.ma.MaskedArray):
            raise InputError("image array is masked, and masks are not coded")
        if image.dtype != np.uint8:
            raise InputError(f"image array must be uint8, got {image.dtype}")
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image array must have shape (height, width, 3), got {image.shape}")
        height, width = image.shape[:2]
    else:
        mode = getattr(image, "mode", None)
        if mode is None or not hasattr(image, "convert"):
            raise InputError(f"image must be a uint8 array or a PIL image, got {type(image).__name__}")
        if mode not in _PLAIN_MODES + _ALPHA_MODES:
            raise InputError(f"images of mode {mode} are not coded: {_CODED}")
        if _is_deep(image):
            raise InputError(f"images of 16 bits a channel are not coded: {_CODED}")
        width, height = image.size
    if 0 in (height, width):
        raise InputError("image has no pixels")
    return height, width


def _is_deep(image: Any) -> bool:
    """Tell whether a PIL image still to be decoded has more than 8 bits a sample, which Pillow would drop."""
    for codec, _, _, args in getattr(image, "tile", ()):
        values = args if isinstance(args, tuple) else (args,)
        if any(isinstance(v, str) and ";16" in v for v in values):
            return True
        if codec.startswith("ppm") and any(isinstance(v, int) and v > 255 for v in values):
            return True
    return False


class _Loading:
    """Holds the locks under which PIL images decode their files, which only one thread may do for an image.

    Which lock is an image's follows from where it lies in memory.
    """

    def __init__(self) -> None:
        self.after_fork()
        forking.register(self)

    def after_fork(self) -> None:
        """Make the locks anew, which others may have held when this process was forked."""
        self._locks = [threading.Lock() for _ in range(64)]

    def lock_of(self, image: object) -> threading.Lock:
        return self._locks[id(image) // 64 % len(self._locks)]


_LOADING = _Loading()


def to_rgb(image: HostImage) -> Picture:
    """Return an array or a PIL image as uint8 [H, W, 3]. Several threads may give the same image.

    Alpha is left out where it is opaque everywhere. Raises InputError as `size_of` does, for transparency, and for a
    PIL image whose file turns out to be damaged.
    """
    if isinstance(image, np.ndarray):
        size_of(image)
        return image
    try:
        with _LOADING.lock_of(image):
            size_of(image)
            if hasattr(image, "load"):
                image.load()
        # The attribute knows of palettes with transparency too; objects that only look like images lack it.
        may_be = getattr(image, "has_transparency_data", "transparency" in image.info)
        if may_be and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            raise InputError(f"images with transparency are not coded: {_CODED}")
        return np.asarray(image.convert("RGB"))
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow decodes files here, and its readers raise almost anything
        raise InputError(f"damaged image: {_text_of(error)}") from None


def to_tensor(rgb: np.ndarray, stride: int) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3], as int8 [1, H', W', 3] of value - 128.

    Edges are repeated up to multiples of `stride`.
    """
    pad = [(0, -side % stride) for side in rgb.shape[:2]]
    padded = np.pad(rgb, (*pad, (0, 0)), mode="edge")
    return (padded ^ np.uint8(0x80)).view(np.int8)[None]


def from_tensor(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo `to_tensor` and leave out the padding: return uint8 [height, width, 3], a new array."""
    return pixels[0, :height, :width].view(np.uint8) ^ np.uint8(0x80)
