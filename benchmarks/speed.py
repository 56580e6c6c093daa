"""Measures how fast pictures are coded, stage by stage, by every backend that works here, peers in the same run.

    python -m benchmarks.speed [--sizes 512x768 1080x1920] [--threads 1 2] [--backends NAME ...] [--peers] [--plot PNG]
        [--precisions exact fast]

A row is the median of a few codings of one photo. `networks` is the backend's share; `pixels` is padding, change of
sign and cropping; `integers` the integer networks that choose tables, `rans` the entropy coder proper, `container`
headers and checksums. MP/s are of the whole way. Peers: CompressAI's mbt2018-mean and cheng2020-anchor at quality 4
with random weights (their speed does not depend on them, their bytes do, so none are given), Pillow's JPEG, WebP and
AVIF, JPEG XL where pillow-jxl-plugin is installed. Run it on an idle machine: ratios within one run hold elsewhere.

`--check benchmarks/baseline.json` compares times of mbt2018-mean over ours with those that are kept there, each with
its margin, and ends with an error where one has fallen by more; `--keep` writes that file anew.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.common import seconds_of, table
from benchmarks.throughput import frames, machine
from export.to_engine import parse_size
from rdc_codec import Codec, container, entropy_coding, native, pixels
from rdc_codec.backends import NAMES, Backend, BackendOptions, create
from rdc_codec.backends.base import Inputs
from rdc_codec.backends.precision import Precision
from rdc_codec.bundle import HYPER_STRIDE, PASSES, SYMBOL_LIMIT, Branch, Bundle
from rdc_codec.codec import Layers
from rdc_codec.errors import BackendError, InputError

STAGES = ("pixels", "networks", "integers", "rans", "container")
AVIF_SPEEDS = (6, 10)


@dataclass
class Row:
    """Holds one measurement: milliseconds in all and by stage (None where it is not taken apart), and MP/s."""

    codec: str
    size: str
    threads: int
    way: str
    streams: str
    ms: float
    stages: dict[str, float] | None
    mp_s: float


def median_ms(work: Callable[[], Any], rounds: int) -> float:
    """Return milliseconds, the median over rounds after one that does not count."""
    return 1000 * statistics.median(seconds_of(work, rounds))


class Timed:
    """Is a backend that adds up the time that it spends in another one."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.info, self.parallel = backend, backend.info, backend.parallel
        self.seconds: list[float] = []

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        start = time.perf_counter()
        outputs = self.backend.run(graph, inputs, cuda_stream)
        self.seconds.append(time.perf_counter() - start)
        return outputs

    def median_ms(self, last: int) -> float:
        return 1000 * statistics.median(self.seconds[-last:])


def _passes(branch: Branch, state: native.ScaleState, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Run the integer network over symbols that are known: (symbols, tables) of each pass."""
    found = []
    for _ in range(PASSES):
        indexes, symbols = state.indexes(), state.gather(y)
        state.add(symbols)
        found.append((symbols, indexes))
    return found


def parsing_ms(codec: Codec, stream: bytes, rounds: int, threads: int) -> dict[str, float]:
    """Return what reading and writing a stream's symbols take: the integer networks, rANS each way, the container."""
    bundle = codec.bundle
    parsed = container.read(stream, max_pixels=codec.max_pixels)
    coded = entropy_coding.read(parsed, bundle, codec.slices)

    def integers() -> list[tuple[Branch, list[tuple[np.ndarray, np.ndarray]]]]:
        state = bundle.primary.scale_state(coded.z1, threads=threads)
        found = [(bundle.primary, _passes(bundle.primary, state, coded.y1))]
        if bundle.auxiliary is not None and coded.z2 is not None and coded.y2 is not None:
            hyper = np.concatenate([coded.z2, coded.z1])
            state = bundle.auxiliary.scale_state(hyper, coded.y1, threads=threads)
            found.append((bundle.auxiliary, _passes(bundle.auxiliary, state, coded.y2)))
        return found

    parts = [
        (symbols, indexes, branch.latent_tables)
        for branch, passes in integers()
        for symbols, indexes in passes
    ]

    def write() -> list[bytes]:
        return [native.encode(symbols, indexes, tables, SYMBOL_LIMIT) for symbols, indexes, tables in parts]

    written = write()

    def read() -> None:
        for data, (_, indexes, tables) in zip(written, parts, strict=True):
            native.decode(data, indexes, tables, SYMBOL_LIMIT)

    chunks = entropy_coding.write(coded, bundle)
    return {
        "integers": median_ms(integers, rounds),
        "rans write": median_ms(write, rounds),
        "rans read": median_ms(read, rounds),
        "container write": median_ms(lambda: container.write(parsed.header, chunks), rounds),
        "container read": median_ms(lambda: container.read(stream, max_pixels=codec.max_pixels), rounds),
    }


def of_backend(
    bundle: Bundle,
    name: str,
    picture: np.ndarray,
    threads: int,
    quality: float,
    rounds: int,
    precision: Precision | None = None,
) -> Iterator[Row]:
    """Measure both ways and both kinds of stream.

    Raises BackendError where the backend does not work here or is not faster, InputError where a bundle is not exact.
    """
    options = BackendOptions(threads=threads if name in ON_CPU else None, precision=precision)
    timed = Timed(create(name, bundle, options))
    if precision == "fast":
        if timed.info.precision == "fp32":
            raise BackendError(f"{timed.info.device} is not faster than exact")
        name = f"{name} {timed.info.precision}"
    codec = Codec(bundle, backend=timed)
    height, width = picture.shape[:2]
    padded = pixels.to_tensor(picture, HYPER_STRIDE)
    handling = {
        "encode": median_ms(lambda: pixels.to_tensor(picture, HYPER_STRIDE), rounds),
        "decode": median_ms(lambda: pixels.from_tensor(padded, height, width), rounds),
    }
    ways: list[tuple[str, Layers]] = [("both branches", "all"), ("base only", "base")]
    for streams, layers in ways if codec.slices else ways[1:]:
        stream = codec.encode(picture, quality, layers)
        parsing = parsing_ms(codec, stream, rounds, threads)
        for way, work in (
            ("encode", lambda layers=layers: codec.encode(picture, quality, layers)),
            ("decode", lambda stream=stream: codec.decode(stream)),
        ):
            ms = median_ms(work, rounds)
            direction = "write" if way == "encode" else "read"
            stages = {
                "pixels": handling[way],
                "networks": timed.median_ms(rounds),
                "integers": parsing["integers"],
                "rans": parsing[f"rans {direction}"],
                "container": parsing[f"container {direction}"],
            }
            yield Row(name, f"{width}x{height}", threads, way, streams, ms, stages, height * width / ms / 1e3)


ON_CPU = ("onnxruntime", "openvino")


def of_compressai(picture: np.ndarray, threads: int, rounds: int) -> Iterator[Row]:
    """Measure two of CompressAI's models at quality 4; random weights, the networks are what takes the time."""
    import torch
    from compressai.zoo import cheng2020_anchor, mbt2018_mean

    torch.set_num_threads(threads)
    height, width = picture.shape[:2]
    image = torch.from_numpy(pixels.to_tensor(picture, 64).view(np.uint8) ^ np.uint8(0x80))
    image = image.permute(0, 3, 1, 2).float() / 255
    for make in (mbt2018_mean, cheng2020_anchor):
        torch.manual_seed(0)
        model = make(quality=4, pretrained=False).eval()
        model.update(force=True)
        few = rounds if make is mbt2018_mean else 1  # the other codes pixel by pixel, for seconds
        with torch.no_grad():
            coded = model.compress(image)
            for way, work in (
                ("encode", lambda model=model: model.compress(image)),
                (
                    "decode",
                    lambda model=model, coded=coded: model.decompress(coded["strings"], coded["shape"]),
                ),
            ):
                ms = median_ms(work, few)
                name = f"CompressAI {make.__name__.replace('_', '-')} q4"
                yield Row(name, f"{width}x{height}", threads, way, "one", ms, None, height * width / ms / 1e3)


def of_pillow(picture: np.ndarray, rounds: int) -> Iterator[Row]:
    """Measure Pillow's codecs, each with its default threads."""
    image = Image.fromarray(picture)
    height, width = picture.shape[:2]
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "JPEG": ("JPEG", {"quality": 60}),
        "WebP": ("WEBP", {"quality": 60}),
    }
    kinds |= {f"AVIF speed {speed}": ("AVIF", {"quality": 60, "speed": speed}) for speed in AVIF_SPEEDS}
    try:
        import pillow_jxl  # noqa: F401 (registers the format)

        kinds["JPEG XL"] = ("JXL", {"quality": 75})
    except ImportError:
        pass

    def encode(kind: str, options: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    for name, (kind, options) in kinds.items():
        data = encode(kind, options)
        for way, work in (
            ("encode", lambda kind=kind, options=options: encode(kind, options)),
            ("decode", lambda data=data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))),
        ):
            ms = median_ms(work, rounds)
            yield Row(name, f"{width}x{height}", 0, way, "one", ms, None, height * width / ms / 1e3)


REFERENCE = "CompressAI mbt2018-mean q4"


def ratios(rows: list[Row]) -> dict[str, float]:
    """Return how many times as fast as the reference each of our rows is, by codec, way and streams."""
    reference = {(row.size, row.threads, row.way): row.ms for row in rows if row.codec == REFERENCE}
    return {
        f"{row.codec}, {row.size}, {row.way}, {row.streams}": reference[row.size, row.threads, row.way]
        / row.ms
        for row in rows
        if row.stages is not None and (row.size, row.threads, row.way) in reference
    }


def fallen(found: dict[str, float], baseline: dict[str, dict[str, float]]) -> list[str]:
    """Return a sentence for each ratio that is lower than the baseline's by more than its margin (a share of it).

    Backends that the baseline has and this machine lacks are passed over. Raises ValueError if nothing is compared.
    """
    common = found.keys() & baseline.keys()
    if not common:
        raise ValueError("the baseline has none of the ratios that were measured")
    return [
        f"{name}: {found[name]:.2f} times as fast as {REFERENCE}, it was {baseline[name]['ratio']:.2f}"
        for name in sorted(common)
        if found[name] < baseline[name]["ratio"] * (1 - baseline[name]["margin"])
    ]


def plot(rows: list[Row], path: str) -> None:
    """Draw the stages of our rows as bars, one panel for each size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    ours = [row for row in rows if row.stages is not None]
    sizes = list(dict.fromkeys(row.size for row in ours))
    inches = 7 * len(sizes), 1.4 + 0.3 * len(ours) / len(sizes)
    figure, panels = plt.subplots(1, len(sizes), figsize=inches, squeeze=False, layout="constrained")
    for axes, size in zip(panels[0], sizes, strict=True):
        shown = [row for row in ours if row.size == size]
        names = [f"{row.codec}, {row.threads} threads, {row.way}, {row.streams}" for row in shown]
        start = np.zeros(len(shown))
        for stage in STAGES:
            width = np.array([row.stages[stage] for row in shown if row.stages])
            axes.barh(names, width, left=start, label=stage)
            start += width
        axes.invert_yaxis()
        axes.set(title=size, xlabel="ms")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(STAGES))
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--backends", nargs="*", choices=NAMES[1:], help="(default: those that work)")
    parser.add_argument("--precisions", nargs="+", choices=["exact", "fast"], default=[None])
    parser.add_argument("--data", help="folder of photos (default: those of scikit-image)")
    parser.add_argument(
        "--sizes", nargs="+", type=parse_size, default=[(512, 768), (1080, 1920)], metavar="HxW"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[os.cpu_count() or 1])
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="CompressAI and Pillow's codecs, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--plot", metavar="PNG", help="draw the stages")
    parser.add_argument(
        "--check", type=Path, metavar="JSON", help="fail where a ratio fell below this file's"
    )
    parser.add_argument("--keep", type=Path, metavar="JSON", help="write the ratios to this file")
    parser.add_argument("--margin", type=float, default=0.35, help="of the ratios that --keep writes")
    args = parser.parse_args(argv)
    if (args.check or args.keep) and not args.peers:
        parser.error("ratios need --peers")
    bundle = Bundle(args.model)
    rows: list[Row] = []
    for height, width in tqdm(args.sizes, unit="size", file=sys.stderr):
        picture = frames(args.data, height, width, 1)[0]
        for threads in args.threads:
            for name, precision in itertools.product(args.backends or NAMES[1:], args.precisions):
                try:
                    rows += of_backend(bundle, name, picture, threads, args.quality, args.rounds, precision)
                except (BackendError, InputError) as error:
                    if args.backends:
                        raise SystemExit(f"error: {error}") from error
                    print(f"no {name}{f', {precision}' if precision else ''}: {error}", file=sys.stderr)
            if args.peers:
                rows += of_compressai(picture, threads, args.rounds)
        if args.peers:
            rows += of_pillow(picture, args.rounds)
    if args.plot:
        plot(rows, args.plot)
    if args.keep:
        kept = {name: {"ratio": round(r, 2), "margin": args.margin} for name, r in ratios(rows).items()}
        args.keep.write_text(json.dumps({"machine": machine(), "ratios": kept}, indent=1) + "\n")
    if args.json:
        print(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print_table(rows, args.quality)
    if args.check and (problems := fallen(ratios(rows), json.loads(args.check.read_text())["ratios"])):
        raise SystemExit("\n".join(problems))


def print_table(rows: list[Row], quality: float) -> None:
    print(f"{machine()}; quality {quality:g}")
    header = ["codec", "size", "threads", "way", "streams", "ms", *STAGES, "MP/s"]
    cells = [
        [
            row.codec,
            row.size,
            row.threads or "its own",
            row.way,
            row.streams,
            round(row.ms, 1),
            *(round(row.stages[stage], 2) if row.stages else "" for stage in STAGES),
            round(row.mp_s, 2),
        ]
        for row in rows
    ]
    print(table(header, cells))


if __name__ == "__main__":
    main()
