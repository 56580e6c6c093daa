"""Flat graphics: shapes, logos, patterns, gradients; and the curves that other drawings are made of."""

from __future__ import annotations

import numpy as np

from training.drawings.canvas import Colour, Shapes, gradient, hue, mix, readable
from training.drawings.style import (
    WHITE,
    Random,
    between,
    one_of,
)
from training.drawings.typography import (
    DISPLAY,
    SANS,
    SERIF,
    Font,
    choose,
    title,
)


def ring_of(
    random: Random, x: float, y: float, radius: float, corners: int, rough: float
) -> list[tuple[float, float]]:
    """Corners of a star-shaped polygon around (x, y)."""
    turn = 2 * np.pi * (np.arange(corners) + random.random()) / corners
    reach = radius * (1 + rough * random.uniform(-1, 1, corners))
    return list(zip((x + reach * np.cos(turn)).tolist(), (y + reach * np.sin(turn)).tolist(), strict=True))


def smooth_curve(points: np.ndarray, steps: int = 8) -> np.ndarray:
    """A smooth curve through points [N, 2], by Catmull and Rom."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate([*parts, points[-1:]])


def as_points(curve: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in curve]


def flat(random: Random, height: int, width: int) -> np.ndarray:
    """Flat graphics: shapes over a plain page or a gradient, a logo with its name, a poster, a pattern."""
    palette = [hue(random, (0.3, 1), (0.35, 1)) for _ in range(between(random, 3, 6))]
    palette += [WHITE, (25, 25, 30)]
    page = one_of(random, WHITE, WHITE, (20, 22, 28), *palette)
    side, what = min(height, width), random.integers(5)
    if random.random() < 0.35:
        ground = gradient(random, height, width, palette[:3])
    else:
        ground = np.full((height, width, 3), page, np.uint8)
    if what == 4 and random.random() < 0.5:
        return ground if np.ptp(ground) else gradient(random, height, width, palette[:3])
    shapes = Shapes(ground)
    named: list[tuple[float, float, str, Font, Colour]] = []
    if what == 0:
        for _ in range(between(random, 4, 25)):
            x, y = random.random() * width, random.random() * height
            size = side * random.uniform(0.04, 0.35)
            colour = one_of(random, *palette)
            outline, thick = (
                (one_of(random, *palette), random.uniform(1, 6)) if random.random() < 0.3 else (None, 0)
            )
            if random.random() < 0.45:
                shapes.ellipse((x, y), (size, size * random.uniform(0.5, 1)), colour, outline, thick)
            else:
                shapes.polygon(
                    ring_of(random, x, y, size, between(random, 3, 7), 0.3), colour, outline, thick
                )
    elif what == 1:
        _logo(random, shapes, (width / 2, 0.42 * height), 0.27 * side, [c for c in palette if c != page])
        font = choose(
            random, "english", round(side * random.uniform(0.07, 0.13)), SANS, DISPLAY, SERIF
        ).styled("bold")
        inked = readable(tuple(int(v) for v in ground[int(0.85 * height), width // 2]))  # type: ignore[arg-type]
        named.append((width / 2, 0.84 * height, title(random, "english", 1, 2), font, inked))
    elif what == 2:
        across = between(random, 3, 9)
        cell = width / across
        for row in range(int(height / cell) + 1):
            for column in range(across):
                x, y, colour = (column + 0.5) * cell, (row + 0.5) * cell, one_of(random, *palette)
                kind = random.integers(4)
                if kind == 0:
                    shapes.ellipse((x, y), (0.4 * cell, 0.4 * cell), colour)
                elif kind == 1:
                    corner = cell / 2
                    square = [(x - corner, y - corner), (x + corner, y - corner), (x + corner, y + corner)]
                    shapes.polygon(square, colour)
                elif kind == 2:
                    shapes.polygon(ring_of(random, x, y, 0.5 * cell, 4, 0), colour)
                else:
                    _logo(random, shapes, (x, y), 0.38 * cell, palette)
    elif what == 3:
        angle, step = random.uniform(0, np.pi), random.uniform(0.02, 0.14) * side
        along = np.array([np.cos(angle), np.sin(angle)])
        across_line = np.array([-along[1], along[0]])
        middle = np.array([width / 2, height / 2])
        for k, offset in enumerate(np.arange(-side, side, step)):
            a, b = middle + offset * along, middle + (offset + step * random.uniform(0.3, 0.9)) * along
            quad = np.array(
                [
                    a - 2 * side * across_line,
                    a + 2 * side * across_line,
                    b + 2 * side * across_line,
                    b - 2 * side * across_line,
                ]
            )
            shapes.polygon(as_points(quad), palette[k % len(palette)])
        _logo(random, shapes, (width / 2, height / 2), 0.25 * side, palette)
    else:
        for k in range(between(random, 3, 7)):
            base = height * (0.3 + 0.1 * k)
            xs = np.linspace(0, width, 7)
            wave = smooth_curve(np.stack([xs, base + 0.1 * height * random.normal(size=7)], 1))
            shapes.polygon(
                [*as_points(wave), (width, height), (0, height)], mix(palette[0], palette[1], k / 7)
            )
    canvas = shapes.canvas()
    for x, y, name, font, colour in named:
        canvas.text((x, y), name, font, colour, "mm")
    return canvas.pixels


def _logo(
    random: Random, shapes: Shapes, centre: tuple[float, float], radius: float, palette: list[Colour]
) -> None:
    """A sign of a few shapes around one centre."""
    x, y = centre
    a, b, c = (palette[k] for k in random.permutation(len(palette))[:3])
    what = random.integers(5)
    if what == 0:
        for share, colour in ((1, a), (0.72, b), (0.42, c)):
            shapes.ellipse(centre, (share * radius, share * radius), colour)
    elif what == 1:
        shapes.polygon(ring_of(random, x, y, radius, between(random, 3, 8), 0), a)
        shapes.ellipse(centre, (0.5 * radius, 0.5 * radius), b)
    elif what == 2:
        for k in range(3):
            third = 2 * np.pi * k / 3
            at = x + 0.45 * radius * np.cos(third), y + 0.45 * radius * np.sin(third)
            shapes.ellipse(at, (0.55 * radius, 0.55 * radius), (a, b, c)[k])
    elif what == 3:
        points = 2 * between(random, 4, 9)
        turn = 2 * np.pi * np.arange(points) / points
        reach = radius * np.where(np.arange(points) % 2, 1, random.uniform(0.4, 0.75))
        shapes.polygon(as_points(np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1)), a)
    else:
        arc = np.linspace(0, 2 * np.pi * random.uniform(0.5, 0.85), 40) + random.random() * 6
        for share, colour in ((1, a), (0.66, b), (0.33, c)):
            bow = np.stack([x + share * radius * np.cos(arc), y + share * radius * np.sin(arc)], 1)
            shapes.stroke(as_points(bow), colour, 0.2 * radius)
