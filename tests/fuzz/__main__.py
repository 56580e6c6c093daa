"""Builds and runs fuzz targets, one after the other; ends with 1 where something does not hold."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import c_library
from c_library import SOURCE as C_API
from c_library import configure_and_build

from . import bundles, native
from .engine import has_atheris
from .targets import TARGETS

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "data" / "fuzz"  # what coverage found, and what did not hold: replayed by the tests
MAX_LEN = {"bundle": 16384, "bundle_python": 16384}
OTHERS_MAX_LEN = 4096
INTERRUPTED = (72, 130, -signal.SIGINT)  # how libFuzzer, atheris and Python end on SIGINT
# Of the sanitizers' own allocator; leaks are looked for after each input.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=16:malloc_context_size=8:abort_on_error=0"
    ":allocator_release_to_os_interval_ms=-1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class Result(NamedTuple):
    """Holds what a run of a target came to.

    verdict: "holds", "interrupted" (by Ctrl-C, nothing was found until then) or "DOES NOT HOLD". coverage: edges,
    of libFuzzer; None where nothing counts them.
    """

    name: str
    engine: str
    verdict: str
    inputs: int
    seconds: float
    coverage: int | None
    megabytes: int | None
    slowest: int | None


def make_seeds(folder: Path) -> None:
    """Gather what targets start from: the streams of the tests, and bundles that are made here."""
    streams = folder / "streams"
    streams.mkdir(parents=True, exist_ok=True)
    for place in (ROOT / "tests" / "conformance", ROOT / "tests" / "data" / "golden"):
        for path in place.glob("*.rdc"):
            shutil.copy(path, streams)
    made = folder / "bundles"
    made.mkdir(exist_ok=True)
    for auxiliary in (True, False):
        for method in (0, 8):
            (made / f"small_{auxiliary:d}_{method}").write_bytes(bundles.small(auxiliary, method))
    noise = folder / "noise"
    noise.mkdir(exist_ok=True)
    for size in range(40, 1240, 40):
        (noise / f"{size}").write_bytes(random.Random(size).randbytes(size))
    files = folder / "files"  # each after the byte that names its reader
    files.mkdir(exist_ok=True)
    for data in (bundles.small(False, 0), bundles.small(False, 8)):
        manifest, tables = bundles.unpack(data)
        (files / f"tables_{len(tables)}").write_bytes(b"\2" + tables)
        (files / "manifest").write_bytes(b"\0" + json.dumps(json.loads(manifest)["parsing"]).encode())
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        packed = deflate.compress(data[:3000]) + deflate.flush()
        (files / f"deflated_{strategy}").write_bytes(b"\1" + (3000).to_bytes(2, "little") + packed)


def folders_of(name: str, seeds: Path) -> list[Path]:
    """Return the folders that a target reads besides its corpus."""
    kind = TARGETS[name].seeds if name in TARGETS else native.SEEDS[name]
    return [seeds / kind, *(place for place in (KEPT / kind, KEPT / name) if place.is_dir())]


def run(name: str, command: list[str], options: argparse.Namespace, environment: dict[str, str]) -> Result:
    """Run a target for its time, and say what came of it."""
    work = options.build / "corpus" / name
    work.mkdir(parents=True, exist_ok=True)
    crashes = options.build / "crashes"
    crashes.mkdir(exist_ok=True)
    flags = [
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-max_len={MAX_LEN.get(name, OTHERS_MAX_LEN)}",
        f"-artifact_prefix={crashes}/{name}-",
        f"-timeout={options.timeout}",  # of the clock; the limit of 5 s of the processor is in the targets
        "-rss_limit_mb=1024",
        "-malloc_limit_mb=256",
        "-print_final_stats=1",
    ]
    places = [work, *folders_of(name, options.build / "seeds")]
    log = options.build / f"{name}.log"
    start = time.monotonic()
    with log.open("w") as out:
        running = subprocess.Popen(
            [*command, *flags, *map(str, places)], stdout=out, stderr=out, env=environment, cwd=ROOT
        )
        try:
            running.wait()
        except BaseException:
            running.send_signal(signal.SIGINT)
            running.wait()
            raise
    said = log.read_text(errors="replace")

    def number(pattern: str) -> int | None:
        found = re.findall(pattern, said)
        return int(found[-1]) if found else None

    verdict = "holds" if running.returncode == 0 else "DOES NOT HOLD"
    if running.returncode in INTERRUPTED:
        verdict = "interrupted"
    engine = "random changes" if "files were run" in said else ("atheris" if name in TARGETS else "libFuzzer")
    result = Result(
        name,
        engine,
        verdict,
        number(r"stat::number_of_executed_units:\s*(\d+)") or number(r"(?m)^#(\d+)") or 0,
        time.monotonic() - start,
        number(r"cov: (\d+)"),
        number(r"stat::peak_rss_mb:\s*(\d+)"),
        number(r"stat::slowest_unit_time_sec:\s*(\d+)"),
    )
    if result.verdict == "DOES NOT HOLD":
        print(f"{said[-6000:]}\n{name}: something does not hold; the input is in {crashes}", file=sys.stderr)
    return result


def row(result: Result) -> str:
    """Return a line of a table in Markdown."""
    cells = [
        *(result.name, result.engine, f"{result.inputs:,}", f"{result.seconds:.0f}"),
        *("–" if v is None else f"{v:,}" for v in (result.coverage, result.megabytes, result.slowest)),
        result.verdict,
    ]
    return f"| {' | '.join(cells)} |"


def minimise(name: str, program: Path, options: argparse.Namespace) -> None:
    """Make the corpus of a native target as small as it can be with the same coverage."""
    work, least = options.build / "corpus" / name, options.build / "least" / name
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir(parents=True)
    flags = ["-merge=1", f"-max_len={MAX_LEN.get(name, OTHERS_MAX_LEN)}"]
    places = [least, work, *folders_of(name, options.build / "seeds")]
    subprocess.run([program, *flags, *places], check=True, capture_output=True, env=os.environ | SANITIZERS)
    print(f"{name}: {len(list(least.iterdir()))} files in {least}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    every = [*native.TARGETS, *TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(every)} (default: all)")
    time_of = parser.add_mutually_exclusive_group()
    time_of.add_argument("--minutes", type=float, help="of all targets together, each the same")
    time_of.add_argument(
        "--seconds", type=float, help="of each target (default: 10, or no limit with --runs)"
    )
    parser.add_argument("--runs", type=int, default=-1, help="inputs of each target, if the time is enough")
    parser.add_argument("--timeout", type=int, default=60, help="seconds of the clock that an input may take")
    parser.add_argument("--plain", action="store_true", help="random changes, though there is a fuzzer")
    parser.add_argument(
        "--coverage", action="store_true", help="run nothing; report the lines of the corpora"
    )
    parser.add_argument("--minimise", action="store_true", help="run nothing; make the native corpora small")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "fuzz", help="where all of it goes")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(every):
        parser.error(f"no target {sorted(unknown)[0]}: there are {', '.join(every)}")
    options.targets = options.targets or every
    if options.minutes is not None:
        options.seconds = options.minutes * 60 / len(options.targets)
    if options.seconds is None:
        options.seconds = 10 if options.runs < 0 else 0
    options.seconds = max(int(options.runs < 0), round(options.seconds))  # 0 is no limit
    options.build = options.build.resolve()
    return options


def main() -> int:
    options = parse()
    make_seeds(options.build / "seeds")
    compiler = native.clang()
    if options.coverage:
        if compiler is None:
            raise SystemExit("coverage needs clang and LLVM's tools")
        programs = native.build(options.build / "coverage", compiler, "coverage")
        seeds = options.build / "seeds"
        folders = {n: [options.build / "corpus" / n, *folders_of(n, seeds)] for n in programs}
        for places in folders.values():
            places[0].mkdir(parents=True, exist_ok=True)
        print(native.coverage(programs, compiler, folders, options.build))
        return 0
    guided = compiler is not None and not options.plain
    programs = {}
    if set(options.targets) & set(native.TARGETS):
        engine = "libfuzzer" if guided else "plain"
        programs = native.build(options.build / engine, compiler if guided else None, engine)
    if options.minimise:
        for name, program in programs.items():
            if name in options.targets:
                minimise(name, program, options)
        return 0
    if not guided:
        print("No clang with libFuzzer is used: native targets run on random changes.")
    if options.plain or not has_atheris():
        print("No atheris is used: Python targets run on random changes.")
    library = options.build / "c_api"
    environment = os.environ | SANITIZERS | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if "same" in options.targets:
        configure_and_build(C_API, library)
        environment["RDC_FUZZ_C_LIBRARY"] = str(c_library.built_in(library))
    print("| target | engine | inputs | seconds | coverage, edges | memory, MB | slowest, s | |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    good = True
    for name in options.targets:
        command = [str(programs[name])] if name in programs else [sys.executable, "-m", "fuzz.engine", name]
        if name in TARGETS and options.plain:
            command.append("--plain")
        result = run(name, command, options, environment)
        good &= result.verdict == "holds"
        print(row(result), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
