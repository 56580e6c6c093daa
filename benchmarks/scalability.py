"""Measures what every slice brings: PSNR at beta = 0 of a stream with 0, 1, ... slices received.

python -m benchmarks.scalability --data DIR [--model BUNDLE] [--plot FILE.png]

Means over photos, and the worst change that one more slice makes to any of them.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from tqdm import tqdm

from benchmarks.common import add_options, photos, psnr, table
from rdc_codec import Codec

QUALITIES = (10, 30, 50, 70, 90)


def measure(codec: Codec, data: str, limit: int | None) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return, for each quality, bpp received and PSNR, float [photos, slices + 1]."""
    found = {}
    pictures = photos(data, limit)
    for quality in tqdm(QUALITIES, unit="quality", file=sys.stderr):
        bpp, db = np.zeros((2, len(pictures), codec.slices + 1))
        for row, (_, rgb) in enumerate(pictures):
            stream = codec.encode(rgb, quality)
            ends = [c["offset"] + c["length"] for c in codec.info(stream)["chunks"]]
            bpp[row] = 8 * np.array(ends) / rgb[..., 0].size
            db[row] = [psnr(rgb, codec.decode(stream, layers=n)) for n in range(codec.slices + 1)]
        found[quality] = bpp, db
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--plot", help="PNG to write")
    args = parser.parse_args(argv)
    codec = Codec(args.model)
    found = measure(codec, args.data, args.limit)
    if args.plot:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 5))
        for quality, (bpp, db) in found.items():
            axes.plot(bpp.mean(0), db.mean(0), "o-", markersize=4, label=f"quality {quality}")
        axes.set(xlabel="bits per pixel received", ylabel="PSNR, dB")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.tight_layout()
        figure.savefig(args.plot, dpi=120)
    rows = [
        [
            quality,
            n,
            float(bpp[:, n].mean()),
            float(db[:, n].mean()),
            float(np.diff(db)[:, n - 1].min()) if n else "",
        ]
        for quality, (bpp, db) in found.items()
        for n in range(db.shape[1])
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(table(["quality", "slices", "bpp", "PSNR dB", "worst change, dB"], rows))


if __name__ == "__main__":
    main()
