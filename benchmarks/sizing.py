"""How fast the codec is and how much memory it takes, by the size of a picture.

python -m benchmarks.sizing [--model BUNDLE] [--quality Q] [--rounds N] [--threads N]

Every figure comes from a process of its own, which makes a codec and does one thing: encode or decode one picture,
with both branches or with the base alone. MP/s are the megapixels of the picture over the median time. MB per MP are
the peak of that process less the peak of one that has coded a picture of 64x64 in the same way (idle), over the
megapixels. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import table

# 0.4, 2 and 6 megapixels: width, height
SIZES = ((768, 512), (1920, 1080), (3000, 2000))
IDLE = (64, 64)
MEGA = 1e6


def photo(width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]: scikit-image's photo of a cup, scaled to cover the size and cropped."""
    from PIL import Image
    from skimage import data

    rgb = data.coffee()
    factor = max(width / rgb.shape[1], height / rgb.shape[0])
    scaled = Image.fromarray(rgb).resize(
        (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)), Image.Resampling.LANCZOS
    )
    return np.asarray(scaled)[:height, :width].copy()


def peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure starts from the parent's memory where Linux forks
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / MEGA
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / MEGA


def work(task: dict[str, Any]) -> dict[str, float]:
    """What a process of its own does: code one picture or stream, again and again."""
    from rdc_codec import Codec

    codec = Codec(task["model"], backend="onnxruntime", threads=task["threads"])
    picture = np.load(task["input"]) if task["what"] == "encode" else None
    stream = Path(task["input"]).read_bytes() if picture is None else b""

    def once() -> None:
        if picture is None:
            codec.decode(stream)
        else:
            codec.encode(picture, task["quality"], task["layers"])

    once()
    times = []
    for _ in range(task["rounds"]):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "peak": peak()}


def in_own_process(task: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sizing", "--task", json.dumps(task)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(common: dict[str, Any], width: int, height: int, folder: Path) -> dict[tuple[str, str], Any]:
    """(branch, "encode" or "decode") -> seconds and peak, for pictures of one size."""
    from rdc_codec import Codec

    picture = photo(width, height)
    source = folder / f"{width}x{height}.npy"
    np.save(source, picture)
    codec = Codec(common["model"], backend="onnxruntime", threads=common["threads"])
    found = {}
    for layers in ("all", "base"):
        stream = folder / f"{width}x{height}-{layers}.rdc"
        stream.write_bytes(codec.encode(picture, common["quality"], layers))
        for what, file in (("encode", source), ("decode", stream)):
            task = common | {"what": what, "layers": layers, "input": str(file)}
            found[layers, what] = in_own_process(task)
    return found


def rows(common: dict[str, Any], sizes: tuple[tuple[int, int], ...]) -> list[list[Any]]:
    """The table: two rows for each size."""
    with tempfile.TemporaryDirectory() as name:
        idle = measure(common | {"rounds": 1}, *IDLE, Path(name))
        result = []
        for width, height in sizes:
            found = measure(common, width, height, Path(name))
            megapixels = width * height / MEGA
            for layers in ("all", "base"):
                both = [found[layers, what] for what in ("encode", "decode")]
                empty = [idle[layers, what] for what in ("encode", "decode")]
                result.append(
                    [f"{width}x{height}", "both" if layers == "all" else "base"]
                    + [f"{megapixels / x['seconds']:.1f}" for x in both]
                    + [f"{(x['peak'] - y['peak']) / megapixels:.0f}" for x, y in zip(both, empty, strict=True)]
                    + [f"{x['peak']:.0f}" for x in both]
                    + [f"{y['peak']:.0f}" for y in empty]
                )
        return result


HEADERS = [
    "picture", "branches", "encode MP/s", "decode MP/s", "encode MB/MP", "decode MB/MP",
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
    print(f"{platform.machine()}, quality {args.quality:g}, medians of {args.rounds}")
    print(table(HEADERS, rows(common, SIZES)))


if __name__ == "__main__":
    main()
