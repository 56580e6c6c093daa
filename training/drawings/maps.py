"""Maps: streets, regions, heights."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image

from training.drawings.canvas import Canvas, Colour, Shapes, clouds, hue, luminance, mix
from training.drawings.shapes import as_points, ring_of, smooth_curve
from training.drawings.style import (
    BLACK,
    WHITE,
    Random,
    any_script,
    between,
    one_of,
)
from training.drawings.typography import (
    ASIAN,
    SANS,
    choose,
    title,
)


def chart(random: Random, height: int, width: int) -> np.ndarray:
    """A map: streets of a city, regions of a country in colours, or heights with contour lines."""
    what = random.random()
    if what < 0.55:
        return draw_city(random, height, width)
    if what < 0.8:
        return _regions(random, height, width)
    relief = clouds(random, height, width, random.uniform(0.3, 0.42))
    levels = between(random, 7, 16)
    steps = np.floor(relief * levels)
    low, high = hue(random, (0.2, 0.6), (0.5, 0.9)), hue(random, (0.1, 0.5), (0.8, 1))
    shades = np.array([mix(low, high, k / levels) for k in range(levels + 1)], np.uint8)
    sea = steps < levels * 0.3
    pixels = shades[steps.astype(int)]
    pixels[sea] = hue(random, (0.3, 0.6), (0.7, 0.95))
    edge = (steps != np.roll(steps, 1, 0)) | (steps != np.roll(steps, 1, 1))
    edge[0] = edge[:, 0] = False
    pixels[edge & ~sea] = mix(low, BLACK, 0.45)
    canvas = Canvas(height, width, WHITE)
    canvas.paste(pixels, (0, 0))
    _places(random, canvas, between(random, 4, 12), (40, 40, 40))
    return canvas.pixels


def _places(random: Random, canvas: Canvas, count: int, ink: Colour) -> None:
    """Names with halos, as maps have them."""
    script = any_script(random) if random.random() < 0.4 else "english"
    family = choose(random, script, 10, SANS, ASIAN)
    halo = WHITE if luminance(ink) < 128 else (20, 24, 30)
    for _ in range(count):
        font = family.sized(
            random.choice([9, 10, 11, 12, 14, 18, 24], p=[0.2, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05])
        )
        at = random.random() * canvas.width, random.random() * canvas.height
        if random.random() < 0.3:
            canvas.panel(
                (at[0] - 4, at[1] - 14, at[0] + 5, at[1] - 5), hue(random, (0.6, 1), (0.5, 0.9)), 5, WHITE
            )
        canvas.pen.text(
            at, title(random, script, 1, 2), ink, font.face, "mm", stroke_width=2, stroke_fill=halo
        )


def draw_city(random: Random, height: int, width: int) -> np.ndarray:
    dark = random.random() < 0.25
    if dark:
        land, street, casing, park, water = (
            (36, 42, 54),
            (70, 78, 94),
            (28, 33, 42),
            (38, 60, 54),
            (22, 36, 62),
        )
        ink: Colour = (205, 210, 220)
        building = (46, 53, 66)
    else:
        land = one_of(random, (242, 239, 233), (248, 249, 250), (235, 232, 222))
        street, casing, ink = WHITE, mix(land, BLACK, random.uniform(0.08, 0.2)), (60, 60, 66)
        park, water = (
            one_of(random, (200, 230, 180), (205, 235, 200)),
            one_of(random, (170, 211, 223), (160, 200, 245)),
        )
        building = mix(land, (150, 110, 90), 0.18)
    main = one_of(random, (252, 214, 164), (249, 178, 156), (255, 235, 140), (231, 143, 161), (188, 200, 216))
    if dark:
        main = mix(main, BLACK, 0.55)
    shapes = Shapes(np.full((height, width, 3), land, np.uint8))
    side, middle = max(height, width), np.array([width, height]) / 2
    angle, cell = random.uniform(0, np.pi / 2), random.uniform(0.06, 0.16) * side
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    bend = random.normal(size=4) * 0.05 * side

    def place(u: float, v: float) -> tuple[float, float]:
        """Where the crossing (u, v) of the grid lies: turned and bent."""
        flat_at = np.array(
            [u + bend[0] * np.sin(3 * v / side + bend[1]), v + bend[2] * np.sin(3 * u / side + bend[3])]
        )
        x, y = middle + flat_at @ turn
        return float(x), float(y)

    for _ in range(between(random, 1, 4)):
        x, y = random.random() * width, random.random() * height
        shapes.polygon(
            ring_of(random, x, y, random.uniform(0.08, 0.25) * side, between(random, 5, 9), 0.3), park
        )
    reach = np.arange(-0.9 * side, 0.9 * side, cell)
    us, vs = (reach + random.normal(size=len(reach)) * 0.12 * cell for _ in range(2))
    if random.random() < 0.7:
        for u, u_next in itertools.pairwise(us):
            for v, v_next in itertools.pairwise(vs):
                if random.random() < 0.55:
                    inset = 0.14 * cell
                    split = u + (u_next - u) * random.uniform(0.35, 0.65)
                    for a, b in ((u + inset, split - inset / 3), (split + inset / 3, u_next - inset)):
                        block = [
                            place(a, v + inset),
                            place(b, v + inset),
                            place(b, v_next - inset),
                            place(a, v_next - inset),
                        ]
                        shapes.polygon(block, building, mix(building, ink, 0.15), 0.5)
    if random.random() < 0.6:
        river = smooth_curve(
            np.stack(
                [
                    np.linspace(-20, width + 20, 6),
                    height * random.uniform(0.2, 0.8) + 0.15 * height * random.normal(size=6),
                ],
                1,
            )
        )
        shapes.stroke(as_points(river), water, random.uniform(0.02, 0.09) * side)
    steps = np.linspace(-0.9 * side, 0.9 * side, 14)
    narrow = random.uniform(2, 5)
    roads = [([place(u, s) for s in steps], k % 4 == 0) for k, u in enumerate(us)]
    roads += [([place(s, v) for s in steps], k % 5 == 0) for k, v in enumerate(vs)]
    roads.sort(key=lambda road: road[1])
    for part in range(2):
        for road, wide in roads:
            thick = narrow * (2 if wide else 1)
            shapes.stroke(
                road, casing if part == 0 else main if wide else street, thick + (2 if part == 0 else 0)
            )
    canvas = shapes.canvas()
    _places(random, canvas, between(random, 5, 16), ink)
    return canvas.pixels


def _regions(random: Random, height: int, width: int) -> np.ndarray:
    """Countries with ragged borders: each pixel belongs to the nearest of some seeds."""
    count = between(random, 8, 35)
    scale = 2
    y, x = np.mgrid[: scale * height, : scale * width].astype(np.float32) / scale
    y += 60 * (clouds(random, scale * height, scale * width) - 0.5).astype(np.float32)
    x += 60 * (clouds(random, scale * height, scale * width) - 0.5).astype(np.float32)
    nearest, owner = np.full(y.shape, np.inf, np.float32), np.zeros(y.shape, int)
    for k, (row, column) in enumerate(random.random((count, 2)) * (height, width)):
        distance = (y - row) ** 2 + (x - column) ** 2
        closer = distance < nearest
        nearest[closer], owner[closer] = distance[closer], k
    shades = [hue(random, (0.1, 0.5), (0.75, 1)) for _ in range(6)]
    if random.random() < 0.5:
        deep = hue(random, (0.5, 1), (0.3, 0.7))
        shades = [mix(WHITE, deep, k / 6) for k in range(1, 7)]
    colours = np.array([one_of(random, *shades) for _ in range(count)], np.uint8)
    colours[random.random(count) < 0.2] = (170, 205, 230)
    pixels = colours[owner]
    edge = (owner != np.roll(owner, 1, 0)) | (owner != np.roll(owner, 1, 1))
    edge |= np.roll(edge, 1, 0) | np.roll(edge, 1, 1)
    pixels[edge] = one_of(random, WHITE, (90, 90, 95), (60, 50, 60))
    canvas = Canvas(height, width, WHITE)
    canvas.image.paste(Image.fromarray(pixels).reduce(scale))
    _places(random, canvas, count // 2, (40, 38, 44))
    return canvas.pixels
