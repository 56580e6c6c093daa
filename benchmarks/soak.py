"""Uses codecs in every way at once for a long time, and looks whether anything of it stays: memory, threads, files.

python -m benchmarks.soak [--count 10000] [--threads 8] [--seed 0] [--large 1] [--no-arena] [--json FILE] [--plot FILE]

Threads take operations at random: encodes and decodes of pictures of random sizes (up to ones that are coded in
windows), with the tiny bundle of the tests and sometimes the shipped one, with ONNX Runtime and, where it is installed,
OpenVINO; with transparency, without loss, in batches, by rows, piece by piece, after a deadline, of damaged streams, by
codecs that are made and dropped. Batches, rows and decoders are given up half way. The main thread forks processes that
code, and interrupts calls of its own with Ctrl-C, meanwhile. What comes out twice has to be the same.

There are 20 rounds. After each all threads have ended, Python's garbage is collected, and glibc is asked to give back
what it holds of freed memory (malloc_trim). What the process has from malloc then and has not freed is "allocated": its
slope over the second half of the run, a line fitted by least squares, is what the codec keeps for good. The run fails,
with exit code 1, where that is more than 1 kB for each operation and more than its own scatter can explain, where there
are in the end more threads or open files at rest than ever in the first half, and where anything came out wrong.
OpenVINO keeps threads for as many graphs as were there at once: that many are made before the first round.
Resident memory is shown beside it, and judged where the C library does not tell what is allocated.

ONNX Runtime's arena keeps the most that it ever had, for pictures of several threads at a time, and how many meet is
chance; --no-arena does without it, so that little things are seen, too.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import gc
import hashlib
import io
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.common import table
from benchmarks.sizing import MEGA, photo
from rdc_codec import Codec, pillow, trimming
from rdc_codec.codec import Layers
from rdc_codec.errors import BackendError, CodecError, CodecWarning, DeadlineError

TINY = Path(__file__).parents[1] / "tests" / "data" / "tiny"
ROUNDS = 20
BOUND = 1000.0  # bytes for each operation
QUALITIES = (20, 80)
LAYERS: tuple[Layers, ...] = ("base", "all")
SIDES = (1, 3, 16, 63, 64, 65, 100, 128, 200, 256, 320, 448)
LARGE = ((2112, 2112), (70_000, 64), (1800, 2500))  # height, width, above 4 megapixels: in windows
STILL = 120.0  # seconds that a forked process may take


class Result(NamedTuple):
    """Says what one operation made, so that it can be held against the next time. key: of what was asked for."""

    key: tuple[Any, ...] | None = None
    digest: bytes = b""


class _MallInfo(ctypes.Structure):
    """What glibc says of its memory."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class Wrong(Exception):
    """Something came out that should not."""


def digest(data: bytes | np.ndarray) -> bytes:
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).digest()


class Work:
    """Holds what operations work with: codecs, photos and streams; all threads share it."""

    def __init__(self, codecs: dict[str, Codec], shipped: Codec | None) -> None:
        self.codecs, self.shipped = codecs, shipped
        self.photo = photo(640, 480)
        self.large = {size: np.resize(photo(2500, 1800), (*size, 3)) for size in LARGE}
        self.turn = threading.Semaphore(1)  # of what takes hundreds of megabytes
        tiny = codecs["onnxruntime"]
        pillow.register(tiny)
        rgba = np.dstack([self.photo[:90, :120], self.photo[90:180, :120, 0]])
        self.streams = {
            "plain": tiny.encode(self.photo[:150, :200], 60),
            "base": tiny.encode(self.photo[:64, :64], 30, layers="base"),
            "alpha": tiny.encode(rgba, 80),
            "grey": tiny.encode(self.photo[:77, :99, 1], 40),
            "lossless": tiny.encode(self.photo[:60, :80], min_psnr=90),
        }
        self.wide = {size: tiny.encode(picture, 0, layers="base") for size, picture in self.large.items()}

    def crop(self, draw: random.Random) -> np.ndarray:
        height, width = draw.choice(SIDES), draw.choice(SIDES)
        return self.photo[:height, :width]


def encode(work: Work, draw: random.Random) -> Result:
    name = draw.choice(list(work.codecs))
    picture, quality = work.crop(draw), draw.choice(QUALITIES)
    layers: Layers = draw.choice(LAYERS)
    stream = work.codecs[name].encode(picture, quality, layers)
    if draw.random() < 0.5:
        decoded = work.codecs[name].decode(stream, draw.choice((0, 0.5, 1)))
        if decoded.shape != picture.shape:
            raise Wrong(f"{picture.shape} became {decoded.shape}")
    return Result(("encode", name, picture.shape, quality, layers), digest(stream))


def decode(work: Work, draw: random.Random) -> Result:
    name, which = draw.choice(list(work.codecs)), draw.choice(list(work.streams))
    beta = draw.choice((0, 1))
    return Result(
        ("decode", name, which, beta),
        digest(work.codecs[name].decode(work.streams[which], beta, timeout=600)),
    )


def image(work: Work, draw: random.Random) -> Result:
    which = draw.choice(list(work.streams))
    made = work.codecs["onnxruntime"].decode_image(work.streams[which])
    return Result(("image", which), digest(made.mode.encode() + made.tobytes()))


def exact(work: Work, draw: random.Random) -> Result:
    picture = work.crop(draw)
    codec = work.codecs["onnxruntime"]
    stream = codec.encode(picture, min_psnr=90)
    if not np.array_equal(codec.decode(stream), picture):
        raise Wrong("a picture without loss is another one")
    return Result(("exact", picture.shape), digest(stream))


def target(work: Work, draw: random.Random) -> Result:
    with contextlib.suppress(CodecError):  # no quality gives it
        work.codecs["onnxruntime"].encode(work.photo[:100, :100], target_bytes=draw.choice((200, 900)))
    return Result()


def batch(work: Work, draw: random.Random) -> Result:
    codec = work.codecs[draw.choice(list(work.codecs))]
    pictures = [work.crop(draw) for _ in range(6)]
    streams: Iterator[bytes] = codec.encode_batch(pictures, 30, workers=draw.choice((1, 2, 4)))
    if draw.random() < 0.4:  # given up
        next(streams)
        if draw.random() < 0.5:
            streams.close()  # type: ignore[attr-defined]
        return Result()
    given = [*streams, b"no stream", work.streams["plain"][:-3]]
    found = list(codec.decode_batch(given, workers=2, on_error="return"))
    shapes = [f.shape for f in found[:6] if isinstance(f, np.ndarray)]
    if shapes != [p.shape for p in pictures] or not isinstance(found[6], CodecError):
        raise Wrong(
            f"a batch is out of order: {shapes}, {[f for f in found if not isinstance(f, np.ndarray)]}"
        )
    return Result()


def damaged(work: Work, draw: random.Random) -> Result:
    data = bytearray(work.streams[draw.choice(list(work.streams))])
    for _ in range(draw.randint(1, 3)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    cut = bytes(data[: draw.randint(0, len(data))] if draw.random() < 0.5 else data)
    codec = work.codecs["onnxruntime"]
    with contextlib.suppress(CodecError):
        codec.decode_image(cut)
    codec.verify(cut)
    with contextlib.suppress(CodecError):
        trimming.trim(cut, 1)
    return Result()


def pieces(work: Work, draw: random.Random) -> Result:
    which = draw.choice(("plain", "grey", "lossless"))
    data, decoder = work.streams[which], work.codecs["onnxruntime"].decoder()
    end = draw.randint(0, len(data)) if draw.random() < 0.4 else len(data)  # given up
    start = 0
    while start < end:
        size = draw.randint(1, 600)
        decoder.feed(data[start : min(start + size, end)])
        start += size
    if end < len(data):
        return Result()
    decoder.finish()
    return Result(("pieces", which), digest(decoder.picture()))


def late(work: Work, draw: random.Random) -> Result:
    """Run into a deadline, or come out just before it."""
    codec = work.codecs[draw.choice(list(work.codecs))]
    seconds = draw.choice((0.0005, 0.005, 0.02))
    with contextlib.suppress(DeadlineError):
        codec.encode(work.photo, timeout=seconds)
    with contextlib.suppress(DeadlineError):
        codec.decode(work.streams["plain"], timeout=seconds)
    return Result()


def new_codec(work: Work, backend: str, threads: int) -> Codec:
    """Make a codec and use it."""
    codec = Codec(TINY, backend=backend, threads=threads)
    codec.decode(codec.encode(work.photo[:64, :64]))
    return codec


def opened(work: Work, draw: random.Random) -> Result:
    """Make a codec, use it and drop it."""
    new_codec(work, draw.choice(list(work.codecs)), draw.choice((1, 2)))
    return Result()


def most_at_once(work: Work, threads: int) -> None:
    """Make as many codecs of OpenVINO, together, as ever meet in the run, and drop them.

    It keeps the threads of graphs that are gone for later ones. How many meet is chance: without this the most of it
    would come now and then, and look like threads that stay. One more than there are threads is for a graph that is
    compiled again while the one that was cancelled is still there.
    """
    if "openvino" in work.codecs:
        _ = [new_codec(work, "openvino", count) for count in (1, 2) for _ in range(threads + 1)]


def plugin(work: Work, draw: random.Random) -> Result:
    """Open a stream with Pillow, and leave before or after its pixels are decoded."""
    with Image.open(io.BytesIO(work.streams[draw.choice(list(work.streams))])) as opened:
        if draw.random() < 0.5:
            opened.load()
    return Result()


def in_windows(work: Work, draw: random.Random) -> Result:
    size = draw.choice(LARGE)
    name = draw.choice(list(work.codecs))
    codec = work.codecs[name]
    way = draw.choice(("encode", "decode", "late", "rows", "region"))
    with work.turn:
        if way == "encode":
            return Result((way, name, size), digest(codec.encode(work.large[size], 0, layers="base")))
        if way == "decode":
            return Result((way, name, size), digest(codec.decode(work.wide[size])))
        if way == "late":
            with contextlib.suppress(DeadlineError):
                codec.encode(work.large[size], timeout=draw.choice((0.05, 0.3)))
            return Result()
        if way == "rows":  # given up after the first ones
            return Result((way, name, size), digest(next(codec.decode_rows(work.wide[size]))))
        return Result((way, name, size), digest(codec.decode(work.wide[size], region=(10, 20, 50, 40))))


def with_shipped(work: Work, draw: random.Random) -> Result:
    if work.shipped is None:
        return Result()
    picture, quality = work.photo[: draw.choice((64, 100)), : draw.choice((64, 130))], draw.choice((10, 50))
    stream = work.shipped.encode(picture, quality)
    return Result(("shipped", picture.shape, quality), digest(stream + work.shipped.decode(stream).tobytes()))


Operation = Callable[[Work, random.Random], Result]
OPERATIONS: dict[Operation, float] = {
    encode: 34, decode: 20, image: 6, exact: 5, target: 1, batch: 8, damaged: 10, pieces: 6, late: 4, opened: 1,
    plugin: 2, with_shipped: 2,
}  # fmt: skip


class Watch:
    """Looks at the process: memory in bytes, threads, open files."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", None)
        self._info = getattr(libc, "mallinfo2", None)
        if self._info is not None:
            self._info.restype = _MallInfo

    def allocated(self) -> int | None:
        """Return the bytes that the process has of malloc and has not freed; None without glibc 2.33."""
        if self._info is None:
            return None
        info = self._info()
        return int(info.uordblks + info.hblkhd)

    @staticmethod
    def memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    @staticmethod
    def files() -> int:
        return len(os.listdir("/proc/self/fd")) - 1  # the listing's own

    def at_rest(self) -> dict[str, Any]:
        """Look once nothing is going on, and everything that can be given back was."""
        gc.collect()
        before = self.memory()
        if self._trim is not None:
            self._trim(0)
        for _ in range(100):  # threads that have just ended leave the list a moment later
            counted = self.threads()
            time.sleep(0.02)
            if self.threads() == counted and not any(t.name.startswith("rdc") for t in threading.enumerate()):
                break
        return {
            "seconds": round(time.monotonic() - self.begun, 1),
            "before_trim": before,
            "memory": self.memory(),
            "allocated": self.allocated(),
            "threads": counted,
            "files": self.files(),
            "objects": len(gc.get_objects()),
        }


class Ledger:
    """Keeps what operations made, and what went wrong."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}  # short hashes: what this keeps is part of what is measured
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, result: Result) -> None:
        with self._lock:
            self.counts[name] += 1
            if result.key is None:
                return
            key, value = (
                int.from_bytes(x[:8], "little") for x in (digest(repr(result.key).encode()), result.digest)
            )
            if self.known.setdefault(key, value) != value:
                self.wrong.append(f"{result.key} came out differently")

    def fail(self, name: str, error: BaseException) -> None:
        with self._lock:
            self.counts[name] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            self.wrong.append(
                f"{name}: {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
            )


def drawn(draw: random.Random, large: float) -> Operation:
    """Choose an operation. large: percent of them that are of pictures in windows."""
    if draw.random() < large / 100:
        return in_windows
    return draw.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]


def serve(work: Work, ledger: Ledger, draw: random.Random, count: int, large: float) -> None:
    for _ in range(count):
        operation = drawn(draw, large)
        try:
            ledger.add(operation.__name__, operation(work, draw))
        except Exception as error:
            ledger.fail(operation.__name__, error)


def forked(work: Work, ledger: Ledger, draw: random.Random) -> None:
    """Fork while threads are in the codec; the child codes with it, and has to make the same."""
    picture = work.photo[:64, :100]
    expected = work.codecs["onnxruntime"].encode(picture, 50)
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if work.codecs["onnxruntime"].encode(picture, 50) == expected else 2
        os._exit(code)
    for _ in range(int(STILL * 50)):  # counted, not timed: the whole process may be stopped meanwhile
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise Wrong("a forked process waits for ever")
    if os.waitstatus_to_exitcode(status):
        raise Wrong(f"a forked process ended with {os.waitstatus_to_exitcode(status)}")


def interrupted(work: Work, ledger: Ledger, draw: random.Random) -> None:
    """Press Ctrl-C within a call of the main thread, or within a batch of it."""
    codec = work.codecs[draw.choice(list(work.codecs))]
    signal.setitimer(signal.ITIMER_REAL, draw.choice((0.003, 0.02, 0.06)))  # SIGALRM raises, as Ctrl-C does
    try:
        if draw.random() < 0.5:
            codec.encode(work.large[LARGE[0]], 50)
        else:
            list(codec.encode_batch([work.photo] * 20, 50, workers=2))
    except KeyboardInterrupt:
        pass
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _raise(*_: object) -> None:
    raise KeyboardInterrupt


def events(
    work: Work, ledger: Ledger, draw: random.Random, threads: list[threading.Thread], note: Callable[[], None]
) -> None:
    """Fork and interrupt while threads work."""
    happenings = (forked, interrupted)
    while any(thread.is_alive() for thread in threads):
        for happening in happenings:
            try:
                happening(work, ledger, draw)
                ledger.add(happening.__name__, Result())
            except (Exception, KeyboardInterrupt) as error:
                ledger.fail(happening.__name__, error)
            note()
        for thread in threads:
            thread.join(0.3)
            note()


def of_onnxruntime(bundle: Path | None, arena: bool) -> Codec:
    """Return a codec with two threads, in whose sessions memory is kept for the next picture, or (no arena) is not."""
    if arena:
        return Codec(bundle, backend="onnxruntime", threads=2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_cpu_mem_arena = 2, False
    return Codec(bundle, backend="onnxruntime", session_options=options)


def codecs_of(backends: list[str], arena: bool) -> dict[str, Codec]:
    """Return a codec of the tiny bundle for each backend that is there."""
    found = {"onnxruntime": of_onnxruntime(TINY, arena)}
    if "openvino" in backends:
        try:
            found["openvino"] = Codec(TINY, backend="openvino", threads=2)
        except BackendError as error:
            print(f"without OpenVINO: {error}", file=sys.stderr)
    return found


def soak(
    count: int, threads: int, seed: int, large: float, backends: list[str], shipped: bool, arena: bool
) -> dict[str, Any]:
    """Run all of it, and return what was seen."""
    signal.signal(signal.SIGALRM, _raise)
    watch, ledger = Watch(), Ledger()
    started = {"threads": watch.threads(), "files": watch.files()}
    work = Work(codecs_of(backends, arena), of_onnxruntime(None, arena) if shipped else None)
    most_at_once(work, threads)
    series = array.array(
        "d"
    )  # seconds, operations, bytes, one after the other: as little as possible, see above
    rests: list[dict[str, Any]] = []
    done = 0

    def note() -> None:
        series.extend((round(time.monotonic() - watch.begun, 2), sum(ledger.counts.values()), watch.memory()))

    for number in range(ROUNDS):
        share = count * (number + 1) // ROUNDS - done
        done += share
        parts = [share * (k + 1) // threads - share * k // threads for k in range(threads)]
        workers = [
            threading.Thread(
                target=serve, args=(work, ledger, random.Random(f"{seed}/{number}/{k}"), part, large)
            )
            for k, part in enumerate(parts)
        ]
        for worker in workers:
            worker.start()
        events(work, ledger, random.Random(f"{seed}/{number}"), workers, note)
        rests.append({"operations": done, **watch.at_rest()})
        print(
            f"round {number + 1} of {ROUNDS}: {rests[-1]}, {len(ledger.wrong)} wrong {ledger.wrong[-1:]}",
            file=sys.stderr,
            flush=True,
        )
    backend_names = list(work.codecs)
    del work
    ended = watch.at_rest()
    return {
        "count": count,
        "threads": threads,
        "backends": backend_names,
        "shipped": shipped,
        "arena": arena,
        "seconds": ended["seconds"],
        "counts": dict(ledger.counts.most_common()),
        "compared": len(ledger.known),
        "wrong": ledger.wrong,
        "rests": rests,
        "series": [list(series[k : k + 3]) for k in range(0, len(series), 3)],
        "started": started,
        "ended": ended,
        **verdict(rests),
    }


def slope(xs: np.ndarray, ys: np.ndarray) -> tuple[float, float]:
    """Return the slope of the line through points by least squares, and twice its standard error."""
    centred = xs - xs.mean()
    spread = float(centred @ centred)
    found = float(centred @ ys) / spread
    rest = ys - ys.mean() - found * centred
    return found, 2 * float(np.sqrt(rest @ rest / max(1, len(xs) - 2) / spread))


def verdict(rests: list[dict[str, Any]]) -> dict[str, Any]:
    """Say whether memory grew in the second half, or threads and files in the end beyond those of the first."""
    first, half = rests[: len(rests) // 2], rests[len(rests) // 2 :]
    xs = np.array([rest["operations"] for rest in half], float)
    judged = "memory" if any(rest.get("allocated") is None for rest in rests) else "allocated"
    found, scatter = slope(xs, np.array([rest[judged] for rest in half], float))
    names = ("threads", "files")
    return {
        "judged": judged,
        "bytes_per_operation": round(found, 1),
        "scatter": round(scatter, 1),
        "flat": found <= BOUND or found <= scatter,
        "threads_at_rest": sorted({rest["threads"] for rest in half}),
        "files_at_rest": sorted({rest["files"] for rest in half}),
        "grew": [n for n in names if half[-1][n] > max(rest[n] for rest in first)],
    }


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw memory over operations, at work and at rest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2))
    events = sum(found["counts"].get(name, 0) for name in ("forked", "interrupted"))
    scale = found["count"] / (
        found["count"] + events
    )  # operations of the main thread are counted in the series
    if found["series"]:
        _, counts, memory = zip(*found["series"], strict=True)
        xs = [count * scale for count in counts]
        axes.plot(xs, [x / MEGA for x in memory], color="0.75", linewidth=0.6, label="at work")
    xs = [rest["operations"] for rest in found["rests"]]
    axes.plot(
        xs, [rest["before_trim"] / MEGA for rest in found["rests"]], ".--", color="C1", linewidth=0.8,
        label="at rest, with what glibc keeps",
    )  # fmt: skip
    axes.plot(xs, [rest["memory"] / MEGA for rest in found["rests"]], "o-", color="C0", label="at rest")
    if found["judged"] == "allocated":
        allocated = [rest["allocated"] / MEGA for rest in found["rests"]]
        axes.plot(xs, allocated, "s-", color="C2", markersize=4, label="allocated, at rest")
    axes.set(xlabel="operations", ylabel="memory, MB", ylim=(0, None), xlim=(0, None))
    axes.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def told(found: dict[str, Any]) -> str:
    """Return the outcome as text."""
    rows = [[name, count] for name, count in found["counts"].items()]
    half = found["rests"][len(found["rests"]) // 2 :]
    lines = [
        table(["operation", "times"], rows),
        f"{found['count']} operations of {found['threads']} threads in {found['seconds']:.0f} s, "
        f"backends {', '.join(found['backends'])}",
        f"results that were held against each other: {found['compared']} different ones",
        *(
            f"{name} at rest in the second half: {min(r[key] for r in half) / MEGA:.1f} to "
            f"{max(r[key] for r in half) / MEGA:.1f} MB"
            for name, key in (("resident", "memory"), ("allocated", "allocated"))
            if half[0].get(key) is not None
        ),
        f"slope of it ({found['judged']}): {found['bytes_per_operation']:.0f} +- {found['scatter']:.0f} bytes an "
        f"operation (bound: {BOUND:.0f})",
        f"threads at rest: {found['threads_at_rest']}, open files at rest: {found['files_at_rest']}",
        f"before: {found['started']}; after the codecs are gone: "
        f"{ {name: found['ended'][name] for name in found['started']} }",
        f"wrong: {len(found['wrong'])}",
        *found["wrong"][:20],
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="operations of the threads, together")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large", type=float, default=1, help="percent of them in windows (above 4 MP)")
    parser.add_argument(
        "--backends",
        nargs="*",
        default=["onnxruntime", "openvino"],
        help="besides ONNX Runtime, which is always there",
    )
    parser.add_argument("--no-shipped", action="store_true", help="use the tiny bundle alone")
    parser.add_argument("--no-arena", action="store_true", help="ONNX Runtime allocates each time anew")
    parser.add_argument("--json", type=Path, help="file for all that was seen")
    parser.add_argument("--plot", type=Path, help="file for a picture of the memory")
    parser.add_argument("--plot-of", type=Path, help="draw what an earlier --json says, and run nothing")
    args = parser.parse_args(argv)
    if args.plot_of is not None:
        found = json.loads(args.plot_of.read_text())
        found |= verdict(found["rests"])
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CodecWarning)
            found = soak(
                *(args.count, args.threads, args.seed, args.large, args.backends),
                shipped=not args.no_shipped,
                arena=not args.no_arena,
            )
    if args.json and args.plot_of is None:
        args.json.write_text(json.dumps(found))
    if args.plot:
        plot(found, args.plot)
    print(told(found))
    return int(bool(found["wrong"]) or not found["flat"] or bool(found["grew"]))


if __name__ == "__main__":
    sys.exit(main())
