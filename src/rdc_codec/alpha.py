"""This module hides what transparency hides: colours that nobody sees, and which would cost bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .types import Picture, Plane


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
