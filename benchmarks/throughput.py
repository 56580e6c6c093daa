"""Measures pictures a second by every backend that works here, and PyTorch's networks beside them.

python -m benchmarks.throughput [--model BUNDLE] [--backends NAME ...] [--size 1080x1920] [--torch eager compile]

Whole pictures, host memory to stream and back: `one by one` and as a batch (pipelined). `networks` is the backend's
share of that, transfers included, for one picture after another. With --torch the same networks in PyTorch, eager
and compiled, weights and inputs on the device already: fp16 (autocast) on a GPU, fp32 on a CPU. For fp16 in the
runtime give a bundle of export/to_half.py or export/to_engine.py. Medians over rounds; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.common import photos, seconds_of, table
from export.to_engine import parse_size
from rdc_codec import Codec
from rdc_codec.backends import NAMES, Backend, BackendOptions, create
from rdc_codec.backends.base import Inputs
from rdc_codec.bundle import Bundle
from rdc_codec.errors import BackendError

Row = list[Any]


def frames(folder: str | None, height: int, width: int, count: int) -> list[np.ndarray]:
    """Return photos scaled to cover the size and cropped, again and again until there are enough."""
    if folder is None:
        from skimage import data

        found = [data.astronaut(), data.coffee(), data.chelsea()]
    else:
        found = [rgb for _, rgb in photos(folder, count)]
    scaled = []
    for rgb in found:
        factor = max(height / rgb.shape[0], width / rgb.shape[1])
        size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
        large = Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)
        scaled.append(np.ascontiguousarray(np.asarray(large)[:height, :width]))
    return [scaled[k % len(scaled)] for k in range(count)]


def per_second(work: Callable[[], Any], items: int, rounds: int) -> float:
    """Return items a second, the median over rounds after one that does not count."""
    return items / statistics.median(seconds_of(work, rounds))


class Recorder:
    """Is a backend that keeps the inputs of every graph which it passes on."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.info, self.parallel = backend, backend.info, backend.parallel
        self.inputs: dict[str, dict[str, Any]] = {}

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        self.inputs[graph] = dict(inputs)
        return self.backend.run(graph, inputs, cuda_stream)


def of_backend(
    bundle: Bundle, backend: Backend, pictures: list[np.ndarray], quality: float, rounds: int
) -> Iterator[Row]:
    codec, recorder = Codec(bundle, backend=backend), Recorder(backend)
    info, count = codec.backend, len(pictures)
    name = info.name if info.precision == "fp32" else f"{info.name} {info.precision}"
    streams = [codec.encode(p, quality) for p in pictures]
    ways: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "one by one": (
            lambda: [codec.encode(p, quality) for p in pictures],
            lambda: [codec.decode(s) for s in streams],
        ),
        "batch": (
            lambda: list(codec.encode_batch(pictures, quality)),
            lambda: list(codec.decode_batch(streams)),
        ),
    }
    for way, (encode, decode) in ways.items():
        yield [name, way, per_second(encode, count, rounds), per_second(decode, count, rounds)]
    watched = Codec(bundle, backend=recorder)
    watched.decode(watched.encode(pictures[0], quality))
    known = recorder.inputs
    rates = [
        per_second(lambda g=g: [backend.run(g, known[g]) for _ in pictures], count, rounds)  # type: ignore[misc]
        for g in sorted(known, reverse=True)  # encode, decode
    ]
    yield [name, "networks", *rates]


def of_torch(
    bundle: Bundle, picture: np.ndarray, quality: float, count: int, rounds: int, ways: list[str]
) -> Iterator[Row]:
    import torch

    from export.from_bundle import load_model
    from model.transforms import to_folded
    from rdc_codec import pixels

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(bundle.path).to(device)
    auxiliary = model.auxiliary
    assert auxiliary is not None, "the comparison is of both branches"
    padded = torch.from_numpy(pixels.to_tensor(picture, 64).view(np.uint8) ^ np.uint8(0x80)).to(device)
    qualities = zip((bundle.primary, bundle.auxiliary), bundle.branch_qualities(quality), strict=True)
    base, aux = (torch.tensor([b.level(q)], dtype=torch.float32, device=device) for b, q in qualities if b)

    def encode() -> Any:
        folded = to_folded(padded)
        first = model.primary(folded, base)
        return first, auxiliary(folded, aux, first)

    first, second = (out for out in torch.no_grad()(encode)())
    symbols = first.z, first.symbols, second.z, second.symbols

    def decode() -> Any:
        x1 = model.primary.decode(symbols[0], symbols[1], base)
        every = torch.tensor([4], device=device)
        r = auxiliary.decode(symbols[2], symbols[3], aux, every, x1)
        return ((x1.image + r.image).clamp(0, 1) * 255).round()

    def repeated(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad(), torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                for _ in range(count):
                    work()
                if device.type == "cuda":
                    torch.cuda.synchronize()

        return run

    for way in ways:
        works = [torch.compile(f) if way == "compile" else f for f in (encode, decode)]
        rates = [per_second(repeated(work), count, rounds) for work in works]
        yield [f"PyTorch {torch.__version__}, {way}", "networks", *rates]


def machine() -> str:
    """Say what the figures are of: processor, GPU, versions."""
    import onnxruntime

    words = [platform.processor() or platform.machine(), f"onnxruntime {onnxruntime.__version__}"]
    try:
        import torch

        words += [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no GPU"]
    except ImportError:
        pass
    try:
        import tensorrt

        words.append(f"TensorRT {tensorrt.__version__}")
    except (ImportError, OSError):
        pass
    return ", ".join(words)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="bundle (default: the shipped one)")
    parser.add_argument("--backends", nargs="*", choices=NAMES[1:], help="(default: those that work)")
    parser.add_argument("--precisions", nargs="+", choices=["exact", "fast"], default=[None])
    parser.add_argument("--data", help="folder of photos (default: those of scikit-image)")
    parser.add_argument("--size", type=parse_size, default=(1080, 1920), metavar="HxW")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--count", type=int, default=16, help="pictures of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--torch", nargs="*", choices=["eager", "compile"], default=[], help="PyTorch's networks, too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    height, width = args.size
    pictures = frames(args.data, height, width, args.count)
    rows: list[Row] = []
    bundle = Bundle(args.model)
    wanted = list(itertools.product(args.backends or NAMES[1:], args.precisions))
    for name, precision in tqdm(wanted, file=sys.stderr):
        try:
            backend = create(name, bundle, BackendOptions(precision=precision))
        except BackendError as error:
            if args.backends and len(args.precisions) == 1:
                raise SystemExit(f"error: {error}") from error
            print(f"no {name}: {error}", file=sys.stderr)
            continue
        if precision == "fast" and backend.info.precision == "fp32":
            print(f"no {name}, fast: {backend.info.device} is not faster than exact", file=sys.stderr)
            continue
        rows += of_backend(bundle, backend, pictures, args.quality, args.rounds)
    if args.torch:
        rows += of_torch(bundle, pictures[0], args.quality, args.count, args.rounds, args.torch)
    if args.json:
        print(json.dumps({"machine": machine(), "size": args.size, "frames_per_second": rows}, indent=1))
        return
    print(f"{machine()}; {width}x{height}, quality {args.quality:g}, both branches")
    print(table(["backend", "what", "encoded / s", "decoded / s"], rows))


if __name__ == "__main__":
    main()
