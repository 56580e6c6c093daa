"""A surface to draw on as browsers and desktops do: smooth text, smooth edges, soft shadows, gradients."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.drawings.typography import Font

Colour = tuple[int, int, int]
SMOOTHINGS = ("grey", "subpixel", "none")


def hue(
    random: np.random.Generator,
    saturation: tuple[float, float],
    value: tuple[float, float],
    angle: tuple[float, float] = (0, 1),
) -> Colour:
    """A colour whose saturation, value and hue (all from 0 to 1, red at hue 0) lie within the given ranges."""
    parts = colorsys.hsv_to_rgb(random.uniform(*angle), random.uniform(*saturation), random.uniform(*value))
    return int(255 * parts[0]), int(255 * parts[1]), int(255 * parts[2])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour between a (share 0) and b (share 1)."""
    mixed = [round(x + share * (y - x)) for x, y in zip(a, b, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def luminance(colour: Colour) -> float:
    """Brightness from 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def readable(colour: Colour) -> Colour:
    """Near black or near white, whichever reads better on the colour."""
    return (24, 24, 27) if luminance(colour) > 140 else (248, 248, 250)


def gradient(
    random: np.random.Generator, height: int, width: int, colours: Sequence[Colour], shape: str | None = None
) -> np.ndarray:
    """Smooth colours, uint8 [H, W, 3]: linear at an angle, radial, or bilinear between four corners."""
    shape = shape or ("linear", "radial", "corners")[random.integers(3)]
    y, x = np.mgrid[:height, :width] / max(height, width)
    stops = np.array(colours, float)
    if shape == "corners":
        corners = stops[random.integers(len(stops), size=4)]
        u, v = (x / x.max())[..., None], (y / y.max())[..., None]
        blended = (1 - v) * ((1 - u) * corners[0] + u * corners[1]) + v * (
            (1 - u) * corners[2] + u * corners[3]
        )
    else:
        if shape == "radial":
            position = np.hypot(y - random.random() * y.max(), x - random.random() * x.max())
        else:
            angle = random.choice([0, np.pi / 2, random.uniform(0, 2 * np.pi)])
            position = np.cos(angle) * x + np.sin(angle) * y
        position = (position - position.min()) / np.ptp(position)
        places = np.linspace(0, 1, len(stops))
        blended = np.stack([np.interp(position, places, stops[:, k]) for k in range(3)], -1)
    return np.round(blended).astype(np.uint8)


def clouds(random: np.random.Generator, height: int, width: int, roughness: float = 0.5) -> np.ndarray:
    """Fractal noise from 0 to 1, float [H, W]."""
    total = np.zeros((height, width))
    for octave in range(7):
        cells = 2 ** (octave + 1)
        coarse = Image.fromarray(random.random((cells + 1, cells + 1)).astype(np.float32))
        total += roughness**octave * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return (total - total.min()) / np.ptp(total)


class Canvas:
    """A picture that is being drawn, with one way of smoothing text.

    `smoothing` is "grey" (browsers, phones), "subpixel" (desktop LCDs) or "none" (old terminals).
    Positions are (x, y) in pixels; boxes are (left, top, right, bottom), and empty ones draw nothing.
    """

    def __init__(self, height: int, width: int, background: Colour, smoothing: str = "grey") -> None:
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing must be one of {', '.join(SMOOTHINGS)}, not {smoothing!r}")
        self.image = Image.new("RGB", (width, height), background)
        self.pen = ImageDraw.Draw(self.image)
        self.pen.fontmode = "1" if smoothing == "none" else "L"
        self.smoothing = smoothing
        self.height, self.width = height, width

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3], a copy."""
        return np.array(self.image)

    def text(
        self, position: tuple[float, float], text: str, font: Font, colour: Colour, anchor: str = "la"
    ) -> None:
        """Draw one line; `anchor` is Pillow's, two letters."""
        at = round(position[0]), round(position[1])
        if not text.strip() or at[1] > self.height + 2 * font.size or at[1] < -3 * font.size:
            return
        if self.smoothing == "subpixel" and font.size <= 40:
            self._subpixel(at, text, font, colour, anchor)
        else:
            self.pen.text(at, text, colour, font.face, anchor)

    def _subpixel(self, at: tuple[int, int], text: str, font: Font, colour: Colour, anchor: str) -> None:
        """Cover each of the three stripes of a pixel by itself, through the filter that FreeType has for LCDs."""
        large = font.sized(3 * font.size)
        left, top, right, bottom = (int(v) for v in large.face.getbbox(text, anchor=anchor))
        left, top = 3 * (left // 3 - 1), 3 * (top // 3 - 1)
        columns, rows = -(-(right - left) // 3) + 1, -(-(bottom - top) // 3) + 1
        mask = Image.new("L", (3 * columns, 3 * rows))
        ImageDraw.Draw(mask).text((-left, -top), text, 255, large.face, anchor)
        fine = np.asarray(mask.reduce((1, 3)), np.float32)
        padded = np.pad(fine, ((0, 0), (2, 2)))
        taps = np.array([8, 77, 86, 77, 8], np.float32) / 256
        cover = sum(tap * padded[:, k : k + fine.shape[1]] for k, tap in enumerate(taps))
        cover = np.asarray(cover).reshape(rows, columns, 3) / 255
        x, y = at[0] + left // 3, at[1] + top // 3
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + columns, self.width), min(y + rows, self.height)
        if x1 <= x0 or y1 <= y0:
            return
        cover = cover[y0 - y : y1 - y, x0 - x : x1 - x]
        below = np.asarray(self.image.crop((x0, y0, x1, y1)), np.float32)
        drawn = below + cover * (np.array(colour, np.float32) - below)
        self.image.paste(Image.fromarray(np.round(drawn).astype(np.uint8)), (x0, y0))

    def box(
        self,
        box: tuple[float, float, float, float],
        fill: Colour | None,
        outline: Colour | None = None,
        width: int = 1,
    ) -> None:
        """Fill and outline a rectangle on whole pixels; right and bottom are outside it."""
        left, top, right, bottom = (round(v) for v in box)
        if right > left and bottom > top:
            self.pen.rectangle((left, top, right - 1, bottom - 1), fill, outline, width)

    def panel(
        self,
        box: tuple[float, float, float, float],
        fill: Colour,
        radius: float = 0,
        outline: Colour | None = None,
        shadow: float = 0,
    ) -> None:
        """A box with smooth round corners and, where `shadow` is above 0, a soft shadow of that many pixels."""
        left, top, right, bottom = (round(v) for v in box)
        if right - left < 2 or bottom - top < 2:
            return
        if shadow:
            spread = round(2 * shadow)
            dark = Image.new("L", (right - left + 2 * spread, bottom - top + 2 * spread))
            inner = (spread, spread, spread + right - left, spread + bottom - top)
            ImageDraw.Draw(dark).rounded_rectangle(inner, radius, 90)
            dark = dark.filter(ImageFilter.BoxBlur(shadow / 2)).filter(ImageFilter.BoxBlur(shadow / 2))
            self.image.paste((0, 0, 0), (left - spread, top - spread + round(shadow / 2)), dark)
        if radius < 1:
            self.box(box, fill, outline)
            return
        size = right - left, bottom - top
        radius = min(radius, min(size) / 2)
        for colour, inset in ((outline, 0), (fill, 1 if outline else 0)):
            if colour is not None:
                mask = Image.new("L", (4 * size[0], 4 * size[1]))
                inner = (4 * inset, 4 * inset, 4 * (size[0] - inset) - 1, 4 * (size[1] - inset) - 1)
                ImageDraw.Draw(mask).rounded_rectangle(inner, 4 * (radius - inset), 255)
                self.image.paste(colour, (left, top), mask.reduce(4))

    def line(self, ends: Sequence[tuple[float, float]], colour: Colour, width: int = 1) -> None:
        self.pen.line([(round(x), round(y)) for x, y in ends], colour, width)

    def paste(self, pixels: np.ndarray, position: tuple[float, float]) -> None:
        """Put a uint8 [H, W, 3] picture down, its upper left corner at the position."""
        self.image.paste(Image.fromarray(pixels), (round(position[0]), round(position[1])))


class Shapes:
    """Shapes with smooth edges: drawn at `scale` times the size, then averaged down."""

    def __init__(self, pixels: np.ndarray, scale: int = 3) -> None:
        large = np.repeat(np.repeat(pixels, scale, 0), scale, 1)
        self.image = Image.fromarray(large)
        self.pen = ImageDraw.Draw(self.image)
        self.scale = scale

    def polygon(
        self,
        points: Sequence[tuple[float, float]],
        fill: Colour | None,
        line: Colour | None = None,
        width: float = 0,
    ) -> None:
        """Fill a polygon and draw its outline, whose corners are round."""
        at = [(self.scale * x, self.scale * y) for x, y in points]
        if fill is not None:
            self.pen.polygon(at, fill)
        if line is not None and width:
            self.stroke([*points, points[0], points[1]], line, width)

    def ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        fill: Colour | None,
        line: Colour | None = None,
        width: float = 0,
    ) -> None:
        (x, y), (rx, ry), k = centre, radii, self.scale
        outline = line if width else None
        self.pen.ellipse(
            (k * (x - rx), k * (y - ry), k * (x + rx), k * (y + ry)), fill, outline, max(1, round(k * width))
        )

    def stroke(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """Draw a line with round joints and ends."""
        at = [(self.scale * x, self.scale * y) for x, y in points]
        thick = max(1, round(self.scale * width))
        self.pen.line(at, colour, thick, joint="curve")
        if thick > 3:
            for x, y in (at[0], at[-1]):
                half = thick / 2
                self.pen.ellipse((x - half, y - half, x + half, y + half), colour)

    def canvas(self, smoothing: str = "grey") -> Canvas:
        """The picture at its own size, to go on drawing on."""
        small = self.image.reduce(self.scale)
        finished = Canvas(small.height, small.width, (0, 0, 0), smoothing)
        finished.image.paste(small)
        return finished
