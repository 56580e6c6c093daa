"""Measures how far x1 leaves [0, 1] before it is clipped, for every model that it is given.

python -m benchmarks.out_of_range --data DIR MODEL [MODEL ...] [--plot FILE.png]

MODEL: a bundle or a checkpoint. Base branch at five qualities; shares of samples by distance to [0, 1] in grey levels.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import load_torch_model, photos, table
from model import RateDistortionCognition
from model.transforms import to_folded

EDGES = (0, 0.5, 1, 2, 4, 8, 16, 32, 64, np.inf)  # grey levels


@torch.no_grad()
def distances(model: RateDistortionCognition, pictures: list[np.ndarray]) -> np.ndarray:
    """Return the distance to [0, 255] of every sample of x1, at five qualities."""
    found = []
    for rgb in pictures:
        height, width = (side // 64 * 64 for side in rgb.shape[:2])
        folded = to_folded(rgb[:height, :width])
        for level in torch.linspace(0, model.config.levels - 1, 5):
            x1 = 255 * model.primary(folded, level[None]).image
            found.append((x1 - x1.clamp(0, 255)).abs().flatten().numpy())
    return np.concatenate(found)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", required=True, help="folder of photos")
    parser.add_argument("--limit", type=int, help="use only so many photos")
    parser.add_argument("--plot", help="PNG to write")
    args = parser.parse_args(argv)
    pictures = [rgb for _, rgb in photos(args.data, args.limit)]
    shares = {}
    for path in args.models:
        found = distances(load_torch_model(path), pictures)
        inside = np.mean(found == 0)
        counts, _ = np.histogram(found[found > 0], EDGES)
        shares[Path(path).stem] = np.array([inside, *(counts / found.size)])
    names = ["inside", *(f"{a:g}-{b:g}" for a, b in itertools.pairwise(EDGES))]
    rows = [[name, *(f"{100 * s[i]:.4f} %" for s in shares.values())] for i, name in enumerate(names)]
    print(table(["grey levels outside", *shares], rows))
    if args.plot:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 4))
        width = 0.8 / len(shares)
        for number, (label, share) in enumerate(shares.items()):
            axes.bar(np.arange(1, len(names)) + number * width, 100 * share[1:], width, label=label)
        axes.set_xticks(np.arange(1, len(names)) + 0.4 - width / 2, names[1:])
        axes.set(yscale="log", xlabel="grey levels outside [0, 255]", ylabel="% of samples")
        axes.legend()
        figure.tight_layout()
        figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
