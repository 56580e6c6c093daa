"""Pictures that are not photographs, drawn by code: text, interfaces, code, plots, shapes, cartoons, maps, pixels.

python -m training.graphics -o DIR --count N [--seed S] [--size 512] [--kinds text map]

A codec that has seen photographs alone treats letters and edges as noise. The same seed gives the same picture,
as long as Pillow, NumPy, Matplotlib, Python (whose own source is what code editors show) and fonts are the same.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json.decoder
import keyword
import re
import string
import textwrap
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.canvas import Canvas, Colour, Shapes, clouds, gradient, hue, luminance, mix, readable
from training.typography import (
    ASIAN,
    DISPLAY,
    EUROPEAN,
    MONO,
    RIGHT_TO_LEFT,
    SANS,
    SERIF,
    UNSPACED,
    WORDS,
    Font,
    choose,
    title,
    words,
)

SMALLEST = 256  # layouts need room: smaller pictures are cut out of one of this size
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Random = np.random.Generator
Drawing = Callable[[Random, int, int], np.ndarray]


def _script(random: Random) -> str:
    return str(random.choice(list(WORDS), p=_script_shares()))


@lru_cache
def _script_shares() -> np.ndarray:
    shares = np.array([10.0 if name == "english" else 1.0 for name in WORDS])
    return shares / shares.sum()


def _smoothing(random: Random) -> str:
    return str(random.choice(["grey", "subpixel", "none"], p=[0.72, 0.24, 0.04]))


def _between(random: Random, low: float, high: float) -> int:
    return int(random.integers(int(low), max(int(low), int(high)) + 1))


def _one_of(random: Random, *choices: Colour) -> Colour:
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


# Text pages


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


def _paragraph(
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
    wanted = _between(random, 1, most) * (right - left) / max(font.size, 1) / (1.5 if joint == "" else 3.2)
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
            special = _between(random, 0, len(line) - 2)
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


def _column(
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
            for item in range(_between(random, 2, 5)):
                mark = "•" if what < 0.21 else f"{item + 1}."
                canvas.text((left + 0.4 * body.size, y), mark, body, theme.ink)
                inner = (left + round(1.8 * body.size), y, right)
                y = _paragraph(random, canvas, inner, script, body, theme.ink, spacing=spacing, most=2)
            y += round(0.5 * body.size)
        elif what < 0.31:
            start = y
            italic = body.styled("italic") if script in EUROPEAN else body
            inner = (left + round(1.5 * body.size), y + body.size // 2, right)
            y = _paragraph(random, canvas, inner, script, italic, theme.faint, spacing=spacing, most=4)
            canvas.box((left, start, left + 3, y), theme.accent)
            y += round(0.8 * body.size)
        elif what < 0.36 and right - left > 14 * body.size:
            y = _table(random, canvas, (left, y, right), theme, body.sized(0.9 * body.size), script)
            y += round(0.8 * body.size)
        else:
            y = _paragraph(
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


def _table(
    random: Random, canvas: Canvas, box: tuple[int, int, int], theme: Theme, font: Font, script: str
) -> int:
    """A table below y within (left, y, right); returns the y below it."""
    left, y, right = box
    step = round(random.uniform(1.5, 2.1) * font.size)
    columns = _between(random, 2, min(6, (right - left) / (6 * font.size)))
    edges = [left + k * (right - left) // columns for k in range(columns + 1)]
    striped, ruled, grid = random.random(3) < 0.5
    texts = random.random(columns) < 0.35
    texts[0] = True
    for row in range(_between(random, 3, 14)):
        if row == 0 or (striped and row % 2 == 0):
            canvas.box((left, y, right, y + step), mix(theme.page, theme.accent, 0.25 if row == 0 else 0.06))
        for k in range(columns):
            inner = edges[k] + font.size // 2, edges[k + 1] - font.size // 2
            if row == 0 or texts[k]:
                text = title(random, script, 1, 2)
            else:
                text = f"{random.gamma(1, 800):,.{_between(random, 0, 2)}f}"
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
    theme, script = Theme(random), _script(random)
    canvas = Canvas(height, width, theme.page, _smoothing(random))
    size = int(np.clip(random.gamma(6, 2.6), 8, 40))
    body = choose(random, script, size, SANS, SERIF, *([MONO] if random.random() < 0.1 else []))
    most = max(1, min(3, width // (14 * size)))
    columns = _between(random, 1, most)
    margin, gap = _between(random, 6, width / 9), _between(random, size, 3 * size)
    each = (width - 2 * margin - (columns - 1) * gap) // columns
    for k in range(columns):
        left = margin + k * (each + gap)
        _column(random, canvas, (left, -_between(random, -20, 60), left + each, height), theme, body, script)
        if k and random.random() < 0.3:
            canvas.line([(left - gap // 2, 10), (left - gap // 2, height - 10)], theme.rule)
    return canvas.pixels


# Interfaces


def _icon(
    random: Random, canvas: Canvas, x: float, y: float, size: float, colour: Colour, paper: Colour
) -> None:
    """A small sign as toolbars have it, `size` pixels a side."""
    side = max(6, round(size))
    shapes = Shapes(np.full((side, side, 3), paper, np.uint8), 4)
    thick, s = max(1.0, side / 11), float(side)
    what = random.integers(10)
    if what == 0:
        shapes.ellipse((0.42 * s, 0.42 * s), (0.28 * s, 0.28 * s), None, colour, thick)
        shapes.stroke([(0.63 * s, 0.63 * s), (0.88 * s, 0.88 * s)], colour, thick)
    elif what == 1:
        for level in (0.25, 0.5, 0.75):
            shapes.stroke([(0.15 * s, level * s), (0.85 * s, level * s)], colour, thick)
    elif what == 2:
        shapes.stroke([(0.2 * s, 0.2 * s), (0.8 * s, 0.8 * s)], colour, thick)
        shapes.stroke([(0.8 * s, 0.2 * s), (0.2 * s, 0.8 * s)], colour, thick)
    elif what == 3:
        shapes.polygon([(0.5 * s, 0.12 * s), (0.9 * s, 0.5 * s), (0.78 * s, 0.5 * s), (0.78 * s, 0.88 * s),
                        (0.22 * s, 0.88 * s), (0.22 * s, 0.5 * s), (0.1 * s, 0.5 * s)], colour)  # fmt: skip
    elif what == 4:
        turn = np.pi * np.arange(10) / 5 - np.pi / 2
        radius = s * np.where(np.arange(10) % 2, 0.19, 0.44)
        shapes.polygon(
            list(zip(s / 2 + radius * np.cos(turn), s / 2 + radius * np.sin(turn), strict=True)), colour
        )
    elif what == 5:
        shapes.ellipse((s / 2, 0.33 * s), (0.19 * s, 0.19 * s), colour)
        shapes.ellipse((s / 2, 0.92 * s), (0.36 * s, 0.34 * s), colour)
    elif what == 6:
        shapes.stroke([(0.15 * s, 0.55 * s), (0.4 * s, 0.8 * s), (0.87 * s, 0.22 * s)], colour, 1.3 * thick)
    elif what == 7:
        shapes.polygon([(0.25 * s, 0.12 * s), (0.25 * s, 0.88 * s), (0.85 * s, 0.5 * s)], colour)
    elif what == 8:
        box = [(0.12 * s, 0.25 * s), (0.88 * s, 0.25 * s), (0.88 * s, 0.75 * s), (0.12 * s, 0.75 * s)]
        shapes.polygon(box, None, colour, thick)
        shapes.stroke([(0.12 * s, 0.25 * s), (0.5 * s, 0.55 * s), (0.88 * s, 0.25 * s)], colour, thick)
    else:
        shapes.stroke([(0.5 * s, 0.15 * s), (0.5 * s, 0.85 * s)], colour, thick)
        shapes.stroke([(0.15 * s, 0.5 * s), (0.85 * s, 0.5 * s)], colour, thick)
    canvas.paste(shapes.canvas().pixels, (x, y))


class _Widgets:
    """Buttons, fields and the like in one style, drawn on a canvas."""

    def __init__(self, random: Random, canvas: Canvas, theme: Theme) -> None:
        self.random, self.canvas, self.theme = random, canvas, theme
        self.script = _script(random) if random.random() < 0.5 else "english"
        self.font = choose(random, self.script, _between(random, 10, 17), SANS, ASIAN)
        if self.script == "english" and self.font.family in ASIAN.values():
            self.font = Font(SANS["roboto"], "regular", self.font.size)
        self.radius = float(random.choice([0, 3, 6, 9]))
        self.em = self.font.size

    def label(self, least: int = 1, most: int = 2) -> str:
        return title(self.random, self.script, least, most)

    def fitting(self, width: float, least: int = 1, most: int = 3) -> str:
        """A label of at most `width` pixels, cut as interfaces cut it."""
        text = self.label(least, most)
        if self.font.width(text) <= width:
            return text
        while text and self.font.width(text + "…") > width:
            text = text[:-1]
        return text.rstrip() + "…" if len(text) > 1 else text

    def button(self, x: float, y: float, primary: bool) -> float:
        """Draws at (x, y) and returns the x behind it."""
        theme, text = self.theme, self.label()
        width = self.font.width(text) + 2 * self.em
        fill = theme.accent if primary else theme.panel
        self.canvas.panel(
            (x, y, x + width, y + 2.1 * self.em), fill, self.radius, None if primary else theme.rule
        )
        ink = readable(fill)
        self.canvas.text((x + width / 2, y + 1.05 * self.em), text, self.font, ink, "mm")
        return x + width + 0.7 * self.em

    def field(self, x: float, y: float, width: float) -> None:
        theme = self.theme
        self.canvas.text((x, y), self.label(), self.font.styled("bold"), theme.ink)
        top = y + 1.6 * self.em
        self.canvas.panel((x, top, x + width, top + 2.2 * self.em), theme.page, self.radius, theme.rule)
        filled = self.random.random() < 0.5
        at = x + 0.7 * self.em, top + 1.1 * self.em
        self.canvas.text(
            at, self.fitting(width - 2 * self.em), self.font, theme.ink if filled else theme.faint, "lm"
        )

    def toggle(self, x: float, y: float, width: float, paper: Colour) -> None:
        """A check box, a radio button, a switch, a slider or a bar of progress, with its label."""
        theme, em, what = self.theme, self.em, self.random.integers(5)
        on = self.random.random() < 0.5
        if what < 2:
            radius = em / 2 if what else min(self.radius, 3)
            self.canvas.panel((x, y, x + em, y + em), theme.accent if on else theme.page, radius, theme.rule)
            if on and not what:
                tick = [
                    (x + 0.22 * em, y + 0.5 * em),
                    (x + 0.42 * em, y + 0.72 * em),
                    (x + 0.8 * em, y + 0.25 * em),
                ]
                self.canvas.line(tick, readable(theme.accent), 2)
            elif on:
                self.canvas.panel(
                    (x + 0.3 * em, y + 0.3 * em, x + 0.7 * em, y + 0.7 * em), readable(theme.accent), em
                )
            self.canvas.text(
                (x + 1.6 * em, y + em / 2), self.fitting(width - 2 * em, 1, 4), self.font, theme.ink, "lm"
            )
        elif what == 2:
            self.canvas.text((x, y + em / 2), self.fitting(width - 3 * em), self.font, theme.ink, "lm")
            left = x + width - 2.2 * em
            self.canvas.panel((left, y, left + 2 * em, y + 1.1 * em), theme.accent if on else theme.rule, em)
            knob = left + (1 if on else 0.1) * em
            self.canvas.panel((knob, y + 0.1 * em, knob + 0.9 * em, y + em), WHITE, em)
        else:
            done, thick = self.random.random(), 0.3 * em if what == 3 else 0.7 * em
            middle = y + em / 2
            self.canvas.panel(
                (x, middle - thick / 2, x + width, middle + thick / 2), mix(paper, theme.ink, 0.15), thick
            )
            self.canvas.panel(
                (x, middle - thick / 2, x + done * width, middle + thick / 2), theme.accent, thick
            )
            if what == 3:
                knob = x + done * width
                self.canvas.panel((knob - em / 2, y, knob + em / 2, y + em), WHITE, em, theme.rule)


def _window(random: Random, canvas: Canvas, box: tuple[int, int, int, int], theme: Theme) -> None:
    """An application's window: title bar, menus, toolbar, a side bar and content of some sort."""
    left, top, right, bottom = box
    widgets = _Widgets(random, canvas, theme)
    em, font = widgets.em, widgets.font
    canvas.panel(box, theme.page, widgets.radius, theme.rule, float(random.choice([0, 6, 12])))
    bar = theme.accent if random.random() < 0.25 else theme.panel
    y = top + round(2.2 * em)
    canvas.panel((left, top, right, y), bar, widgets.radius)
    canvas.box((left, y - widgets.radius, right, y), bar)
    canvas.text(
        ((left + right) / 2, (top + y) / 2), widgets.label(1, 4), font.styled("bold"), readable(bar), "mm"
    )
    if random.random() < 0.5:
        for k, colour in enumerate([(255, 95, 86), (255, 189, 46), (39, 201, 63)]):
            at = left + (0.7 + 1.3 * k) * em
            canvas.panel((at, top + 0.65 * em, at + 0.9 * em, top + 1.55 * em), colour, em)
    else:
        _icon(random, canvas, right - 2 * em, top + 0.6 * em, em, readable(bar), bar)
    if random.random() < 0.6:
        x: float = left + em
        canvas.box((left, y, right, y + 1.9 * em), theme.panel)
        while x < right - 5 * em:
            name = widgets.label(1, 1)
            if x + font.width(name) > right - em:
                break
            canvas.text((x, y + 0.95 * em), name, font, theme.ink, "lm")
            x += font.width(name) + 1.3 * em
        y += round(1.9 * em)
        canvas.line([(left, y - 1), (right - 1, y - 1)], theme.rule)
    if random.random() < 0.5:
        for k in range(int((right - left) / (2.4 * em)) - 1):
            if random.random() < 0.85:
                colour = theme.ink if random.random() < 0.7 else theme.accent
                _icon(random, canvas, left + (0.8 + 2.4 * k) * em, y + 0.5 * em, 1.4 * em, colour, theme.page)
        y += round(2.4 * em)
        canvas.line([(left, y - 1), (right - 1, y - 1)], theme.rule)
    inner = left
    if random.random() < 0.55 and right - left > 20 * em:
        inner = left + round(random.uniform(0.2, 0.35) * (right - left))
        canvas.box((left, y, inner, bottom - widgets.radius), theme.panel)
        chosen, line, step = _between(random, 0, 8), 0, round(random.uniform(1.7, 2.4) * em)
        while y + (line + 1) * step < bottom:
            at, marked = y + line * step, line == chosen
            paper = mix(theme.panel, theme.accent, 0.85) if marked else theme.panel
            if marked:
                canvas.panel((left + 4, at, inner - 4, at + step), paper, widgets.radius)
            ink = readable(paper) if marked else theme.ink
            _icon(random, canvas, left + 0.8 * em, at + (step - em) / 2, em, ink, paper)
            canvas.text(
                (left + 2.4 * em, at + step / 2), widgets.fitting(inner - left - 3 * em), font, ink, "lm"
            )
            line += 1
        canvas.line([(inner, y), (inner, bottom - 2)], theme.rule)
    _content(random, canvas, (inner + em, y + em, right - em, bottom - em), widgets)
    if random.random() < 0.25:
        canvas.panel((right - 8, y + 4, right - 2, y + max(20, (bottom - y) // 3)), theme.faint, 4)


def _content(random: Random, canvas: Canvas, box: tuple[int, int, int, int], widgets: _Widgets) -> None:
    """What a window shows: a table, a form, cards, messages, or text."""
    left, y, right, bottom = box
    theme, em, font = widgets.theme, widgets.em, widgets.font
    if right - left < 8 * em or bottom - y < 4 * em:
        return
    what = random.integers(5)
    if what == 0:
        while y < bottom - 6 * em:
            y = _table(random, canvas, (left, y, right), theme, font, widgets.script) + em
    elif what == 1:
        while y < bottom - 5 * em:
            if random.random() < 0.55:
                widgets.field(left, y, min(right - left, 26 * em))
                y += round(4.8 * em)
            else:
                widgets.toggle(left, y, min(right - left, 20 * em), theme.page)
                y += round(1.9 * em)
        x = widgets.button(left, y, True)
        if x < right - 8 * em:
            widgets.button(x, y, False)
    elif what == 2:
        columns = max(1, int((right - left) // (11 * em)))
        side, tall = (right - left + em) // columns, _between(random, 7 * em, 13 * em)
        while y < bottom - 4 * em:
            for k in range(columns):
                x = left + k * side
                end = x + side - em
                canvas.panel((x, y, end, min(bottom, y + tall)), theme.panel, widgets.radius, theme.rule)
                colours = [hue(random, (0.3, 0.9), (0.4, 0.95)) for _ in range(3)]
                picture = gradient(random, max(2, tall // 2), max(2, end - x - 2), colours)
                canvas.paste(picture[: max(1, min(bottom, y + tall) - y - 2)], (x + 1, y + 1))
                if y + tall < bottom:
                    canvas.text(
                        (x + em / 2, y + tall * 0.58),
                        widgets.fitting(side - 2 * em),
                        font.styled("bold"),
                        theme.ink,
                    )
                    canvas.text(
                        (x + em / 2, y + tall * 0.58 + 1.5 * em),
                        widgets.fitting(side - 2 * em),
                        font,
                        theme.faint,
                    )
            y += tall + em
    elif what == 3:
        while y < bottom - 4 * em:
            own = random.random() < 0.4
            count = min(_between(random, 1, 3), int((bottom - y) / (1.4 * em)) - 1)
            wide = round((right - left) * random.uniform(0.4, 0.75))
            x = right - wide if own else left + round(2.6 * em)
            fill = theme.accent if own else mix(theme.page, theme.ink, 0.1)
            if not own:
                canvas.panel((left, y, left + 2 * em, y + 2 * em), hue(random, (0.4, 0.9), (0.5, 0.9)), em)
            end = y + round((1.4 * count + 0.8) * em)
            canvas.panel((x, y, x + wide, end), fill, em)
            for k in range(count):
                said = widgets.fitting(wide - 1.6 * em, 2, 7)
                canvas.text((x + 0.8 * em, y + (0.5 + 1.4 * k) * em), said, font, readable(fill))
            y = end + round(0.7 * em)
    else:
        _column(random, canvas, (left, y, right, bottom - 2 * em), theme, font, widgets.script)
        canvas.box((left, bottom - 0.5 * em, right, bottom + 0.8 * em), theme.page)


def interface(random: Random, height: int, width: int) -> np.ndarray:
    """A screen or a part of it: windows over a desktop, or one that fills it, perhaps with a dialog or a menu."""
    dark = random.random() < 0.38
    theme = Theme(random, dark)
    colours = [hue(random, (0.2, 0.9), (0.2, 0.9)) for _ in range(3)]
    canvas = Canvas(height, width, colours[0], _smoothing(random))
    if random.random() < 0.5:
        canvas.paste(gradient(random, height, width, colours), (0, 0))
        for _ in range(_between(random, 1, 2)):
            left, top = _between(random, 0, 0.4 * width), _between(random, 0, 0.4 * height)
            right, bottom = _between(random, 0.7 * width, width), _between(random, 0.65 * height, height)
            _window(random, canvas, (left, top, right, bottom), Theme(random, dark))
        if random.random() < 0.5:
            canvas.box((0, height - 30, width, height), theme.panel)
            for k in range(width // 44):
                colour = hue(random, (0.4, 0.9), (0.5, 0.9))
                canvas.panel((8 + 40 * k, height - 26, 30 + 40 * k, height - 4), colour, 5)
    else:
        _window(
            random, canvas, (-1, -_between(random, 0, 30), width + 1, height + _between(random, 0, 30)), theme
        )
    what = random.random()
    widgets = _Widgets(random, canvas, theme)
    em = widgets.em
    if what < 0.2:
        left, top = _between(random, 20, width / 4), _between(random, 30, height / 2)
        right, bottom = min(width - 10, left + 24 * em), min(height - 10, top + 10 * em)
        canvas.panel((left, top, right, bottom), theme.page, widgets.radius, theme.rule, 12)
        canvas.text(
            (left + em, top + em),
            widgets.fitting(right - left - 2 * em, 2, 4),
            widgets.font.styled("bold"),
            theme.ink,
        )
        inner = (left + em, top + 3 * em, right - em)
        _paragraph(random, canvas, inner, widgets.script, widgets.font, theme.ink, most=2)
        x = widgets.button(left + em, bottom - 2.8 * em, True)
        if x + 8 * em < right:
            widgets.button(x, bottom - 2.8 * em, False)
    elif what < 0.4:
        left, top, step = _between(random, 5, width / 2), _between(random, 20, height / 2), round(1.9 * em)
        count = _between(random, 4, 10)
        canvas.panel(
            (left, top, left + 15 * em, top + count * step + 8), theme.page, widgets.radius, theme.rule, 8
        )
        for k in range(count):
            y = top + 4 + k * step
            if random.random() < 0.15:
                canvas.line([(left + 4, y + step // 2), (left + 15 * em - 4, y + step // 2)], theme.rule)
                continue
            paper = theme.accent if k == 1 else theme.page
            canvas.box((left + 3, y, left + 15 * em - 3, y + step), paper)
            canvas.text(
                (left + em, y + step / 2), widgets.fitting(9 * em), widgets.font, readable(paper), "lm"
            )
            if random.random() < 0.5:
                keys = f"Ctrl+{string.ascii_uppercase[random.integers(26)]}"
                canvas.text(
                    (left + 14 * em, y + step / 2), keys, widgets.font, mix(readable(paper), paper, 0.4), "rm"
                )
    return canvas.pixels


# Code


@lru_cache
def _sources() -> tuple[list[str], ...]:
    """Lines of modules that come with Python, without tabs."""
    modules = (argparse, inspect, json.decoder, string, textwrap)
    return tuple(
        Path(str(module.__file__)).read_text(encoding="utf-8").expandtabs(4).split("\n") for module in modules
    )


_TOKENS = re.compile(
    r"(?P<comment>#.*)|(?P<string>[rbf]?(?:\"\"\".*?(?:\"\"\"|$)|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'))"
    r"|(?P<number>\b\d[\w.]*)|(?P<call>\b[A-Za-z_]\w*(?=\())|(?P<name>\b[A-Za-z_]\w*)|(?P<other>\s+|.)"
)


def code(random: Random, height: int, width: int) -> np.ndarray:
    """A code editor or a terminal, with Python's own source as its text."""
    theme = Theme(random, random.random() < 0.65)
    canvas = Canvas(height, width, theme.page, _smoothing(random))
    font = choose(random, "english", _between(random, 9, 20), MONO)
    em, step, advance = font.size, round(font.size * random.uniform(1.15, 1.6)), font.face.getlength("0")
    bright = (0.5, 0.8), (0.85, 1.0)
    deep = (0.7, 1.0), (0.35, 0.7)
    kinds = ("comment", "string", "number", "call", "keyword")
    colours = {kind: hue(random, *(bright if theme.dark else deep)) for kind in kinds}
    colours["comment"] = mix(colours["comment"], theme.faint, 0.7)
    lines = _sources()[random.integers(len(_sources()))]
    first = _between(random, 0, len(lines) - 80)
    left, y = 0, 0
    sans = choose(random, "english", max(10, em - 1), SANS)
    if random.random() < 0.4:
        left = _between(random, 0.18 * width, 0.32 * width)
        canvas.box((0, 0, left, height), theme.panel)
        for k in range(height // round(1.7 * em)):
            at, indent = (k + 0.8) * 1.7 * em, em * _between(random, 1, 3)
            name = title(random, "english", 1, 1).lower() + (".py" if indent > em else "/")
            canvas.text((indent, at), name, sans, theme.ink if indent > em else theme.faint, "lm")
        canvas.box((left, 0, width, height), theme.page)
        canvas.line([(left, 0), (left, height)], theme.rule)
    if random.random() < 0.6:
        tall, x = round(2.2 * em), left + 1
        canvas.box((x, 0, width, tall), theme.panel)
        for k in range(_between(random, 1, 4)):
            name = title(random, "english", 1, 1).lower() + ".py"
            end = x + sans.width(name) + 2 * em
            canvas.box((x, 0, end, tall), theme.page if k == 0 else theme.panel)
            if k == 0:
                canvas.box((x, 0, end, 2), theme.accent)
            canvas.text((x + em, tall / 2), name, sans, theme.ink if k == 0 else theme.faint, "lm")
            x = end + 1
        y = tall
    numbered, current = random.random() < 0.75, _between(random, 2, 25)
    gutter = round(5 * advance) if numbered else em // 2
    for k in range(1 + (height - y) // step):
        line, at = lines[(first + k) % len(lines)], y + k * step + (step - em) // 2
        if k == current:
            canvas.box((left + 1, y + k * step, width, y + (k + 1) * step), mix(theme.page, theme.ink, 0.08))
        if numbered:
            number = theme.ink if k == current else theme.faint
            canvas.text((left + 4 * advance, at), str(first + k + 1), font, number, "ra")
        column = 0
        for found in _TOKENS.finditer(line):
            kind, piece = found.lastgroup or "other", found[0]
            if kind in ("name", "call") and keyword.iskeyword(piece):
                kind = "keyword"
            style = font.styled("bold") if kind == "keyword" and theme.ink[0] % 2 else font
            canvas.text((left + gutter + column * advance, at), piece, style, colours.get(kind, theme.ink))
            column += len(piece)
        if k == current and random.random() < 0.5:
            caret = left + gutter + len(line) * advance
            canvas.box((caret, at, caret + 2, at + em), theme.ink)
    if random.random() < 0.5:
        tall = round(1.7 * em)
        canvas.box((0, height - tall, width, height), theme.accent)
        status = f"main   Python   UTF-8   Ln {first + current}, Col {_between(random, 1, 80)}"
        canvas.text((em, height - tall / 2), status, sans, readable(theme.accent), "lm")
    return canvas.pixels


# Plots


@lru_cache
def _plot_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    names = ["DejaVu Sans", "DejaVu Serif", "STIXGeneral"]
    for family in ("roboto", "lato"):
        path = Font(SANS[family], "regular", 10).face.path
        font_manager.fontManager.addfont(str(path))
        names.append(font_manager.FontProperties(fname=str(path)).get_name())
    return tuple(names)


def plot(random: Random, height: int, width: int) -> np.ndarray:
    """A figure as scientists and offices make them: lines, bars, points, heat maps, contours, pies, boxes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    dpi = float(random.choice([72, 90, 110, 140]))
    style = (
        "dark_background"
        if random.random() < 0.2
        else str(
            random.choice(
                ["default", "ggplot", "bmh", "seaborn-v0_8-whitegrid", "seaborn-v0_8-darkgrid", "classic"]
            )
        )
    )
    settings: Any = {"font.family": str(random.choice(_plot_fonts())), "font.size": random.uniform(7, 12)}
    with context(style), rc_context(settings):
        figure = Figure((width / dpi, height / dpi), dpi=dpi, layout="constrained")
        surface = FigureCanvasAgg(figure)
        rows, columns = [(1, 1), (1, 1), (2, 1), (2, 2), (1, 2)][
            random.integers(5 if min(height, width) / dpi > 4 else 2)
        ]
        for axes in np.atleast_1d(figure.subplots(rows, columns)).ravel():
            _axes(random, axes)
        if random.random() < 0.3:
            figure.suptitle(title(random, "english", 2, 4))
        surface.draw()
        return np.ascontiguousarray(np.asarray(surface.buffer_rgba())[:height, :width, :3])


def _axes(random: Random, axes: Any) -> None:
    """Draw one of eight sorts of plots, with its names."""
    what, count = random.integers(8), _between(random, 8, 60)
    x = np.linspace(0, float(random.choice([1, 5, 10, 100])), count)
    names = [title(random, "english", 1, 1) for _ in range(6)]
    maps = ["viridis", "plasma", "magma", "coolwarm", "Blues", "jet", "Greys", "RdYlGn"]
    if what < 3:
        for k in range(_between(random, 1, 5)):
            y = (
                np.cumsum(random.normal(size=count))
                if random.random() < 0.5
                else np.exp(-x / x[-1] * (k + 1)) * (k + 2)
            )
            marker = random.choice(["", "", "o", "s", "^", "x"])
            axes.plot(x, y, random.choice(["-", "-", "--", ":"]), marker=marker, label=names[k],
                      linewidth=random.uniform(0.7, 2.5), markersize=random.uniform(2, 6))  # fmt: skip
            if random.random() < 0.2:
                axes.fill_between(x, y - 0.5, y + 0.5, alpha=0.25)
        axes.legend(fontsize="small")
    elif what == 3:
        groups = _between(random, 1, 3)
        for k in range(groups):
            edge = "black" if random.random() < 0.4 else None
            axes.bar(np.arange(6) + 0.8 * k / groups, random.gamma(3, 2, 6), 0.8 / groups, label=names[k],
                     hatch=random.choice(["", "", "//", ".."]), edgecolor=edge)  # fmt: skip
        axes.set_xticks(np.arange(6), names, rotation=random.choice([0, 30, 90]), fontsize="small")
        if groups > 1:
            axes.legend(fontsize="small")
    elif what == 4:
        for k in range(_between(random, 1, 4)):
            points = random.normal(random.normal(size=2) * 2, 1, (_between(random, 20, 200), 2))
            axes.scatter(*points.T, s=random.uniform(4, 40), alpha=random.uniform(0.4, 1), label=names[k])
        axes.legend(fontsize="small")
    elif what == 5:
        side = _between(random, 4, 14)
        values = random.normal(size=(side, side))
        image = axes.imshow(values, cmap=str(random.choice(maps)), aspect="auto", interpolation="nearest")
        if side < 8:
            for (row, column), value in np.ndenumerate(values):
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize="small")
        axes.figure.colorbar(image, ax=axes)
    elif what == 6:
        draw_contours = axes.contourf if random.random() < 0.5 else axes.contour
        draw_contours(
            clouds(random, 40, 40, 0.35), levels=_between(random, 5, 14), cmap=str(random.choice(maps))
        )
    elif random.random() < 0.5:
        axes.pie(random.gamma(2, 1, 5) + 0.3, labels=names[:5], autopct="%.0f%%")
        return
    else:
        axes.boxplot([random.normal(k % 3, 1, 40) for k in range(5)])
    if random.random() < 0.6:
        axes.grid(alpha=random.uniform(0.2, 1), linestyle=str(random.choice(["-", "--", ":"])))
    axes.set_xlabel(title(random, "english", 1, 2))
    axes.set_ylabel(title(random, "english", 1, 2))
    if random.random() < 0.6:
        axes.set_title(title(random, "english", 1, 4))


# Flat graphics


def _ring(
    random: Random, x: float, y: float, radius: float, corners: int, rough: float
) -> list[tuple[float, float]]:
    """Corners of a star-shaped polygon around (x, y)."""
    turn = 2 * np.pi * (np.arange(corners) + random.random()) / corners
    reach = radius * (1 + rough * random.uniform(-1, 1, corners))
    return list(zip((x + reach * np.cos(turn)).tolist(), (y + reach * np.sin(turn)).tolist(), strict=True))


def _curve(points: np.ndarray, steps: int = 8) -> np.ndarray:
    """A smooth curve through points [N, 2], by Catmull and Rom."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate([*parts, points[-1:]])


def _points(curve: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in curve]


def flat(random: Random, height: int, width: int) -> np.ndarray:
    """Flat graphics: shapes over a plain page or a gradient, a logo with its name, a poster, a pattern."""
    palette = [hue(random, (0.3, 1), (0.35, 1)) for _ in range(_between(random, 3, 6))]
    palette += [WHITE, (25, 25, 30)]
    page = _one_of(random, WHITE, WHITE, (20, 22, 28), *palette)
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
        for _ in range(_between(random, 4, 25)):
            x, y = random.random() * width, random.random() * height
            size = side * random.uniform(0.04, 0.35)
            colour = _one_of(random, *palette)
            outline, thick = (
                (_one_of(random, *palette), random.uniform(1, 6)) if random.random() < 0.3 else (None, 0)
            )
            if random.random() < 0.45:
                shapes.ellipse((x, y), (size, size * random.uniform(0.5, 1)), colour, outline, thick)
            else:
                shapes.polygon(_ring(random, x, y, size, _between(random, 3, 7), 0.3), colour, outline, thick)
    elif what == 1:
        _logo(random, shapes, (width / 2, 0.42 * height), 0.27 * side, [c for c in palette if c != page])
        font = choose(
            random, "english", round(side * random.uniform(0.07, 0.13)), SANS, DISPLAY, SERIF
        ).styled("bold")
        inked = readable(tuple(int(v) for v in ground[int(0.85 * height), width // 2]))  # type: ignore[arg-type]
        named.append((width / 2, 0.84 * height, title(random, "english", 1, 2), font, inked))
    elif what == 2:
        across = _between(random, 3, 9)
        cell = width / across
        for row in range(int(height / cell) + 1):
            for column in range(across):
                x, y, colour = (column + 0.5) * cell, (row + 0.5) * cell, _one_of(random, *palette)
                kind = random.integers(4)
                if kind == 0:
                    shapes.ellipse((x, y), (0.4 * cell, 0.4 * cell), colour)
                elif kind == 1:
                    corner = cell / 2
                    square = [(x - corner, y - corner), (x + corner, y - corner), (x + corner, y + corner)]
                    shapes.polygon(square, colour)
                elif kind == 2:
                    shapes.polygon(_ring(random, x, y, 0.5 * cell, 4, 0), colour)
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
            shapes.polygon(_points(quad), palette[k % len(palette)])
        _logo(random, shapes, (width / 2, height / 2), 0.25 * side, palette)
    else:
        for k in range(_between(random, 3, 7)):
            base = height * (0.3 + 0.1 * k)
            xs = np.linspace(0, width, 7)
            wave = _curve(np.stack([xs, base + 0.1 * height * random.normal(size=7)], 1))
            shapes.polygon([*_points(wave), (width, height), (0, height)], mix(palette[0], palette[1], k / 7))
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
        shapes.polygon(_ring(random, x, y, radius, _between(random, 3, 8), 0), a)
        shapes.ellipse(centre, (0.5 * radius, 0.5 * radius), b)
    elif what == 2:
        for k in range(3):
            third = 2 * np.pi * k / 3
            at = x + 0.45 * radius * np.cos(third), y + 0.45 * radius * np.sin(third)
            shapes.ellipse(at, (0.55 * radius, 0.55 * radius), (a, b, c)[k])
    elif what == 3:
        points = 2 * _between(random, 4, 9)
        turn = 2 * np.pi * np.arange(points) / points
        reach = radius * np.where(np.arange(points) % 2, 1, random.uniform(0.4, 0.75))
        shapes.polygon(_points(np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1)), a)
    else:
        arc = np.linspace(0, 2 * np.pi * random.uniform(0.5, 0.85), 40) + random.random() * 6
        for share, colour in ((1, a), (0.66, b), (0.33, c)):
            bow = np.stack([x + share * radius * np.cos(arc), y + share * radius * np.sin(arc)], 1)
            shapes.stroke(_points(bow), colour, 0.2 * radius)


# Cartoons


def _figure(random: Random, shapes: Shapes, x: float, y: float, size: float, line: float) -> None:
    """A drawn person or animal: a body, a head, a face, all with black outlines."""
    ink, skin = (20, 18, 22), hue(random, (0.2, 0.7), (0.6, 1))
    if random.random() < 0.8:
        skin = _one_of(
            random, (255, 219, 172), (241, 194, 125), (198, 134, 66), (141, 85, 36), (255, 205, 190)
        )
    cloth = hue(random, (0.4, 1), (0.4, 1))
    body = np.array([[x - 0.35 * size, y + 1.5 * size], [x - 0.28 * size, y + 0.6 * size], [x, y + 0.45 * size],
                     [x + 0.28 * size, y + 0.6 * size], [x + 0.35 * size, y + 1.5 * size]])  # fmt: skip
    shapes.polygon(_points(_curve(body)), cloth, ink, line)
    for direction in (-1, 1):
        hand = np.array(
            [
                [x + direction * 0.28 * size, y + 0.65 * size],
                [x + direction * random.uniform(0.5, 0.75) * size, y + 0.9 * size],
                [x + direction * random.uniform(0.5, 0.95) * size, y + random.uniform(0.3, 1.3) * size],
            ]
        )
        shapes.stroke(_points(_curve(hand)), ink, 0.14 * size + 2 * line)
        shapes.stroke(_points(_curve(hand)), cloth, 0.14 * size)
        shapes.ellipse(_points(hand)[-1], (0.11 * size, 0.11 * size), skin, ink, line)
        if random.random() < 0.35:
            shapes.polygon(
                _ring(random, x + direction * 0.38 * size, y - 0.4 * size, 0.25 * size, 3, 0.1),
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
    shapes.stroke(_points(_curve(mouth)), ink, line)
    turn = np.linspace(np.pi, 2 * np.pi, 9)
    strands = y - 0.1 * size + 0.5 * size * np.sin(turn) * random.uniform(0.85, 1.3, 9)
    hair = np.stack([x + 0.52 * size * np.cos(turn), strands], 1)
    if random.random() < 0.7:
        shapes.polygon(_points(hair), hue(random, (0.2, 0.9), (0.1, 0.9)), ink, line)


def cartoon(random: Random, height: int, width: int) -> np.ndarray:
    """A drawn scene with outlines: sky, hills, houses, trees, people, speech; or a comic of several panels."""
    if random.random() < 0.25:
        page = Canvas(height, width, WHITE)
        rows, columns, gap = _between(random, 1, 3), _between(random, 1, 2), 8
        tall, wide = (height - gap) // rows, (width - gap) // columns
        for row in range(rows):
            for column in range(columns):
                panel = _scene(random, tall - gap, wide - gap)
                at = gap + column * wide, gap + row * tall
                page.paste(panel, at)
                page.box((at[0], at[1], at[0] + wide - gap, at[1] + tall - gap), None, BLACK, 3)
        return page.pixels
    return _scene(random, height, width)


def _scene(random: Random, height: int, width: int) -> np.ndarray:
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
    for _ in range(_between(random, 0, 4)):
        x, y = random.random() * width, random.uniform(0.05, 0.4) * height
        for part in range(2):  # outlines of all puffs first: a cloud has one outline
            for k in range(4):
                radius = side * (0.05 if k in (0, 3) else 0.075) + (line if part == 0 else 0)
                shapes.ellipse(
                    (x + 0.07 * side * k, y), (radius, radius), ink if part == 0 and line else WHITE
                )
    for k in range(_between(random, 1, 3)):
        xs = np.linspace(-10, width + 10, 6)
        hill = _curve(np.stack([xs, height * (0.5 + 0.13 * k) + 0.06 * height * random.normal(size=6)], 1))
        shapes.polygon(
            [*_points(hill), (width + 10, height + 10), (-10, height + 10)],
            hue(random, (0.3, 0.8), (0.35, 0.85), (0.12, 0.42) if plausible else (0, 1)),
            ink,
            line,
        )
    for _ in range(_between(random, 0, 3)):
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
    for _ in range(_between(random, 0, 5)):
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
        crown = _curve(np.array(_ring(random, x, y - 1.4 * size, 0.7 * size, 9, 0.15) * 2)[:10])
        shapes.polygon(
            _points(crown),
            hue(random, (0.5, 0.9), (0.3, 0.75), (0.2, 0.4) if plausible else (0, 1)),
            ink,
            line,
        )
    people = _between(random, 0, 2)
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


# Maps


def chart(random: Random, height: int, width: int) -> np.ndarray:
    """A map: streets of a city, regions of a country in colours, or heights with contour lines."""
    what = random.random()
    if what < 0.55:
        return _city(random, height, width)
    if what < 0.8:
        return _regions(random, height, width)
    relief = clouds(random, height, width, random.uniform(0.3, 0.42))
    levels = _between(random, 7, 16)
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
    _places(random, canvas, _between(random, 4, 12), (40, 40, 40))
    return canvas.pixels


def _places(random: Random, canvas: Canvas, count: int, ink: Colour) -> None:
    """Names with halos, as maps have them."""
    script = _script(random) if random.random() < 0.4 else "english"
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


def _city(random: Random, height: int, width: int) -> np.ndarray:
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
        land = _one_of(random, (242, 239, 233), (248, 249, 250), (235, 232, 222))
        street, casing, ink = WHITE, mix(land, BLACK, random.uniform(0.08, 0.2)), (60, 60, 66)
        park, water = (
            _one_of(random, (200, 230, 180), (205, 235, 200)),
            _one_of(random, (170, 211, 223), (160, 200, 245)),
        )
        building = mix(land, (150, 110, 90), 0.18)
    main = _one_of(
        random, (252, 214, 164), (249, 178, 156), (255, 235, 140), (231, 143, 161), (188, 200, 216)
    )
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

    for _ in range(_between(random, 1, 4)):
        x, y = random.random() * width, random.random() * height
        shapes.polygon(
            _ring(random, x, y, random.uniform(0.08, 0.25) * side, _between(random, 5, 9), 0.3), park
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
        river = _curve(
            np.stack(
                [
                    np.linspace(-20, width + 20, 6),
                    height * random.uniform(0.2, 0.8) + 0.15 * height * random.normal(size=6),
                ],
                1,
            )
        )
        shapes.stroke(_points(river), water, random.uniform(0.02, 0.09) * side)
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
    _places(random, canvas, _between(random, 5, 16), ink)
    return canvas.pixels


def _regions(random: Random, height: int, width: int) -> np.ndarray:
    """Countries with ragged borders: each pixel belongs to the nearest of some seeds."""
    count = _between(random, 8, 35)
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
    colours = np.array([_one_of(random, *shades) for _ in range(count)], np.uint8)
    colours[random.random(count) < 0.2] = (170, 205, 230)
    pixels = colours[owner]
    edge = (owner != np.roll(owner, 1, 0)) | (owner != np.roll(owner, 1, 1))
    edge |= np.roll(edge, 1, 0) | np.roll(edge, 1, 1)
    pixels[edge] = _one_of(random, WHITE, (90, 90, 95), (60, 50, 60))
    canvas = Canvas(height, width, WHITE)
    canvas.image.paste(Image.fromarray(pixels).reduce(scale))
    _places(random, canvas, count // 2, (40, 38, 44))
    return canvas.pixels


# Pixel patterns


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
    scale, side = _between(random, 2, 8), int(random.choice([8, 12, 16, 24]))
    rows, columns = -(-height // scale), -(-width // scale)
    ground = _one_of(random, BLACK, BLACK, WHITE, (24, 20, 50), hue(random, (0.3, 0.8), (0.2, 0.9)))
    small = np.full((rows, columns, 3), ground, np.uint8)
    if random.random() < 0.4:
        stars = random.random((rows, columns)) < 0.01
        small[stars] = (200, 200, 220)
    for top in range(2, rows - side, side + _between(random, 1, 6)):
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
    scale, side = _between(random, 1, 4), 16
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
    for _ in range(_between(random, 2, 9)):
        palette = np.array([BLACK] + [hue(random, (0.4, 1), (0.4, 1)) for _ in range(3)], np.uint8)
        index = _sprite(random, side, palette)
        top, left = side * _between(random, 0, rows - 1), side * _between(random, 0, columns - 1)
        small[top : top + side, left : left + side][index > 0] = palette[index][index > 0]
    return _enlarged(small, scale, height, width)


def _checkers(random: Random, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    tall, wide = (int(v) for v in random.choice([1, 1, 2, 3, 4, 8, 16, 32], 2))
    if random.random() < 0.6:
        wide = tall
    colours = np.array(
        [_one_of(random, BLACK, WHITE, hue(random, (0, 1), (0, 1))), hue(random, (0, 0.8), (0.4, 1))],
        np.uint8,
    )
    drawn = colours[(y // tall + x // wide) % 2]
    if random.random() < 0.6:  # seldom all over: a pane of it within something plain
        plain = np.full((height, width, 3), hue(random, (0, 0.4), (0.2, 1)), np.uint8)
        top, left = _between(random, 0, height / 3), _between(random, 0, width / 3)
        bottom, right = _between(random, height / 2, height), _between(random, width / 2, width)
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
        few = smooth.quantize(_between(random, 2, 8), dither=Image.Dither.NONE)
        small = np.asarray(smooth.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))
    else:
        bayer = np.array([[0]])
        for _ in range(_between(random, 1, 3)):
            bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
        tiled = np.tile(bayer, (rows // len(bayer) + 1, columns // len(bayer) + 1))[:rows, :columns]
        levels = _between(random, 1, 3)
        index = np.floor(grey * levels + (tiled + 0.5) / bayer.size).clip(0, levels) / levels
        small = np.round(ends[0] + index[..., None] * (ends[1] - ends[0])).astype(np.uint8)
    return _enlarged(small, scale, height, width)


def _thin_lines(random: Random, height: int, width: int) -> np.ndarray:
    theme = Theme(random)
    canvas = Canvas(height, width, theme.page)
    colours = [theme.ink, theme.rule, theme.accent, theme.second]
    what = random.integers(4)
    if what == 0:
        step, strong = _between(random, 4, 24), _between(random, 4, 10)
        for k, at in enumerate(range(0, max(height, width), step)):
            colour = theme.faint if k % strong == 0 else theme.rule
            canvas.line([(at, 0), (at, height)], colour)
            canvas.line([(0, at), (width, at)], colour)
    elif what == 1:
        centre = random.random(2) * (width, height)
        for turn in np.linspace(0, 2 * np.pi, _between(random, 30, 150)):
            canvas.line(
                [tuple(centre), tuple(centre + 2 * width * np.array([np.cos(turn), np.sin(turn)]))],
                colours[0],
            )
    elif what == 2:
        for _ in range(_between(random, 20, 120)):
            a, b = random.random((2, 2)) * (width, height)
            canvas.line([tuple(a), tuple(b)], colours[random.integers(4)])
    else:
        x = 0
        while x < width:  # groups of ever wider stripes, as test charts have them
            step = _between(random, 1, 6)
            for k in range(_between(random, 4, 10)):
                canvas.box((x + 2 * k * step, 0, x + (2 * k + 1) * step, height), colours[0])
            x += 22 * step
        canvas.box((0, height // 3, width, height // 3 + 30), theme.page)
    return canvas.pixels


def _matrix_codes(random: Random, height: int, width: int) -> np.ndarray:
    """Square codes or bar codes on a plain page."""
    canvas = Canvas(height, width, WHITE)
    theme = Theme(random, False)
    if random.random() < 0.6:
        side, scale = 21 + 4 * _between(random, 0, 5), _between(random, 3, 9)
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
        narrow, y = _between(random, 1, 3), _between(random, 10, 60)
        while y < height - 60:
            x, tall = _between(random, 10, 60), _between(random, 40, 120)
            start = x
            while x < width - 30:
                bar = narrow * _between(random, 1, 4)
                canvas.box((x, y, x + bar, y + tall), BLACK)
                x += bar + narrow * _between(random, 1, 3)
            digits = "".join(str(d) for d in random.integers(10, size=13))
            canvas.text((start, y + tall + 3), digits, choose(random, "english", 14, MONO), BLACK)
            y += tall + 50
    return canvas.pixels


def _bitmap_text(random: Random, height: int, width: int) -> np.ndarray:
    """A screen of an old computer: letters without smoothing, enlarged."""
    scale = _between(random, 1, 3)
    rows, columns = -(-height // scale), -(-width // scale)
    ground = _one_of(random, BLACK, (0, 0, 168), (40, 40, 90), (20, 30, 20))
    ink = _one_of(random, (51, 255, 51), (255, 176, 0), (220, 220, 220), (165, 165, 255))
    canvas = Canvas(rows, columns, ground, "none")
    font = Font(MONO["dejavu-mono"], "regular", _between(random, 8, 12))
    lines = _sources()[random.integers(len(_sources()))]
    first = _between(random, 0, len(lines) - 100)
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
    scale = _between(random, 1, 4)
    rows, columns = -(-height // scale), -(-width // scale)
    grey = (random.integers(0, 4, (rows, columns, 1)) * 85).astype(np.uint8)
    drawn = _enlarged(np.repeat(grey, 3, 2), scale, height, width).copy()
    drawn[:, : width // 2] = hue(random, (0, 0.5), (0.1, 0.9))
    return drawn


# Mixed pages


def mixed(random: Random, height: int, width: int) -> np.ndarray:
    """Pages with several sorts of content: slides, posters, web pages, an article around a figure."""
    theme, script = Theme(random), _script(random) if random.random() < 0.3 else "english"
    canvas = Canvas(height, width, theme.page, _smoothing(random))
    colours = [hue(random, (0.4, 0.95), (0.3, 0.95)) for _ in range(3)]
    what = random.integers(4)
    side = min(height, width)
    large = choose(random, script, round(side * random.uniform(0.05, 0.11)), SANS, SERIF, ASIAN).styled(
        "bold"
    )
    body = choose(random, script, _between(random, 10, 18), SANS, SERIF)
    if what == 0:
        canvas.paste(gradient(random, height, width, colours), (0, 0))
        ink = readable(mix(mix(colours[0], colours[1], 0.5), colours[2], 0.33))
        y = round(random.uniform(0.05, 0.3) * height)
        x = _between(random, 12, width / 8)
        canvas.text((x, y), title(random, script, 1, 2), large, ink)
        y += round(1.6 * large.size)
        for _ in range(_between(random, 1, 5)):
            y = _paragraph(random, canvas, (x, y, width - x), script, body, ink, most=3) + body.size
    elif what == 1:
        split = round(random.uniform(0.35, 0.65) * width)
        picture = _picture(random, height, width - split)
        canvas.paste(picture, (split, 0))
        _column(random, canvas, (12, 14, split - 12, height), theme, body, script)
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
        columns = _between(random, 1, 3)
        each = (width - 16) // columns
        for k in range(columns):
            left = 16 + k * each
            _column(random, canvas, (left, tall + 14, left + each - 16, height), theme, body, script)
    else:
        _column(random, canvas, (16, 14, width - 16, height), theme, body, script)
        wide, tall = round(random.uniform(0.4, 0.9) * width), round(random.uniform(0.25, 0.45) * height)
        left, top = (width - wide) // 2, _between(random, 20, 0.5 * height)
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
    return (flat, _scene, _city)[what - 2](random, height, width)


_DRAWINGS: dict[str, Drawing] = {
    "text": text,
    "interface": interface,
    "code": code,
    "plot": plot,
    "flat": flat,
    "cartoon": cartoon,
    "map": chart,
    "pixels": pixels,
    "mixed": mixed,
}
KINDS = tuple(_DRAWINGS)
SHARES = {
    "text": 5,
    "interface": 5,
    "code": 2,
    "plot": 2,
    "flat": 3,
    "cartoon": 3,
    "map": 2,
    "pixels": 1,
    "mixed": 3,
}


def draw(kind: str, random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture of a kind (one of KINDS), uint8 [H, W, 3]. Raises ValueError for another kind or an empty size."""
    if kind not in _DRAWINGS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if min(height, width) < 1:
        raise ValueError(f"a picture has at least one pixel a side, not {height}x{width}")
    drawn = _DRAWINGS[kind](random, max(height, SMALLEST), max(width, SMALLEST))
    top, left = ((size - wanted) // 2 for size, wanted in zip(drawn.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(drawn[top : top + height, left : left + width])


def picture(seed: int, size: int, kinds: tuple[str, ...] = KINDS) -> tuple[str, np.ndarray]:
    """The picture of a seed and its kind, which is drawn with the weights of SHARES."""
    random = np.random.default_rng(seed)
    weights = np.array([SHARES[kind] for kind in kinds], float)
    kind = str(random.choice(kinds, p=weights / weights.sum()))
    return kind, draw(kind, random, size, size)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="pictures have the seeds 1000000 * SEED and on")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(1_000_000 * args.seed, 1_000_000 * args.seed + args.count):
        kind, drawn = picture(seed, args.size, tuple(args.kinds))
        Image.fromarray(drawn).save(args.out / f"{kind}-{seed}.png")


if __name__ == "__main__":
    main()
