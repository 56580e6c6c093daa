"""Sends a real photograph through the installed codec and back: `make demo`.

Writes the pictures and one labelled overview to the output folder and prints what each cost. Run as a
script (not with -m), so that `runtime` is the installed wheel and not the folder of the clone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rdc_codec import Codec

Pixels = NDArray[np.uint8]
T = TypeVar("T")

QUALITIES = (20, 50, 80)
BETAS = (1.0, 0.5, 0.0)
REPEATS = 3
CAPTION = 26
MUST_NOT_LOAD = {"torch", "onnx"}


def psnr(a: Pixels, b: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two uint8 pictures in dB."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / error))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result, and the median time in ms after one call to warm up."""
    result = work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return result, 1000 * median(times)


def overview(rows: list[list[tuple[str, Pixels]]]) -> Image.Image:
    """Put pictures of one size in rows, each under its caption."""
    height, width = rows[0][0][1].shape[:2]
    sheet = Image.new("RGB", (width * len(rows[0]), (height + CAPTION) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for y, row in enumerate(rows):
        for x, (caption, pixels) in enumerate(row):
            corner = (x * width, y * (height + CAPTION))
            draw.text((corner[0] + 6, corner[1] + 3), caption, fill="black", font=font)
            sheet.paste(Image.fromarray(pixels), (corner[0], corner[1] + CAPTION))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_out"), help="folder for the pictures")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    photo: Pixels = skimage.data.coffee()
    height, width = photo.shape[:2]
    Image.fromarray(photo).save(output / "original.png")
    codec = Codec()

    print(f"photo: skimage.data.coffee, {width}x{height}; times are medians of {REPEATS}")
    columns = "".join(f"{f'PSNR b={beta:g}':>12}" for beta in BETAS)
    print(f"{'quality':>7}{'bytes':>9}{'bpp':>8}{columns}{'encode ms':>12}{'decode ms':>12}")
    rows = []
    for quality in QUALITIES:
        data, encode_ms = timed(partial(codec.encode, photo, quality=quality))
        (output / f"q{quality}.rdc").write_bytes(data)
        bpp = 8 * len(data) / (width * height)
        row = [("original", photo)]
        for beta in BETAS:
            picture, decode_ms = timed(partial(codec.decode, data, beta=beta))
            Image.fromarray(picture).save(output / f"q{quality}_beta{beta:g}.png")
            quality_db = psnr(photo, picture)
            row.append((f"quality {quality}  {bpp:.3f} bpp  beta {beta:g}  {quality_db:.2f} dB", picture))
        rows.append(row)
        figures = "".join(f"{psnr(photo, picture):>12.2f}" for _, picture in row[1:])
        print(f"{quality:>7}{len(data):>9}{bpp:>8.3f}{figures}{encode_ms:>12.1f}{decode_ms:>12.1f}")
    overview(rows).save(output / "side_by_side.png")

    if loaded := MUST_NOT_LOAD & set(sys.modules):
        sys.exit(f"the light runtime loaded {', '.join(sorted(loaded))}")
    print(f"pictures: {output / 'side_by_side.png'} and beside it; neither torch nor onnx was loaded")


if __name__ == "__main__":
    main()
