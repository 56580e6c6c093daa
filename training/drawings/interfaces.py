"""Screens of desktops and telephones: windows, menus, forms, tables, cards, messages."""

from __future__ import annotations

import string

import numpy as np

from training.drawings.canvas import Canvas, Colour, Shapes, gradient, hue, mix, readable
from training.drawings.pages import set_column, set_paragraph, set_table
from training.drawings.style import (
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
    Font,
    choose,
    title,
)


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
        self.script = any_script(random) if random.random() < 0.5 else "english"
        self.font = choose(random, self.script, between(random, 10, 17), SANS, ASIAN)
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
        chosen, line, step = between(random, 0, 8), 0, round(random.uniform(1.7, 2.4) * em)
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
            y = set_table(random, canvas, (left, y, right), theme, font, widgets.script) + em
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
        side, tall = (right - left + em) // columns, between(random, 7 * em, 13 * em)
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
            count = min(between(random, 1, 3), int((bottom - y) / (1.4 * em)) - 1)
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
        set_column(random, canvas, (left, y, right, bottom - 2 * em), theme, font, widgets.script)
        canvas.box((left, bottom - 0.5 * em, right, bottom + 0.8 * em), theme.page)


def interface(random: Random, height: int, width: int) -> np.ndarray:
    """A screen or a part of it: windows over a desktop, or one that fills it, perhaps with a dialog or a menu."""
    dark = random.random() < 0.38
    theme = Theme(random, dark)
    colours = [hue(random, (0.2, 0.9), (0.2, 0.9)) for _ in range(3)]
    canvas = Canvas(height, width, colours[0], any_smoothing(random))
    if random.random() < 0.5:
        canvas.paste(gradient(random, height, width, colours), (0, 0))
        for _ in range(between(random, 1, 2)):
            left, top = between(random, 0, 0.4 * width), between(random, 0, 0.4 * height)
            right, bottom = between(random, 0.7 * width, width), between(random, 0.65 * height, height)
            _window(random, canvas, (left, top, right, bottom), Theme(random, dark))
        if random.random() < 0.5:
            canvas.box((0, height - 30, width, height), theme.panel)
            for k in range(width // 44):
                colour = hue(random, (0.4, 0.9), (0.5, 0.9))
                canvas.panel((8 + 40 * k, height - 26, 30 + 40 * k, height - 4), colour, 5)
    else:
        _window(
            random, canvas, (-1, -between(random, 0, 30), width + 1, height + between(random, 0, 30)), theme
        )
    what = random.random()
    widgets = _Widgets(random, canvas, theme)
    em = widgets.em
    if what < 0.2:
        left, top = between(random, 20, width / 4), between(random, 30, height / 2)
        right, bottom = min(width - 10, left + 24 * em), min(height - 10, top + 10 * em)
        canvas.panel((left, top, right, bottom), theme.page, widgets.radius, theme.rule, 12)
        canvas.text(
            (left + em, top + em),
            widgets.fitting(right - left - 2 * em, 2, 4),
            widgets.font.styled("bold"),
            theme.ink,
        )
        inner = (left + em, top + 3 * em, right - em)
        set_paragraph(random, canvas, inner, widgets.script, widgets.font, theme.ink, most=2)
        x = widgets.button(left + em, bottom - 2.8 * em, True)
        if x + 8 * em < right:
            widgets.button(x, bottom - 2.8 * em, False)
    elif what < 0.4:
        left, top, step = between(random, 5, width / 2), between(random, 20, height / 2), round(1.9 * em)
        count = between(random, 4, 10)
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
