"""Pictures that are not photographs, drawn by code: text, interfaces, code, plots, shapes, cartoons, maps, pixels.

python -m training.graphics -o DIR --count N [--seed S] [--size 512] [--kinds text map]

A codec that has seen photographs alone treats letters and edges as noise. The same seed gives the same picture,
as long as Pillow, NumPy, Matplotlib, Python (whose own source is what code editors show) and fonts are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from training.drawings.cartoons import cartoon
from training.drawings.editors import code
from training.drawings.interfaces import interface
from training.drawings.maps import chart
from training.drawings.mixtures import mixed
from training.drawings.pages import text
from training.drawings.patterns import pixels
from training.drawings.plots import plot
from training.drawings.shapes import flat
from training.drawings.style import Drawing

SMALLEST = 256  # layouts need room: smaller pictures are cut out of one of this size

_DRAWINGS: dict[str, Drawing] = {
    "text": text,
    "interface": interface,
    "code": code,
    "plot": plot,
    "flat": flat,
    "cartoon": cartoon,
    "map": chart,
    "pixels": pixels,
    "mixed": mixed,
}
KINDS = tuple(_DRAWINGS)
SHARES = {
    "text": 5,
    "interface": 5,
    "code": 2,
    "plot": 2,
    "flat": 3,
    "cartoon": 3,
    "map": 2,
    "pixels": 1,
    "mixed": 3,
}


def draw(kind: str, random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture of a kind (one of KINDS), uint8 [H, W, 3]. Raises ValueError for another kind or an empty size."""
    if kind not in _DRAWINGS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if min(height, width) < 1:
        raise ValueError(f"a picture has at least one pixel a side, not {height}x{width}")
    drawn = _DRAWINGS[kind](random, max(height, SMALLEST), max(width, SMALLEST))
    top, left = ((size - wanted) // 2 for size, wanted in zip(drawn.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(drawn[top : top + height, left : left + width])


def picture(seed: int, size: int, kinds: tuple[str, ...] = KINDS) -> tuple[str, np.ndarray]:
    """The picture of a seed and its kind, which is drawn with the weights of SHARES."""
    random = np.random.default_rng(seed)
    weights = np.array([SHARES[kind] for kind in kinds], float)
    kind = str(random.choice(kinds, p=weights / weights.sum()))
    return kind, draw(kind, random, size, size)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="pictures have the seeds 1000000 * SEED and on")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(1_000_000 * args.seed, 1_000_000 * args.seed + args.count):
        kind, drawn = picture(seed, args.size, tuple(args.kinds))
        Image.fromarray(drawn).save(args.out / f"{kind}-{seed}.png")


if __name__ == "__main__":
    main()
