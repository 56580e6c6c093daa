"""Kills a writer at each of its lines in turn: `python killed_at_lines.py JSON`; tests/test_faults.py starts it.

The JSON has "work" (a function below), "before" (a folder to start from each time), "now" (where the work is done) and
"watch" (names of functions, by the end of their file's path). A process is forked for every line of these that the
work executes, and kills itself there with SIGKILL, as the system does where memory runs out. A line of JSON is
printed for each: where it was ("" when the work came to its end), the files that are there then (path: SHA-256), and
those that are there after the work was done once more, without a kill (null where it began with the same files as an
earlier time, but for the names of hidden ones).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

# Before anything is forked, so that no child has to load it; none of them starts a thread.
import PIL.PngImagePlugin  # noqa: F401
import pyarrow.parquet  # noqa: F401

import rdc_codec.corpus.work as corpus_work
from export.bundle_writer import new_bundle, write_manifest
from rdc_codec.cli import main as rdc
from rdc_codec.corpus import plan
from rdc_codec.corpus.places import Place
from rdc_codec.corpus.settings import Settings

TINY = Path(__file__).parent / "data" / "tiny"
MODEL = ["--model", str(TINY), "--backend", "onnxruntime", "--threads", "1", "--quiet"]


def encode(now: Path) -> None:
    rdc(["encode", str(now / "a.png"), "-o", str(now / "a.rdc"), *MODEL], standalone_mode=False)


def decode(now: Path) -> None:
    rdc(
        ["decode", str(now / "b.rdc"), "-o", str(now / "b.png"), "--overwrite", *MODEL], standalone_mode=False
    )


def trim(now: Path) -> None:
    """Write a stream by the way of all commands, and load no model for it."""
    arguments = ["trim", str(now / "b.rdc"), "-o", str(now / "a.rdc"), "--layers", "1", "--quiet"]
    rdc(arguments, standalone_mode=False)


def bundle(now: Path) -> None:
    with new_bundle(now / "bundle") as made:
        for name in ("tables.npz", "training.safetensors", "weights.bin"):
            shutil.copyfile(TINY / name, made / name)
        write_manifest(made, {"name": "new"})


def corpus(now: Path) -> None:
    """Do what the driver and a worker of a job do, one after the other: Ray itself would outlive neither."""
    settings = Settings(
        task="encode", source=str(now / "photos"), destination=str(now / "coded"), model=str(TINY),
        coding={"quality": 30}, output="webdataset", per_shard=2,
    )  # fmt: skip
    source, place = Place(settings.source), Place(str(settings.destination))
    promise = settings.promise("the model")
    first = plan.is_first(place, promise)
    made = plan.make(source, place, settings, 1, first)
    if first:
        plan.keep(place, promise)
    worker = corpus_work.Worker(settings)
    for unit in made.units:
        assert not worker.do(unit).bad
    place.remove_parts()


def listing(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_at(number: int, watch: dict[str, list[str]], told: int) -> None:
    """Have this process kill itself when it comes to a line of what is watched for the (number + 1)-th time."""
    left = itertools.count(number, -1)

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and next(left) == 0:
            os.write(told, f"{frame.f_code.co_name}:{frame.f_lineno}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        names = next((v for end, v in watch.items() if frame.f_code.co_filename.endswith(end)), ())
        return line if frame.f_code.co_name in names else None

    threading.settrace(call)
    sys.settrace(call)


def in_child(work: Any, now: Path, number: int | None, watch: dict[str, list[str]]) -> str:
    """Do the work in a forked process; return where it was killed, or "". Fails where it ends otherwise."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            if number is not None:
                kill_at(number, watch, writing)
            work(now)
            code = 0
        finally:
            sys.settrace(None)
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        where = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-signal.SIGKILL if where else 0), (code, where)
    return where


def main(asked: dict[str, Any]) -> None:
    work, before, now = globals()[asked["work"]], Path(asked["before"]), Path(asked["now"])
    begun: set[str] = set()
    for number in itertools.count():
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(before, now)
        where = in_child(work, now, number, asked["watch"])
        found = listing(now)
        again = None
        if (
            start := json.dumps([sorted(found.values()), sorted(x for x in found if "/." not in f"/{x}")])
        ) not in begun:
            begun.add(start)
            in_child(work, now, None, {})
            again = listing(now)
        print(json.dumps({"where": where, "found": found, "again": again}), flush=True)
        if not where:
            return


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
