"""Choose the manifest's quality map: how one dial splits into the qualities of the two branches.

    python -m export.quality_map --data TRAINING_PHOTOS --model BUNDLE -o map.json

Codes crops of photos at a grid of (base, auxiliary) qualities in real bytes, and follows, for a geometric
sequence of multipliers lambda, the pair that minimises mean bpp + lambda * 255^2 * MSE: the points on the
convex hull of what the model can do. Quality 0-100 is linear in log lambda. Three things bind the path:
the base takes at most a share of the bytes (--base-share; the hull alone would put nearly everything into
the base, because splitting costs something, and leave no small stream for machines), both qualities rise,
and so does PSNR. Between grid points, log bpp and PSNR are interpolated by splines.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator, RectBivariateSpline
from tqdm import tqdm

from export.photos import photos
from rdc_codec import Codec

FINE = 201  # positions of each quality that the path may take


@dataclass
class Surface:
    """Holds means over crops, float [base, auxiliary]: bpp of the whole stream and of its base, MSE (0-1)."""

    bpp: np.ndarray
    base_bpp: np.ndarray
    mse: np.ndarray


def measure(codec: Codec, crops: list[np.ndarray], grid: np.ndarray) -> Surface:
    found = Surface(*np.zeros((3, len(grid), len(grid))))
    for b, base in enumerate(tqdm(grid, unit="base quality", file=sys.stderr)):
        for a, auxiliary in enumerate(grid):
            for crop in crops:
                stream = codec.encode(crop, base_quality=base, aux_quality=auxiliary)
                chunks = codec.info(stream)["chunks"]
                refinement = sum(c["length"] for c in chunks if c["type"].startswith("aux"))
                share = 8 / crop[..., 0].size / len(crops)
                found.bpp[b, a] += share * len(stream)
                found.base_bpp[b, a] += share * (len(stream) - refinement)
                error = (codec.decode(stream).astype(float) - crop) / 255
                found.mse[b, a] += np.mean(error**2) / len(crops)
    return found


def refine(surface: Surface, grid: np.ndarray) -> tuple[np.ndarray, Surface]:
    """Interpolate the surface on a fine grid."""
    fine = np.linspace(grid[0], grid[-1], FINE)
    base = PchipInterpolator(grid, np.log(surface.base_bpp.mean(1)))(fine)
    bpp, mse = (
        np.exp(RectBivariateSpline(grid, grid, np.log(values), kx=2, ky=2)(fine, fine))
        for values in (surface.bpp, surface.mse)
    )
    return fine, Surface(bpp, np.exp(base)[:, None].repeat(FINE, 1), mse)


def choose(surface: Surface, lambdas: np.ndarray, base_share: float) -> list[tuple[int, int]]:
    """Choose positions (base, auxiliary) on the surface for rising multipliers.

    They go from its lowest corner to its highest auxiliary quality, within the share of the base; neither
    quality falls, nor does the PSNR.
    """
    allowed = surface.base_bpp <= base_share * surface.bpp
    path = [(0, 0)]
    for weight in lambdas[1:]:
        b, a = path[-1]
        fits = allowed.copy()
        fits[:b], fits[:, :a] = False, False
        fits &= surface.mse <= surface.mse[b, a]
        fits[b, a] = True
        cost = np.where(fits, surface.bpp + weight * 255**2 * surface.mse, np.inf)
        row, column = np.unravel_index(np.argmin(cost), cost.shape)
        path.append((int(row), int(column)))
    path[-1] = (path[-1][0], surface.bpp.shape[1] - 1)  # the dial reaches the end, whatever the multipliers
    return path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of training photos")
    parser.add_argument("--limit", type=int, help="use only so many photos")
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="JSON for export/to_onnx.py --quality-map"
    )
    parser.add_argument("--steps", type=int, default=9, help="grid points of each quality that are measured")
    parser.add_argument("--rows", type=int, default=21, help="rows of the map")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--base-share", type=float, default=0.5, help="most of the bytes that the base takes")
    parser.add_argument("--lambdas", type=float, nargs=2, default=(0.0025, 0.25), metavar=("LOW", "HIGH"))
    args = parser.parse_args(argv)
    codec = Codec(args.model)
    everything = photos(args.data)
    chosen = everything[:: max(1, len(everything) // (args.limit or 8))][: args.limit or 8]
    crops = [rgb[: args.crop, : args.crop] for _, rgb in chosen]
    grid = np.linspace(0, 100, args.steps)
    fine, surface = refine(measure(codec, crops, grid), grid)
    lambdas = np.geomspace(args.lambdas[0], args.lambdas[1], args.rows)
    path = choose(surface, lambdas, args.base_share)
    quality = np.linspace(0, 100, args.rows)
    # The dial never stands still: of equal rows the first stays (of those at the end, the last).
    kept = [r for r in range(args.rows) if r == 0 or path[r] != path[r - 1]]
    if path[-1] == path[kept[-1]]:
        kept[-1] = args.rows - 1
    columns = {
        "quality": quality[kept],
        "base_quality": fine[[path[r][0] for r in kept]],
        "aux_quality": fine[[path[r][1] for r in kept]],
    }
    args.output.write_text(
        json.dumps({k: [round(float(v), 3) for v in c] for k, c in columns.items()}) + "\n"
    )
    figures = [
        (surface.bpp[path[r]], surface.base_bpp[path[r]], -10 * np.log10(surface.mse[path[r]])) for r in kept
    ]
    names = ["quality", "base", "auxiliary", "lambda", "bpp", "of it base", "PSNR dB"]
    print(" ".join(f"{name:>10}" for name in names))
    for *place, r, f in zip(*columns.values(), kept, figures, strict=True):
        print(" ".join(f"{value:10.3f}" for value in (*place, lambdas[r], *f)))


if __name__ == "__main__":
    main()
