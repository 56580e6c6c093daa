"""Measures how near the fused CUDA kernels come to copying memory.

python -m benchmarks.kernels [--size 2160x3840] [--batch 4] [--count] [--json]

Needs a GPU, PyTorch with CUDA, and nvcc with CMake to build kernels/cuda. Every kernel, layout and type on the
tensors of a batch of pictures of that size. Bytes are counted (each input read once, each output written once, less
what a pass can leave unread), times are medians of CUDA events. A device-to-device copy that moves as many bytes is
measured in the same run. The last column: bytes that the operations of the function body move unfused, counted;
--count prints that alone, and needs nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import table

CMAKE = (sys.executable, "-m", "cmake") if importlib.util.find_spec("cmake") else ("cmake",)
SOURCE = Path(__file__).parents[1] / "kernels" / "cuda"
TYPES = {torch.float32: 0, torch.float16: 1}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


class Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in "nchw"]


def build(folder: str) -> ctypes.CDLL:
    options = ["-DRDC_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native"]
    subprocess.run([*CMAKE, "-S", str(SOURCE), "-B", folder, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [*CMAKE, "--build", folder, "--target", "rdc_kernels"], check=True, stdout=subprocess.DEVNULL
    )
    return ctypes.CDLL(f"{folder}/librdc_kernels.so")


def milliseconds(work: Callable[[], Any], rounds: int = 30) -> float:
    """Return the median of single runs, after warm-up.

    The GPU waits before each, so that launching costs nothing.
    """
    for _ in range(5):
        work()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(2_000_000)  # cycles: about a millisecond
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[rounds // 2]


@dataclass
class Case:
    """Holds a call of one kernel, and how many bytes it and the unfused operations move.

    tensors: device memory in the order of the C function; numbers: what follows it there.
    """

    kernel: str
    function: str
    type: str
    layout: str
    tensors: list[Tensor]
    numbers: list[Any]
    moved: float
    unfused: float

    def __call__(self, library: ctypes.CDLL) -> int:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        addresses = [ctypes.c_void_p(t.data_ptr()) for t in self.tensors]
        return getattr(library, self.function)(*addresses, *self.numbers, stream)


def cases(
    dtype: torch.dtype, layout: str, batch: int, height: int, width: int, device: str
) -> Iterator[Case]:
    """Unfused: every element-wise operation of the body reads and writes whole tensors, fp32 between the casts at
    its ends; masks and gains, which are small or broadcast, count nothing."""
    image, latent = ((batch, 192, -(-height // k), -(-width // k)) for k in (8, 16))
    memory, where, size = LAYOUTS[layout], list(LAYOUTS).index(layout), dtype.itemsize

    def made(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, device=device).to(dtype).contiguous(memory_format=memory)

    def case(kernel: str, tensors: list[Tensor], numbers: list[Any], moved: float, unfused: float) -> Case:
        count = max(t.numel() for t in tensors)
        name, function = str(dtype).removeprefix("torch."), "rdc_" + kernel.split(",")[0]
        return Case(kernel, function, name, layout, tensors, numbers, count * moved, count * unfused)

    last = [TYPES[dtype], where]
    cast = 0 if dtype is torch.float32 else size + 4  # of float32 to itself moves nothing
    pixels = torch.zeros(batch, height, width, 3, dtype=torch.int8, device=device)
    beta = torch.full((batch,), 0.3, device=device)
    x1, r = made(image), made(image)
    # cast, add, divide, transpose, fold with a cast
    yield case("image_to_tensor", [pixels, x1], [Shape(*image), *last], 1 + size, 5 + 8 + 8 + 8 + cast)
    # two casts, multiply, add, select (NaN), clip, scale, round, subtract, unfold, interleave, cast
    unfused = 2 * cast + 8 + 12 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 5
    yield case("blend_to_image", [x1, r, beta, pixels], [Shape(*image), *last], 2 * size + 1, unfused)

    level, gains = torch.full((batch,), 2.3, device=device), torch.rand(8, 192, device=device) + 0.5
    y, mean, acc, out = (made(latent) for _ in range(4))
    symbols = torch.zeros(latent, dtype=torch.int32, device=device)
    for index in (-1, 1):
        # What a single pass can leave unread: rows without its latents, or groups of channels.
        share = 1.0 if index < 0 else {"NCHW": 0.5, "NHWC": 0.25}[layout]
        # three casts, multiply, subtract, select, round, clip, mask, cast; add, mask, add, cast
        to_symbols = 3 * cast + 8 + 12 + 8 + 8 + 8 + 8 + 8 + 12 + 8 + 12 + cast
        to_values = 8 + 2 * cast + 12 + 8 + 12 + cast
        # TensorRT has no channel-last format for integers: its plugins leave symbols planar.
        for planes in (0, 1) if layout == "NHWC" else (0,):
            also = ", planar symbols" if planes else ""
            symbol_layout = 0 if planes else where
            tensors, numbers = [y, mean, gains, level, acc, symbols, out], [Shape(*latent), 8, index]
            moved = 2 * size * share + 2 * size + 4
            kernel = f"gain_quantize, pass {index}{also}"
            yield case(kernel, tensors, [*numbers, *last, symbol_layout], moved, to_symbols)
            tensors, numbers = [symbols, mean, acc, out], [Shape(*latent), index]
            moved = size * share + 4 * (1 if planes else share) + 2 * size
            kernel = f"gain_dequantize, pass {index}{also}"
            yield case(kernel, tensors, [*numbers, *last, symbol_layout], moved, to_values)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="2160x3840", help="HEIGHTxWIDTH, multiples of 8")
    parser.add_argument("--batch", type=int, default=4, help="so that tensors are several times the cache")
    parser.add_argument("--count", action="store_true", help="count bytes, run nothing")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    height, width = map(int, args.size.split("x"))
    if height % 8 or width % 8:
        parser.error("--size must be multiples of 8")
    device, everything = "meta" if args.count else "cuda", itertools.product(TYPES, LAYOUTS)
    if not args.count and not torch.cuda.is_available():
        raise SystemExit("no CUDA device (--count needs none)")
    chosen = itertools.chain(*(cases(*which, args.batch, height, width, device) for which in everything))
    if args.count:
        counts = [[c.kernel, c.type, c.layout, c.moved / 1e6, c.unfused / c.moved] for c in chosen]
        print(table(["kernel", "type", "layout", "MB", "unfused bytes, times"], counts))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = build(folder)
        for case in chosen:
            source = torch.empty(int(case.moved) // 2, dtype=torch.uint8, device="cuda")
            target = torch.empty_like(source)
            copy = case.moved / milliseconds(partial(target.copy_, source)) / 1e6
            if status := case(library):
                raise SystemExit(f"{case.kernel} failed: CUDA error {status}")
            speed = case.moved / milliseconds(partial(case, library)) / 1e6
            names = [case.kernel, case.type, case.layout]
            rows.append([*names, speed, copy, 100 * speed / copy, case.unfused / case.moved])
    header = ["kernel", "type", "layout", "GB/s", "copy GB/s", "% of copy", "unfused bytes, times"]
    versions = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if args.json:
        print(json.dumps(versions | {"rows": [dict(zip(header, r, strict=True)) for r in rows]}, indent=1))
        return
    print(", ".join(f"{k} {v}" for k, v in versions.items()))
    print(table(header, rows))


if __name__ == "__main__":
    main()
