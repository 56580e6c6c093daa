"""This module reads the photos of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def photos(folder: str | Path, limit: int | None = None) -> list[tuple[str, np.ndarray]]:
    """Yield (name, uint8 [H, W, 3]) of the images below a folder, by name. Raises SystemExit if there are none."""
    return _read(_paths(folder)[:limit])


def evenly(folder: str | Path, count: int) -> list[tuple[str, np.ndarray]]:
    """Yield as `photos` does, but at most so many images, evenly spaced over all of them."""
    paths = _paths(folder)
    return _read(paths[:: max(1, len(paths) // count)][:count])


def _paths(folder: str | Path) -> list[Path]:
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"no images under {folder}")
    return paths


def _read(paths: Iterable[Path]) -> list[tuple[str, np.ndarray]]:
    return [(p.stem, np.asarray(Image.open(p).convert("RGB"))) for p in paths]
