"""Measures how fast the codec is and how much memory it takes, by the size of a picture.

python -m benchmarks.sizing [--model BUNDLE] [--quality Q] [--rounds N] [--threads N]

Every figure comes from a process of its own, which makes a codec and does one thing: encode or decode one picture,
with both branches or with the base alone. Pillow's AVIF at quality 60 and its default speed stands beside them. MP/s
are the megapixels of the picture over the least time of all rounds. MB per MP are the peak of that process less the
peak of one that has coded a picture of 64x64 in the same way (idle), over the megapixels. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import table
from rdc_codec import Codec
from rdc_codec.codec import Layers

# 0.4, 2 and 6 megapixels: width, height
SIZES = ((768, 512), (1920, 1080), (3000, 2000))
IDLE = (64, 64)
MEGA = 1e6
WAYS = {"all": "both branches", "base": "base only", "avif": "AVIF (Pillow)"}
AVIF_QUALITY = 60


def photo(width: int, height: int) -> np.ndarray:
    """Return uint8 [height, width, 3]: scikit-image's photo of a cup, scaled to cover the size and cropped."""
    from skimage import data

    rgb = data.coffee()
    factor = max(width / rgb.shape[1], height / rgb.shape[0])
    scaled = Image.fromarray(rgb).resize(
        (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)), Image.Resampling.LANCZOS
    )
    return np.asarray(scaled)[:height, :width].copy()


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure starts from the parent's memory where Linux forks
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / MEGA
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / MEGA


def _avif(task: dict[str, Any]) -> Callable[[], Any]:
    """Encode or decode with Pillow's AVIF."""

    def encode() -> None:
        Image.fromarray(picture).save(io.BytesIO(), "AVIF", quality=AVIF_QUALITY)

    def decode() -> None:
        np.asarray(Image.open(io.BytesIO(stream)))

    if task["what"] == "decode":
        stream = Path(task["input"]).read_bytes()
        return decode
    picture = np.load(task["input"])
    return encode


def _rdc(task: dict[str, Any]) -> Callable[[], Any]:
    """Encode or decode with this codec."""
    codec = Codec(task["model"], backend="onnxruntime", threads=task["threads"])
    if task["what"] == "decode":
        stream = Path(task["input"]).read_bytes()
        return lambda: codec.decode(stream)
    picture = np.load(task["input"])
    return lambda: codec.encode(picture, task["quality"], task["way"])


def work(task: dict[str, Any]) -> dict[str, float]:
    """Code one picture or stream again and again; this is what a process of its own does."""
    once = _avif(task) if task["way"] == "avif" else _rdc(task)
    once()
    times = []
    for _ in range(task["rounds"]):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return {"seconds": min(times), "peak": peak()}


def in_own_process(task: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sizing", "--task", json.dumps(task)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(
    common: dict[str, Any], width: int, height: int, folder: Path
) -> dict[str, list[dict[str, float]]]:
    """Return, by the way, what encoding and decoding a picture of one size took."""
    picture = photo(width, height)
    source = folder / f"{width}x{height}.npy"
    np.save(source, picture)
    codec = Codec(common["model"], backend="onnxruntime", threads=common["threads"])
    found = {}
    for way in WAYS:
        stream = folder / f"{width}x{height}.{way}"
        if way == "avif":
            Image.fromarray(picture).save(stream, "AVIF", quality=AVIF_QUALITY)
        else:
            layers: Layers = "base" if way == "base" else "all"
            stream.write_bytes(codec.encode(picture, common["quality"], layers))
        tasks = [{"what": "encode", "input": str(source)}, {"what": "decode", "input": str(stream)}]
        found[way] = [in_own_process({**common, **task, "way": way}) for task in tasks]
        for what in found[way]:
            what["bytes"] = stream.stat().st_size
    return found


def rows(common: dict[str, Any], sizes: tuple[tuple[int, int], ...]) -> list[list[Any]]:
    """Return the table, with a row for each size and way."""
    result = []
    with tempfile.TemporaryDirectory() as name:
        idle = measure({**common, "rounds": 1}, *IDLE, Path(name))
        for width, height in sizes:
            megapixels = width * height / MEGA
            for way, both in measure(common, width, height, Path(name)).items():
                figures = [f"{megapixels / x['seconds']:.2f}" for x in both]
                figures += [
                    f"{(x['peak'] - y['peak']) / megapixels:.0f}"
                    for x, y in zip(both, idle[way], strict=True)
                ]
                peaks = [f"{x['peak']:.0f}" for x in (*both, *idle[way])]
                bits = f"{8 * both[0]['bytes'] / MEGA / megapixels:.2f}"
                result.append([f"{width}x{height}", WAYS[way], bits, *figures, *peaks])
    return result


HEADERS = [
    "picture", "what", "bpp", "encode MP/s", "decode MP/s", "encode MB/MP", "decode MB/MP",
    "encode peak MB", "decode peak MB", "encode idle MB", "decode idle MB",
]  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="(default: all cores)")
    parser.add_argument("--task", help=argparse.SUPPRESS)  # JSON: this is a process of its own
    args = parser.parse_args(argv)
    if args.task:
        print(json.dumps(work(json.loads(args.task))))
        return
    common = {"model": args.model, "quality": args.quality, "rounds": args.rounds, "threads": args.threads}
    print(f"{platform.machine()}, quality {args.quality:g}, fastest of {args.rounds}")
    print(table(HEADERS, rows(common, SIZES)))


if __name__ == "__main__":
    main()
