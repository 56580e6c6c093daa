"""This module searches the quality at which a stream has the bytes, or a picture the PSNR, that was asked for.

It runs no network: what a quality gives is asked of functions, so that the search can be tested on any curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from .container import from_fixed, to_fixed
from .errors import InputError, TargetError

Result = TypeVar("Result")

BELOW = 0.02  # how far below the bytes a search may stop
ABOVE = 0.1  # dB above the PSNR
MOST_CALLS = 40  # a bracket of 25600 steps is halved at least every second call
MAX_PSNR = 100.0
LOW, HIGH = to_fixed(0), to_fixed(100)

# Columns of a quality map that say what photos have; all or none are there (docs/bundle.md)
FIGURES = ("bpp", "base_bpp", "psnr", "base_psnr", "exponent", "bpp_rise", "psnr_rise")
FLATTEST = 1e-3  # what the scale of a figure grows with one quality at least; searches divide by it


class Goal(NamedTuple):
    """Says what a search is for: a stream of at most so many bytes, or a picture of at least so much PSNR in dB.

    value: in bytes or dB, for a picture of so many pixels. unit: what the caller gave it in, "bytes", "bpp" or "dB".
    """

    unit: str
    value: float
    pixels: int

    @property
    def of_bytes(self) -> bool:
        """Tells whether bytes are the figure; else it is PSNR."""
        return self.unit != "dB"

    def window(self) -> tuple[float, float]:
        """Return the least and the largest figure that ends a search."""
        if self.of_bytes:
            return (1 - BELOW) * self.value, self.value
        return self.value, self.value + ABOVE

    def scale(self, figure: float) -> float:
        """Return a figure so that it grows about evenly with quality: the logarithm of bytes, dB as they are."""
        return math.log(max(figure, 1.0)) if self.of_bytes else figure

    def told(self, figure: float) -> float:
        """Return a figure in the caller's unit."""
        return 8 * figure / self.pixels if self.unit == "bpp" else figure

    def missed(self, best: float, why: str) -> TargetError:
        """Make the error for a figure that is the best there is."""
        text = {"bytes": "{:.0f} bytes", "bpp": "{:.4g} bits a pixel", "dB": "{:.2f} dB"}[self.unit]
        asked, found = text.format(self.told(self.value)), text.format(self.told(best))
        return TargetError(f"target of {asked} cannot be reached: {why} {found}", self.told(best))


class Aim(NamedTuple):
    """Holds what a caller asked for, of pictures of any size: a number in "bytes", "bpp" or "dB"."""

    unit: str
    number: float

    def of(self, height: int, width: int) -> Goal:
        """Return the goal for a picture of this size."""
        pixels = height * width
        value = math.floor(self.number * pixels / 8) if self.unit == "bpp" else self.number
        return Goal(self.unit, value, pixels)


def aim_of(
    target_bytes: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    qualities: Mapping[str, object],
) -> Aim | None:
    """Check the targets of a call, of which at most one may be given, and that without qualities (None: not given).

    Returns None where there is no target. Raises InputError.
    """
    targets = {"target_bytes": target_bytes, "target_bpp": target_bpp, "target_psnr": target_psnr}
    given = [name for name, value in targets.items() if value is not None]
    if not given:
        return None
    name = given[0]
    if also := [*given[1:], *(key for key, value in qualities.items() if value is not None)]:
        raise InputError(f"give either {name} or {also[0]}, not both")
    if target_bytes is not None:
        if (
            isinstance(target_bytes, bool)
            or not isinstance(target_bytes, int | np.integer)
            or target_bytes < 1
        ):
            raise InputError(f"target_bytes must be a whole number from 1, got {target_bytes!r}")
        return Aim("bytes", int(target_bytes))
    number: object = target_bpp if name == "target_bpp" else target_psnr
    most = math.inf if name == "target_bpp" else MAX_PSNR
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not 0 < number <= most:
        limit = "above 0" if name == "target_bpp" else f"above 0, at most {MAX_PSNR:g}"
        raise InputError(f"{name} must be a number {limit}, got {number!r}")
    if math.isinf(number):
        raise InputError(f"{name} must be finite")
    return Aim("bpp" if name == "target_bpp" else "dB", float(number))


class Found(NamedTuple, Generic[Result]):
    """Holds what a search ended with: the quality in steps of 1/256, what it gave, and the figure of that."""

    fixed: int
    result: Result
    figure: float


def search(
    measure: Callable[[int], tuple[Result, float]],
    goal: Goal,
    first: int,
    low: int = LOW,
    high: int = HIGH,
    slope: float = 0.02,
) -> Found[Result]:
    """Find a quality whose figure is inside the goal's window, with few calls where the figure grows with quality.

    measure: quality in steps of 1/256, from `low` to `high` -> what it gives, and the figure. first: where to begin.
    slope: how much the goal's scale grows with one quality, at about.

    Where no quality is inside the window, because one step leads over it, the nearest on the allowed side is returned:
    never more bytes, never less PSNR. Raises TargetError where `low` gives too many bytes or too much PSNR, or `high`
    too few or too little. Calls `measure` at most MOST_CALLS times, each time with another quality.
    """
    least, most = goal.window()
    middle = (goal.scale(least) + goal.scale(most)) / 2
    under: Found[Result] | None = None  # nearest below the window
    over: Found[Result] | None = None
    before: Found[Result] | None = None  # on the same side of the window
    fixed, wide = min(max(first, low), high), high - low + 1
    for call in range(MOST_CALLS):
        found = Found(fixed, *measure(fixed))
        if least <= found.figure <= most:
            return found
        if found.figure < least:
            under = found
            if fixed == high:
                raise goal.missed(
                    found.figure, "quality 100 gives" if high == HIGH else "the highest quality gives"
                )
        else:
            over = found
            if fixed == low:
                raise goal.missed(
                    found.figure, "quality 0 gives" if low == LOW else "the lowest quality gives"
                )
        if under is None or over is None:
            if before is not None and (rise := _rise(goal, before, found)) > 0:
                slope = rise * 256
            steps = 256 * (middle - goal.scale(found.figure)) / slope
            # At least twice as far each time, so that the end is reached where the curve is nearly flat.
            most_before = 0 if before is None else 2 * abs(found.fixed - before.fixed)
            if call > 1 and abs(steps) < most_before:
                steps = math.copysign(most_before, steps)
            before, fixed = found, _clipped(fixed + _away(steps), low, high)
            continue
        bottom, top = under.fixed, over.fixed
        if top - bottom <= 1:
            break
        share = (middle - goal.scale(under.figure)) / (goal.scale(over.figure) - goal.scale(under.figure))
        narrowed = top - bottom
        halve = narrowed > wide / 2 and call % 2 == 1  # a straight line did not help
        wide = min(wide, narrowed)
        inner = (bottom + top) // 2 if halve else bottom + round(share * (top - bottom))
        fixed = _clipped(inner, bottom + 1, top - 1)
    best = under if goal.of_bytes else over
    if best is None:  # only where figures jump to and fro
        worst = over if goal.of_bytes else under
        assert worst is not None
        raise goal.missed(worst.figure, "the search ended at")
    return best


def _rise(goal: Goal, a: Found[Result], b: Found[Result]) -> float:
    """Return by how much the goal's scale grows with a step of 1/256, measured at two qualities."""
    return (goal.scale(b.figure) - goal.scale(a.figure)) / (b.fixed - a.fixed)


def _away(step: float) -> int:
    """Round away from zero: a step that is too small still moves."""
    return math.ceil(step) if step > 0 else math.floor(step)


def _clipped(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


@dataclass(frozen=True)
class Expected:
    """Holds what photos have in the mean at qualities of the dial. A search begins with it and never depends on it.

    Each is float64 [rows]. quality: rises from 0 to 100. bpp, base_bpp: logarithms of bits a pixel of the stream and
    of its base. psnr, base_psnr: dB of their pictures. exponent: bits of a photo's stream are its base's to this power,
    times a constant. bpp_rise, psnr_rise: how much `bpp` and `psnr` grow with one auxiliary quality.
    """

    quality: np.ndarray
    bpp: np.ndarray
    base_bpp: np.ndarray
    psnr: np.ndarray
    base_psnr: np.ndarray
    exponent: np.ndarray
    bpp_rise: np.ndarray
    psnr_rise: np.ndarray

    @classmethod
    def of_map(cls, quality_map: Mapping[str, Sequence[float]]) -> Expected:
        """Read a map's figures; where it has none, those of light 1 take their place. Raises ValueError."""
        if not any(name in quality_map for name in FIGURES):
            return OF_LIGHT_1
        quality = np.asarray(quality_map["quality"], float)
        columns = {name: np.asarray(quality_map.get(name, ()), float) for name in FIGURES}
        for name, column in columns.items():
            if column.shape != quality.shape or not np.isfinite(column).all():
                raise ValueError(f"quality_map has no number {name} for each of its rows")
        for name in ("bpp", "base_bpp"):
            if not (columns[name] > 0).all():
                raise ValueError(f"{name} of quality_map must be above 0")
            columns[name] = np.log(columns[name])
        return cls(quality, **columns)

    def curve(self, of_bytes: bool, base_only: bool) -> np.ndarray:
        """Return what a search looks for, on its goal's scale, at each row; it nowhere falls."""
        found = {
            (True, True): self.base_bpp,
            (True, False): self.bpp,
            (False, True): self.base_psnr,
            (False, False): self.psnr,
        }[of_bytes, base_only]
        return np.maximum.accumulate(found)

    def slope(self, quality: float, of_bytes: bool) -> float:
        """Return how much the scale of a goal for both branches grows with one quality of the dial, there."""
        rises = np.gradient(self.curve(of_bytes, base_only=False), self.quality)
        return max(float(np.interp(quality, self.quality, rises)), FLATTEST)

    def auxiliary_slope(self, quality: float, of_bytes: bool) -> float:
        """Return how much the scale of a goal grows with one auxiliary quality, where the dial is at this quality."""
        rises = self.bpp_rise if of_bytes else self.psnr_rise
        return max(float(np.interp(quality, self.quality, rises)), FLATTEST)

    def first_guess(self, goal: Goal, base_only: bool) -> float:
        """Return the quality at which a photo reaches the goal in the mean."""
        value = math.log(max(8 * goal.value / goal.pixels, 1e-9)) if goal.of_bytes else goal.value
        return float(np.interp(value, self.curve(goal.of_bytes, base_only), self.quality))

    def guess_of_base(self, goal: Goal, quality: float, base_bytes: float) -> float:
        """Return the quality that reaches a goal in bytes, by the bytes that the base alone has at a quality."""
        whole, base, exponent = (
            float(np.interp(quality, self.quality, column))
            for column in (self.bpp, self.base_bpp, self.exponent)
        )
        larger = math.log(8 * base_bytes / goal.pixels) - base
        return self.guess_of_whole(goal, quality, math.exp(whole + exponent * larger) * goal.pixels / 8)

    def guess_of_whole(self, goal: Goal, quality: float, figure: float) -> float:
        """Return the quality that reaches a goal, by the figure of a stream with both branches at a quality."""
        curve = self.curve(goal.of_bytes, base_only=False)
        at = float(np.interp(quality, self.quality, curve))
        return float(np.interp(at + goal.scale(goal.value) - goal.scale(figure), curve, self.quality))


# Light 1 with its first map, whose manifest has no figures
OF_LIGHT_1 = Expected(
    quality=np.array([0.0, 5.0, *np.arange(10.0, 101.0, 10.0)]),
    bpp=np.log([0.1135, 0.133, 0.1521, 0.1851, 0.2253, 0.2703, 0.3281, 0.3945, 0.4767, 0.57, 0.684, 0.7322]),
    base_bpp=np.log([0.0364, 0.071, 0.074, 0.078, 0.083, 0.102, 0.117, 0.151, 0.181, 0.21, 0.237, 0.24]),
    psnr=np.array([28.4, 29.2, 29.7, 30.8, 31.9, 32.8, 33.7, 34.4, 35.1, 35.6, 36.1, 36.3]),
    base_psnr=np.array([24.0, 26.5, 26.7, 26.9, 27.1, 28.0, 28.5, 29.5, 30.2, 30.7, 31.2, 31.25]),
    exponent=np.array([1.224, 1.167, 1.174, 1.187, 1.187, 1.15, 1.145, 1.116, 1.099, 1.071, 1.059, 1.043]),
    bpp_rise=np.full(12, 0.018),
    psnr_rise=np.full(12, 0.07),
)


def snapped(quality: float) -> float:
    """Return the nearest quality that a header can hold."""
    return from_fixed(to_fixed(min(max(quality, 0.0), 100.0)))
