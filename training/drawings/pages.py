"""Pages of text: columns of headings, paragraphs, lists, quotes and tables, in any script."""

from __future__ import annotations

import numpy as np

from training.drawings.canvas import Canvas, Colour, mix
from training.drawings.style import (
    Random,
    Theme,
    any_script,
    any_smoothing,
    between,
)
from training.drawings.typography import (
    ASIAN,
    EUROPEAN,
    MONO,
    RIGHT_TO_LEFT,
    SANS,
    SERIF,
    UNSPACED,
    Font,
    choose,
    title,
    words,
)


def _lines(parts: list[str], font: Font, width: int, joint: str) -> list[list[str]]:
    """Words broken into lines of at most `width` pixels."""
    lines: list[list[str]] = [[]]
    room, gap = float(width), font.face.getlength(joint) if joint else 0.0
    for part in parts:
        length = font.face.getlength(part)
        if length > room and lines[-1]:
            lines.append([])
            room = width
        lines[-1].append(part)
        room -= length + gap
    return lines


def set_paragraph(
    random: Random,
    canvas: Canvas,
    box: tuple[int, int, int],
    script: str,
    font: Font,
    colour: Colour,
    *,
    align: str = "left",
    spacing: float = 1.4,
    most: int = 9,
    link: Colour | None = None,
) -> int:
    """Set a paragraph below y within (left, y, right), and return the y below it; `link` colours some words."""
    left, y, right = box
    joint = "" if script in UNSPACED else " "
    wanted = between(random, 1, most) * (right - left) / max(font.size, 1) / (1.5 if joint == "" else 3.2)
    parts = words(random, script, max(2, int(wanted)))
    if joint == "":
        parts = [letter for part in parts for letter in part]  # a line may break anywhere
    lines = _lines(parts, font, right - left, joint)
    bold, linked = font.styled("bold"), random.random(len(lines)) < 0.12
    for number, line in enumerate(lines):
        if script in RIGHT_TO_LEFT:
            line = [part[::-1] for part in line[::-1]]
        if y > canvas.height:
            break
        if align == "justify" and number + 1 < len(lines) and len(line) > 1 and joint:
            gap = (right - left - sum(font.face.getlength(part) for part in line)) / (len(line) - 1)
            x = float(left)
            for part in line:
                canvas.text((x, y), part, font, colour)
                x += font.face.getlength(part) + gap
        elif linked[number] and link is not None and align == "left" and len(line) > 2:
            x = float(left)
            special = between(random, 0, len(line) - 2)
            for k, part in enumerate(line):
                marked = k == special
                chosen = bold if marked and number % 2 else font
                canvas.text((x, y), part, chosen, link if marked else colour)
                end = x + chosen.face.getlength(part)
                if marked and not number % 2:
                    canvas.line([(x, y + 1.15 * font.size), (end, y + 1.15 * font.size)], link)
                x = end + font.face.getlength(joint)
        else:
            text = joint.join(line)
            if script in RIGHT_TO_LEFT or align == "right":
                canvas.text((right, y), text, font, colour, "ra")
            elif align == "center":
                canvas.text(((left + right) / 2, y), text, font, colour, "ma")
            else:
                canvas.text((left, y), text, font, colour)
        y += round(spacing * font.size)
    return y


def set_column(
    random: Random, canvas: Canvas, box: tuple[int, int, int, int], theme: Theme, body: Font, script: str
) -> None:
    """A column of headings, paragraphs, lists, quotes and small tables."""
    left, y, right, bottom = box
    head = choose(random, script, body.size, SANS, SERIF, ASIAN) if random.random() < 0.4 else body
    head_colour = theme.ink if random.random() < 0.6 else theme.link
    spacing = random.uniform(1.2, 1.7)
    align = str(random.choice(["left", "justify", "center", "right"], p=[0.55, 0.32, 0.08, 0.05]))
    while y < bottom:
        what = random.random()
        if what < 0.16:
            large = head.styled("bold").sized(body.size * random.uniform(1.15, 2.4))
            y += round(0.4 * large.size)
            text = title(random, script, 1, 5)
            while len(text) > 3 and large.width(text) > right - left:
                text = text[: len(text) * 3 // 4]
            if script in RIGHT_TO_LEFT or align == "right":
                canvas.text((right, y), text, large, head_colour, "ra")
            elif align == "center":
                canvas.text(((left + right) / 2, y), text, large, head_colour, "ma")
            else:
                canvas.text((left, y), text, large, head_colour)
            y += round(1.45 * large.size)
            if random.random() < 0.3:
                canvas.line([(left, y), (right, y)], theme.rule)
                y += round(0.6 * body.size)
        elif what < 0.26 and right - left > 8 * body.size:
            for item in range(between(random, 2, 5)):
                mark = "•" if what < 0.21 else f"{item + 1}."
                canvas.text((left + 0.4 * body.size, y), mark, body, theme.ink)
                inner = (left + round(1.8 * body.size), y, right)
                y = set_paragraph(random, canvas, inner, script, body, theme.ink, spacing=spacing, most=2)
            y += round(0.5 * body.size)
        elif what < 0.31:
            start = y
            italic = body.styled("italic") if script in EUROPEAN else body
            inner = (left + round(1.5 * body.size), y + body.size // 2, right)
            y = set_paragraph(random, canvas, inner, script, italic, theme.faint, spacing=spacing, most=4)
            canvas.box((left, start, left + 3, y), theme.accent)
            y += round(0.8 * body.size)
        elif what < 0.36 and right - left > 14 * body.size:
            y = set_table(random, canvas, (left, y, right), theme, body.sized(0.9 * body.size), script)
            y += round(0.8 * body.size)
        else:
            y = set_paragraph(
                random,
                canvas,
                (left, y, right),
                script,
                body,
                theme.ink,
                align=align,
                spacing=spacing,
                link=theme.link,
            )
            y += round(random.uniform(0.3, 1) * body.size)


def set_table(
    random: Random, canvas: Canvas, box: tuple[int, int, int], theme: Theme, font: Font, script: str
) -> int:
    """A table below y within (left, y, right); returns the y below it."""
    left, y, right = box
    step = round(random.uniform(1.5, 2.1) * font.size)
    columns = between(random, 2, min(6, (right - left) / (6 * font.size)))
    edges = [left + k * (right - left) // columns for k in range(columns + 1)]
    striped, ruled, grid = random.random(3) < 0.5
    texts = random.random(columns) < 0.35
    texts[0] = True
    for row in range(between(random, 3, 14)):
        if row == 0 or (striped and row % 2 == 0):
            canvas.box((left, y, right, y + step), mix(theme.page, theme.accent, 0.25 if row == 0 else 0.06))
        for k in range(columns):
            inner = edges[k] + font.size // 2, edges[k + 1] - font.size // 2
            if row == 0 or texts[k]:
                text = title(random, script, 1, 2)
            else:
                text = f"{random.gamma(1, 800):,.{between(random, 0, 2)}f}"
            while len(text) > 1 and font.width(text) > inner[1] - inner[0]:
                text = text[:-1]
            style = font.styled("bold") if row == 0 else font
            if row and not texts[k]:
                canvas.text((inner[1], y + step / 2), text, style, theme.ink, "rm")
            else:
                canvas.text((inner[0], y + step / 2), text, style, theme.ink, "lm")
        y += step
        if ruled or row == 0:
            canvas.line([(left, y - 1), (right - 1, y - 1)], theme.rule)
        if grid:
            for edge in edges:
                canvas.line([(min(edge, right - 1), y - step), (min(edge, right - 1), y - 1)], theme.rule)
    return y


def text(random: Random, height: int, width: int) -> np.ndarray:
    """A page of text: a book, a paper, a web page, a letter, light or dark, in one of many scripts."""
    theme, script = Theme(random), any_script(random)
    canvas = Canvas(height, width, theme.page, any_smoothing(random))
    size = int(np.clip(random.gamma(6, 2.6), 8, 40))
    body = choose(random, script, size, SANS, SERIF, *([MONO] if random.random() < 0.1 else []))
    most = max(1, min(3, width // (14 * size)))
    columns = between(random, 1, most)
    margin, gap = between(random, 6, width / 9), between(random, size, 3 * size)
    each = (width - 2 * margin - (columns - 1) * gap) // columns
    for k in range(columns):
        left = margin + k * (each + gap)
        set_column(
            random, canvas, (left, -between(random, -20, 60), left + each, height), theme, body, script
        )
        if k and random.random() < 0.3:
            canvas.line([(left - gap // 2, 10), (left - gap // 2, height - 10)], theme.rule)
    return canvas.pixels
