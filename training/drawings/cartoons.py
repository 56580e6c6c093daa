"""Drawn scenes with outlines, and comics."""

from __future__ import annotations

import numpy as np

from training.drawings.canvas import Canvas, Shapes, gradient, hue
from training.drawings.shapes import as_points, ring_of, smooth_curve
from training.drawings.style import (
    BLACK,
    WHITE,
    Random,
    between,
    one_of,
)
from training.drawings.typography import (
    DISPLAY,
    SANS,
    choose,
    title,
)


def _figure(random: Random, shapes: Shapes, x: float, y: float, size: float, line: float) -> None:
    """A drawn person or animal: a body, a head, a face, all with black outlines."""
    ink, skin = (20, 18, 22), hue(random, (0.2, 0.7), (0.6, 1))
    if random.random() < 0.8:
        skin = one_of(
            random, (255, 219, 172), (241, 194, 125), (198, 134, 66), (141, 85, 36), (255, 205, 190)
        )
    cloth = hue(random, (0.4, 1), (0.4, 1))
    body = np.array([[x - 0.35 * size, y + 1.5 * size], [x - 0.28 * size, y + 0.6 * size], [x, y + 0.45 * size],
                     [x + 0.28 * size, y + 0.6 * size], [x + 0.35 * size, y + 1.5 * size]])  # fmt: skip
    shapes.polygon(as_points(smooth_curve(body)), cloth, ink, line)
    for direction in (-1, 1):
        hand = np.array(
            [
                [x + direction * 0.28 * size, y + 0.65 * size],
                [x + direction * random.uniform(0.5, 0.75) * size, y + 0.9 * size],
                [x + direction * random.uniform(0.5, 0.95) * size, y + random.uniform(0.3, 1.3) * size],
            ]
        )
        shapes.stroke(as_points(smooth_curve(hand)), ink, 0.14 * size + 2 * line)
        shapes.stroke(as_points(smooth_curve(hand)), cloth, 0.14 * size)
        shapes.ellipse(as_points(hand)[-1], (0.11 * size, 0.11 * size), skin, ink, line)
        if random.random() < 0.35:
            shapes.polygon(
                ring_of(random, x + direction * 0.38 * size, y - 0.4 * size, 0.25 * size, 3, 0.1),
                skin,
                ink,
                line,
            )
    shapes.ellipse((x, y), (0.5 * size, random.uniform(0.45, 0.58) * size), skin, ink, line)
    for direction in (-1, 1):
        eye = x + direction * 0.18 * size, y - 0.08 * size
        shapes.ellipse(eye, (0.11 * size, 0.14 * size), WHITE, ink, line)
        shapes.ellipse((eye[0] + 0.03 * size, eye[1] + 0.02 * size), (0.05 * size, 0.06 * size), ink)
    bend = random.uniform(-0.06, 0.14) * size
    mouth = np.array(
        [[x - 0.2 * size, y + 0.2 * size], [x, y + 0.2 * size + bend], [x + 0.2 * size, y + 0.2 * size]]
    )
    shapes.stroke(as_points(smooth_curve(mouth)), ink, line)
    turn = np.linspace(np.pi, 2 * np.pi, 9)
    strands = y - 0.1 * size + 0.5 * size * np.sin(turn) * random.uniform(0.85, 1.3, 9)
    hair = np.stack([x + 0.52 * size * np.cos(turn), strands], 1)
    if random.random() < 0.7:
        shapes.polygon(as_points(hair), hue(random, (0.2, 0.9), (0.1, 0.9)), ink, line)


def cartoon(random: Random, height: int, width: int) -> np.ndarray:
    """A drawn scene with outlines: sky, hills, houses, trees, people, speech; or a comic of several panels."""
    if random.random() < 0.25:
        page = Canvas(height, width, WHITE)
        rows, columns, gap = between(random, 1, 3), between(random, 1, 2), 8
        tall, wide = (height - gap) // rows, (width - gap) // columns
        for row in range(rows):
            for column in range(columns):
                panel = draw_scene(random, tall - gap, wide - gap)
                at = gap + column * wide, gap + row * tall
                page.paste(panel, at)
                page.box((at[0], at[1], at[0] + wide - gap, at[1] + tall - gap), None, BLACK, 3)
        return page.pixels
    return draw_scene(random, height, width)


def draw_scene(random: Random, height: int, width: int) -> np.ndarray:
    ink = (20, 18, 22)
    outlined = random.random() < 0.75
    line = random.uniform(1, 3.5) * min(height, width) / 512 + 0.7 if outlined else 0
    plausible = random.random() < 0.7
    sky = [hue(random, (0.2, 0.7), (0.6, 1), (0.5, 0.64) if plausible else (0, 1)) for _ in range(2)]
    ground = np.full((height, width, 3), sky[0], np.uint8)
    if random.random() < 0.5:
        ground = gradient(random, height, width, sky, "linear")
    shapes = Shapes(ground)
    side = min(height, width)
    shapes.ellipse((random.random() * width, 0.2 * height), 2 * (0.09 * side,), (255, 225, 90), ink, line)
    for _ in range(between(random, 0, 4)):
        x, y = random.random() * width, random.uniform(0.05, 0.4) * height
        for part in range(2):  # outlines of all puffs first: a cloud has one outline
            for k in range(4):
                radius = side * (0.05 if k in (0, 3) else 0.075) + (line if part == 0 else 0)
                shapes.ellipse(
                    (x + 0.07 * side * k, y), (radius, radius), ink if part == 0 and line else WHITE
                )
    for k in range(between(random, 1, 3)):
        xs = np.linspace(-10, width + 10, 6)
        hill = smooth_curve(
            np.stack([xs, height * (0.5 + 0.13 * k) + 0.06 * height * random.normal(size=6)], 1)
        )
        shapes.polygon(
            [*as_points(hill), (width + 10, height + 10), (-10, height + 10)],
            hue(random, (0.3, 0.8), (0.35, 0.85), (0.12, 0.42) if plausible else (0, 1)),
            ink,
            line,
        )
    for _ in range(between(random, 0, 3)):
        x, y, size = (
            random.random() * width,
            random.uniform(0.6, 0.8) * height,
            side * random.uniform(0.1, 0.22),
        )
        wall, roof = hue(random, (0.1, 0.6), (0.6, 1)), hue(random, (0.5, 1), (0.3, 0.8))
        shapes.polygon([(x, y), (x + size, y), (x + size, y - size), (x, y - size)], wall, ink, line)
        shapes.polygon(
            [(x - 0.15 * size, y - size), (x + 1.15 * size, y - size), (x + size / 2, y - 1.6 * size)],
            roof,
            ink,
            line,
        )
        for window in (0.15, 0.6):
            a, b = x + window * size, y - 0.8 * size
            glass = [(a, b), (a + 0.25 * size, b), (a + 0.25 * size, b + 0.3 * size), (a, b + 0.3 * size)]
            shapes.polygon(glass, (180, 220, 245), ink, line)
        door = [
            (x + 0.4 * size, y),
            (x + 0.4 * size, y - 0.4 * size),
            (x + 0.62 * size, y - 0.4 * size),
            (x + 0.62 * size, y),
        ]
        shapes.polygon(door, roof, ink, line)
    for _ in range(between(random, 0, 5)):
        x, y, size = (
            random.random() * width,
            random.uniform(0.65, 0.95) * height,
            side * random.uniform(0.06, 0.16),
        )
        trunk = [
            (x - 0.12 * size, y),
            (x - 0.09 * size, y - size),
            (x + 0.09 * size, y - size),
            (x + 0.12 * size, y),
        ]
        shapes.polygon(trunk, (121, 85, 58), ink, line)
        crown = smooth_curve(np.array(ring_of(random, x, y - 1.4 * size, 0.7 * size, 9, 0.15) * 2)[:10])
        shapes.polygon(
            as_points(crown),
            hue(random, (0.5, 0.9), (0.3, 0.75), (0.2, 0.4) if plausible else (0, 1)),
            ink,
            line,
        )
    people = between(random, 0, 2)
    heads = []
    for k in range(people):
        x, size = width * (k + random.uniform(0.3, 0.7)) / people, side * random.uniform(0.16, 0.36)
        y = height - size * random.uniform(0.9, 1.5)
        _figure(random, shapes, x, y, size, line)
        heads.append((x, y, size))
    canvas = shapes.canvas()
    if heads and random.random() < 0.6:
        x, y, size = heads[0]
        font = choose(random, "english", max(9, round(side / 26)), DISPLAY, SANS)
        spoken = [title(random, "english", 2, 3) for _ in range(2)]
        wide = max(font.width(part) for part in spoken) + 2 * font.size
        left = min(max(4, x - wide / 2), max(4, width - wide - 4))
        top = max(6.0, y - 0.7 * size - 3.8 * font.size)
        canvas.panel((left, top, left + wide, top + 3.2 * font.size), WHITE, font.size, ink)
        canvas.pen.polygon(
            [
                (x - 6, top + 3.2 * font.size - 1),
                (x + 8, top + 3.2 * font.size - 1),
                (x, top + 4.2 * font.size),
            ],
            WHITE,
        )
        for k, said in enumerate(spoken):
            canvas.text((left + wide / 2, top + (1 + 1.25 * k) * font.size), said, font, ink, "mm")
    return canvas.pixels
