"""Measures what an installation takes: megabytes on the disk, and seconds until a program can start.

python -m benchmarks.installation [--wheel FILE] [--extras NAME ...] [--rounds N] [--json]

Each extra is installed into a fresh environment, with what it needs; `megabytes` is all of that environment but pip,
`more` what it has beyond the package without extras. `import` is a process that imports what the extra is for, `ready`
one that makes what its users start with, both less an empty process: medians. Extras for a GPU have no times, since
they work on nothing else, and are measured when they are named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.common import table

CLONE = Path(__file__).resolve().parents[1]
PIP = ("pip", "setuptools")
WITHOUT = "none"


class Statements(NamedTuple):
    """Holds what a program imports, and what it makes first."""

    imported: str
    ready: str


STARTS = {
    WITHOUT: Statements("import rdc_codec", "from rdc_codec import Codec; Codec()"),
    "openvino": Statements("import openvino", "from rdc_codec import Codec; Codec(backend='openvino')"),
    "serve": Statements(
        "import rdc_codec.service.app", "from rdc_codec.service.app import create_app; create_app()"
    ),
    "ray": Statements("import ray.data", "import ray.data, rdc_codec.corpus.engine"),
}


class Row(NamedTuple):
    """Says what an extra takes: MB of all, MB more than without extras, seconds."""

    extra: str
    megabytes: float
    more: float
    imported: float | None
    ready: float | None


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    windows = folder / "Scripts" / "python.exe"
    return windows if windows.exists() else folder / "bin" / "python"


def megabytes(folder: Path) -> float:
    """Add up the files of an environment's packages, but for those of pip."""
    packages = next(folder.rglob("site-packages"))
    files = (f for f in packages.rglob("*") if f.is_file() and not f.is_symlink())
    kept = (f for f in files if not f.relative_to(packages).parts[0].startswith(PIP))
    return sum(f.stat().st_size for f in kept) / 1e6


def seconds(python: Path, statement: str, rounds: int, elsewhere: Path) -> float:
    """Return the median time of a process with this statement, the first one, which fills caches, left out."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run([python, "-c", statement], cwd=elsewhere, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(wheel: Path, extras: list[str], rounds: int) -> Iterator[Row]:
    """Install and start each. Raises subprocess.CalledProcessError where pip or a statement fails."""
    alone: float | None = None
    for extra in tqdm(dict.fromkeys([WITHOUT, *extras]), unit="extra", file=sys.stderr):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "environment"
            venv.create(folder, with_pip=True)
            python = python_of(folder)
            wanted = str(wheel) if extra == WITHOUT else f"{wheel}[{extra}]"
            subprocess.run([python, "-m", "pip", "install", "-q", wanted], check=True, cwd=name)
            size = megabytes(folder)
            alone = size if alone is None else alone
            start = STARTS.get(extra)
            times: tuple[float | None, float | None] = (None, None)
            if start is not None:
                empty, *found = (seconds(python, s, rounds, Path(name)) for s in ("pass", *start))
                times = found[0] - empty, found[1] - empty
            yield Row(extra, size, size - alone, *times)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="of the package (default: it is built)")
    parser.add_argument("--extras", nargs="*", default=list(STARTS), help="(default: those for a CPU)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        wheel = args.wheel
        if wheel is None:
            build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", name, str(CLONE)]
            subprocess.run(build, check=True)
            wheel = next(Path(name).glob("*.whl"))
        rows = list(measure(wheel.resolve(), args.extras, args.rounds))
    if args.json:
        print(json.dumps([row._asdict() for row in rows]))
        return
    cells = [[row.extra, *("" if v is None else round(v, 2) for v in row[1:])] for row in rows]
    print(table(["extra", "MB", "MB more", "import, s", "ready, s"], cells))


if __name__ == "__main__":
    main()
