"""Keeps photographs as streams in a Parquet table, where they are chosen by size and quality before any is decoded."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rdc_codec import Codec

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("quality", pa.float32()),
        ("bytes", pa.int32()),
        ("stream", pa.binary()),
    ],
    metadata={"stream": "image/x-rdc"},
)


def write_table(path: Path, streams: Iterable[tuple[str, bytes]], codec: Codec) -> None:
    """Write named streams and what they say of themselves."""
    rows = []
    for name, data in streams:
        about = codec.info(data)
        row = {key: about[key] for key in ("width", "height", "quality")}
        rows.append({"name": name, **row, "bytes": len(data), "stream": data})
    # Streams are compressed already.
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="none")


def read_pictures(
    path: Path, codec: Codec, chosen: pc.Expression | None = None, beta: float = 1
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the names of the rows that are chosen, and their pictures, uint8 [H, W, 3]."""
    table = pq.read_table(path, columns=["name", "stream"], filters=chosen)
    streams = (value.as_py() for value in table["stream"])
    yield from zip(table["name"].to_pylist(), codec.decode_batch(streams, beta=beta), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the .rdc files are")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--min-width", type=int, default=256, help="decode the pictures that are as wide")
    arguments = parser.parse_args()
    codec = Codec()
    files = sorted(arguments.folder.rglob("*.rdc"))
    named = ((file.relative_to(arguments.folder).as_posix(), file.read_bytes()) for file in files)
    write_table(arguments.output, named, codec)
    for name, picture in read_pictures(arguments.output, codec, pc.field("width") >= arguments.min_width):
        print(f"{name}\t{picture.shape[1]}x{picture.shape[0]}")


if __name__ == "__main__":
    main()
