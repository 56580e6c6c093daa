"""Measures what it costs to run networks over windows of a picture: bytes and quality by the margin, time and memory.

    python -m benchmarks.windows --data DIR [--limit N]
    python -m benchmarks.windows --sizes 3840x2160 6000x4000 11648x8736

With --data, photos (their middle 1024x1024) are coded in windows whose cores have 512x512 pixels, and compared with
the same photo coded as one piece: bytes, PSNR, PSNR along the borders of windows (32 pixels either side), and the
largest difference of a sample when one stream is decoded both ways. With --sizes, a photo of each size is encoded and
decoded in processes of their own, in windows and, up to --whole megapixels, as one piece: seconds, and the peak of
memory above what a process had with the picture in its hands.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import photos, psnr, table
from benchmarks.sizing import MEGA, photo
from rdc_codec import Codec, windows

SIDE, BORDER = 1024, 32
CORE = 8  # strides: 512 pixels
MARGINS = (0, 1, 2, 3, 4)
QUALITIES = (20, 80)
ONE_PIECE = 1 << 30
PARTS: dict[str, dict[str, Any]] = {
    "decode": {},
    "region 512x512": {"region": (0, 0, 512, 512)},
    "scale 1/8": {"scale": 1 / 8},
}


@contextlib.contextmanager
def windows_of(margin: int | None, limit: int) -> Iterator[None]:
    """Have other windows for a while."""
    names = ("ENCODE_LIMIT", "DECODE_LIMIT", "ENCODE_MARGIN", "DECODE_MARGIN")
    kept = {name: getattr(windows, name) for name in names}
    try:
        for name in names:
            value = limit if name.endswith("LIMIT") else margin
            if value is not None:
                setattr(windows, name, value)
        yield
    finally:
        for name, value in kept.items():
            setattr(windows, name, value)


def margins(codec: Codec, pictures: list[np.ndarray]) -> list[list[Any]]:
    """Return a row for each quality and margin: means over the pictures, and worst cases."""
    edge = slice(SIDE // 2 - BORDER, SIDE // 2 + BORDER)
    rows = []
    for quality in QUALITIES:
        with windows_of(None, ONE_PIECE):
            whole = [codec.encode(rgb, quality) for rgb in pictures]
            restored = [codec.decode(stream) for stream in whole]
        for margin in MARGINS:
            changes, losses, border, differences = [], [], [], []
            for rgb, stream, picture in zip(pictures, whole, restored, strict=True):
                with windows_of(margin, (CORE + margin) ** 2):  # two by two windows: a margin at one end each
                    other = codec.encode(rgb, quality)
                    found = codec.decode(stream)
                with windows_of(None, ONE_PIECE):
                    read = codec.decode(other)
                changes.append(100 * (len(other) / len(stream) - 1))
                losses.append(psnr(rgb, picture) - psnr(rgb, read))
                border.append(psnr(rgb[edge], picture[edge]) - psnr(rgb[edge], read[edge]))
                differences.append(int(np.abs(found.astype(int) - picture).max()))
            rows.append(
                [
                    quality,
                    64 * margin,
                    f"{np.mean(changes):+.2f} %",
                    f"{np.mean(losses):.3f}",
                    f"{np.max(border):.3f}",
                    max(differences),
                ]
            )
    return rows


def memory(field: str) -> float:
    """Return a field of this process's status in MB: VmRSS, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(field)).split()[1]) * 1024 / MEGA


def work(task: dict[str, Any]) -> dict[str, float]:
    """Encode or decode one picture: what a process of its own does."""
    codec = Codec(backend="onnxruntime")
    codec.max_pixels = ONE_PIECE
    width, height = task["size"]
    picture = photo(width, height)
    codec.decode(codec.encode(picture[:128, :128]))
    with windows_of(None, ONE_PIECE if task["whole"] else windows.ENCODE_LIMIT):
        stream = Path(task["stream"]).read_bytes() if task["what"] != "encode" else b""
        options = dict(PARTS.get(task["what"], {}))
        if task["what"] == "decode":
            options["out"] = picture
        elif task["what"] != "encode":
            del picture
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        before, start = memory("VmRSS"), time.perf_counter()
        if task["what"] == "encode":
            stream = codec.encode(picture)
        else:
            codec.decode(stream, **options)
        seconds, peak = time.perf_counter() - start, memory("VmHWM")
    if task["what"] == "encode":
        Path(task["stream"]).write_bytes(stream)
    return {"seconds": seconds, "MB": peak - before, "bytes": len(stream)}


def sizes(wanted: list[tuple[int, int]], whole: float) -> list[list[Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in wanted:
            megapixels = size[0] * size[1] / MEGA
            for one_piece in (False, True)[: 2 if megapixels <= whole else 1]:
                for what in ("encode", *PARTS):
                    task = {"size": size, "what": what, "whole": one_piece, "stream": f"{folder}/stream"}
                    command = [sys.executable, "-m", "benchmarks.windows", "--task", json.dumps(task)]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    found = json.loads(done.stdout)
                    way = "one piece" if one_piece else "windows"
                    row = [f"{size[0]}x{size[1]}", way, what, f"{found['seconds']:.1f}", f"{found['MB']:.0f}"]
                    rows.append([*row, found["bytes"]])
                    print(row, file=sys.stderr)
    return rows


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of photos of at least 1024x1024")
    parser.add_argument("--limit", type=int, default=8, help="photos")
    parser.add_argument("--sizes", type=_size, nargs="*", default=[], metavar="WxH")
    parser.add_argument("--whole", type=float, default=13, help="largest picture to code as one piece, in MP")
    parser.add_argument("--task", help=argparse.SUPPRESS)  # JSON: this is a process of its own
    args = parser.parse_args(argv)
    if args.task:
        print(json.dumps(work(json.loads(args.task))))
        return
    if args.data:
        large = (rgb for _, rgb in photos(args.data) if min(rgb.shape[:2]) >= SIDE)
        cut = [_middle(rgb) for rgb, _ in zip(large, range(args.limit), strict=False)]
        header = ["quality", "margin", "bytes", "PSNR lost, dB", "at borders, worst", "largest difference"]
        print(table(header, margins(Codec(backend="onnxruntime"), cut)))
    if args.sizes:
        header = ["picture", "networks see", "what", "s", "MB above the picture", "bytes"]
        print(table(header, sizes(args.sizes, args.whole)))


def _middle(rgb: np.ndarray) -> np.ndarray:
    top, left = ((side - SIDE) // 2 for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + SIDE, left : left + SIDE])


if __name__ == "__main__":
    main()
