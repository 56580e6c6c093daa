"""This module reads the photos of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def photos(folder: str | Path, limit: int | None = None) -> list[tuple[str, np.ndarray]]:
    """Yield (name, uint8 [H, W, 3]) of the images below a folder, by name. Raises SystemExit if there are none."""
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise SystemExit(f"no images under {folder}")
    return [(p.stem, np.asarray(Image.open(p).convert("RGB"))) for p in paths]
