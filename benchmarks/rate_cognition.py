"""Measures what machines lose: task accuracy against real bytes, for the base stream and other codecs.

    python -m benchmarks.rate_cognition --data DATA [--twin BUNDLE] [--plot FILE.png]

DATA has the labelled sets and networks of `benchmarks.tasks`. `rdc-base` is the base stream alone, decoded
at beta = 1, at the rates that the quality dial gives it (--whole-base: up to its highest); `rdc-full` the whole
stream at beta = 0; `twin` a single-branch bundle trained for MSE alone; `jpeg`, `webp` and `avif` (speed 6) are
Pillow's, 4:2:0.
Bits at equal accuracy: mean of log(bpp / bpp of the other) over the accuracies that both reach, curves made
monotone; the intervals are 95 % of a paired bootstrap over images (the sets are small).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.common import table
from benchmarks.tasks import TASKS, Picture, Score, Task
from rdc_codec import Codec
from rdc_codec.codec import Layers

Coder = Callable[[Picture, float], tuple[int, Picture]]  # picture, quality -> bytes, picture decoded


@dataclass
class Curve:
    """bpp: float [qualities, images]. scores: one function of image numbers for each quality."""

    bpp: np.ndarray
    scores: list[Score]
    _drawn: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list, init=False, repr=False)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean bpp and metric of these images, at each quality."""
        return self.bpp[:, rows].mean(1), np.array([score(rows) for score in self.scores])

    def resampled(self, samples: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return what `at` says of images drawn with replacement, alike for all curves of as many images.

        It is kept: a curve is compared with several, and AP takes its time.
        """
        if len(self._drawn) != samples:
            count = self.bpp.shape[1]
            drawn = np.random.default_rng(0).integers(0, count, (samples, count))
            self._drawn = [self.at(rows) for rows in drawn]
        return self._drawn


def measure(tasks: list[Task], code: Coder, qualities: list[float]) -> list[Curve]:
    """Measure a curve for each of the tasks, which have the same pictures: each is coded once."""
    items = tasks[0].items
    bpp, scores = np.zeros((len(qualities), len(items))), [list[Score]() for _ in tasks]
    for q, quality in enumerate(qualities):
        predictions: list[list[Any]] = [[] for _ in tasks]
        for index, (_, rgb) in enumerate(items):
            size, decoded = code(rgb, quality)
            bpp[q, index] = 8 * size / rgb[..., 0].size
            for task, found in zip(tasks, predictions, strict=True):
                found.append(task.predict(index, decoded))
        for task, found, score in zip(tasks, predictions, scores, strict=True):
            score.append(task.scorer(found))
    return [Curve(bpp, score) for score in scores]


def by_pictures(tasks: list[Task]) -> list[list[Task]]:
    """Group the tasks that judge the same pictures."""
    groups: dict[tuple[str, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault(tuple(name for name, _ in task.items), []).append(task)
    return list(groups.values())


def rdc(codec: Codec, layers: Layers, beta: float, whole_base: bool = False) -> Coder:
    def code(rgb: Picture, quality: float) -> tuple[int, Picture]:
        stream = codec.encode(rgb, quality, layers=layers, base_quality=quality if whole_base else None)
        return len(stream), codec.decode(stream, beta=beta)

    return code


def pillow(name: str, **options: object) -> Coder:
    def code(rgb: Picture, quality: float) -> tuple[int, Picture]:
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, name, quality=int(quality), **options)
        return file.tell(), np.asarray(Image.open(file).convert("RGB"))

    return code


def bits_at_equal_metric(anchor: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the mean extra bits of `test` at equal metric, as a fraction; NaN where curves share no accuracy."""
    curves = []
    for bpp, metric in (anchor, test):
        order = np.argsort(bpp)
        bpp, metric = bpp[order], metric[order]
        better = np.concatenate([[True], metric[1:] > np.maximum.accumulate(metric)[:-1]])
        curves.append((metric[better], np.log(bpp[better])))
    low, high = max(m[0] for m, _ in curves), min(m[-1] for m, _ in curves)
    if not low < high:
        return float("nan")
    grid = np.linspace(low, high, 200)
    base, other = (np.interp(grid, m, rate) for m, rate in curves)
    return float(np.exp((other - base).mean()) - 1)


def interval(anchor: Curve, test: Curve, samples: int) -> tuple[float, float, float]:
    """Return `bits_at_equal_metric` and its 2.5 and 97.5 percentiles over images resampled alike for both curves."""
    everything = np.arange(anchor.bpp.shape[1])
    pairs = zip(anchor.resampled(samples), test.resampled(samples), strict=True)
    drawn = [bits_at_equal_metric(a, b) for a, b in pairs]
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if drawn else (np.nan, np.nan)
    return bits_at_equal_metric(anchor.at(everything), test.at(everything)), float(low), float(high)


def plot(
    found: dict[str, dict[str, Curve]], metrics: dict[str, str], originals: dict[str, float], path: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False)
    for axis, (name, curves) in zip(axes.flat, found.items(), strict=False):
        for codec, curve in curves.items():
            axis.plot(*curve.at(np.arange(curve.bpp.shape[1])), "o-", label=codec, markersize=3)
        axis.axhline(originals[name], color="grey", linewidth=1, linestyle=":", label="original")
        axis.set(title=name, xlabel="bpp", ylabel=metrics[name], xlim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nets/ and the labelled sets")
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--twin", help="single-branch bundle trained for MSE alone")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--qualities", type=float, nargs="*", default=[0, 10, 20, 30, 40, 55, 70, 100])
    parser.add_argument("--jpeg", type=float, nargs="*", default=[3, 6, 10, 15, 20, 30, 45, 70])
    parser.add_argument("--webp", type=float, nargs="*", default=[])
    parser.add_argument("--avif", type=float, nargs="*", default=[5, 15, 25, 35, 45, 55, 65])
    parser.add_argument(
        "--whole-base",
        action="store_true",
        help="qualities are base qualities for rdc-base, up to its highest rate",
    )
    parser.add_argument("--full", action="store_true", help="also the whole stream at beta = 0")
    parser.add_argument("--samples", type=int, default=200, help="bootstrap samples (0: no intervals)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    codec = Codec(args.model, threads=args.threads)
    base = rdc(codec, "base", 1.0, args.whole_base)
    coders: dict[str, tuple[Coder, list[float]]] = {"rdc-base": (base, args.qualities)}
    if args.full:
        coders["rdc-full"] = (rdc(codec, "all", 0.0), args.qualities)
    if args.twin:
        coders["twin"] = (rdc(Codec(args.twin, threads=args.threads), "all", 0.0), args.qualities)
    coders["jpeg"] = (pillow("JPEG", optimize=True, subsampling=2), args.jpeg)
    if args.webp:
        coders["webp"] = (pillow("WEBP", method=6), args.webp)
    coders["avif"] = (pillow("AVIF", speed=6), args.avif)

    found: dict[str, dict[str, Curve]] = {}
    metrics: dict[str, str] = {}
    originals: dict[str, float] = {}
    rows: list[list[Any]] = []
    savings: list[list[Any]] = []
    for group in by_pictures([TASKS[name](args.data, args.threads) for name in args.tasks]):
        everything = np.arange(len(group[0].items))
        for task in group:
            metrics[task.name] = task.metric
            unchanged = task.scorer([task.predict(i, rgb) for i, (_, rgb) in enumerate(task.items)])
            originals[task.name] = unchanged(everything)
        names = ", ".join(task.name for task in group)
        for label, (code, qualities) in tqdm(coders.items(), desc=names, file=sys.stderr):
            for task, curve in zip(group, measure(group, code, qualities), strict=True):
                found.setdefault(task.name, {})[label] = curve
                for quality, bpp, metric in zip(qualities, *curve.at(everything), strict=True):
                    rows.append([task.name, task.metric, label, float(quality), float(bpp), float(metric)])
        for task in group:
            curves = found[task.name]
            for label in coders:
                if label != "rdc-base":
                    against = interval(curves[label], curves["rdc-base"], args.samples)
                    savings.append([task.name, label, *(100 * value for value in against)])
    rows.sort(key=lambda row: (args.tasks.index(row[0]), list(coders).index(row[2]), row[3]))
    if args.plot:
        plot(found, metrics, originals, args.plot)
    if args.json:
        print(json.dumps({"original": originals, "points": rows, "extra_bits_percent": savings}, indent=1))
        return
    print(table(["network", "metric", "codec", "quality", "bpp", "value"], rows))
    print("\noriginals: " + ", ".join(f"{name} {value:.3f}" for name, value in originals.items()))
    print("\nbits of rdc-base against others at equal accuracy, %, and 95 % interval:")
    print(table(["network", "against", "extra bits", "from", "to"], savings))


if __name__ == "__main__":
    main()
