"""This module stores a picture without loss beside its base, where the networks cannot show it.

What is stored is a WebP or PNG file that Pillow makes and reads. Its header is read here before Pillow sees it, so
that a small file cannot ask for more memory than the picture it belongs to.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from .container import Chunk, ChunkType
from .errors import InputError, _text_of
from .types import Buffer, Picture, Plane

WEBP_MAX_SIDE = 16383
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = struct.Struct(
    ">I4sIIBB"
)  # length and type of the first chunk, width, height, bits, type of colour
_WEBP_HEADER = struct.Struct("<4sI4s4sIBI")  # RIFF, size, WEBP, VP8L, size, signature, 14 + 14 bits of sides
_VP8L_SIGNATURE = 0x2F


def pack(picture: Picture) -> bytes:
    """Return a file of a picture, uint8 [H, W, 3]: WebP, or PNG where a side is too long for that.

    Raises InputError where Pillow cannot write it.
    """
    from PIL import Image, features

    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    try:
        if max(picture.shape[:2]) <= WEBP_MAX_SIDE and features.check("webp"):
            image.save(file, "WEBP", lossless=True, quality=60, method=4)
        else:
            image.save(file, "PNG", optimize=True)
    except (OSError, ValueError) as error:
        raise InputError(f"picture cannot be stored lossless: {_text_of(error)}") from error
    return file.getvalue()


def problem_of(data: Buffer, height: int, width: int) -> str | None:
    """Say why a file's header is not that of an 8-bit RGB picture of this size, in WebP lossless or PNG; or None."""
    head = bytes(memoryview(data)[: max(_PNG_HEADER.size + len(_PNG), _WEBP_HEADER.size)])
    if head.startswith(_PNG) and len(head) >= len(_PNG) + _PNG_HEADER.size:
        _, kind, columns, rows, bits, colour = _PNG_HEADER.unpack_from(head, len(_PNG))
        if kind != b"IHDR" or bits != 8 or colour != 2:
            return "is no PNG of 8-bit RGB"
    elif head.startswith(b"RIFF") and len(head) >= _WEBP_HEADER.size:
        _, size, form, kind, _, signature, sides = _WEBP_HEADER.unpack_from(head)
        if (form, kind, signature) != (b"WEBP", b"VP8L", _VP8L_SIGNATURE) or size + 8 != len(
            memoryview(data)
        ):
            return "is no plain WebP file without loss"
        columns, rows = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    else:
        return "is neither WebP nor PNG"
    if (rows, columns) != (height, width):
        return f"is of {columns}x{rows}, not of {width}x{height}"
    return None


def unpack(data: Buffer, height: int, width: int) -> Picture | str:
    """Return the picture of a file, uint8 [height, width, 3], or what is wrong with it; nothing is raised for that."""
    from PIL import PngImagePlugin, WebPImagePlugin

    if problem := problem_of(data, height, width):
        return problem
    # Not Image.open, whose limit on pixels is another than that of whoever reads the stream.
    png = bytes(memoryview(data)[: len(_PNG)]) == _PNG
    reader = PngImagePlugin.PngImageFile if png else WebPImagePlugin.WebPImageFile
    try:
        with reader(io.BytesIO(data)) as image:
            if image.mode == "RGB" and image.size == (width, height):
                return np.array(image)
            return f"is of mode {image.mode}"
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        return f"cannot be read: {_text_of(error)}"


def chunk_of(chunks: Sequence[Chunk]) -> Chunk | None:
    """Return the chunk of a stream that has the picture without loss, if there is one, in whatever state."""
    return next((c for c in chunks if c.type == ChunkType.LOSSLESS), None)


def read(chunk: Chunk, height: int, width: int) -> Picture | str:
    """Return the picture of a chunk, uint8 [height, width, 3], or what is wrong with it in one line."""
    if chunk.payload is None:
        return f"lossless picture is {chunk.state.value}"
    found = unpack(chunk.payload, height, width)
    return f"lossless picture {found}" if isinstance(found, str) else found


def blend(base: Picture, exact: Picture, beta: float) -> Picture:
    """Return base + (1 - beta) * (exact - base), rounded half to even: uint8 [H, W, 3]."""
    mixed = base + np.float32(1 - beta) * (exact.astype(np.float32) - base)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def rows(exact: Picture, base: Iterator[Picture] | None, beta: float) -> Iterator[Picture]:
    """Yield the rows of a picture: those of `exact`, or of their blend with those that `base` yields."""
    if base is None:
        yield exact
        return
    start = 0
    for band in base:
        yield blend(band, exact[start : start + len(band)], beta)
        start += len(band)


def psnr(picture: Picture, other: Picture, alpha: Plane | None = None) -> float:
    """Return the PSNR of two pictures, uint8 [H, W, 3], over all samples, in dB; infinite where they are equal.

    alpha: uint8 [H, W]; where it is 0, nobody sees a difference.
    """
    if alpha is not None:
        picture, other = picture[alpha > 0][None], other[alpha > 0][None]
    total = 0
    for a, b in zip(picture, other, strict=True):  # row by row: no copy of the whole in a wider type
        difference = a.astype(np.int64) - b
        total += int(np.vdot(difference, difference))
    return float("inf") if not total else float(10 * np.log10(255**2 * picture.size / total))
