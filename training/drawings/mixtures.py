"""Pages with several sorts of content: slides, posters, web pages, articles with figures."""

from __future__ import annotations

import numpy as np

from training.drawings.canvas import Canvas, clouds, gradient, hue, mix, readable
from training.drawings.cartoons import draw_scene
from training.drawings.maps import draw_city
from training.drawings.pages import set_column, set_paragraph
from training.drawings.shapes import flat
from training.drawings.style import (
    BLACK,
    WHITE,
    Random,
    Theme,
    any_script,
    any_smoothing,
    between,
)
from training.drawings.typography import (
    ASIAN,
    SANS,
    SERIF,
    choose,
    title,
)


def mixed(random: Random, height: int, width: int) -> np.ndarray:
    """Pages with several sorts of content: slides, posters, web pages, an article around a figure."""
    theme, script = Theme(random), any_script(random) if random.random() < 0.3 else "english"
    canvas = Canvas(height, width, theme.page, any_smoothing(random))
    colours = [hue(random, (0.4, 0.95), (0.3, 0.95)) for _ in range(3)]
    what = random.integers(4)
    side = min(height, width)
    large = choose(random, script, round(side * random.uniform(0.05, 0.11)), SANS, SERIF, ASIAN).styled(
        "bold"
    )
    body = choose(random, script, between(random, 10, 18), SANS, SERIF)
    if what == 0:
        canvas.paste(gradient(random, height, width, colours), (0, 0))
        ink = readable(mix(mix(colours[0], colours[1], 0.5), colours[2], 0.33))
        y = round(random.uniform(0.05, 0.3) * height)
        x = between(random, 12, width / 8)
        canvas.text((x, y), title(random, script, 1, 2), large, ink)
        y += round(1.6 * large.size)
        for _ in range(between(random, 1, 5)):
            y = set_paragraph(random, canvas, (x, y, width - x), script, body, ink, most=3) + body.size
    elif what == 1:
        split = round(random.uniform(0.35, 0.65) * width)
        picture = _picture(random, height, width - split)
        canvas.paste(picture, (split, 0))
        set_column(random, canvas, (12, 14, split - 12, height), theme, body, script)
    elif what == 2:
        tall = round(random.uniform(0.25, 0.5) * height)
        canvas.paste(_picture(random, tall, width), (0, 0))
        bar = round(0.08 * height)
        canvas.box((0, 0, width, bar), theme.panel)
        end, small = 12, body.sized(0.9 * body.size)
        while end < 0.8 * width:
            name = title(random, script, 1, 1)
            canvas.text((end, bar / 2), name, small, theme.ink, "lm")
            end += small.width(name) + 2 * body.size
        canvas.pen.text(
            (16, tall - 1.6 * large.size),
            title(random, script, 1, 2),
            WHITE,
            large.face,
            stroke_width=1,
            stroke_fill=BLACK,
        )
        columns = between(random, 1, 3)
        each = (width - 16) // columns
        for k in range(columns):
            left = 16 + k * each
            set_column(random, canvas, (left, tall + 14, left + each - 16, height), theme, body, script)
    else:
        set_column(random, canvas, (16, 14, width - 16, height), theme, body, script)
        wide, tall = round(random.uniform(0.4, 0.9) * width), round(random.uniform(0.25, 0.45) * height)
        left, top = (width - wide) // 2, between(random, 20, 0.5 * height)
        canvas.box((0, top - 10, width, top + tall + 2 * body.size + 10), theme.page)
        canvas.paste(_picture(random, tall, wide), (left, top))
        canvas.text(
            (width / 2, top + tall + body.size),
            "Fig. 1. " + title(random, "english", 2, 4),
            body.sized(11),
            theme.faint,
            "mm",
        )
    return canvas.pixels


def _picture(random: Random, height: int, width: int) -> np.ndarray:
    """A picture within a page: a gradient, clouds, shapes, a cartoon or a map."""
    what = random.integers(5)
    if what == 0:
        return gradient(random, height, width, [hue(random, (0.2, 0.9), (0.2, 1)) for _ in range(3)])
    if what == 1:
        field, rough = clouds(random, height, width, 0.5), clouds(random, height, width, 0.6)
        stops = np.array(
            [hue(random, (0.1, 0.8), (value, value + 0.2)) for value in (0.05, 0.3, 0.5, 0.8)], float
        )
        blend = np.stack([np.interp(field, np.linspace(0, 1, 4), stops[:, k]) for k in range(3)], -1)
        return np.clip(blend * (0.75 + 0.5 * rough[..., None]), 0, 255).astype(np.uint8)
    return (flat, draw_scene, draw_city)[what - 2](random, height, width)
