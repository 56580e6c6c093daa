"""What fp16 graphs cost: streams of either precision read by both, and PSNR to the original.

python -m benchmarks.half --data DIR [--largest N] [--limit N] [--model BUNDLE] [--json]

For each quality: bytes of fp16 encoding against fp32, streams whose symbols depend on the reader (none may), and how
PSNR changes from fp32 at both ends to fp16 at both, in dB, the mean and the worst photo. --largest: only the N photos
with the largest symbols at quality 100. On the CPU, where ONNX Runtime computes fp16 graphs in pieces of fp32: rounding
between layers is there, half-precision sums inside them are not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.common import add_options, photos, psnr, table
from benchmarks.tasks import Picture
from export.to_half import copy_bundle
from runtime import Codec

QUALITIES = (0, 25, 50, 75, 100)
WORST_CHANGE = -0.05  # dB


def largest_symbol(codec: Codec, rgb: Picture) -> int:
    """Of either branch at quality 100."""
    symbols = codec.symbols(codec.encode(rgb, 100))
    return max(int(np.abs(values).max()) for name, values in symbols.items() if name.endswith("latents"))


def measure(full: Codec, half: Codec, pictures: list[Picture], quality: float) -> list[float]:
    """Bytes of fp16 against fp32 in %, streams with other symbols, PSNR change (mean, worst)."""
    sizes, changes, wrong = np.zeros(2), [], 0
    for rgb in tqdm(pictures, desc=f"quality {quality:g}", file=sys.stderr):
        streams = [codec.encode(rgb, quality) for codec in (full, half)]
        sizes += [len(stream) for stream in streams]
        for stream in streams:
            ours, theirs = full.symbols(stream), half.symbols(stream)
            wrong += not all(np.array_equal(ours[name], theirs[name]) for name in ours)
        changes.append(psnr(rgb, half.decode(streams[1])) - psnr(rgb, full.decode(streams[0])))
    return [float(100 * (sizes[1] / sizes[0] - 1)), wrong, float(np.mean(changes)), float(min(changes))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--largest", type=int, help="only so many photos, those with the largest symbols")
    args = parser.parse_args(argv)
    full = Codec(args.model)
    pictures = [rgb for _, rgb in photos(args.data, args.limit)]
    most = [largest_symbol(full, rgb) for rgb in tqdm(pictures, desc="symbols", file=sys.stderr)]
    if args.largest:
        chosen = np.argsort(most)[::-1][: args.largest]
        pictures, most = [pictures[k] for k in chosen], [most[k] for k in chosen]
    with tempfile.TemporaryDirectory() as folder:
        copy_bundle(full.bundle.path, Path(folder) / "half", "fp16")
        half = Codec(Path(folder) / "half")
        rows = [[float(quality), *measure(full, half, pictures, quality)] for quality in QUALITIES]
    header = ["quality", "bytes, %", "streams with other symbols", "PSNR, dB", "worst photo, dB"]
    if args.json:
        print(
            json.dumps({"largest symbols": most, "rows": [dict(zip(header, r, strict=True)) for r in rows]})
        )
    else:
        print(f"{len(pictures)} photos, largest symbols {min(most)} to {max(most)}")
        print(table(header, rows))
    if any(row[2] or row[4] < WORST_CHANGE for row in rows):
        raise SystemExit(f"more than {-WORST_CHANGE} dB lost, or symbols that depend on the reader")


if __name__ == "__main__":
    main()
