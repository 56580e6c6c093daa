"""This module stores samples without loss, as a WebP or PNG file that Pillow makes and reads.

A file's own header is read here before Pillow sees it, so that a small file cannot ask for more memory than the
picture it belongs to.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray

from .errors import CorruptError, InputError, _text_of
from .types import Buffer

WEBP_MAX_SIDE = 16383
_WEBP_HEAD = struct.Struct(
    "<4sI4s4sIBI"
)  # RIFF, size, WEBP, VP8L, size, signature, 14 + 14 bits of sides and 4 more
_WEBP_START = (b"WEBP", b"VP8L")
_WEBP_SIGNATURE = 0x2F
_WEBP_SIDE_BITS = 14
# Signature, length and type of the first chunk, width, height, bits, type of colour, compression, filters, interlacing.
_PNG_HEAD = struct.Struct(">8sI4sIIBBBBB")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {1: 0, 3: 2}  # channels: type of colour


def pack(samples: NDArray[np.uint8]) -> bytes:
    """Return a file of samples, uint8 [H, W] or [H, W, 3]: lossless WebP, or PNG where a side is too long for that.

    PNG is taken, too, where Pillow was built without WebP. Raises InputError where Pillow cannot write it.
    """
    from PIL import Image, features

    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(samples))
    try:
        if max(image.size) <= WEBP_MAX_SIDE and features.check("webp"):
            image.save(file, "WEBP", lossless=True, quality=75, method=4)
        else:
            image.save(file, "PNG", optimize=True)
    except (OSError, ValueError) as error:
        raise InputError(f"picture cannot be stored lossless: {_text_of(error)}") from error
    return file.getvalue()


def unpack(payload: Buffer, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Undo `pack`: return uint8 [height, width] for one channel, else uint8 [height, width, 3].

    Raises CorruptError unless the file holds a picture of that size, which its header must say; nothing is allocated
    before.
    """
    from PIL import ImageFile, PngImagePlugin, WebPImagePlugin

    check(payload, height, width, channels)
    webp = bytes(memoryview(payload)[:4]) == b"RIFF"
    # Not Image.open, whose limit on pixels is another than that of whoever reads the stream.
    reader: type[ImageFile.ImageFile] = WebPImagePlugin.WebPImageFile if webp else PngImagePlugin.PngImageFile
    try:
        with reader(io.BytesIO(payload)) as image:
            mode, size = image.mode, image.size
            if size == (width, height) and mode in ("RGB", "L"):
                # WebP has no grey: it repeats the plane for every colour.
                samples = np.array(image.getchannel(1) if mode == "RGB" and channels == 1 else image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise CorruptError(f"cannot be read: {_text_of(error)}") from None
    if size != (width, height) or mode != ("L" if channels == 1 and not webp else "RGB"):
        raise CorruptError(f"is a picture of mode {mode} and {size[0]}x{size[1]}")
    return samples


def check(payload: Buffer, height: int, width: int, channels: int) -> None:
    """Raise CorruptError unless a file's header is that of what `pack` makes of so many samples."""
    data = memoryview(payload)
    head = bytes(data[: max(_WEBP_HEAD.size, _PNG_HEAD.size)])
    if head.startswith(_PNG_SIGNATURE) and len(head) >= _PNG_HEAD.size:
        _, length, kind, columns, rows, *layout = _PNG_HEAD.unpack_from(head)
        if (length, kind) != (13, b"IHDR") or layout != [8, _PNG_COLOURS[channels], 0, 0, 0]:
            raise CorruptError(f"is no PNG of 8-bit {'grey' if channels == 1 else 'RGB'} without interlacing")
    elif head.startswith(b"RIFF") and len(head) >= _WEBP_HEAD.size:
        _, length, *start, _, signature, bits = _WEBP_HEAD.unpack_from(head)
        # Four bits follow the sides: transparency, and three of a version that is 0.
        plain = (*start,) == _WEBP_START and signature == _WEBP_SIGNATURE and not bits >> 2 * _WEBP_SIDE_BITS
        if not plain or length + 8 != len(data):
            raise CorruptError("is no plain WebP file without loss")
        side = (1 << _WEBP_SIDE_BITS) - 1
        columns, rows = (bits & side) + 1, (bits >> _WEBP_SIDE_BITS & side) + 1
    else:
        raise CorruptError("is neither WebP nor PNG")
    if (rows, columns) != (height, width):
        raise CorruptError(f"is of {columns}x{rows}, not of {width}x{height}")
