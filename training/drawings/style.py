"""What drawings of every kind choose at random: themes of colours, scripts, ways of smoothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from training.drawings.canvas import Colour, hue, mix
from training.drawings.typography import (
    WORDS,
)

WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Random = np.random.Generator
Drawing = Callable[[Random, int, int], np.ndarray]


def any_script(random: Random) -> str:
    """Draw a script, mostly English."""
    return str(random.choice(list(WORDS), p=_script_shares()))


@lru_cache
def _script_shares() -> np.ndarray:
    shares = np.array([10.0 if name == "english" else 1.0 for name in WORDS])
    return shares / shares.sum()


def any_smoothing(random: Random) -> str:
    """Draw a way of smoothing text, mostly that of browsers."""
    return str(random.choice(["grey", "subpixel", "none"], p=[0.72, 0.24, 0.04]))


def between(random: Random, low: float, high: float) -> int:
    """A whole number from low to high, or low where high is below it."""
    return int(random.integers(int(low), max(int(low), int(high)) + 1))


def one_of(random: Random, *choices: Colour) -> Colour:
    """Draw one of some colours."""
    return choices[random.integers(len(choices))]


class Theme:
    """Colours that go together: a page, panels on it, ink, faint ink, lines, and one or two accents."""

    def __init__(self, random: Random, dark: bool | None = None) -> None:
        self.dark = random.random() < 0.38 if dark is None else dark
        tint = hue(random, (0, 0.6), (0.4, 1))
        if self.dark:
            depth = random.uniform(0, 0.17)
            self.page = mix(BLACK, mix(tint, (128, 128, 128), 0.5), 2 * depth)
            self.panel = mix(self.page, WHITE, random.uniform(0.03, 0.09))
            self.ink = mix(WHITE, tint, random.uniform(0, 0.2))
        else:
            self.page = WHITE if random.random() < 0.5 else mix(WHITE, tint, random.uniform(0.02, 0.1))
            self.panel = mix(self.page, BLACK, random.uniform(0.02, 0.07)) if random.random() < 0.6 else WHITE
            self.ink = BLACK if random.random() < 0.3 else mix(BLACK, tint, random.uniform(0, 0.25))
        self.faint = mix(self.ink, self.page, random.uniform(0.3, 0.55))
        self.rule = mix(self.page, self.ink, random.uniform(0.1, 0.25))
        self.accent = hue(random, (0.5, 0.9), (0.5, 0.9), (0.53, 0.75) if random.random() < 0.45 else (0, 1))
        self.second = hue(random, (0.4, 0.9), (0.5, 0.95))
        if self.dark:
            self.link = mix(self.accent, WHITE, 0.4)
        else:
            self.link = mix(self.accent, BLACK, 0.3)
