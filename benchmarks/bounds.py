"""Measures what a hostile stream can make a reader do: time and memory, for each way to read it.

python -m benchmarks.bounds [--model BUNDLE] [--megapixels N] [--streams NAME ...] [--readers NAME ...]

All checksums of these streams are right, so that nothing but what they ask for can stop a reader: a picture of N
megapixels in as few bytes as can be (flat), with every symbol at its limit (extremes), with a wrong end, without
symbols, in a lossless chunk, as transparency; and 65536 chunks that are empty. Each is read in a process of its own
that has coded a tiny picture before: CPU seconds of all its threads, and the peak of its memory above what it had.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import table
from benchmarks.sizing import MEGA, photo
from benchmarks.windows import memory
from rdc_codec import Codec, container, entropy_coding, native, trimming
from rdc_codec.bundle import HYPER_LIMIT, HYPER_STRIDE, SYMBOL_LIMIT, Branch
from rdc_codec.container import ID_BYTES, MAX_CHUNKS, ChunkType, Header
from rdc_codec.entropy_coding import Symbols
from rdc_codec.errors import CodecError

Chunks = list[tuple[int, bytes]]
LATENTS = 4  # in a stride of hyper-latents, each way


def header_of(codec: Codec, height: int, width: int, quality: float = 0) -> Header:
    identities = codec.bundle.parse_id[:ID_BYTES], codec.bundle.picture_id[:ID_BYTES]
    return Header(width, height, quality, quality, quality, *identities)


def of_grey(codec: Codec) -> dict[str, np.ndarray]:
    """Return the hyper-latent symbols, int16 [hyper], that the inside of a grey picture has in each branch."""
    made = codec.symbols(codec.encode(np.full((320, 320, 3), 128, np.uint8), 0))
    return {name: made[f"{name}_hyper"][:, 2, 2].astype(np.int16) for name in ("primary", "auxiliary")}


def flat(codec: Codec, height: int, width: int, layers: int) -> Chunks:
    """Return the chunks of a picture of that size in about as few bytes as can be."""

    def planes(branch: Branch, name: str) -> tuple[np.ndarray, np.ndarray]:
        z = np.empty((branch.hyper, rows, columns), np.int16)
        z[:] = grey[name][:, None, None]
        return z, np.zeros((branch.latent, LATENTS * rows, LATENTS * columns), np.int16)

    grey = of_grey(codec)
    rows, columns = (-(-side // HYPER_STRIDE) for side in (height, width))
    z1, y1 = planes(codec.bundle.primary, "primary")
    symbols = Symbols(z1, y1)
    if layers:
        assert codec.bundle.auxiliary is not None
        symbols.z2, symbols.y2 = planes(codec.bundle.auxiliary, "auxiliary")
        symbols.slices = layers
    return entropy_coding.write(symbols, codec.bundle, 2)


def extremes(codec: Codec, height: int, width: int) -> Chunks:
    """Return the chunks of a picture in which every symbol is at its limit, of one sign or the other."""
    rows, columns = (-(-side // HYPER_STRIDE) for side in (height, width))
    rng = np.random.default_rng(0)

    def plane(channels: int, unit: int, limit: int) -> np.ndarray:
        return (limit * rng.choice([-1, 1], (channels, unit * rows, unit * columns))).astype(np.int16)

    one, two = codec.bundle.primary, codec.bundle.auxiliary
    assert two is not None
    z1, y1 = plane(one.hyper, 1, HYPER_LIMIT), plane(one.latent, LATENTS, SYMBOL_LIMIT)
    z2, y2 = plane(two.hyper, 1, HYPER_LIMIT), plane(two.latent, LATENTS, SYMBOL_LIMIT)
    return entropy_coding.write(Symbols(z1, y1, z2, y2, two.slices), codec.bundle, 2)


def wrong_end(chunks: Chunks) -> Chunks:
    """Return the chunks with an end of each segment that is wrong: all of it has to be read for that."""
    return [(kind, payload + b"\0\0") for kind, payload in chunks]


def stored_plane(kind: str, height: int, width: int, mode: str) -> bytes:
    """Return a flat picture as WebP or PNG without loss."""
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


def hyper_alone(codec: Codec, height: int, width: int) -> Chunks:
    """Return the hyper-latent symbols of a flat picture, after which nothing comes: tables follow from them."""
    branch = codec.bundle.primary
    rows, columns = (-(-side // HYPER_STRIDE) for side in (height, width))
    z = np.empty((branch.hyper, rows, columns), np.int16)
    z[:] = of_grey(codec)["primary"][:, None, None]
    indexes = np.repeat(np.arange(branch.hyper, dtype=np.uint8), rows * columns)
    return [(ChunkType.PRIMARY, native.encode_parts([(z, indexes, branch.hyper_tables, HYPER_LIMIT)]))]


def many_chunks(first: bytes, kind: int, count: int = MAX_CHUNKS) -> Chunks:
    """Return as many chunks as a stream may have, all but the first of them empty."""
    return [(ChunkType.PRIMARY, first)] + [(kind, b"")] * (count - 1)


def streams(codec: Codec, height: int, width: int) -> dict[str, Callable[[], bytes]]:
    """Return what makes each stream, by its name."""
    slices = codec.slices
    header = header_of(codec, height, width)
    small = header_of(codec, 64, 64)
    least = flat(codec, 64, 64, 0)

    def of(chunks: Callable[[], Chunks], head: Header = header) -> Callable[[], bytes]:
        return lambda: container.write(head, chunks())

    def photograph() -> bytes:
        codec.max_pixels = 1 << 40
        return codec.encode(photo(width, height))

    def stored(kind: str, chunk: ChunkType) -> Chunks:
        plane = stored_plane(
            kind, height, width, "L" if chunk == ChunkType.ALPHA and kind == "PNG" else "RGB"
        )
        return [*flat(codec, height, width, 0), (chunk, plane)]

    return {
        "photo": photograph,
        "flat, base": of(lambda: flat(codec, height, width, 0)),
        "flat, all": of(lambda: flat(codec, height, width, slices)),
        "extremes": of(lambda: extremes(codec, height, width)),
        "wrong end": of(lambda: wrong_end(flat(codec, height, width, slices))),
        "no symbols": of(lambda: [(ChunkType.PRIMARY, b"")]),
        "hyper-latents alone": of(lambda: hyper_alone(codec, height, width)),
        "lossless, WebP": of(lambda: stored("WEBP", ChunkType.LOSSLESS)),
        "lossless, PNG": of(lambda: stored("PNG", ChunkType.LOSSLESS)),
        "alpha, WebP": of(lambda: stored("WEBP", ChunkType.ALPHA)),
        "65536 slices": of(lambda: many_chunks(least[0][1], ChunkType.AUX_SLICE), small),
        "65536 of no type": of(lambda: many_chunks(least[0][1], (1 << 32) - 1), small),
    }


def trickled(codec: Codec, data: bytes) -> Any:
    """Feed a decoder in pieces of a kilobyte, and take its picture."""
    decoder = codec.decoder()
    for start in range(0, len(data), 1024):
        decoder.feed(data[start : start + 1024])
    decoder.finish()
    return decoder.picture()


def opened(codec: Codec, data: bytes) -> Any:
    """Open a stream with Pillow, which reads its header alone."""
    import rdc_codec.pillow

    Image.MAX_IMAGE_PIXELS = None
    rdc_codec.pillow.register(codec)
    return Image.open(io.BytesIO(data)).info


READERS: dict[str, Callable[[Codec, bytes], Any]] = {
    "info": lambda codec, data: codec.info(data),
    "verify": lambda codec, data: codec.verify(data),
    "trim": lambda codec, data: trimming.trim(data),
    "Pillow, open": opened,
    "decoder": trickled,
    "decode": lambda codec, data: codec.decode(data),
    "decode_image": lambda codec, data: codec.decode_image(data),
}


def measured(codec: Codec, reader: str, data: bytes) -> dict[str, Any]:
    """Read a stream in one way; return CPU seconds, the peak of memory above what there was in MB, and the outcome."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)  # or what was freed before could be used again, and would not be seen
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before, start = memory("VmRSS"), time.process_time()
    outcome = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = READERS[reader](codec, data)
            outcome = "picture" if isinstance(made, np.ndarray | Image.Image) else ""
            if reader == "verify":
                outcome = "whole" if made.ok else made.problem.partition(":")[0]
        except (CodecError, OSError) as error:
            outcome = type(error).__name__
    seconds, most = time.process_time() - start, memory("VmHWM")
    return {"seconds": seconds, "MB": max(0.0, most - before), "outcome": outcome, "bytes": len(data)}


def warmed(model: str | None) -> Codec:
    """Return a codec that has loaded what it needs, without a limit to pictures."""
    codec = Codec(model, backend="onnxruntime", threads=1)
    codec.max_pixels = 1 << 40
    rgba = np.dstack([photo(64, 64)] * 2)[..., :4]
    codec.decode_image(codec.encode(rgba, min_psnr=99))
    codec.decode(codec.encode(photo(64, 64)))
    return codec


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument("--megapixels", type=float, default=16)
    parser.add_argument("--streams", nargs="*", help="(default: all)")
    parser.add_argument("--readers", nargs="*", choices=[*READERS], default=[*READERS])
    parser.add_argument("--task", help=argparse.SUPPRESS)  # JSON: this is a process of its own
    args = parser.parse_args(argv)
    if args.task:
        task = json.loads(args.task)
        print(json.dumps(measured(warmed(args.model), task["reader"], Path(task["file"]).read_bytes())))
        return
    side = max(64, round((args.megapixels * MEGA) ** 0.5 / 64) * 64)
    codec = warmed(args.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stream"
        for name, make in streams(codec, side, side).items():
            if args.streams and name not in args.streams:
                continue
            file.write_bytes(make())
            for reader in args.readers:
                task = {"reader": reader, "file": str(file)}
                command = [sys.executable, "-m", "benchmarks.bounds", "--task", json.dumps(task)]
                command += ["--model", args.model] if args.model else []
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout)
                figures = [found["bytes"], f"{found['seconds']:.2f}", f"{found['MB']:.1f}", found["outcome"]]
                rows.append([name, reader, *figures])
                print(rows[-1], file=sys.stderr, flush=True)
    print(f"{side}x{side} pixels")
    print(table(["stream", "reader", "bytes", "CPU s", "MB", "outcome"], rows))


if __name__ == "__main__":
    main()
