"""Measures how near streams come to the bytes or the PSNR that was asked for, and what the search takes.

python -m benchmarks.targets --data DIR [--limit N] [--side PIXELS] [--layers all|base] [--kind bpp|psnr]

Every photo is coded for five targets: what it has itself at qualities 10, 30, 50, 70 and 90, times a random factor
within 10 %, so that no target is the figure of a round quality. For each target the table has how many streams are over
the bytes (or under the PSNR), how many within 2 % of the bytes (0.1 dB), the largest distance, how often networks ran,
and the time beside that of one encode of the same photo. Time is that of the processor, of all threads together, so
that what else runs on the machine counts for little.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.common import add_options, photos, psnr, table
from rdc_codec import Codec
from rdc_codec.backends.base import BackendInfo, Inputs
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.bundle import Bundle
from rdc_codec.codec import Layers
from rdc_codec.errors import TargetError
from rdc_codec.rates import ABOVE, BELOW

QUALITIES = (10, 30, 50, 70, 90)


class Counting:
    """Is a backend that counts how often it ran each graph."""

    parallel = False

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._inner = OnnxRuntimeBackend(bundle, threads, None)
        self.info = BackendInfo("counting", "cpu", "a measurement")
        self.runs: Counter[str] = Counter()

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        self.runs[graph] += 1
        return self._inner.run(graph, inputs, cuda_stream)


def timed(codec: Codec, rgb: np.ndarray, **options: Any) -> tuple[bytes, float]:
    start = time.process_time()
    stream = codec.encode(rgb, **options)
    return stream, time.process_time() - start


def measure(
    codec: Codec, backend: Counting, rgb: np.ndarray, kind: str, layers: Layers
) -> list[dict[str, Any]]:
    """Return a row for each target of one photo."""
    rng = np.random.default_rng(rgb[0, 0].tolist())
    found = []
    for quality in QUALITIES:
        stream, alone = timed(codec, rgb, quality=quality, layers=layers)
        factor = 1 + rng.uniform(-0.1, 0.1)
        if kind == "bpp":
            asked = 8 * len(stream) * factor / rgb[..., 0].size
        else:
            asked = psnr(rgb, codec.decode(stream)) + 5 * (factor - 1)
        backend.runs.clear()
        row: dict[str, Any] = {"quality": quality, "asked": asked}
        try:
            made, taken = timed(codec, rgb, layers=layers, **{f"target_{kind}": asked})
        except TargetError as error:
            row["unreachable"] = error.best
        else:
            if kind == "bpp":
                figure = 8 * len(made) / rgb[..., 0].size
                whole = math.floor(asked * rgb[..., 0].size / 8)  # bytes
                row |= {
                    "miss": figure > asked,
                    "off": 1 - figure / asked,
                    "near": len(made) >= (1 - BELOW) * whole,
                }
            else:
                figure = psnr(rgb, codec.decode(made))
                row |= {"miss": figure < asked, "off": figure - asked, "near": figure <= asked + ABOVE}
            info = codec.info(made)
            row |= {
                "figure": figure,
                "time": taken / alone,
                "qualities": (info["base_quality"], info["aux_quality"]),
            }
        row["runs"] = dict(backend.runs)
        found.append(row)
    return found


def summary(rows: list[dict[str, Any]], name: str) -> list[Any]:
    reached = [r for r in rows if "figure" in r]
    if not reached:
        return [name, len(rows), len(rows), *["-"] * 7]
    times = [r["time"] for r in reached]
    return [
        name,
        len(rows),
        len(rows) - len(reached),
        sum(r["miss"] for r in reached),
        f"{100 * np.mean([r['near'] for r in reached]):.0f} %",
        float(np.mean([r["off"] for r in reached])),
        float(max(r["off"] for r in reached)),
        f"{np.mean([sum(r['runs'].values()) for r in reached]):.1f}",
        f"{np.mean(times):.2f}",
        f"{np.quantile(times, 0.95):.2f}",
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--side", type=int, default=512, help="photos are cropped to this in the middle")
    parser.add_argument("--layers", choices=("all", "base"), default="all")
    parser.add_argument("--kind", choices=("bpp", "psnr"), default="bpp")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args(argv)
    bundle = Bundle(args.model)
    backend = Counting(bundle, args.threads)
    codec = Codec(bundle, backend=backend)
    rows: list[dict[str, Any]] = []
    for _, rgb in photos(args.data, args.limit):
        top, left = (max(0, (side - args.side) // 2) for side in rgb.shape[:2])
        crop = np.ascontiguousarray(rgb[top : top + args.side, left : left + args.side])
        if not rows:
            measure(
                codec, backend, crop, args.kind, args.layers
            )  # loads what is loaded when it is first used
        rows += measure(codec, backend, crop, args.kind, args.layers)
    if args.json:
        print(json.dumps(rows, indent=1, default=float))
        return
    head = [
        "target",
        "streams",
        "unreachable",
        "missed",
        "near",
        "mean distance",
        "largest",
        "graphs",
        "time",
        "95 %",
    ]
    lines = [summary([r for r in rows if r["quality"] == q], f"quality {q}") for q in QUALITIES]
    print(table(head, [*lines, summary(rows, "all")]))


if __name__ == "__main__":
    main()
