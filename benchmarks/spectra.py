"""Draws a picture like the paper's second figure: original, x1, x2, |x1 - x2|, and the spectrum of each.

python -m benchmarks.spectra PHOTO -o FILE.png [--quality 50] [--model BUNDLE]
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from benchmarks.common import psnr
from rdc_codec import Codec


def spectrum(rgb: np.ndarray) -> np.ndarray:
    """Return the log magnitude of the Fourier transform of the luma, zero frequency in the middle."""
    luma = rgb.astype(float) @ (0.299, 0.587, 0.114)
    window = np.outer(np.hanning(luma.shape[0]), np.hanning(luma.shape[1]))  # no cross from the borders
    return np.log1p(np.abs(np.fft.fftshift(np.fft.fft2((luma - luma.mean()) * window))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("-o", "--output", required=True, help="PNG to write")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    args = parser.parse_args(argv)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    codec = Codec(args.model)
    original = np.asarray(Image.open(args.photo).convert("RGB"))
    stream = codec.encode(original, args.quality)
    base = codec.info(stream)["chunks"][0]
    x1, x2 = codec.decode(stream, beta=1), codec.decode(stream, beta=0)
    difference = np.abs(x1.astype(int) - x2).astype(np.uint8)
    area = original[..., 0].size / 8
    columns = [
        ("original", original, original),
        (f"x1, {(base['offset'] + base['length']) / area:.3f} bpp, {psnr(original, x1):.2f} dB", x1, x1),
        (f"x2, {len(stream) / area:.3f} bpp, {psnr(original, x2):.2f} dB", x2, x2),
        ("|x1 - x2|, four times", np.minimum(4 * difference.astype(int), 255).astype(np.uint8), difference),
    ]
    figure, axes = plt.subplots(2, len(columns), figsize=(4 * len(columns), 6))
    top = spectrum(original).max()
    for (title, picture, source), (above, below) in zip(columns, axes.T, strict=True):
        above.imshow(picture)
        above.set_title(title, fontsize=10)
        below.imshow(spectrum(source), cmap="magma", vmin=0, vmax=top)
        for axis in (above, below):
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()
