"""Code editors and terminals, which show Python's own source in colours."""

from __future__ import annotations

import argparse
import inspect
import json.decoder
import keyword
import re
import string
import textwrap
from functools import lru_cache
from pathlib import Path

import numpy as np

from training.drawings.canvas import Canvas, hue, mix, readable
from training.drawings.style import (
    Random,
    Theme,
    any_smoothing,
    between,
)
from training.drawings.typography import (
    MONO,
    SANS,
    choose,
    title,
)


@lru_cache
def source_lines() -> tuple[list[str], ...]:
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
    canvas = Canvas(height, width, theme.page, any_smoothing(random))
    font = choose(random, "english", between(random, 9, 20), MONO)
    em, step, advance = font.size, round(font.size * random.uniform(1.15, 1.6)), font.face.getlength("0")
    bright = (0.5, 0.8), (0.85, 1.0)
    deep = (0.7, 1.0), (0.35, 0.7)
    kinds = ("comment", "string", "number", "call", "keyword")
    colours = {kind: hue(random, *(bright if theme.dark else deep)) for kind in kinds}
    colours["comment"] = mix(colours["comment"], theme.faint, 0.7)
    lines = source_lines()[random.integers(len(source_lines()))]
    first = between(random, 0, len(lines) - 80)
    left, y = 0, 0
    sans = choose(random, "english", max(10, em - 1), SANS)
    if random.random() < 0.4:
        left = between(random, 0.18 * width, 0.32 * width)
        canvas.box((0, 0, left, height), theme.panel)
        for k in range(height // round(1.7 * em)):
            at, indent = (k + 0.8) * 1.7 * em, em * between(random, 1, 3)
            name = title(random, "english", 1, 1).lower() + (".py" if indent > em else "/")
            canvas.text((indent, at), name, sans, theme.ink if indent > em else theme.faint, "lm")
        canvas.box((left, 0, width, height), theme.page)
        canvas.line([(left, 0), (left, height)], theme.rule)
    if random.random() < 0.6:
        tall, x = round(2.2 * em), left + 1
        canvas.box((x, 0, width, tall), theme.panel)
        for k in range(between(random, 1, 4)):
            name = title(random, "english", 1, 1).lower() + ".py"
            end = x + sans.width(name) + 2 * em
            canvas.box((x, 0, end, tall), theme.page if k == 0 else theme.panel)
            if k == 0:
                canvas.box((x, 0, end, 2), theme.accent)
            canvas.text((x + em, tall / 2), name, sans, theme.ink if k == 0 else theme.faint, "lm")
            x = end + 1
        y = tall
    numbered, current = random.random() < 0.75, between(random, 2, 25)
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
        status = f"main   Python   UTF-8   Ln {first + current}, Col {between(random, 1, 80)}"
        canvas.text((em, height - tall / 2), status, sans, readable(theme.accent), "lm")
    return canvas.pixels
