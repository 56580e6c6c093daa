"""Measures what people and machines get of one stream as the cognition dial, beta, moves from 1 to 0.

python -m benchmarks.dial --data DATA [--photos DIR] [--model BUNDLE] [--betas 0 1] [--share S] [--plot FILE.png]

At three qualities, the whole stream: accuracy of the task networks (`benchmarks.tasks`) on the labelled sets of
DATA, PSNR and MS-SSIM (pytorch-msssim) on the photos (default: DATA/kodak), means over images, real bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pytorch_msssim import ms_ssim
from tqdm import tqdm

from benchmarks.common import photos, psnr, table
from benchmarks.rate_cognition import by_pictures
from benchmarks.tasks import TASKS, Picture
from rdc_codec import Codec

BETAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def similarity(a: Picture, b: Picture) -> float:
    """Return the MS-SSIM of two pictures, 0 to 1."""
    first, second = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None].float() for x in (a, b))
    return float(ms_ssim(first, second, data_range=255))


class Decoder:
    """Decodes pictures of a set at a quality and any beta; each is encoded once."""

    def __init__(self, codec: Codec, quality: float, share: float | None = None) -> None:
        self.codec, self.quality, self.share = codec, quality, share
        self.streams: dict[bytes, bytes] = {}

    def __call__(self, rgb: Picture, beta: float) -> Picture:
        return self.codec.decode(self.stream(rgb), beta=beta)

    def stream(self, rgb: Picture) -> bytes:
        key = rgb.tobytes()[:4096] + str(rgb.shape).encode()
        if key not in self.streams:
            self.streams[key] = self.codec.encode(rgb, self.quality, share=self.share)
        return self.streams[key]


def measure(
    codec: Codec,
    quality: float,
    data: Path,
    folder: Path,
    tasks: list[str],
    betas: Sequence[float] = BETAS,
    share: float | None = None,
) -> list[list[object]]:
    """Return rows of quality, beta, set, metric, bpp and value."""
    rows: list[list[object]] = []
    decoder = Decoder(codec, quality, share)
    pictures = [rgb for _, rgb in photos(folder)]
    bpp = float(np.mean([8 * len(decoder.stream(rgb)) / rgb[..., 0].size for rgb in pictures]))
    for beta in tqdm(betas, desc=f"quality {quality:g}: {folder.name}", file=sys.stderr):
        decoded = [decoder(rgb, beta) for rgb in pictures]
        for metric, of in (("PSNR", psnr), ("MS-SSIM", similarity)):
            value = float(np.mean([of(a, b) for a, b in zip(pictures, decoded, strict=True)]))
            rows.append([quality, beta, folder.name, metric, bpp, value])
    for group in by_pictures([TASKS[name](data, 2) for name in tasks]):
        items = group[0].items
        bpp = float(np.mean([8 * len(decoder.stream(rgb)) / rgb[..., 0].size for _, rgb in items]))
        names = ", ".join(task.name for task in group)
        for beta in tqdm(betas, desc=f"quality {quality:g}: {names}", file=sys.stderr):
            shown = [decoder(rgb, beta) for _, rgb in items]
            for task in group:
                score = task.scorer([task.predict(i, rgb) for i, rgb in enumerate(shown)])
                rows.append([quality, beta, task.name, task.metric, bpp, score(np.arange(len(items)))])
    return rows


def plot(rows: list[list[object]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys((row[2], row[3]) for row in rows))
    columns = min(4, len(names))
    figure, axes = plt.subplots(
        -(-len(names) // columns),
        columns,
        figsize=(4 * columns, 3.2 * -(-len(names) // columns)),
        squeeze=False,
    )
    for axis, (name, metric) in zip(axes.flat, names, strict=False):
        for quality in dict.fromkeys(row[0] for row in rows):
            chosen = [row for row in rows if (row[0], row[2], row[3]) == (quality, name, metric)]
            axis.plot([r[1] for r in chosen], [r[5] for r in chosen], "o-", label=f"quality {quality:g}")
        axis.set(title=f"{name}: {metric}", xlabel="beta")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nets/ and the labelled sets")
    parser.add_argument("--photos", type=Path, help="for PSNR and MS-SSIM (default: DATA/kodak)")
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--qualities", type=float, nargs="*", default=[10, 30, 50])
    parser.add_argument("--betas", type=float, nargs="*", default=list(BETAS))
    parser.add_argument(
        "--share", type=float, help="of the bytes that the base has (default: that of the quality map)"
    )
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    codec = Codec(args.model)
    rows = []
    for quality in args.qualities:
        folder = args.photos or args.data / "kodak"
        rows += measure(codec, quality, args.data, folder, args.tasks, args.betas, args.share)
    if args.plot:
        plot(rows, args.plot)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    wide = []
    for key in dict.fromkeys((row[0], row[2], row[3], row[4]) for row in rows):
        values = {row[1]: row[5] for row in rows if (row[0], row[2], row[3], row[4]) == key}
        wide.append([*key, *(values[beta] for beta in args.betas)])
    print(table(["quality", "set", "metric", "bpp", *(f"beta {beta:g}" for beta in args.betas)], wide))


if __name__ == "__main__":
    main()
