"""Measures the C API beside the Python package: how long symbols take, and how large the library is.

    python -m benchmarks.c_api [--repeats N] [--json]

The photo is scikit-image's astronaut, enlarged and cut to 768x512, encoded by the shipped model. Both parse the same
stream in one thread of one process, in turns: container, both halves of the integer networks, all symbols. Python's
figure is that of `Codec.symbols`; C's that of rdc_stream_open, rdc_read_symbols into arrays that are there already,
and rdc_stream_close, called through ctypes. CMake builds the library into a temporary folder first.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from rdc_codec import Codec
from rdc_codec.bundle import DEFAULT

SOURCE = Path(__file__).parents[1] / "kernels" / "c_api"
WIDTH, HEIGHT = 768, 512
QUALITIES = (20, 50, 90)
PLANES = {
    "z1": "primary_hyper",
    "y1": "primary_latents",
    "z2": "auxiliary_hyper",
    "y2": "auxiliary_latents",
}
ALL_SLICES = ctypes.c_uint32(4)


class Symbols(ctypes.Structure):
    """Lays out rdc_symbols."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in PLANES),
        *((f"{name}_room", ctypes.c_size_t) for name in PLANES),
        ("slices", ctypes.c_uint32),
    ]


def photo() -> np.ndarray:
    """Return a photo, uint8 [512, 768, 3]."""
    from skimage import data

    return np.asarray(Image.fromarray(data.astronaut()).resize((768, 768)))[:HEIGHT]


def build(folder: Path) -> Path:
    """Build the library, stripped as packagers do, and return its path."""
    for command in (
        ["-S", str(SOURCE), "-B", str(folder), "-DCMAKE_SHARED_LINKER_FLAGS=-s"],
        ["--build", str(folder)],
    ):
        subprocess.run([sys.executable, "-m", "cmake", *command], check=True, capture_output=True)
    return next(folder.glob("librdc.*")).resolve()


def checked(status: int) -> None:
    """Raise RuntimeError for a status that is not RDC_OK."""
    if status:
        raise RuntimeError(f"the C API returned {status}")


def opened(library: ctypes.CDLL) -> ctypes.c_void_p:
    """Open the shipped bundle."""
    manifest, tables = ((DEFAULT / name).read_bytes() for name in ("manifest.json", "tables.npz"))
    bundle = ctypes.c_void_p()
    sizes = [ctypes.c_size_t(len(part)) for part in (manifest, tables)]
    checked(library.rdc_bundle_open(manifest, sizes[0], tables, sizes[1], ctypes.byref(bundle)))
    return bundle


def reader(library: ctypes.CDLL, bundle: ctypes.c_void_p, data: bytes, arrays: dict[str, np.ndarray]) -> None:
    """Read all symbols of a stream into the arrays."""
    stream, symbols = ctypes.c_void_p(), Symbols()
    for name, array in arrays.items():
        setattr(symbols, name, array.ctypes.data)
        setattr(symbols, f"{name}_room", array.size)
    size = ctypes.c_size_t(len(data))
    checked(library.rdc_stream_open(data, size, ctypes.c_uint64(0), ctypes.byref(stream)))
    checked(library.rdc_read_symbols(bundle, stream, ALL_SLICES, ctypes.byref(symbols)))
    library.rdc_stream_close(stream)


def medians(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """Return the median milliseconds of each, run in turns, so that what slows a machine down slows all."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def main() -> None:
    """Build, check that both find the same symbols, measure and print."""
    parser = argparse.ArgumentParser(description="the C API beside the Python package")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    codec = Codec(backend="onnxruntime")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = build(Path(folder))
        library = ctypes.CDLL(str(path))
        library.rdc_stream_close.restype = library.rdc_bundle_close.restype = None
        bundle = opened(library)
        for quality in QUALITIES:
            data = codec.encode(photo(), quality)
            expected = codec.symbols(data)
            arrays = {name: np.empty(expected[key].shape, np.int32) for name, key in PLANES.items()}

            def in_c(data: bytes = data, arrays: dict[str, np.ndarray] = arrays) -> None:
                reader(library, bundle, data, arrays)

            def in_python(data: bytes = data) -> None:
                codec.symbols(data)

            in_c()
            for name, key in PLANES.items():
                np.testing.assert_array_equal(arrays[name], expected[key])
            python_ms, c_ms = medians(options.repeats, in_python, in_c)
            rows.append({"quality": quality, "python_ms": python_ms, "c_ms": c_ms, "ratio": c_ms / python_ms})
        start = time.perf_counter()
        library.rdc_bundle_close(bundle)
        second = opened(library)
        open_ms = 1e3 * (time.perf_counter() - start)
        library.rdc_bundle_close(second)
        size = path.stat().st_size
    if options.json:
        print(json.dumps({"rows": rows, "open_ms": open_ms, "library_bytes": size}))
        return
    print(f"library: {size} bytes; opening the bundle: {open_ms:.0f} ms")
    for row in rows:
        print(
            "quality {quality}: Python {python_ms:.2f} ms, C {c_ms:.2f} ms, ratio {ratio:.2f}".format(**row)
        )


if __name__ == "__main__":
    main()
