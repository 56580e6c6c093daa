"""Make the picture of the front page: `python examples/front_page.py -o docs/front_page.jpg`.

A photo of a cat that comes with scikit-image, its base stream and its full stream decoded, each under its bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rdc_codec import Codec

QUALITY = 35
CAPTION = 74  # two lines that can be read when the sheet is shown at half its size
GAP = 8
JPEG_QUALITY = 92  # of the sheet, not of what is shown


def panels(photo: NDArray[np.uint8], quality: float) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the three pictures and what stands above each."""
    codec = Codec()
    full = codec.encode(photo, quality)
    base = codec.encode(photo, quality, layers="base")
    pixels = photo.shape[0] * photo.shape[1]

    def caption(name: str, size: int) -> str:
        return f"{name}\n{size:,} bytes, {8 * size / pixels:.2f} bits/pixel"

    return [
        (caption("original pixels", photo.size), photo),
        (caption("base stream", len(base)), codec.decode(base, beta=1)),
        (caption("full stream", len(full)), codec.decode(full)),
    ]


def sheet(found: list[tuple[str, NDArray[np.uint8]]]) -> Image.Image:
    """Put pictures of one size beside each other, each under its caption."""
    height, width = found[0][1].shape[:2]
    image = Image.new("RGB", (len(found) * (width + GAP) - GAP, height + CAPTION), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=26)
    for k, (caption, pixels) in enumerate(found):
        left = k * (width + GAP)
        draw.text((left + 2, 4), caption, fill="black", font=font)
        image.paste(Image.fromarray(pixels), (left, CAPTION))
    return image


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/front_page.jpg"))
    parser.add_argument("-q", "--quality", type=float, default=QUALITY)
    args = parser.parse_args(argv)
    found = panels(skimage.data.chelsea(), args.quality)
    sheet(found).save(args.output, quality=JPEG_QUALITY, subsampling=0)
    print(*(caption.replace("\n", ": ") for caption, _ in found), sep="\n")


if __name__ == "__main__":
    main()
