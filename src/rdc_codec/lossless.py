"""This module keeps a picture without loss beside its base, where the networks cannot show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from . import stored
from .container import Chunk, ChunkType
from .errors import CorruptError
from .types import Buffer, Picture, Plane


def chunk_of(chunks: Sequence[Chunk]) -> Chunk | None:
    """Return the chunk of a stream that has the picture without loss, if there is one, in whatever state."""
    return next((c for c in chunks if c.type == ChunkType.LOSSLESS), None)


def read(chunk: Chunk, height: int, width: int) -> Picture | str:
    """Return the picture of a chunk, uint8 [height, width, 3], or what is wrong with it in one line."""
    if chunk.payload is None:
        return f"lossless picture is {chunk.state.value}"
    return unpack(chunk.payload, height, width)


def unpack(payload: Buffer, height: int, width: int) -> Picture | str:
    """Return the picture of a whole chunk, uint8 [height, width, 3], or what is wrong with it in one line."""
    try:
        return stored.unpack(payload, height, width, channels=3)
    except CorruptError as error:
        return f"lossless picture {error}"


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
