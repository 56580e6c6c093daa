"""Measures `rdc corpus encode` on this machine beside a loop, and what happens when a worker is killed.

python -m benchmarks.corpus --data DIR [--count 2000] [--side 128 ...] [--workers 1 2] [--rounds 1] [--model BUNDLE]

Squares are cut out of the photos and stored as PNG files, so many of the first side; of another side as many as have
the same pixels. The loop does in one process, with one thread, what a worker does: read, encode, write. It is run
before and after the jobs, in each round; figures are means. `whole` has Ray's start and end in it, `steady` goes from
the first pieces done to the last. Core-seconds are those of all processes, and of the workers in steady work alone;
these hardly depend on what else the machine does. Overhead is what one worker takes more time than the loop.
Then, with two workers and squares of the first side: one worker killed in the middle, a second run that has nothing
to do, and a shard cut in half. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.common import table
from export.photos import SUFFIXES
from rdc_codec import Codec, picture_files
from rdc_codec.codec import MAX_PIXELS
from rdc_codec.corpus.job import Job
from rdc_codec.corpus.settings import Settings
from rdc_codec.pixels import Rules

WORKER = "ray::MapWorker"  # what Ray calls the processes of its actors
MEGA = 1e6


def squares(data: str, folder: Path, side: int, count: int) -> None:
    """Write so many squares, cut out of photos one after the other at places that follow from their numbers."""
    folder.mkdir(parents=True)
    wide: list[np.ndarray] = []
    for path in sorted(Path(data).rglob("*")):
        if path.suffix.lower() in SUFFIXES and len(wide) < count:
            with Image.open(path) as image:
                if min(image.size) >= side:
                    wide.append(np.asarray(image.convert("RGB")))
    if not wide:
        raise SystemExit(f"no photo under {data} has {side} pixels a side")
    for number in range(count):
        rgb = wide[number % len(wide)]
        rng = np.random.default_rng(number)
        y, x = (int(rng.integers(0, length - side + 1)) for length in rgb.shape[:2])
        Image.fromarray(rgb[y : y + side, x : x + side]).save(folder / f"{number:06d}.png")


def loop(source: Path, destination: Path, model: str | None) -> dict[str, float]:
    """Encode a folder as an application would in a loop; this is what a process of its own does."""
    codec = Codec(model, backend="onnxruntime", threads=1)
    destination.mkdir()
    begun, used = time.perf_counter(), time.process_time()
    for path in sorted(source.glob("*.png")):
        image = picture_files.load(io.BytesIO(path.read_bytes()), MAX_PIXELS, Rules())
        (destination / f"{path.stem}.rdc").write_bytes(codec.encode(image))
    return {"seconds": time.perf_counter() - begun, "core_seconds": time.process_time() - used}


def loop_in_own_process(source: Path, destination: Path, model: str | None) -> dict[str, float]:
    task = json.dumps({"source": str(source), "destination": str(destination), "model": model})
    command = [sys.executable, "-m", "benchmarks.corpus", "--data", "", "--task", task]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def core_seconds(of_workers: bool = False) -> float:
    """Return what this process and all that it started have used so far, as far as they are there, or its workers."""
    used = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            if not of_workers or (process.cmdline() or [""])[0].startswith(WORKER):
                used += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return used


def kill_one() -> None:
    """Kill a worker, as the system does where memory runs out."""
    for process in psutil.Process().children(recursive=True):
        if process.is_running() and (process.cmdline() or [""])[0].startswith(WORKER):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise SystemExit("there is no worker to kill")


def job(
    source: Path, destination: Path, model: str | None, workers: int, killing: bool = False
) -> dict[str, float]:
    """Run a job and return its seconds, those from the first outcome to the last, and the counts."""
    begun, used = time.perf_counter(), core_seconds()
    made = Job(Settings("encode", str(source), str(destination), model=model), workers)
    times: list[float] = []
    done: list[int] = []
    working: list[float] = []
    after = used
    for outcome in made.outcomes():
        times.append(time.perf_counter())
        done.append(outcome.done)
        after = core_seconds()
        working.append(core_seconds(of_workers=True))
        if killing and len(times) == 2:
            kill_one()
    seconds = time.perf_counter() - begun
    found: dict[str, float] = {name: made.tally.sums()[name] for name in ("encoded", "skipped", "bad")}
    found |= {"seconds": seconds, "core_seconds": after - used, "units": len(times)}
    if len(times) > workers:
        # The first of each worker came while others were starting.
        counted = sum(done[workers:])
        found["steady"] = counted / (times[-1] - times[workers - 1])
        found["core_seconds_each"] = (working[-1] - working[workers - 1]) / counted
    return found


def mean(found: list[dict[str, float]], name: str) -> float:
    return sum(x[name] for x in found) / len(found)


def throughput(args: argparse.Namespace, folder: Path) -> list[list[Any]]:
    """Return a row for each side and way: pictures a second and core-seconds a megapixel."""
    rows: list[list[Any]] = []
    for side in args.side:
        count = max(1, round(args.count * (args.side[0] / side) ** 2))
        megapixels = count * side * side / MEGA
        source = folder / f"photos{side}"
        squares(args.data, source, side, count)
        loops: list[dict[str, float]] = []
        jobs: dict[int, list[dict[str, float]]] = {workers: [] for workers in args.workers}
        for turn in range(args.rounds):
            loops.append(loop_in_own_process(source, folder / f"loop{side}-{turn}-before", args.model))
            for workers in args.workers:
                jobs[workers].append(job(source, folder / f"job{side}-{turn}-{workers}", args.model, workers))
            loops.append(loop_in_own_process(source, folder / f"loop{side}-{turn}-after", args.model))
        speed = count / mean(loops, "seconds")
        cores = mean(loops, "core_seconds") / megapixels
        rows.append([f"{side}x{side}", count, "loop", speed, speed, "", "", cores, cores])
        for workers, found in jobs.items():
            steady, whole = mean(found, "steady"), count / mean(found, "seconds")
            overhead = f"{100 * (speed / steady - 1):.0f} %" if workers == 1 else ""
            start = mean(found, "seconds") - count / steady
            cores = mean(found, "core_seconds") / megapixels
            of_workers = mean(found, "core_seconds_each") * count / megapixels
            way = f"{workers} workers"
            rows.append([f"{side}x{side}", count, way, whole, steady, overhead, start, cores, of_workers])
    return rows


def same_streams(one: Path, other: Path) -> bool:
    """Tell whether two folders have the same streams, none more and none less."""
    files = [sorted(folder.glob("*.rdc")) for folder in (one, other)]
    names = [[path.name for path in found] for found in files]
    return names[0] == names[1] and all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def cut_shard(source: Path, folder: Path) -> Path:
    """Write a shard of at most 200 of the pictures, and cut it in half."""
    shard = folder / "cut" / "shard.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        for path in sorted(source.glob("*.png"))[:200]:
            archive.add(path, path.name)
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    return shard.parent


HEADERS = ["picture", "pictures", "way", "whole/s", "steady/s", "overhead", "start s", "core-s/MP", "workers"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of photos")
    parser.add_argument("--count", type=int, default=2000, help="squares of the first side")
    parser.add_argument("--side", type=int, nargs="+", default=[128], help="pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--task", help=argparse.SUPPRESS)  # JSON: this is a process of its own
    args = parser.parse_args(argv)
    if args.task:
        task = json.loads(args.task)
        print(json.dumps(loop(Path(task["source"]), Path(task["destination"]), task["model"])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{args.rounds} rounds, whole and steady in pictures a second")
        print(table(HEADERS, throughput(args, folder)), flush=True)
        source = folder / f"photos{args.side[0]}"
        killed = job(source, folder / "killed", args.model, 2, killing=True)
        print(f"a worker killed: {json.dumps(killed)}")
        alike = same_streams(folder / "killed", folder / f"loop{args.side[0]}-0-before")
        print(f"the same streams as the loop's: {alike}")
        print(f"a second run: {json.dumps(job(source, folder / 'killed', args.model, 2))}")
        shards = cut_shard(source, folder)
        print(f"a shard cut in half: {json.dumps(job(shards, folder / 'cut-out', args.model, 2))}")
        print((folder / "cut-out" / ".rdc-corpus" / "report.jsonl").read_text(), end="")


if __name__ == "__main__":
    main()
