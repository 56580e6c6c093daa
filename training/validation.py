"""Held-out photos: estimated rate and PSNR at several levels."""

from __future__ import annotations

import numpy as np
import torch

from model import RateDistortionCognition
from model.transforms import fold


def _crop(photo: np.ndarray, device: torch.device) -> torch.Tensor:
    """Top-left part whose sides are multiples of 64, at most 512, folded [1, 192, h, w]."""
    h, w = (min(512, side // 64 * 64) for side in photo.shape[:2])
    pixels = torch.from_numpy(np.ascontiguousarray(photo[:h, :w])).to(device)
    return fold(pixels.permute(2, 0, 1)[None].float() / 255)


@torch.no_grad()
def validate(
    model: RateDistortionCognition, photos: list[np.ndarray], device: torch.device
) -> list[dict[str, float]]:
    """One row per tested level: level, bpp and PSNR of the base (x1) and of everything (x2)."""
    model.eval()
    levels = model.config.levels
    rows = []
    for level in sorted({0, (levels - 1) // 2, levels - 1}):
        sums = {"base_bpp": 0.0, "base_psnr": 0.0}
        for photo in photos:
            folded = _crop(photo, device)
            pixels = 64 * folded.shape[2] * folded.shape[3]
            position = torch.full((1,), float(level), device=device)
            base = model.primary(folded, position * (0.5 if model.auxiliary is not None else 1.0))
            figures = {"base_bpp": base.bits.sum() / pixels, "base_psnr": _psnr(base.image, folded)}
            if model.auxiliary is not None:
                full = model.auxiliary(folded, position, base)
                figures["full_bpp"] = figures["base_bpp"] + full.bits.sum() / pixels
                figures["full_psnr"] = _psnr(base.image + full.image, folded)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value) / len(photos)
        rows.append({"level": float(level)} | sums)
    return rows


def _psnr(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    shown = (image.float().clamp(0, 1) * 255).round() / 255
    return -10 * torch.log10((shown - target).square().mean().clamp_min(1e-10))
