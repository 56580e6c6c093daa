"""What depends on single pixels: sprites, tiles, checkerboards, dithering, thin lines, codes, noise."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.drawings.canvas import Canvas, clouds, gradient, hue, mix
from training.drawings.editors import source_lines
from training.drawings.style import (
    BLACK,
    WHITE,
    Drawing,
    Random,
    Theme,
    between,
    one_of,
)
from training.drawings.typography import (
    MONO,
    SANS,
    Font,
    choose,
    title,
)


def pixels(random: Random, height: int, width: int) -> np.ndarray:
    """What depends on single pixels: sprites, game tiles, checkerboards, dithering, thin lines, codes, rarely noise."""
    what = random.choice(9, p=[0.2, 0.2, 0.1, 0.14, 0.12, 0.1, 0.08, 0.04, 0.02])
    drawings: tuple[Drawing, ...] = (
        _sprites, _tiles, _checkers, _dithered, _thin_lines, _matrix_codes, _bitmap_text, _zone_plate, _noise,
    )  # fmt: skip
    return drawings[what](random, height, width)


def _enlarged(small: np.ndarray, scale: int, height: int, width: int) -> np.ndarray:
    return np.repeat(np.repeat(small, scale, 0), scale, 1)[:height, :width]


def _sprite(random: Random, side: int, palette: np.ndarray) -> np.ndarray:
    """Indices into the palette, [side, side], mirrored as figures of old games are; 0 is the ground."""
    half = random.random((side, (side + 1) // 2))
    near = np.pad(half, 1, mode="edge")
    blurred = sum(near[a : a + half.shape[0], b : b + half.shape[1]] for a in range(3) for b in range(3)) / 9
    filled = (blurred + 0.25 * half > 0.6).astype(int)
    inner = filled * (1 + (blurred > 0.52) * 1 + (half > 0.8) * 1)
    full = np.concatenate([inner, inner[:, : side // 2][:, ::-1]], 1)
    return np.minimum(full, len(palette) - 1)


def _sprites(random: Random, height: int, width: int) -> np.ndarray:
    scale, side = between(random, 2, 8), int(random.choice([8, 12, 16, 24]))
    rows, columns = -(-height // scale), -(-width // scale)
    ground = one_of(random, BLACK, BLACK, WHITE, (24, 20, 50), hue(random, (0.3, 0.8), (0.2, 0.9)))
    small = np.full((rows, columns, 3), ground, np.uint8)
    if random.random() < 0.4:
        stars = random.random((rows, columns)) < 0.01
        small[stars] = (200, 200, 220)
    for top in range(2, rows - side, side + between(random, 1, 6)):
        palette = np.array([ground] + [hue(random, (0.4, 1), (0.4, 1)) for _ in range(3)], np.uint8)
        sprite = palette[_sprite(random, side, palette)]
        for left in range(2, columns - side, side + 3):
            if random.random() < 0.3:
                palette[1:] = [hue(random, (0.4, 1), (0.4, 1)) for _ in range(3)]
                sprite = palette[_sprite(random, side, palette)]
            small[top : top + side, left : left + side] = sprite
    return _enlarged(small, scale, height, width)


def _tiles(random: Random, height: int, width: int) -> np.ndarray:
    """A level of a game from 16 by 16 tiles."""
    scale, side = between(random, 1, 4), 16
    tiles = []
    for _ in range(5):
        base = hue(random, (0.3, 0.9), (0.3, 0.9))
        shades = np.array(
            [mix(base, BLACK, 0.35), base, mix(base, WHITE, 0.2), mix(base, WHITE, 0.5)], np.uint8
        )
        what = random.integers(4)
        index = np.ones((side, side), int)
        if what == 0:
            index[::4] = 0
            index[:4, ::8] = index[8:12, ::8] = 0
            index[4:8, 4::8] = index[12:, 4::8] = 0
        elif what == 1:
            index[random.random((side, side)) < 0.15] = 2
            index[random.random((side, side)) < 0.08] = 0
        elif what == 2:
            index[0], index[:, 0], index[-1], index[:, -1] = 3, 3, 0, 0
        else:
            index[:4] = 2
            index[3 + (random.random(side) * 3).astype(int), np.arange(side)] = 3
        tiles.append(shades[index])
    rows, columns = -(-height // (side * scale)), -(-width // (side * scale))
    level = clouds(random, max(2, rows), max(2, columns), 0.6)
    order = np.argsort(np.argsort(level.ravel())).reshape(level.shape) * len(tiles) // level.size
    small = np.block([[[tiles[order[r, c]]] for c in range(columns)] for r in range(rows)])
    for _ in range(between(random, 2, 9)):
        palette = np.array([BLACK] + [hue(random, (0.4, 1), (0.4, 1)) for _ in range(3)], np.uint8)
        index = _sprite(random, side, palette)
        top, left = side * between(random, 0, rows - 1), side * between(random, 0, columns - 1)
        small[top : top + side, left : left + side][index > 0] = palette[index][index > 0]
    return _enlarged(small, scale, height, width)


def _checkers(random: Random, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    tall, wide = (int(v) for v in random.choice([1, 1, 2, 3, 4, 8, 16, 32], 2))
    if random.random() < 0.6:
        wide = tall
    colours = np.array(
        [one_of(random, BLACK, WHITE, hue(random, (0, 1), (0, 1))), hue(random, (0, 0.8), (0.4, 1))],
        np.uint8,
    )
    drawn = colours[(y // tall + x // wide) % 2]
    if random.random() < 0.6:  # seldom all over: a pane of it within something plain
        plain = np.full((height, width, 3), hue(random, (0, 0.4), (0.2, 1)), np.uint8)
        top, left = between(random, 0, height / 3), between(random, 0, width / 3)
        bottom, right = between(random, height / 2, height), between(random, width / 2, width)
        plain[top:bottom, left:right] = drawn[top:bottom, left:right]
        return plain
    return drawn


def _dithered(random: Random, height: int, width: int) -> np.ndarray:
    """A gradient or clouds in few colours: by a Bayer matrix or by diffusion of the error."""
    scale = int(random.choice([1, 1, 2, 3, 4]))
    rows, columns = -(-height // scale), -(-width // scale)
    ends = np.array([hue(random, (0, 1), (0, 0.5)), hue(random, (0, 0.8), (0.6, 1))], float)
    if random.random() < 0.5:
        grey = clouds(random, rows, columns, 0.35)
    else:
        grey = gradient(random, rows, columns, [BLACK, WHITE])[..., 0] / 255
    if random.random() < 0.5:
        smooth = Image.fromarray(np.round(ends[0] + grey[..., None] * (ends[1] - ends[0])).astype(np.uint8))
        few = smooth.quantize(between(random, 2, 8), dither=Image.Dither.NONE)
        small = np.asarray(smooth.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))
    else:
        bayer = np.array([[0]])
        for _ in range(between(random, 1, 3)):
            bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
        tiled = np.tile(bayer, (rows // len(bayer) + 1, columns // len(bayer) + 1))[:rows, :columns]
        levels = between(random, 1, 3)
        index = np.floor(grey * levels + (tiled + 0.5) / bayer.size).clip(0, levels) / levels
        small = np.round(ends[0] + index[..., None] * (ends[1] - ends[0])).astype(np.uint8)
    return _enlarged(small, scale, height, width)


def _thin_lines(random: Random, height: int, width: int) -> np.ndarray:
    theme = Theme(random)
    canvas = Canvas(height, width, theme.page)
    colours = [theme.ink, theme.rule, theme.accent, theme.second]
    what = random.integers(4)
    if what == 0:
        step, strong = between(random, 4, 24), between(random, 4, 10)
        for k, at in enumerate(range(0, max(height, width), step)):
            colour = theme.faint if k % strong == 0 else theme.rule
            canvas.line([(at, 0), (at, height)], colour)
            canvas.line([(0, at), (width, at)], colour)
    elif what == 1:
        centre = random.random(2) * (width, height)
        for turn in np.linspace(0, 2 * np.pi, between(random, 30, 150)):
            canvas.line(
                [tuple(centre), tuple(centre + 2 * width * np.array([np.cos(turn), np.sin(turn)]))],
                colours[0],
            )
    elif what == 2:
        for _ in range(between(random, 20, 120)):
            a, b = random.random((2, 2)) * (width, height)
            canvas.line([tuple(a), tuple(b)], colours[random.integers(4)])
    else:
        x = 0
        while x < width:  # groups of ever wider stripes, as test charts have them
            step = between(random, 1, 6)
            for k in range(between(random, 4, 10)):
                canvas.box((x + 2 * k * step, 0, x + (2 * k + 1) * step, height), colours[0])
            x += 22 * step
        canvas.box((0, height // 3, width, height // 3 + 30), theme.page)
    return canvas.pixels


def _matrix_codes(random: Random, height: int, width: int) -> np.ndarray:
    """Square codes or bar codes on a plain page."""
    canvas = Canvas(height, width, WHITE)
    theme = Theme(random, False)
    if random.random() < 0.6:
        side, scale = 21 + 4 * between(random, 0, 5), between(random, 3, 9)
        scale = min(scale, (min(height, width) - 10) // side)
        bits = random.random((side, side)) < 0.5
        eye = np.ones((7, 7), bool)
        eye[1:6, 1:6] = False
        eye[2:5, 2:5] = True
        for rows, columns in (
            (slice(0, 8), slice(0, 8)),
            (slice(0, 8), slice(-8, None)),
            (slice(-8, None), slice(0, 8)),
        ):
            bits[rows, columns] = False
        bits[:7, :7] = bits[:7, -7:] = bits[-7:, :7] = eye
        code_pixels = np.where(
            _enlarged(bits, scale, side * scale, side * scale)[..., None], np.uint8(0), np.uint8(255)
        )
        tall = side * scale
        at = (width - tall) // 2, (height - tall) // 2
        canvas.paste(np.repeat(code_pixels, 3, 2), at)
        name = choose(random, "english", 14, SANS)
        canvas.text((width / 2, at[1] + tall + 14), title(random, "english", 2, 4), name, theme.ink, "mm")
    else:
        narrow, y = between(random, 1, 3), between(random, 10, 60)
        while y < height - 60:
            x, tall = between(random, 10, 60), between(random, 40, 120)
            start = x
            while x < width - 30:
                bar = narrow * between(random, 1, 4)
                canvas.box((x, y, x + bar, y + tall), BLACK)
                x += bar + narrow * between(random, 1, 3)
            digits = "".join(str(d) for d in random.integers(10, size=13))
            canvas.text((start, y + tall + 3), digits, choose(random, "english", 14, MONO), BLACK)
            y += tall + 50
    return canvas.pixels


def _bitmap_text(random: Random, height: int, width: int) -> np.ndarray:
    """A screen of an old computer: letters without smoothing, enlarged."""
    scale = between(random, 1, 3)
    rows, columns = -(-height // scale), -(-width // scale)
    ground = one_of(random, BLACK, (0, 0, 168), (40, 40, 90), (20, 30, 20))
    ink = one_of(random, (51, 255, 51), (255, 176, 0), (220, 220, 220), (165, 165, 255))
    canvas = Canvas(rows, columns, ground, "none")
    font = Font(MONO["dejavu-mono"], "regular", between(random, 8, 12))
    lines = source_lines()[random.integers(len(source_lines()))]
    first = between(random, 0, len(lines) - 100)
    for k in range(rows // (font.size + 2)):
        canvas.text((4, 2 + k * (font.size + 2)), lines[first + k][: columns // 4], font, ink)
    drawn = _enlarged(canvas.pixels, scale, height, width)
    if random.random() < 0.3:
        drawn[::2] = drawn[::2] // 2  # scan lines
    return drawn


def _zone_plate(random: Random, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    y, x = y - random.random() * height, x - random.random() * width
    wave = np.cos(np.pi * random.uniform(0.1, 0.9) * (x**2 + y**2) / max(height, width))
    if random.random() < 0.5:
        wave = np.sign(wave)
    a, b = np.array(hue(random, (0, 0.8), (0, 0.4)), float), np.array(hue(random, (0, 0.6), (0.7, 1)), float)
    return np.round(a + (0.5 + 0.5 * wave[..., None]) * (b - a)).astype(np.uint8)


def _noise(random: Random, height: int, width: int) -> np.ndarray:
    """A screen without a signal, in coarse grains, beside a plain half."""
    scale = between(random, 1, 4)
    rows, columns = -(-height // scale), -(-width // scale)
    grey = (random.integers(0, 4, (rows, columns, 1)) * 85).astype(np.uint8)
    drawn = _enlarged(np.repeat(grey, 3, 2), scale, height, width).copy()
    drawn[:, : width // 2] = hue(random, (0, 0.5), (0.1, 0.9))
    return drawn
