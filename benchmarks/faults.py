"""Kills commands at random moments with SIGKILL, and looks at what they leave: old files or new ones, never halves.

python -m benchmarks.faults [--kills 200] [--seed 0] [--tasks encode decode bundle corpus]

`rdc encode` and `rdc decode` do twelve pictures of which half are there already, `export.to_half` replaces a bundle,
and `rdc corpus encode` makes files and shards. Every one is run to its end once, which says how long it takes and when
it begins to write; then it is killed, half of the times anywhere in that time, half of the times after it began to
write. Of `rdc corpus`, the command alone is killed, or all its processes. Each output must then be the old one, the
new one or, where there was none, missing; nothing else may have a name that is not hidden. The command is then run
again, to its end, after which all outputs must be the new ones. The exit code is 1 where that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.common import table
from benchmarks.sizing import photo

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "data" / "tiny"
COUNT = 12
MODEL = ["--model", str(TINY), "--backend", "onnxruntime", "--quiet"]
RDC = [sys.executable, "-m", "rdc_codec"]
Outputs = dict[str, str]  # name: hash of what it holds


class Task(NamedTuple):
    """Says what is killed. shares: of 100 kills. outputs: what is there, by names that mean the same in every run."""

    name: str
    share: int
    command: Callable[[Path], list[str]]
    outputs: Callable[[Path], Outputs]
    old: Callable[[Path], None]
    group: bool = False


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def visible(folder: Path) -> Outputs:
    """Return the files of a folder that no reader passes over."""
    found = (p for p in folder.rglob("*") if p.is_file())
    names = ((p, p.relative_to(folder)) for p in found)
    return {
        name.as_posix(): sha256(path.read_bytes())
        for path, name in names
        if not any(part.startswith(".") for part in name.parts)
    }


def hidden(folder: Path) -> int:
    """Count what is left over: hidden files of a folder, but for what `rdc corpus` keeps on purpose."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sum(
        any(part.startswith(".") for part in name.parts)
        and ("parts" in name.parts or ".rdc-corpus" not in name.parts)
        for name in names
    )


def whole(folder: Path) -> Outputs:
    """Return a bundle as one output, for it is to be old or new as a whole."""
    files = visible(folder)
    return {"bundle": sha256(json.dumps(files, sort_keys=True).encode())} if files else {}


def members(folder: Path) -> Outputs:
    """Return the streams in all shards. Each shard has to be whole, and none may have a stream of another."""
    found: Outputs = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                if member.name in found:
                    found[f"{member.name} again"] = ""
                found[member.name] = sha256(file.read())
    return found


def encoding(folder: Path) -> list[str]:
    return [*RDC, "encode", str(folder / "in"), "-o", str(folder / "out"), "-q", "70", *MODEL]


def decoding(folder: Path) -> list[str]:
    return [*RDC, "decode", str(folder / "streams"), "-o", str(folder / "out"), "--overwrite", *MODEL]


def bundling(folder: Path) -> list[str]:
    return [sys.executable, "-m", "export.to_half", str(TINY), "-o", str(folder / "out")]


def to_files(folder: Path) -> list[str]:
    common = ["--model", str(TINY), "--workers", "2", "--quiet"]
    return [*RDC, "corpus", "encode", str(folder / "in"), str(folder / "out"), *common]


def to_shards(folder: Path) -> list[str]:
    return [*to_files(folder), "--output", "webdataset", "--per-shard", "3"]


def half_of(name: str, *options: str) -> Callable[[Path], None]:
    """Return what makes half of the outputs as they were before, with other options."""

    def make(folder: Path) -> None:
        (folder / "some").mkdir()
        for path in sorted((folder / ("in" if name == "encode" else "streams")).iterdir())[::2]:
            shutil.copy(path, folder / "some" / path.name)
        command = [*RDC, name, str(folder / "some"), "-o", str(folder / "out"), *options, *MODEL]
        subprocess.run(command, check=True, cwd=ROOT)
        shutil.rmtree(folder / "some")

    return make


def a_bundle(folder: Path) -> None:
    shutil.copytree(TINY, folder / "out")


def nothing(folder: Path) -> None:
    pass


TASKS = [
    Task("encode", 46, encoding, visible, half_of("encode", "-q", "5")),
    Task("decode", 28, decoding, visible, half_of("decode", "--beta", "1")),
    Task("bundle", 24, bundling, whole, a_bundle),
    Task("corpus", 1, to_files, visible, nothing),
    Task("corpus, shards", 1, to_shards, members, nothing, group=True),
]


def prepared(folder: Path) -> None:
    """Make pictures, and streams of them."""
    (folder / "in").mkdir()
    for number in range(COUNT):
        side = 96 + 32 * (number % 5)
        picture = np.roll(photo(side, side), 17 * number, axis=1)
        Image.fromarray(picture).save(folder / "in" / f"{number:02d}.png")
    command = [*RDC, "encode", str(folder / "in"), "-o", str(folder / "streams"), *MODEL]
    subprocess.run(command, check=True, cwd=ROOT)


def copied(source: Path, folder: Path) -> Path:
    """Return a folder as it was before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    return folder


def started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def timed(task: Task, folder: Path) -> tuple[float, float]:
    """Run a command to its end; return the seconds after which it began to write, and those that it took."""
    before = files_of(folder / "out")
    begun = time.monotonic()
    running = started(task.command(folder))
    first = None
    while running.poll() is None:
        if first is None and files_of(folder / "out") != before:
            first = time.monotonic() - begun
        time.sleep(0.005)
    seconds = time.monotonic() - begun
    _, said = running.communicate()
    if running.returncode:
        raise RuntimeError(f"{task.name}: {said.decode()}")
    return first or seconds, seconds


def files_of(folder: Path) -> set[tuple[str, int]]:
    found = set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found.add((f"{place}/{name}", os.stat(f"{place}/{name}").st_ino))
            except FileNotFoundError:  # renamed meanwhile
                found.add((f"{place}/{name}", 0))
    return found


def children_of(pid: int) -> list[Any]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def killed(task: Task, folder: Path, seconds: float) -> tuple[bool, int]:
    """Start a command and kill it after so many seconds; return whether it was still there, and processes it left."""
    running = started(task.command(folder))
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(seconds)
    alive = running.poll() is None
    others = children_of(running.pid) if alive else []
    os.killpg(running.pid, signal.SIGKILL) if alive and task.group else running.kill()
    running.communicate()
    for _ in range(600):  # Ray's processes notice that their parent is gone
        if not any(other.is_running() and other.status() != "zombie" for other in others):
            break
        time.sleep(0.1)
    left = [other for other in others if other.is_running() and other.status() != "zombie"]
    for other in left:
        other.kill()
    return alive, len(left)


def states(found: Outputs, old: Outputs, new: Outputs) -> Counter[str]:
    """Count outputs: old, new, missing (where there was none), half (anything else), strange (no output)."""
    counted: Counter[str] = Counter()
    for name, value in new.items():
        if name not in found:
            counted["half" if name in old else "missing"] += 1
        elif found[name] == value:
            counted["new"] += 1
        else:
            counted["old" if found[name] == old.get(name) else "half"] += 1
    counted["strange"] = len(found.keys() - new.keys())
    return counted


def measure(task: Task, source: Path, folder: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """Kill a command so many times, and return what was found."""
    before = folder / "before"
    copied(source, before)
    task.old(before)
    (before / "out").mkdir(exist_ok=True)
    old = task.outputs(before / "out")
    now = copied(before, folder / "now")
    first, seconds = timed(task, now)
    new = task.outputs(now / "out")
    total: Counter[str] = Counter()
    for number in range(kills):
        copied(before, now)
        alive, left = killed(task, now, draw.uniform(first if number % 2 else 0, 1.02 * seconds))
        found = states(task.outputs(now / "out"), old, new)
        total["before its end"] += alive
        total["processes left"] += left
        total["hidden files left"] += hidden(now)
        begun = found["new"]
        total["nothing new" if not begun else "all new" if begun == len(new) else "some new"] += 1
        total["half"] += found["half"] + found["strange"]
        done = subprocess.run(
            task.command(now), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        again = states(task.outputs(now / "out"), old, new)
        complete = not done.returncode and again["new"] == len(new) and not again["strange"]
        total["complete when run again"] += complete
        if found["half"] or found["strange"] or not complete:
            print(
                f"{task.name}, kill {number}: {dict(found)}, then {dict(again)}: {done.stderr}",
                file=sys.stderr,
            )
    return {"task": task.name, "seconds": round(seconds, 2), "kills": kills, **total}


COLUMNS = [
    "task", "seconds", "kills", "before its end", "nothing new", "some new", "all new", "half", "hidden files left",
    "processes left", "complete when run again",
]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    names = sorted({task.name.partition(",")[0] for task in TASKS})
    parser.add_argument("--tasks", nargs="*", choices=names, default=names)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    tasks = [task for task in TASKS if task.name.partition(",")[0] in args.tasks]
    shares = sum(task.share for task in tasks)
    edges = [args.kills * sum(t.share for t in tasks[:k]) // shares for k in range(len(tasks) + 1)]
    found = []
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        source.mkdir()
        prepared(source)
        for task, start, end in zip(tasks, edges, edges[1:], strict=False):
            if start == end:
                continue
            folder = Path(name) / "work"
            folder.mkdir()
            found.append(
                measure(task, source, folder, end - start, random.Random(f"{args.seed}/{task.name}"))
            )
            shutil.rmtree(folder)
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(found))
    print(table(COLUMNS, [[row.get(column, 0) for column in COLUMNS] for row in found]))
    good = all(not row["half"] and row["complete when run again"] == row["kills"] for row in found)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
