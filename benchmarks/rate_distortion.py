"""Measures PSNR against real bytes: this codec (full stream, beta = 0; base stream) beside Pillow's codecs.

python -m benchmarks.rate_distortion --data DIR [--twin BUNDLE] [--plot curve.png] [--json]

`twin` is a single-branch bundle trained for MSE alone; against it stands the price of scalability.
"""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from benchmarks.common import (
    Point,
    add_options,
    bd_rate,
    dump,
    mean_curve,
    overlap,
    photos,
    pillow_point,
    psnr,
    table,
)
from rdc_codec import Codec

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
JPEG_QUALITIES = (5, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 85, 90, 95)
OTHER_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


def measure(codec: Codec, twin: Codec | None, data: str, limit: int | None, others: bool) -> list[Point]:
    points = []
    for name, rgb in tqdm(photos(data, limit), unit="photo", file=sys.stderr):
        area = rgb[..., 0].size
        for quality in QUALITIES:
            stream = codec.encode(rgb, quality)
            points.append(
                Point("rdc", name, quality, 8 * len(stream) / area, psnr(rgb, codec.decode(stream)))
            )
            base = codec.encode(rgb, base_quality=quality, layers="base")
            points.append(
                Point("rdc-base", name, quality, 8 * len(base) / area, psnr(rgb, codec.decode(base)))
            )
            if twin is not None:
                stream = twin.encode(rgb, quality)
                restored = twin.decode(stream)
                points.append(Point("twin", name, quality, 8 * len(stream) / area, psnr(rgb, restored)))
        for quality in JPEG_QUALITIES:
            points.append(pillow_point("JPEG", name, rgb, quality, optimize=True, subsampling="4:2:0"))
        if others:
            points += [pillow_point("WEBP", name, rgb, q, method=6) for q in OTHER_QUALITIES]
            points += [pillow_point("AVIF", name, rgb, q) for q in OTHER_QUALITIES]
    return points


def plot(points: list[Point], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5))
    for codec in dict.fromkeys(p.codec for p in points):
        axes.plot(*mean_curve(points, codec), marker="o", markersize=3, label=codec)
    axes.set(xlabel="bits per pixel (real bytes)", ylabel="PSNR, dB", xlim=(0, 2.5))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--twin", help="single-branch bundle trained for MSE alone")
    parser.add_argument("--plot", help="PNG to write")
    parser.add_argument(
        "--range", type=float, nargs=2, default=(0.3, 1.2), metavar=("LOW", "HIGH"), help="bpp of JPEG"
    )
    parser.add_argument("--no-others", action="store_true", help="leave WebP and AVIF out")
    args = parser.parse_args(argv)
    twin = Codec(args.twin) if args.twin else None
    points = measure(Codec(args.model), twin, args.data, args.limit, not args.no_others)
    if args.plot:
        plot(points, args.plot)
    if args.json:
        print(dump(points))
        return
    ours, codecs = mean_curve(points, "rdc"), dict.fromkeys(p.codec for p in points)
    qualities = {"jpeg": JPEG_QUALITIES, "webp": OTHER_QUALITIES, "avif": OTHER_QUALITIES}
    print(
        table(
            ["codec", "quality", "bpp", "PSNR dB"],
            [
                (codec, quality, float(bpp), float(db))
                for codec in sorted(codecs, key=("rdc", "rdc-base", "twin", *qualities).index)
                for quality, bpp, db in zip(
                    qualities.get(codec, QUALITIES), *mean_curve(points, codec), strict=True
                )
            ],
        )
    )
    for other, (low, high) in {"jpeg": args.range, "avif": (0.0, 4.0)}.items():
        if other not in codecs:
            continue
        anchor = mean_curve(points, other)
        print(
            f"\nbytes against {other.upper()} at equal PSNR, mean over {low}-{high} bpp of {other.upper()}:"
        )
        for codec in codecs:
            curve = mean_curve(points, codec)
            start, end = overlap(anchor, curve, low, high)
            change = bd_rate(anchor, curve, low, high)
            print(f"  {codec:10s} {change:+.1%}  (of it {start:.2f}-{end:.2f} compared)")
    if args.twin:
        single = mean_curve(points, "twin")
        low, high = single[0][0], single[0][-1]
        start, end = overlap(single, ours, low, high)
        price = bd_rate(single, ours, low, high)
        print(f"price of scalability, rdc against twin over {start:.2f}-{end:.2f} bpp of twin: {price:+.1%}")


if __name__ == "__main__":
    main()
