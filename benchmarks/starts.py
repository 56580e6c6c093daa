"""Measures how long a fresh process takes to its first picture, by every backend on a CPU that works here.

python -m benchmarks.starts [--size 512x768] [--rounds N] [--json]

`made` is a codec, `encoded` the first picture after that, `decoded` the first stream after that, each with the loading
of its graph, in seconds; medians over processes. OpenVINO is started without a folder for what it compiled, with an
empty one, and with one that an earlier process has filled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.common import table
from export.to_engine import parse_size

CODE = """
import json, sys, time
import numpy as np
backend, folder, height, width = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), int(sys.argv[4])
start = time.perf_counter()
from rdc_codec import Codec
codec = Codec(backend=backend, cache_dir=folder)
times = [time.perf_counter() - start]
ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] // np.array([2, 3, 5])
picture = (ramp % 256).astype(np.uint8)
for work in (lambda: codec.encode(picture), lambda: codec.decode(stream)):
    start = time.perf_counter()
    stream = work()
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""


class Row(NamedTuple):
    """Says how a backend starts, in seconds."""

    backend: str
    cache: str
    made: float
    encoded: float
    decoded: float


def start(backend: str, folder: Path | None, height: int, width: int) -> list[float]:
    """Return the times of one process."""
    arguments = [backend, str(folder or ""), str(height), str(width)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return [float(t) for t in json.loads(done.stdout)]


def measure(height: int, width: int, rounds: int) -> list[Row]:
    """Start each backend so many times, in turns. Raises subprocess.CalledProcessError where one does not work."""
    ways = [("onnxruntime", "none"), ("openvino", "none"), ("openvino", "empty"), ("openvino", "filled")]
    found: dict[tuple[str, str], list[list[float]]] = {way: [] for way in ways}
    for _ in tqdm(range(rounds), unit="round", file=sys.stderr):
        with tempfile.TemporaryDirectory() as name:
            for backend, cache in ways:  # what one fills, the next one finds filled
                folder = None if cache == "none" else Path(name) / "cache"
                found[backend, cache].append(start(backend, folder, height, width))
    rows = []
    for (backend, cache), times in found.items():
        made, encoded, decoded = (statistics.median(stage) for stage in zip(*times, strict=True))
        rows.append(Row(backend, cache, made, encoded, decoded))
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(512, 768), metavar="HxW")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    height, width = args.size
    rows = measure(height, width, args.rounds)
    if args.json:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        print(table(list(Row._fields), [[*row[:2], *(round(v, 2) for v in row[2:])] for row in rows]))


if __name__ == "__main__":
    main()
