"""This module codes one picture until it has the bytes or the PSNR that was asked for.

Of the bundle's encoder it runs the steps that another quality changes, and keeps what the others gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import entropy_coding, rates, windows
from .backends.base import number
from .bundle import Bundle
from .container import from_fixed, to_fixed
from .entropy_coding import Symbols
from .errors import TargetError
from .rates import Expected, Goal

Run = Callable[[str, Mapping[str, Any]], list[np.ndarray]]  # of a backend
Chunks = list[tuple[int, bytes]]
Dial = tuple[float, float, float]  # quality, and what each branch is coded with, as they are in the header

STEPS = ("analyse", "code_base", "refine", "code_aux")
FAR = 18.0  # qualities between what the base has and what the whole needs, from where on the base is coded again
NEAR = 3.0  # qualities that the base is not coded again for
SPAN = 35.0  # of the auxiliary quality, about what the dial implies
ROUNDS = 3


class Steps:
    """Codes one picture at any quality. What does not depend on it, or on what has changed of it, is kept.

    run: of a backend. pixels: as the graphs take them, or large: a picture, uint8 [H, W, 3], that is coded in windows,
    of which nothing is kept. slices: auxiliary slices to write (0: the base alone). threads: that share entropy coding.
    """

    def __init__(
        self, run: Run, bundle: Bundle, pixels: Any, slices: int, large: bool, threads: int = 1
    ) -> None:
        self._threads = threads
        self._run, self._bundle, self._pixels, self._slices, self._large = run, bundle, pixels, slices, large
        self._in_steps = not large and set(STEPS[: 4 if slices else 2]) <= set(bundle.graphs)
        self._a1: np.ndarray | None = None
        self._base: tuple[float, Symbols, np.ndarray, Chunks] | None = None
        self._a2: tuple[float, np.ndarray] | None = None

    @property
    def known_base(self) -> bool:
        """Tells whether the base can be coded before the auxiliary branch is; bundles of before 0.2 cannot."""
        return self._in_steps and self._slices > 0

    def base_bytes(self, base_quality: float) -> int:
        """Return how many bytes the primary chunk has."""
        if self._in_steps:
            return len(self._coded_base(base_quality)[3][0][1])
        base = code_at_once(self._run, self._bundle, self._pixels, 0, base_quality, 0, self._large)
        return len(entropy_coding.write_primary(base, self._bundle, self._threads)[0][1])

    def chunks(self, base_quality: float, aux_quality: float) -> Chunks:
        """Return the chunks of the picture, of which base alone needs no auxiliary quality."""
        if not self._in_steps:
            return entropy_coding.write(self._at_once(base_quality, aux_quality), self._bundle, self._threads)
        _, base, c1, chunks = self._coded_base(base_quality)
        if not self._slices:
            return chunks
        assert self._bundle.auxiliary is not None
        if self._a2 is None or self._a2[0] != base_quality:
            (a2,) = self._run("refine", {"pixels": self._pixels, "c1": c1})
            self._a2 = base_quality, a2
        level = number(self._bundle.auxiliary.level(aux_quality))
        z2, y2 = self._run("code_aux", {"a2": self._a2[1], "c1": c1, "aux_level": level})
        both = Symbols(base.z1, base.y1, z2[0], y2[0], self._slices)
        return chunks + entropy_coding.write_auxiliary(both, self._bundle, self._threads)

    def _coded_base(self, quality: float) -> tuple[float, Symbols, np.ndarray, Chunks]:
        if self._base is None or self._base[0] != quality:
            if self._a1 is None:
                (self._a1,) = self._run("analyse", {"pixels": self._pixels})
            level = number(self._bundle.primary.level(quality))
            z1, y1, c1 = self._run("code_base", {"a1": self._a1, "base_level": level})
            symbols = Symbols(z1[0], y1[0])
            chunks = entropy_coding.write_primary(symbols, self._bundle, self._threads)
            self._base = quality, symbols, c1, chunks
        return self._base

    def _at_once(self, base_quality: float, aux_quality: float) -> Symbols:
        return code_at_once(
            self._run, self._bundle, self._pixels, self._slices, base_quality, aux_quality, self._large
        )


def code_at_once(
    run: Run, bundle: Bundle, pixels: Any, slices: int, base_quality: float, aux_quality: float, large: bool
) -> Symbols:
    """Return the symbols of a picture, made by a single graph, of a large one window by window."""
    graph, levels = "encode_base", {"base_level": number(bundle.primary.level(base_quality))}
    if slices and bundle.auxiliary is not None:
        graph = "encode_full"
        levels["aux_level"] = number(bundle.auxiliary.level(aux_quality))
    if large:
        planes = windows.encode(pixels, lambda window: run(graph, {"pixels": window, **levels}))
    else:
        planes = [plane[0] for plane in run(graph, {"pixels": pixels, **levels})]
    symbols = Symbols(planes[0], planes[1])
    if len(planes) > 2:
        symbols.z2, symbols.y2, symbols.slices = planes[2], planes[3], slices
    return symbols


class _Trials:
    """Makes the stream of a dial, and its figure, once."""

    def __init__(self, encode: Callable[[Dial], bytes], figure: Callable[[bytes], float]) -> None:
        self._encode, self._figure = encode, figure
        self._made: dict[Dial, tuple[bytes, float]] = {}

    def __call__(self, dial: Dial) -> tuple[bytes, float]:
        if dial not in self._made:
            stream = self._encode(dial)
            self._made[dial] = stream, self._figure(stream)
        return self._made[dial]


def reach(
    goal: Goal,
    implied: Callable[[float], Dial],
    encode: Callable[[Dial], bytes],
    figure: Callable[[bytes], float],
    quality_of_base: Callable[[float], float] | None,
    base_bytes: Callable[[float], int] | None,
    expected: Expected,
) -> bytes:
    """Return a stream that reaches the goal.

    implied: quality -> dial. encode: dial -> stream. figure: stream -> bytes or dB. quality_of_base: base quality ->
    the quality that implies it, where the stream has the base alone. base_bytes: base quality -> bytes of the primary
    chunk, where that is known before the auxiliary branch is coded; the base is then fixed first, and the auxiliary
    quality alone is searched. expected: where to begin. Raises TargetError.
    """
    trial = _Trials(encode, figure)
    if quality_of_base is not None:
        return _base_alone(goal, implied, trial, quality_of_base, expected)
    quality = rates.snapped(expected.first_guess(goal, base_only=False))
    if base_bytes is not None:
        quality = _by_the_base(goal, quality, implied, base_bytes, expected) if goal.of_bytes else quality
        for _ in range(ROUNDS):
            dial, base, aux = implied(quality)
            nearer = rates.snapped(expected.guess_of_whole(goal, quality, trial((dial, base, aux))[1]))
            if abs(nearer - quality) > FAR:
                quality = nearer
                continue
            low, high = (to_fixed(rates.snapped(aux + side)) for side in (-SPAN, SPAN))

            def of_auxiliary(fixed: int, dial: float = dial, base: float = base) -> tuple[bytes, float]:
                return trial((dial, base, from_fixed(fixed)))

            slope = expected.auxiliary_slope(quality, goal.of_bytes)
            try:
                return rates.search(of_auxiliary, goal, to_fixed(aux), low, high, slope).result
            except TargetError:  # the base takes too much of it, or too little
                break
    slope = expected.slope(quality, goal.of_bytes)
    return rates.search(
        lambda fixed: trial(implied(from_fixed(fixed))), goal, to_fixed(quality), slope=slope
    ).result


def _base_alone(
    goal: Goal,
    implied: Callable[[float], Dial],
    trial: Callable[[Dial], tuple[bytes, float]],
    quality_of_base: Callable[[float], float],
    expected: Expected,
) -> bytes:
    """Return a stream of the base alone that reaches the goal.

    What is searched is the place between the lowest and the highest base quality of the dial: bytes grow evenly with
    that, and not with the dial, whose bases may hardly change for a while and then at once.
    """
    bottom, top = implied(0)[1], implied(100)[1]
    span = max(top - bottom, from_fixed(1))

    def at(fixed: int) -> tuple[bytes, float]:
        base = bottom + span * fixed / rates.HIGH
        return trial(implied(rates.snapped(quality_of_base(base))))

    guess = implied(rates.snapped(expected.first_guess(goal, base_only=True)))[1]
    first = round((guess - bottom) / span * rates.HIGH)
    curve = expected.curve(goal.of_bytes, base_only=True)
    slope = max(float(curve[-1] - curve[0]) / 100, rates.FLATTEST)
    return rates.search(at, goal, first, slope=slope).result


def _by_the_base(
    goal: Goal,
    quality: float,
    implied: Callable[[float], Dial],
    base_bytes: Callable[[float], int],
    expected: Expected,
) -> float:
    """Return the quality that reaches a goal in bytes, as far as the bytes of the base tell."""
    for _ in range(ROUNDS):
        nearer = rates.snapped(expected.guess_of_base(goal, quality, base_bytes(implied(quality)[1])))
        if abs(nearer - quality) <= NEAR:
            break
        quality = nearer
    return quality
