"""Many readers of one stream get identical symbols, and pictures within one grey level almost everywhere.

    python -m benchmarks.conformance --data DIR

Photos are cropped to odd sizes and coded at five qualities with both branches, by ONNX Runtime and, where it is
installed, by OpenVINO; every stream is read with one and two threads, with graph optimisation off, by PyTorch and by
OpenVINO.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from benchmarks.common import add_options, photos, table
from export.reference import torch_reader
from rdc_codec import Codec
from rdc_codec.errors import BackendError

QUALITIES = (0, 25, 50, 75, 100)
SAMPLE_LIMIT = 1e-4
BETAS = (0, 0.5, 1)  # every decoder has its own graph


def engines(model: str | Path | None) -> dict[str, Codec]:
    """Make a codec for each engine on the CPU that is installed: those that write the streams."""
    found = {"ONNX Runtime": Codec(model, backend="onnxruntime")}
    with contextlib.suppress(BackendError):
        found["OpenVINO"] = Codec(model, backend="openvino")
    return found


def readers(model: str | Path | None) -> dict[str, Codec]:
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found = {
        "1 thread": Codec(model, backend="onnxruntime", threads=1),
        "2 threads": Codec(model, backend="onnxruntime", threads=2),
        "no graph optimisation": Codec(model, session_options=plain),
        "PyTorch": torch_reader(model),
    }
    return found | {name: codec for name, codec in engines(model).items() if name == "OpenVINO"}


def odd_crop(rgb: np.ndarray, k: int) -> np.ndarray:
    """Cut a part with odd sides out of the photo, other ones for every k."""
    height, width = min(rgb.shape[0], 401 - 2 * k), min(rgb.shape[1], 513 - 6 * k)
    return rgb[: height - 1 + height % 2, : width - 1 + width % 2]


def compare(streams: list[bytes], model: str | Path | None) -> dict[str, dict[str, float]]:
    """Compare each reader with the first one.

    Returns the streams with different symbols, the share of different samples, and the largest difference in
    grey levels.
    """
    first, *others = readers(model).items()
    found = {
        name: {"streams with other symbols": 0.0, "samples that differ": 0.0, "largest difference": 0.0}
        for name, _ in others
    }
    samples = 0
    for data in tqdm(streams, unit="stream", file=sys.stderr):
        symbols = first[1].symbols(data)
        pictures = [first[1].decode(data, beta=beta).astype(int) for beta in BETAS]
        samples += sum(p.size for p in pictures)
        for name, reader in others:
            theirs = reader.symbols(data)
            same = theirs.keys() == symbols.keys() and all(
                np.array_equal(theirs[k], symbols[k]) for k in symbols
            )
            row = found[name]
            row["streams with other symbols"] += not same
            for beta, picture in zip(BETAS, pictures, strict=True):
                difference = np.abs(reader.decode(data, beta=beta).astype(int) - picture)
                row["samples that differ"] += int((difference > 0).sum())
                row["largest difference"] = max(row["largest difference"], float(difference.max()))
    for row in found.values():
        row["samples that differ"] /= samples
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    args = parser.parse_args(argv)
    writers = engines(args.model)
    crops = [odd_crop(rgb, k) for k, (_, rgb) in enumerate(photos(args.data, args.limit or 20))]
    streams = [w.encode(rgb, quality) for w in writers.values() for rgb in crops for quality in QUALITIES]
    found = compare(streams, args.model)
    print(
        f"{len(crops)} photos, {len(streams)} streams written by {' and '.join(writers)}, "
        "each reader against ONNX Runtime with 1 thread:"
    )
    columns = list(next(iter(found.values())))
    print(
        table(
            ["reader", *columns],
            [
                [name, int(row[columns[0]]), f"{row[columns[1]]:.6%}", int(row[columns[2]])]
                for name, row in found.items()
            ],
        )
    )
    bad = [
        name
        for name, row in found.items()
        if row[columns[0]] or row[columns[1]] > SAMPLE_LIMIT or row[columns[2]] > 1
    ]
    if bad:
        raise SystemExit(f"not conformant: {', '.join(bad)}")


if __name__ == "__main__":
    main()
