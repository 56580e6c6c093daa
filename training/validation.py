"""Held-out photos at several levels: real bits (symbols through the range coder) beside the estimate, PSNR, and
what that is against JPEG."""

from __future__ import annotations

import math

import numpy as np
import torch

from model import BranchOutput, RateDistortionCognition
from model.config import HYPER_LIMIT, SYMBOL_LIMIT
from model.tables import tables_of
from model.transforms import to_folded, to_picture
from rdc_codec import native
from rdc_codec.bundle import cdf_tables
from training.curves import bd_rate, mean_curve, overlap, pillow_point
from training.pairs import Pairs

JPEG_QUALITIES = (3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)
JPEG_RANGE = (0.1, 3.0)  # bpp: what a model reaches of it is compared


def _cut(photo: np.ndarray) -> np.ndarray:
    """Return the top-left part whose sides are multiples of 64, at most 512."""
    h, w = (min(512, side // 64 * 64) for side in photo.shape[:2])
    return photo[:h, :w]


def jpeg_curve(photos: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean bpp and PSNR of Pillow's JPEG (4:2:0, optimised) on what `validate` codes of these photos."""
    points = [
        pillow_point("JPEG", str(number), _cut(photo), quality, optimize=True, subsampling=2)
        for number, photo in enumerate(photos)
        for quality in JPEG_QUALITIES
    ]
    return mean_curve(points, "jpeg")


def against_jpeg(rows: list[dict[str, float]], jpeg: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Return the BD-rate of each stream in the rows of `validate` against JPEG, real bits, in percent.

    It is over what both reach of 0.1 to 3 bpp of JPEG; NaN where that is nothing.
    """
    found = {}
    for stream in ("base", "full"):
        if f"{stream}_psnr" not in rows[0]:
            continue
        bpp, psnr = (np.array([row[f"{stream}_{name}"] for row in rows]) for name in ("real_bpp", "psnr"))
        curve = bpp[np.argsort(bpp)], psnr[np.argsort(bpp)]
        rises = np.unique(np.maximum.accumulate(curve[1])).size > 1
        low, high = overlap(jpeg, curve, *JPEG_RANGE)
        known = rises and low < high
        found[f"{stream}_against_jpeg"] = 100 * bd_rate(jpeg, curve, low, high) if known else math.nan
    return found


def _integers(x: torch.Tensor, dtype: type) -> np.ndarray:
    return np.ascontiguousarray(x[0].cpu().numpy().astype(dtype))


def _real_bits(out: BranchOutput, hyper: native.Tables, latent: native.Tables) -> int:
    """Bits of one entropy-coded segment of everything that a branch has of one image."""
    z = _integers(out.z, np.int32)
    channel = np.repeat(np.arange(z.shape[0], dtype=np.uint8), z.shape[1] * z.shape[2])
    symbols, indexes = _integers(out.symbols, np.int32), _integers(out.indexes, np.uint8)
    parts = [(z, channel, hyper, HYPER_LIMIT), (symbols, indexes, latent, SYMBOL_LIMIT)]
    return 8 * len(native.encode_parts(parts))


@torch.no_grad()
def validate(
    model: RateDistortionCognition, photos: list[np.ndarray], device: torch.device, pairs: Pairs
) -> list[dict[str, float]]:
    """One row per tested level: level, bpp (estimated and real) and PSNR of the base (x1) and of everything (x2).

    The base is coded at what `pairs` has for the level.
    """
    model.eval()
    arrays = tables_of(model)
    branches = ["primary"] if model.auxiliary is None else ["primary", "auxiliary"]
    tables = {
        name: [cdf_tables(arrays, f"{name}_{part}") for part in ("hyper", "latent")] for name in branches
    }
    rows = []
    last = model.config.levels - 1
    for level in sorted({round(k * last / 4) for k in range(5)}):
        sums: dict[str, float] = {}
        for photo in photos:
            folded = to_folded(torch.tensor(_cut(photo), device=device))
            pixels = 64 * folded.shape[2] * folded.shape[3]
            position = torch.full((1,), float(level), device=device)
            base = model.primary(folded, pairs(position))
            figures = {
                "base_bpp": float(base.bits.sum()) / pixels,
                "base_real_bpp": _real_bits(base, *tables["primary"]) / pixels,
                "base_psnr": _psnr(base.image, folded),
            }
            if model.auxiliary is not None:
                full = model.auxiliary(folded, position, base)
                bits = _real_bits(full, *tables["auxiliary"])
                figures |= {
                    "full_bpp": figures["base_bpp"] + float(full.bits.sum()) / pixels,
                    "full_real_bpp": figures["base_real_bpp"] + bits / pixels,
                    "full_psnr": _psnr(base.image + full.image, folded),
                }
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value / len(photos)
        rows.append({"level": float(level)} | sums)
    return rows


def _psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    error = (to_picture(image).float() - to_picture(target).float()) / 255
    return float(-10 * torch.log10(error.square().mean().clamp_min(1e-10)))
