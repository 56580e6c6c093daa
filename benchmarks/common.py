"""The benchmarks share this: photos of a folder, quality measures, reference codecs, tables."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.photos import photos
from training.curves import Point, bd_rate, mean_curve, overlap, pillow_point, psnr

if TYPE_CHECKING:
    from model import RateDistortionCognition

__all__ = [
    "Point",
    "add_options",
    "bd_rate",
    "dump",
    "load_torch_model",
    "mean_curve",
    "overlap",
    "photos",
    "pillow_point",
    "psnr",
    "table",
]


def load_torch_model(path: str | Path) -> RateDistortionCognition:
    """Load the trained PyTorch model of a bundle (a folder) or a checkpoint, in inference mode."""
    from export.from_bundle import load_model
    from model import checkpoint

    return (load_model(Path(path)) if Path(path).is_dir() else checkpoint.load(path)).eval()


def seconds_of(work: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each round, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="folder of photos")
    parser.add_argument("--limit", type=int, help="use only so many photos")
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def dump(points: Sequence[Any]) -> str:
    return json.dumps([asdict(p) for p in points], indent=1)


def table(header: Sequence[str], rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table with aligned columns."""
    cells = [
        [str(c) for c in header],
        *([f"{c:.3f}" if isinstance(c, float) else str(c) for c in r] for r in rows),
    ]
    widths = [max(len(r[i]) for r in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
    return "\n".join(lines)
