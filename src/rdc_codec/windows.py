"""Networks run over windows of a large picture, so that memory does not grow with it. The stream is that of the whole.

What a network makes of a place depends on a neighbourhood, and hardly at all on what is far from it. A window has a
core, whose results are kept, and a margin round it, whose results are not: within one grey level they are what one run
over the whole picture gives, so that nothing of a window can be seen, and no stream says how it was made
(docs/performance.md has what other margins cost).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .bundle import HYPER_STRIDE, LATENT_STRIDE
from .pixels import from_tensor, to_tensor

# In strides of hyper-latents, 64 pixels: what is done is counted in those.
ENCODE_MARGIN = 3
DECODE_MARGIN = 2
# The largest window with its margins, 4 megapixels.
ENCODE_LIMIT = 1024
DECODE_LIMIT = 1024
_LATENTS = HYPER_STRIDE // LATENT_STRIDE  # in a stride, each way


@dataclass(frozen=True)
class Span:
    """Names a part of an axis in strides: the core from start to stop, with its margins from first to last."""

    start: int
    stop: int
    first: int
    last: int

    def outer(self, unit: int) -> slice:
        """Return the window with its margins, in units of which a stride has so many."""
        return slice(self.first * unit, self.last * unit)

    def core(self, unit: int) -> slice:
        """Return where the core is in what was made of the window, in the same units."""
        return slice((self.start - self.first) * unit, (self.stop - self.first) * unit)

    def place(self, unit: int) -> slice:
        """Return where the core belongs in the whole, in the same units."""
        return slice(self.start * unit, self.stop * unit)

    def within(self, start: int, length: int) -> tuple[int, int]:
        """Return from where to where the core has pixels of a part of the axis."""
        core = self.place(HYPER_STRIDE)
        return max(core.start, start), min(core.stop, start + length)


class Rectangle(NamedTuple):
    """Names strides of a picture: rows from top to bottom, columns from left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


class Region(NamedTuple):
    """Names pixels of a picture: of `width` columns from x, of `height` rows from y."""

    x: int
    y: int
    width: int
    height: int

    def strides(self) -> Rectangle:
        """Return the strides that the pixels are in."""
        bottom, right = (-(-end // HYPER_STRIDE) for end in (self.y + self.height, self.x + self.width))
        return Rectangle(self.y // HYPER_STRIDE, bottom, self.x // HYPER_STRIDE, right)


def is_large(height: int, width: int, limit: int) -> bool:
    """Tell whether a picture of so many pixels is more than one window of so many strides."""
    return -(-height // HYPER_STRIDE) * -(-width // HYPER_STRIDE) > limit


def spans(start: int, stop: int, end: int, count: int, margin: int) -> list[Span]:
    """Cut start to stop into `count` about equal cores, with margins that end at 0 and `end`."""
    edges = [start + (stop - start) * k // count for k in range(count + 1)]
    return [Span(a, b, max(0, a - margin), min(end, b + margin)) for a, b in itertools.pairwise(edges)]


def plan(rows: int, columns: int, margin: int, limit: int, part: Rectangle) -> tuple[list[Span], list[Span]]:
    """Return the windows of a part of a picture of so many strides: spans of rows, spans of columns.

    Of all grids whose windows have at most `limit` strides, it is that with the least to compute. Cores have at least
    one stride, whatever the limit.
    """
    best: tuple[int, list[Span], list[Span]] | None = None
    height, width = part.bottom - part.top, part.right - part.left
    for down in range(1, height + 1):
        vertical = spans(part.top, part.bottom, rows, down, margin)
        total, tallest = _total_and_longest(vertical)
        if best is not None and total * width >= best[0]:
            break  # more windows above each other only cost more
        # At least so many next to each other, or the cores alone are too large; each one more costs more.
        for across in range(min(width, max(1, tallest * width // limit)), width + 1):
            horizontal = spans(part.left, part.right, columns, across, margin)
            wide, widest = _total_and_longest(horizontal)
            if tallest * widest <= limit or (down, across) == (height, width):
                if best is None or total * wide < best[0]:
                    best = total * wide, vertical, horizontal
                break
    assert best is not None
    return best[1], best[2]


def _total_and_longest(parts: Sequence[Span]) -> tuple[int, int]:
    lengths = [part.last - part.first for part in parts]
    return sum(lengths), max(lengths)


def encode(rgb: np.ndarray, run: Callable[[np.ndarray], list[np.ndarray]]) -> list[np.ndarray]:
    """Return what a graph makes of a picture, uint8 [H, W, 3]: planes of z and y in turn, int16 [C, h, w].

    run: makes them of a window, int8 [1, H', W', 3] as `pixels.to_tensor` returns it.
    """
    rows, columns = (-(-side // HYPER_STRIDE) for side in rgb.shape[:2])
    whole = Rectangle(0, rows, 0, columns)
    vertical, horizontal = plan(rows, columns, ENCODE_MARGIN, ENCODE_LIMIT, whole)
    planes: list[np.ndarray] = []
    for row, column in itertools.product(vertical, horizontal):
        made = run(to_tensor(rgb[row.outer(HYPER_STRIDE), column.outer(HYPER_STRIDE)], HYPER_STRIDE))
        units = [_LATENTS if k % 2 else 1 for k in range(len(made))]
        if not planes:
            sizes = [(window.shape[1], rows * u, columns * u) for window, u in zip(made, units, strict=True)]
            planes = [np.empty(size, np.int16) for size in sizes]
        for plane, window, unit in zip(planes, made, units, strict=True):
            plane[:, row.place(unit), column.place(unit)] = window[0, :, row.core(unit), column.core(unit)]
    return planes


def decode(
    planes: Sequence[np.ndarray], run: Callable[[list[np.ndarray]], np.ndarray], region: Region
) -> Iterator[np.ndarray]:
    """Yield the rows of a picture, or of a region of it, from top to bottom, uint8 [n, width, 3], new arrays.

    planes: z and y in turn, as `encode` returns them. run: makes pixels, int8 [1, H', W', 3], of windows of them, int32
    [1, C, h, w].
    """
    rows, columns = planes[0].shape[1:]
    vertical, horizontal = plan(rows, columns, DECODE_MARGIN, DECODE_LIMIT, region.strides())
    for row in vertical:
        top, bottom = row.within(region.y, region.height)
        band = np.empty((bottom - top, region.width, 3), np.uint8)
        for column in horizontal:
            left, right = column.within(region.x, region.width)
            pixels = run([_window(plane, row, column, k % 2) for k, plane in enumerate(planes)])
            kept = pixels[:, top - row.first * HYPER_STRIDE :, left - column.first * HYPER_STRIDE :]
            band[:, left - region.x : right - region.x] = from_tensor(kept, bottom - top, right - left)
        yield band


def _window(plane: np.ndarray, row: Span, column: Span, of_latents: int) -> np.ndarray:
    unit = _LATENTS if of_latents else 1
    return np.ascontiguousarray(plane[:, row.outer(unit), column.outer(unit)], np.int32)[None]


def reduced(bands: Iterable[np.ndarray], factor: int) -> Iterator[np.ndarray]:
    """Yield rows, uint8 [n, width, 3], of means of factor x factor pixels, or of what there is of them at the ends."""
    rest: np.ndarray | None = None
    for band in bands:
        rows = band if rest is None else np.concatenate([rest, band])
        whole = len(rows) // factor * factor
        for start in range(0, whole, HYPER_STRIDE):  # sums are wider than samples: few rows at once
            yield _means(rows[start : min(start + HYPER_STRIDE, whole)], factor)
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield _means(rest, factor)


def _means(rows: np.ndarray, factor: int) -> np.ndarray:
    sums, count = rows.astype(np.uint16), np.ones((1, 1, 1), np.uint16)
    for axis in (0, 1):
        length = rows.shape[axis]
        starts = np.arange(0, length, factor)
        sums = np.add.reduceat(sums, starts, axis)
        shape = [1, 1, 1]
        shape[axis] = -1
        count = count * np.minimum(factor, length - starts).astype(np.uint16).reshape(shape)
    return ((sums + count // 2) // count).astype(np.uint8)
