"""Choose the manifest's quality map: how one dial splits into the qualities of the two branches.

    python -m benchmarks.quality_map --data TRAINING_PHOTOS --model BUNDLE -o map.json

Codes crops of photos at a grid of (base, auxiliary) qualities in real bytes and picks, for a geometric
sequence of multipliers lambda, the pair that minimises mean bpp + lambda * 255^2 * MSE: the points on the
convex hull of what the model can do. Quality 0-100 is linear in log lambda.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.common import add_options, photos, table
from runtime import Codec


def measure(codec: Codec, crops: list[np.ndarray], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean bpp and mean MSE (of values 0-1), float [base, auxiliary]."""
    bpp, mse = np.zeros((2, len(grid), len(grid)))
    for b, base in enumerate(tqdm(grid, unit="base quality", file=sys.stderr)):
        for a, auxiliary in enumerate(grid):
            for crop in crops:
                stream = codec.encode(crop, base_quality=base, aux_quality=auxiliary)
                bpp[b, a] += 8 * len(stream) / crop[..., 0].size / len(crops)
                error = (codec.decode(stream).astype(float) - crop) / 255
                mse[b, a] += np.mean(error**2) / len(crops)
    return bpp, mse


def choose(
    bpp: np.ndarray, mse: np.ndarray, grid: np.ndarray, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base and auxiliary quality for each multiplier, both made monotone, and bpp there."""
    best = [np.unravel_index(np.argmin(bpp + weight * 255**2 * mse), bpp.shape) for weight in lambdas]
    base = np.maximum.accumulate(grid[[b for b, _ in best]])
    auxiliary = np.maximum.accumulate(grid[[a for _, a in best]])
    return base, auxiliary, np.array([bpp[p] for p in best])


def _moving_rows(base: np.ndarray, auxiliary: np.ndarray) -> list[int]:
    """Rows to keep so that the dial never stands still between two of them: the first, the last, and of
    equal ones in a row the first."""
    kept, last = [0], len(base) - 1
    for row in range(1, last + 1):
        if (base[row], auxiliary[row]) != (base[kept[-1]], auxiliary[kept[-1]]):
            kept.append(row)
        elif row == last and len(kept) > 1:
            kept[-1] = last
    return kept


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="JSON for export/to_onnx.py --quality-map"
    )
    parser.add_argument("--steps", type=int, default=11, help="grid points of each quality")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--lambdas", type=float, nargs=2, default=(0.0009, 0.25), metavar=("LOW", "HIGH"))
    args = parser.parse_args(argv)
    codec = Codec(args.model)
    everything = photos(args.data)
    chosen = everything[:: max(1, len(everything) // (args.limit or 8))][: args.limit or 8]
    crops = [rgb[: args.crop, : args.crop] for _, rgb in chosen]
    grid = np.linspace(0, 100, args.steps)
    bpp, mse = measure(codec, crops, grid)
    lambdas = np.geomspace(args.lambdas[0], args.lambdas[1], args.steps)
    base, auxiliary, rate = choose(bpp, mse, grid, lambdas)
    quality = np.linspace(0, 100, args.steps)
    # The dial must reach both ends of what the model can do, whatever the multipliers were.
    base[0], auxiliary[0], auxiliary[-1] = grid[0], grid[0], grid[-1]
    kept = _moving_rows(base, auxiliary)
    quality, base, auxiliary, lambdas, rate = (c[kept] for c in (quality, base, auxiliary, lambdas, rate))
    columns = {"quality": quality, "base_quality": base, "aux_quality": auxiliary}
    args.output.write_text(
        json.dumps({k: [round(float(v), 3) for v in c] for k, c in columns.items()}) + "\n"
    )
    print(
        table(
            ["quality", "base", "auxiliary", "lambda", "bpp"],
            [[*map(float, row)] for row in zip(quality, base, auxiliary, lambdas, rate, strict=True)],
        )
    )


if __name__ == "__main__":
    main()
