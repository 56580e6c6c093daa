"""Runs one Python target: `python -m fuzz.engine TARGET [OPTION...] FOLDER_OR_FILE...`, with libFuzzer's options.

With atheris it is guided by the coverage of `rdc_codec`; without, or with --plain, changes are random.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def has_atheris() -> bool:
    """Tell whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, options: list[str]) -> None:
    """Run a target by atheris. Ends the process."""
    import atheris

    with atheris.instrument_imports(include=["rdc_codec"]):
        from .targets import TARGETS
    target = TARGETS[name]

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        def change(part: bytes) -> bytes:
            return atheris.Mutate(part, len(part) + 64)

        return target.mutate(data, size, seed, change)

    atheris.Setup([sys.argv[0], *options], target.run, custom_mutator=mutate)
    atheris.Fuzz()


def random_change(rng: random.Random) -> Callable[[bytes], bytes]:
    """Return a mutation of bytes without a structure."""

    def change(data: bytes) -> bytes:
        out, at = bytearray(data), rng.randint(0, len(data))
        kind = rng.randrange(4)
        if kind == 0:
            out[at:at] = rng.randbytes(rng.randint(1, 4))
        elif kind == 1:
            del out[at : at + rng.randint(1, 16)]
        elif kind == 2:
            source = rng.randint(0, len(data))
            part = out[source : source + rng.randint(1, 32)]
            out[at : at + len(part)] = part
        elif at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        return bytes(out)

    return change


def _files(places: list[str]) -> Iterator[Path]:
    for place in map(Path, places):
        yield from sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]


def plain(name: str, options: list[str]) -> None:
    """Run a target with random changes. An input that does not hold is left at the -artifact_prefix."""
    from .targets import TARGETS

    target, rng = TARGETS[name], random.Random(1)
    given: dict[str, Any] = {"max_total_time": "0", "runs": "-1", "max_len": "4096", "artifact_prefix": ""}
    given |= dict(option[1:].split("=", 1) for option in options if option[0] == "-" and "=" in option)
    size = int(given["max_len"])

    def run(data: bytes) -> None:
        try:
            target.run(data)
        except KeyboardInterrupt:  # of whoever runs it, and no find
            raise
        except BaseException:
            Path(f"{given['artifact_prefix']}crash-of-{name}").write_bytes(data)
            raise

    corpus = [path.read_bytes()[:size] for path in _files([o for o in options if o[0] != "-"])] or [b""]
    for data in corpus:
        run(data)
    print(f"{len(corpus)} files were run", file=sys.stderr)
    done, seconds, runs = 0, float(given["max_total_time"]), int(given["runs"])
    end = time.monotonic() + seconds
    while done != runs and (time.monotonic() < end if seconds else runs >= 0):
        data = rng.choice(corpus)
        for _ in range(rng.randint(1, 4)):
            data = target.mutate(data, size, rng.getrandbits(32), random_change(rng))
        run(data)
        done += 1
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)


if __name__ == "__main__":
    arguments = [a for a in sys.argv[2:] if a != "--plain"]
    engine = guided if has_atheris() and "--plain" not in sys.argv else plain
    engine(sys.argv[1], arguments)
