"""This module keeps transparency without loss, as a WebP or PNG file in a chunk, and hides what it hides."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray

from .errors import CorruptError, _text_of
from .types import Picture, Plane

_WEBP_SIDE = 16383  # the longest that the format has
_WEBP_HEAD = struct.Struct("<4sI4s4sIBI")
_WEBP_SIGNATURE = 0x2F
_WEBP_SIDE_BITS = 14
_PNG_HEAD = struct.Struct(">8sI4sIIBBBBB")
_PNG_START = (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")
_PNG_GREY = (8, 0, 0, 0, 0)  # bits, colour type, compression, filters, not interlaced


def pack(plane: Plane) -> bytes:
    """Return a plane, uint8 [H, W], as a file of lossless WebP, or of PNG where a side is too long for that.

    PNG is taken, too, where Pillow was built without WebP.
    """
    from PIL import Image, features

    image = Image.fromarray(plane)
    file = io.BytesIO()
    if max(plane.shape) <= _WEBP_SIDE and features.check("webp"):
        image.save(file, "WEBP", lossless=True, quality=75, method=4)
    else:
        image.save(file, "PNG")
    return file.getvalue()


def unpack(payload: memoryview, height: int, width: int) -> Plane:
    """Undo `pack`. Raises CorruptError unless the file holds a plane of that size, which its head must say.

    Nothing is allocated before.
    """
    from PIL import ImageFile, PngImagePlugin, WebPImagePlugin

    reader: type[ImageFile.ImageFile]
    if payload[:4] == b"RIFF":
        size, reader = _size_of_webp(payload), WebPImagePlugin.WebPImageFile
    else:
        size, reader = _size_of_png(payload), PngImagePlugin.PngImageFile
    if size != (height, width):
        raise CorruptError(f"{size[1]}x{size[0]}, the picture {width}x{height}")
    try:
        # Not with Image.open, whose limit on pixels is not the codec's.
        with reader(io.BytesIO(payload)) as image:
            pixels = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything
        raise CorruptError(f"cannot be read: {_text_of(error)}") from None
    plane = pixels[..., 1] if pixels.ndim == 3 else pixels  # WebP repeats it for every colour
    if plane.shape != (height, width) or plane.dtype != np.uint8:
        raise CorruptError(f"{plane.shape[1]}x{plane.shape[0]}, the picture {width}x{height}")
    return np.ascontiguousarray(plane)


def fill(pixels: Picture, plane: Plane) -> Picture:
    """Return uint8 [H, W, 3] with smooth colours where the plane is 0, which nobody sees and which cost bytes.

    They are those of the nearest pixels that are seen, as means over squares of growing size.
    """
    known = plane > 0
    return pixels if known.all() else _filled(pixels, known)


def _filled(pixels: Picture, known: NDArray[np.bool_]) -> Picture:
    from PIL import Image

    if known.all() or not known.any():
        return pixels if known.all() else np.zeros_like(pixels)
    height, width = known.shape
    even = ((0, height % 2), (0, width % 2))
    values, there = np.pad(pixels, (*even, (0, 0))), np.pad(known, even)
    total = np.zeros((*[side // 2 for side in there.shape], 3), np.uint16)
    count = np.zeros((*total.shape[:2], 1), np.uint16)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = there[row::2, column::2, None]
        total += values[row::2, column::2] * share
        count += share
    means = ((total + count // 2) // np.maximum(count, 1)).astype(np.uint8)
    coarse = Image.fromarray(_filled(means, count[..., 0] > 0))
    size = (2 * coarse.width, 2 * coarse.height)
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))[:height, :width]
    return np.where(known[..., None], pixels, smooth)


def _size_of_webp(payload: memoryview) -> tuple[int, int]:
    """Return (height, width) as the head of a lossless WebP file without transparency or frames has them."""
    if len(payload) < _WEBP_HEAD.size:
        raise CorruptError("cut off")
    _, _, kind, chunk, _, signature, bits = _WEBP_HEAD.unpack(payload[: _WEBP_HEAD.size])
    if (kind, chunk, signature, bits >> 2 * _WEBP_SIDE_BITS) != (b"WEBP", b"VP8L", _WEBP_SIGNATURE, 0):
        raise CorruptError("a WebP file of another kind")
    side = (1 << _WEBP_SIDE_BITS) - 1
    return (bits >> _WEBP_SIDE_BITS & side) + 1, (bits & side) + 1


def _size_of_png(payload: memoryview) -> tuple[int, int]:
    """Return (height, width) as the head of a PNG file of 8-bit grey has them."""
    if len(payload) < _PNG_HEAD.size:
        raise CorruptError("cut off")
    *start, width, height, bits, colour, compression, filters, interlaced = _PNG_HEAD.unpack(
        payload[: _PNG_HEAD.size]
    )
    if (*start,) != _PNG_START or (bits, colour, compression, filters, interlaced) != _PNG_GREY:
        raise CorruptError("neither lossless WebP nor 8-bit grey PNG")
    return height, width
