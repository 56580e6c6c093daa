"""This program does what an application does with the codec; `mypy --strict` must find nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import runtime
from rdc_codec import Codec, __version__, errors
from rdc_codec.native import crc32c


def shrink(codec: Codec, picture: NDArray[np.uint8] | Image.Image, quality: float) -> bytes:
    return codec.encode(picture, quality=quality, layers="all")


def restore(codec: Codec, files: list[Path]) -> Iterator[NDArray[np.uint8]]:
    yield from codec.decode_batch((file.read_bytes() for file in files), beta=0.5, layers=2)


def main() -> None:
    codec = Codec(threads=1)
    picture = np.zeros((48, 80, 3), np.uint8)
    data: bytes = shrink(codec, picture, 50)
    also: bytes = shrink(codec, Image.fromarray(picture), 50.0)
    shown: NDArray[np.uint8] = codec.decode(data)
    checksum: int = crc32c(data)
    try:
        codec.decode(b"not a stream")
    except errors.CorruptError as error:
        print(error)
    alias: type[Codec] = runtime.Codec
    print(__version__, shown.shape, checksum, also == data, alias is Codec, list(restore(codec, [])))


if __name__ == "__main__":
    main()
