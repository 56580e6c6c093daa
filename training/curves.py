"""Rate-distortion curves of codecs, and what lies between two of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR in dB over all samples of two uint8 pictures."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@dataclass
class Point:
    """Says what coding one picture gave: bits per pixel (of real bytes) and PSNR in dB."""

    codec: str
    image: str
    quality: float
    bpp: float
    psnr: float


def pillow_point(codec: str, name: str, rgb: np.ndarray, quality: int, **options: Any) -> Point:
    """Code with one of Pillow's formats ("JPEG", "WEBP", "AVIF") and read it back."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, codec, quality=quality, **options)
    restored = np.asarray(Image.open(file).convert("RGB"))
    return Point(codec.lower(), name, quality, 8 * file.tell() / rgb[..., 0].size, psnr(rgb, restored))


def mean_curve(points: Sequence[Point], codec: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean bpp and mean PSNR over images at each quality, by rising bpp."""
    qualities = sorted({p.quality for p in points if p.codec == codec})
    rows = [
        (np.mean([p.bpp for p in chosen]), np.mean([p.psnr for p in chosen]))
        for q in qualities
        if (chosen := [p for p in points if p.codec == codec and p.quality == q])
    ]
    rows.sort()
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows])


def bd_rate(
    anchor: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], low: float, high: float
) -> float:
    """Return the BD-rate as a fraction (VCEG-M33, piecewise cubic): mean extra bits of `test` at equal PSNR.

    It is taken over that part of the anchor's curve from low to high bpp which `test` reaches (`overlap`).
    Curves are (bpp, PSNR) by rising bpp; points that a cheaper one beats are left out, because the measure needs
    rising curves.
    """
    from bjontegaard import bd_rate
    from scipy.interpolate import PchipInterpolator

    best = np.maximum.accumulate(test[1])
    keep = np.concatenate([[True], best[1:] > best[:-1]])
    test = (test[0][keep], test[1][keep])
    # The ends of the interval lie between measured points, or are the first and the last of them.
    ends = np.clip([low, high], anchor[0][0], anchor[0][-1])
    inside = (anchor[0] > ends[0]) & (anchor[0] < ends[1])
    curve = PchipInterpolator(np.log(anchor[0]), anchor[1])
    bpp = np.concatenate([ends[:1], anchor[0][inside], ends[1:]])
    found = bd_rate(
        bpp,
        curve(np.log(bpp)),
        *test,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return float(found) / 100


def overlap(
    anchor: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], low: float, high: float
) -> tuple[float, float]:
    """Return the part of low to high bpp of the anchor whose PSNR `test` reaches."""
    lowest, highest = np.interp([test[1].min(), test[1].max()], anchor[1], anchor[0])
    return max(low, float(lowest)), min(high, float(highest))
