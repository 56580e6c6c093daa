"""Twelve pictures that are not photographs, coded by this codec and, at equal bytes, by JPEG.

python -m benchmarks.graphics [--model BUNDLE] [--qualities 30 60 80 100] [--save DIR] [--json]

They are drawn by code, in typefaces and layouts that the training pictures (`training.graphics`) never have.
JPEG is Pillow's with optimised tables, once with halved chroma (4:2:0) and once without (4:4:4). Its PSNR at
exactly the bytes of the codec is interpolated between its qualities; "-" means that JPEG has no stream so small.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.common import Point, dump, pillow_point, psnr, table
from rdc_codec import Codec
from training.drawings.canvas import Canvas, Colour, Shapes, mix
from training.drawings.typography import Family, Font

SIZE = 512
QUALITIES = (30, 60, 80, 100)
JPEG_QUALITIES = (
    1,
    2,
    3,
    5,
    7,
    10,
    14,
    18,
    22,
    27,
    33,
    40,
    47,
    55,
    62,
    68,
    74,
    79,
    83,
    87,
    90,
    92,
    94,
    96,
    98,
    100,
)
SUBSAMPLINGS = ("4:2:0", "4:4:4")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

# Typefaces that training.drawings.typography does not have.
SERIF = Family(
    "font_caladea", "files", "Caladea-Regular.ttf", "Caladea-Bold.ttf", "Caladea-Italic.ttf", ("english",)
)
SANS = Family(
    "font_hanken_grotesk",
    "files",
    "HankenGrotesk-Regular.otf",
    "HankenGrotesk-Bold.otf",
    "HankenGrotesk-Italic.otf",
    ("english",),
)
MONO = Family("fontpkg_fira_code", "files", *3 * ("FiraCode[wght].ttf",), ("english",))
HAND = Family("font_intuitive", "files", *3 * ("Intuitive.ttf",), ("english",))

PROSE = """When the ferry left the harbour the fog had not yet lifted, and the lamps along the quay looked like a row
of small moons. Anna counted eleven of them before they were gone. She had packed two sweaters, a kettle, the
measuring rods and a letter that she did not intend to read until she reached the island. "You will find the station
in good order," her predecessor had written, "apart from the clock, which gains four minutes a week, and the cat, which
belongs to nobody." Every six hours somebody had to climb the hill, read five instruments, and send the figures to the
mainland: pressure 1013.2, wind 7 from the north-west, temperature 4.6, humidity 88 %, visibility poor. In winter the
path froze, so there was a rope. In summer there were visitors, who asked what the figures were for. Nobody had ever
given them a good answer, although a hundred and thirty years of such figures lay in the cellar in green boxes, and
were, as a professor once remarked, worth more than the lighthouse, the jetty and the church together."""

STATIONS = (
    "Harbour,Old Mint,Opera,Zoo,Museum,North Gate,Mill Lane,Queen's Park,Arsenal,Fish Market,Town Hall,Abbey,"
    "Tannery,Observatory,Spring Hill,Airport,Canal Street,Exchange,Bridge End,University,Stadium,Depot"
)

PROGRAM = """/* Reads whole lines, however long they are. */
#include <stdio.h>
#include <stdlib.h>

enum { FIRST = 64, GROWTH = 2 };

static char *read_line(FILE *in, size_t *length)
{
    size_t room = FIRST, used = 0;
    char *line = malloc(room);
    int c;

    while (line && (c = fgetc(in)) != EOF && c != '\\n') {
        if (used + 1 == room) {
            char *more = realloc(line, room *= GROWTH);
            if (!more) {
                free(line);
                return NULL;    /* out of memory */
            }
            line = more;
        }
        line[used++] = (char)c;
    }
    if (line)
        line[used] = '\\0';
    *length = used;
    return line;
}

int main(int argc, char **argv)
{
    size_t length;
    for (long n = 1; !feof(stdin); n++) {
        char *line = read_line(stdin, &length);
        printf("%6ld  %5zu  %s\\n", n, length, line);
        free(line);
    }
    return argc > 9 ? 0x7f : EXIT_SUCCESS;
}"""

TOADSTOOL = """
................
......kkkk......
....kkrrrrkk....
...krrrwwrrrk...
..krrwwwwwwrrk..
..krwwrrrrwwrk..
.krrrrrrrrrrrrk.
.krwwrrwwrrwwrk.
.krwwrwwwwrwwrk.
.kkkkkkkkkkkkkk.
...kssksskssk...
...ksskssksskk..
...ksssssssssk..
....kssskksssk..
.....kkkkkkkk...
................"""
HOUSE = """
.......bb.......
......brrb......
.....brrrrb.....
....brrrrrrb....
...brrrrrrrrb...
..brrrrrrrrrrb..
.bbbbbbbbbbbbbb.
..bccccccccccb..
..bcyybccbyycb..
..bcyybccbyycb..
..bccccccccccb..
..bcccbbbbcccb..
..bcccbnnbcccb..
..bcccbnybcccb..
..bcccbnnbcccb..
..bbbbbbbbbbbb.."""
PALETTE: dict[str, Colour] = {
    "k": (24, 20, 37), "r": (214, 48, 62), "w": (250, 245, 235), "s": (240, 200, 160), "b": (62, 39, 49),
    "c": (228, 212, 170), "y": (254, 231, 97), "n": (116, 63, 57), "g": (99, 199, 77), "d": (62, 137, 72),
    "u": (44, 182, 230), "l": (139, 225, 250),
}  # fmt: skip


def _set(
    canvas: Canvas,
    box: tuple[float, float, float],
    words: Sequence[str],
    font: Font,
    colour: Colour,
    lead: float = 1.4,
) -> float:
    """Set words ragged between left and right from y on; returns the y below them."""
    left, y, right = box
    line = ""
    for word in [*words, ""]:
        longer = f"{line} {word}".strip()
        if word and font.width(longer) <= right - left:
            line = longer
            continue
        canvas.text((left, y), line, font, colour)
        line = word
        y += round(lead * font.size)
    return y


def text_light() -> np.ndarray:
    """A page of a book in two columns, black on white."""
    canvas = Canvas(SIZE, SIZE, WHITE)
    body = Font(SERIF, "regular", 16)
    canvas.text((SIZE / 2, 18), "THE WEATHER STATION", Font(SERIF, "bold", 24), BLACK, "ma")
    canvas.text(
        (SIZE / 2, 50), "Chapter one, in which a clock is wrong", Font(SERIF, "italic", 15), BLACK, "ma"
    )
    canvas.line([(28, 76), (SIZE - 28, 76)], BLACK)
    words = PROSE.split()
    _set(canvas, (28, 88, 244), words[:84], body, BLACK, 1.3)
    _set(canvas, (268, 88, 484), words[84:], body, BLACK, 1.3)
    canvas.text((SIZE / 2, 492), "– 7 –", body, BLACK, "ma")
    return canvas.pixels


def text_dark() -> np.ndarray:
    """An article on a dark page, without serifs, with subpixel smoothing."""
    canvas = Canvas(SIZE, SIZE, (22, 27, 34), "subpixel")
    ink, faint = (230, 237, 243), (139, 148, 158)
    canvas.text((40, 30), "Figures in green boxes", Font(SANS, "bold", 30), ink)
    canvas.text(
        (40, 74), "12 March   ·   4 minutes to read   ·   31 comments", Font(SANS, "regular", 13), faint
    )
    y = _set(canvas, (40, 108, 472), PROSE.split()[40:110], Font(SANS, "regular", 17), ink, 1.55)
    canvas.box((40, y + 8, 43, y + 62), (47, 129, 247))
    _set(canvas, (58, y + 12, 472), PROSE.split()[118:134], Font(SANS, "italic", 17), faint)
    _set(canvas, (40, y + 84, 472), PROSE.split()[134:], Font(SANS, "regular", 12), ink)
    return canvas.pixels


def interface() -> np.ndarray:
    """A month of a calendar with appointments, light."""
    canvas = Canvas(SIZE, SIZE, (246, 247, 249))
    canvas.box((0, 0, SIZE, 48), WHITE)
    canvas.text((20, 24), "November 2026", Font(SANS, "bold", 20), (32, 33, 36), "lm")
    for k, (name, fill) in enumerate((("Today", WHITE), ("Week", WHITE), ("Month", (26, 115, 232)))):
        left = 300 + 68 * k
        canvas.panel((left, 10, left + 62, 38), fill, 5, (218, 220, 224))
        canvas.text((left + 31, 24), name, Font(SANS, "regular", 13), WHITE if k == 2 else (60, 64, 67), "mm")
    colours = ((11, 128, 67), (213, 0, 0), (246, 191, 38), (63, 81, 181), (3, 155, 229))
    events = (
        "Stand-up",
        "Dentist 9:15",
        "Review",
        "Flight LH 452",
        "Rent",
        "Choir",
        "Call Jonas",
        "Release 1.2",
    )
    random = np.random.default_rng(41)
    for column, day in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")):
        canvas.text((8 + 71 * column + 35, 60), day, Font(SANS, "regular", 11), (95, 99, 104), "mm")
        for row in range(5):
            left, top, number = 8 + 71 * column, 74 + 87 * row, 7 * row + column - 5
            canvas.box((left, top, left + 72, top + 88), WHITE, (218, 220, 224))
            if not 1 <= number <= 30:
                continue
            if number == 27:
                canvas.panel((left + 4, top + 4, left + 24, top + 24), (26, 115, 232), 10)
            ink = WHITE if number == 27 else (60, 64, 67)
            canvas.text((left + 14, top + 14), str(number), Font(SANS, "bold", 12), ink, "mm")
            for k in range(random.integers(4)):
                at = top + 28 + 19 * k
                canvas.panel((left + 3, at, left + 68, at + 16), colours[random.integers(5)], 3)
                name = events[random.integers(8)][:10]
                canvas.text((left + 7, at + 8), name, Font(SANS, "regular", 10), WHITE, "lm")
    return canvas.pixels


def editor() -> np.ndarray:
    """A program in C in the colours of a well-known light theme."""
    canvas = Canvas(SIZE, SIZE, (253, 246, 227))
    font, step = Font(MONO, "regular", 11), 12.6
    advance = font.face.getlength("0")
    canvas.box((0, 0, 40, SIZE), (238, 232, 213))
    canvas.box((40, 12 * step, SIZE, 13 * step + 2), (238, 232, 213))
    keywords = {"static", "char", "int", "size_t", "while", "if", "return", "for", "long", "enum"}
    for number, line in enumerate(PROGRAM.split("\n")):
        y = 3 + number * step
        canvas.text((34, y), str(number + 1), font, (147, 161, 161), "ra")
        x, comment = 48.0, False
        for piece in re.findall(r"\s+|[(]|[^\s(]+", line):
            comment = comment or piece == "/*"
            if comment:
                colour = (147, 161, 161)
            elif piece.strip("*;()") in keywords:
                colour = (133, 153, 0)
            elif piece.startswith(("#", "<")):
                colour = (203, 75, 22)
            elif "'" in piece or '"' in piece or "%" in piece or piece[:1].isdigit():
                colour = (42, 161, 152)
            elif piece.isupper():
                colour = (38, 139, 210)
            else:
                colour = (88, 110, 117)
            canvas.text((x, y), piece, font, colour)
            x += advance * len(piece)
            comment = comment and piece != "*/"
    return canvas.pixels


def _figure() -> tuple[Any, Callable[[], np.ndarray]]:
    """A figure of Matplotlib and what draws it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((SIZE / 100, SIZE / 100), dpi=100, layout="constrained")
    surface = FigureCanvasAgg(figure)

    def finished() -> np.ndarray:
        surface.draw()
        return np.array(np.asarray(surface.buffer_rgba())[..., :3])

    return figure, finished


def line_plot() -> np.ndarray:
    """Curves on logarithmic axes with bars of error."""
    figure, finished = _figure()
    axes = figure.subplots()
    x = np.geomspace(1, 1000, 16)
    for k, name in enumerate(("plain", "tiled", "fused", "fused, half")):
        y = 40 * x ** (0.9 - 0.12 * k) / (1 + x / 900) / (k + 1)
        axes.errorbar(x, y, 0.15 * y, marker="ovsD"[k], markersize=4, capsize=3, linewidth=1.2, label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="pictures in a batch", ylabel="time, ms", title="Time of a batch"
    )
    axes.grid(which="both", alpha=0.3)
    axes.legend(title="kernel")
    return finished()


def bar_plot() -> np.ndarray:
    """Stacked horizontal bars with their numbers."""
    figure, finished = _figure()
    axes = figure.subplots()
    shares = np.random.default_rng(42).dirichlet([3, 3, 2, 1], 9) * 100
    left = np.zeros(9)
    colours = ("#264653", "#2a9d8f", "#e9c46a", "#e76f51")
    for part, colour, name in zip(shares.T, colours, ("rail", "road", "ship", "air"), strict=True):
        bars = axes.barh([f"region {k}" for k in "ABCDEFGHI"], part, left=left, color=colour, label=name)
        axes.bar_label(bars, fmt="%.0f", label_type="center", color="white", fontsize=8)
        left += part
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.set_xlabel("share of freight, %")
    return finished()


def logo() -> np.ndarray:
    """A sign of few colours: a hexagon of rhombi with a letter, and a name."""
    shapes = Shapes(np.full((SIZE, SIZE, 3), (255, 250, 240), np.uint8), 4)
    centre, radius = np.array([SIZE / 2, 210]), 150
    turn = np.pi / 3 * np.arange(6) - np.pi / 2
    corners = centre + radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    for k, colour in enumerate(((0, 107, 166), (4, 150, 255), (255, 188, 66))):
        rhombus = [centre, corners[2 * k], corners[2 * k + 1], corners[(2 * k + 2) % 6]]
        shapes.polygon([(float(x), float(y)) for x, y in rhombus], colour)
    shapes.ellipse((SIZE / 2, 210), (64, 64), (255, 250, 240))
    shapes.stroke(
        [(SIZE / 2 - 24, 242), (SIZE / 2 - 24, 180), (SIZE / 2 + 24, 240), (SIZE / 2 + 24, 178)],
        (216, 17, 89),
        14,
    )
    canvas = shapes.canvas()
    canvas.text((SIZE / 2, 426), "NORDWIND", Font(SANS, "bold", 58), (0, 66, 104), "mm")
    canvas.text((SIZE / 2, 474), "freight by sail since 1887", Font(SERIF, "italic", 22), (0, 107, 166), "mm")
    return canvas.pixels


def cartoon() -> np.ndarray:
    """A robot in a boat at night, outlined."""
    ink: Colour = (16, 14, 30)
    shapes = Shapes(np.full((SIZE, SIZE, 3), (38, 42, 92), np.uint8))
    random = np.random.default_rng(43)
    for x, y, size in random.random((60, 3)):
        shapes.ellipse((SIZE * x, 300 * y), (0.8 + 1.4 * size, 0.8 + 1.4 * size), (255, 250, 214))
    shapes.ellipse((400, 90), (52, 52), (255, 240, 180), ink, 4)
    for x, y, size in ((382, 78, 11), (418, 108, 14), (412, 66, 6)):
        shapes.ellipse((x, y), (size, size), (232, 210, 140))
    shapes.polygon([(110, 360), (420, 360), (370, 440), (160, 440)], (168, 82, 50), ink, 5)
    shapes.polygon([(200, 260), (310, 260), (320, 362), (190, 362)], (150, 170, 190), ink, 5)
    shapes.polygon([(196, 150), (314, 150), (314, 246), (196, 246)], (190, 208, 222), ink, 5)
    shapes.stroke([(255, 150), (255, 112)], ink, 5)
    shapes.ellipse((255, 106), (10, 10), (235, 70, 70), ink, 4)
    for x in (228, 282):
        shapes.ellipse((x, 188), (17, 17), (250, 250, 160), ink, 4)
        shapes.ellipse((x + 4, 190), (6, 6), ink)
    for k in range(6):
        shapes.polygon(
            [(222 + 11 * k, 218), (233 + 11 * k, 218), (233 + 11 * k, 232), (222 + 11 * k, 232)],
            WHITE,
            ink,
            2,
        )
    shapes.stroke([(312, 290), (372, 316), (440, 236)], ink, 20)
    shapes.stroke([(312, 290), (372, 316), (440, 236)], (150, 170, 190), 11)
    shapes.stroke([(470, 180), (350, 470)], ink, 12)
    shapes.stroke([(470, 180), (350, 470)], (205, 150, 90), 5)
    for row in range(4):
        x = np.linspace(-20, SIZE + 20, 60)
        wave = 412 + 30 * row + 9 * np.sin(x / (24 + 4 * row) + row)
        outline = [*zip(x.tolist(), wave.tolist(), strict=True), (SIZE + 20, SIZE + 20), (-20, SIZE + 20)]
        shapes.polygon(outline, mix((30, 110, 170), (12, 40, 90), row / 3), ink, 4)
    canvas = shapes.canvas()
    canvas.panel((24, 40, 226, 102), WHITE, 20, ink)
    canvas.text((125, 71), "Are we there yet?", Font(HAND, "regular", 24), ink, "mm")
    return canvas.pixels


def map_of_lines() -> np.ndarray:
    """A plan of underground lines with stations and names."""
    shapes = Shapes(np.full((SIZE, SIZE, 3), WHITE, np.uint8), 4)
    shapes.stroke([(-10, 330), (120, 330), (230, 440), (530, 440)], (190, 225, 245), 34)
    lines: tuple[tuple[Colour, list[tuple[float, float]]], ...] = (
        ((220, 36, 31), [(20, 90), (180, 90), (330, 240), (490, 240)]),
        ((0, 121, 64), [(70, 490), (70, 260), (210, 120), (210, 20)]),
        ((0, 25, 168), [(490, 60), (400, 60), (160, 300), (160, 490)]),
        ((255, 206, 0), [(20, 400), (250, 400), (440, 210), (440, 20)]),
        ((155, 0, 88), [(300, 20), (300, 350), (400, 450), (400, 500)]),
    )
    names = iter(STATIONS.split(","))
    labels = []
    for colour, points in lines:
        shapes.stroke(points, colour, 8)
    for _, points in lines:
        for start, end in itertools.pairwise(points):
            for share in (0.25, 0.72):
                x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
                shapes.ellipse((x, y), (6, 6), WHITE, BLACK, 2)
                labels.append((x, y, next(names, "")))
    canvas = shapes.canvas()
    for x, y, name in labels:
        face = Font(SANS, "regular", 11).face
        at = (round(min(x + 10, 450)), round(y - 13))
        canvas.pen.text(at, name, (0, 25, 100), face, "lm", stroke_width=2, stroke_fill=WHITE)
    return canvas.pixels


def pixel_art() -> np.ndarray:
    """A scene of an old game from hand-made tiles, each of their pixels four wide."""
    scene = np.empty((128, 128, 3), np.uint8)
    scene[:] = PALETTE["u"]
    random = np.random.default_rng(44)
    for left, top, wide in ((8, 14, 26), (60, 8, 34), (100, 26, 20)):
        scene[top : top + 4, left : left + wide] = PALETTE["w"]
        scene[top - 3 : top, left + 4 : left + wide - 6] = PALETTE["w"]
        scene[top + 4, left + 2 : left + wide - 2] = PALETTE["l"]
    scene[96:] = PALETTE["n"]
    scene[96:101] = PALETTE["g"]
    scene[101 + (np.arange(128) % 5 > 2), np.arange(128)] = PALETTE["d"]
    for y, x in zip(random.integers(104, 126, 60), random.integers(0, 126, 60), strict=True):
        scene[y, x : x + 2] = PALETTE["b"]

    def put(tile: str, left: int, top: int) -> None:
        for y, row in enumerate(tile.strip().split("\n")):
            for x, letter in enumerate(row):
                if letter != ".":
                    scene[top + y, left + x] = PALETTE[letter]

    put(HOUSE, 12, 80)
    put(HOUSE, 84, 80)
    for left, top in ((34, 81), (52, 81), (104, 81), (60, 48)):
        put(TOADSTOOL, left, top)
    for left in range(48, 96, 8):
        scene[64:72, left : left + 8] = PALETTE["c"]
        scene[64:72, left] = scene[71, left : left + 8] = PALETTE["b"]
    return np.repeat(np.repeat(scene, 4, 0), 4, 1)


def gradient_with_text() -> np.ndarray:
    """A poster: colours that turn around a point, and large letters."""
    y, x = np.mgrid[:SIZE, :SIZE]
    turn = (np.arctan2(y - 330, x - 150) / (2 * np.pi)) % 1
    stops = np.array([(255, 94, 98), (255, 195, 113), (72, 202, 228), (72, 52, 212), (255, 94, 98)], float)
    ground = np.stack([np.interp(turn, np.linspace(0, 1, 5), stops[:, k]) for k in range(3)], -1)
    canvas = Canvas(SIZE, SIZE, WHITE)
    canvas.paste(np.round(ground).astype(np.uint8), (0, 0))
    canvas.text((36, 60), "Summer", Font(HAND, "regular", 104), WHITE)
    canvas.text((36, 180), "of sound", Font(HAND, "regular", 72), WHITE)
    canvas.text((38, 410), "Open air, 3–5 July, Castle Meadow", Font(SANS, "bold", 22), WHITE)
    canvas.text(
        (38, 444),
        "Tickets from 24 €, under sixteen free. Trains run until 2 a.m.",
        Font(SANS, "regular", 15),
        WHITE,
    )
    return canvas.pixels


def screenshot() -> np.ndarray:
    """A chess board in a browser beside a terminal, over a desktop with a gradient."""
    canvas = Canvas(SIZE, SIZE, WHITE, "subpixel")
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    sky = np.stack([40 + 60 * y, 60 + 80 * (1 - y), 110 + 70 * x], -1)
    canvas.paste(np.round(sky).astype(np.uint8), (0, 0))
    canvas.panel((24, 20, 404, 368), WHITE, 6, (120, 120, 120), 10)
    canvas.box((25, 21, 403, 54), (222, 225, 230))
    canvas.panel((70, 27, 390, 48), WHITE, 10)
    canvas.text((84, 38), "https://chess.example/game/1987", Font(SANS, "regular", 12), (60, 64, 67), "lm")
    light, dark = (240, 217, 181), (181, 136, 99)
    pieces = ["rnbqkb.r", "pppp.ppp", ".....n..", "....p...", "..B.P...", "........", "PPPP.PPP", "RNBQK.NR"]
    for row, line in enumerate(pieces):
        for column, piece in enumerate(line):
            left, top = 40 + 36 * column, 66 + 36 * row
            canvas.box((left, top, left + 36, top + 36), (light, dark)[(row + column) % 2])
            if piece != ".":
                fill = WHITE if piece.isupper() else BLACK
                canvas.panel((left + 7, top + 7, left + 29, top + 29), fill, 11, BLACK)
                canvas.text(
                    (left + 18, top + 18), piece.upper(), Font(SERIF, "bold", 15), (128, 30, 30), "mm"
                )
    for k, move in enumerate(("1 e4 e5", "2 Bc4 Nf6", "3 d3 c6", "4 Nf3 d5")):
        canvas.text((338, 80 + 22 * k), move, Font(SANS, "regular", 12), BLACK)
    canvas.panel((150, 300, 500, 486), (12, 12, 12), 4, (90, 90, 90), 10)
    canvas.box((151, 301, 499, 322), (60, 60, 64))
    canvas.text((160, 311), "user@host: ~/engine", Font(SANS, "regular", 12), (220, 220, 220), "lm")
    output = ("$ make -j2", "cc -O2 -c search.c", "cc -O2 -c board.c", "search.c:118:9: warning: unused",
              "cc -o engine search.o board.o", "$ ./engine --depth 18 < game.pgn", "score +0.34  nodes 4182993",
              "pv d2d3 c7c6 g1f3 d7d5 e4d5", "$ _")  # fmt: skip
    for k, line in enumerate(output):
        colour = (
            (255, 200, 80) if "warning" in line else (90, 220, 120) if line[0] == "$" else (210, 210, 210)
        )
        canvas.text((160, 328 + 17 * k), line, Font(MONO, "regular", 13), colour)
    return canvas.pixels


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "text, light": text_light,
    "text, dark": text_dark,
    "interface": interface,
    "code editor": editor,
    "line plot": line_plot,
    "bar plot": bar_plot,
    "logo": logo,
    "cartoon": cartoon,
    "map": map_of_lines,
    "pixel art": pixel_art,
    "gradient with text": gradient_with_text,
    "screenshot": screenshot,
}


@dataclass
class Comparison:
    """A picture at one quality: bits per pixel, PSNR in dB, and that of both JPEGs at these bytes (or none)."""

    picture: str
    quality: float
    bpp: float
    psnr: float
    jpeg_420: float | None
    jpeg_444: float | None


def at_equal_bytes(curve: Sequence[Point], bpp: float) -> float | None:
    """The PSNR of a codec at a rate, between its points by rising rate (PSNR over log rate), or none below them."""
    points = sorted(curve, key=lambda point: point.bpp)
    if bpp < points[0].bpp:
        return None
    return float(np.interp(np.log(bpp), np.log([p.bpp for p in points]), [p.psnr for p in points]))


def measure(codec: Codec, names: Sequence[str], qualities: Sequence[float]) -> list[Comparison]:
    """Code the named pictures at every quality."""
    found = []
    for name in tqdm(names, unit="picture", file=sys.stderr):
        rgb = PICTURES[name]()
        curves = [
            [pillow_point("JPEG", name, rgb, q, optimize=True, subsampling=chroma) for q in JPEG_QUALITIES]
            for chroma in SUBSAMPLINGS
        ]
        for quality in qualities:
            stream = codec.encode(rgb, quality)
            bpp = 8 * len(stream) / rgb[..., 0].size
            jpegs = [at_equal_bytes(curve, bpp) for curve in curves]
            found.append(Comparison(name, quality, bpp, psnr(rgb, codec.decode(stream)), *jpegs))
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=list(PICTURES), metavar="NAME")
    parser.add_argument("--save", type=Path, help="folder to write the pictures to, as PNG")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        for name in args.pictures:
            Image.fromarray(PICTURES[name]()).save(
                args.save / f"{name.replace(', ', '-').replace(' ', '-')}.png"
            )
    found = measure(Codec(args.model), args.pictures, args.qualities)
    if args.json:
        print(dump(found))
        return

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    print(
        table(
            ["picture", "quality", "bpp", "rdc dB", "JPEG 4:2:0 dB", "JPEG 4:4:4 dB"],
            [
                (c.picture, f"{c.quality:g}", c.bpp, shown(c.psnr), shown(c.jpeg_420), shown(c.jpeg_444))
                for c in found
            ],
        )
    )


if __name__ == "__main__":
    main()
