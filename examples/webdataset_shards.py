"""Writes photographs as `.rdc` members of WebDataset shards, and reads them back as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image

from rdc_codec import Codec

Sample = dict[str, Any]


class EncodeMembers:
    """Turns the pictures of a sample, all members whose name ends in rdc, into streams; for `ShardWriter`."""

    def __init__(self, codec: Codec, quality: float = 50) -> None:
        self.codec = codec
        self.quality = quality
        self._others = wds.writer.make_encoder(True)

    def __call__(self, sample: Sample) -> Sample:
        streams = {
            name: self.codec.encode(value, self.quality) if name.endswith("rdc") else value
            for name, value in sample.items()
        }
        return dict(self._others(streams))


class DecodeMembers:
    """Turns `.rdc` members into uint8 arrays [H, W, 3]; for `WebDataset.decode`, also in worker processes.

    beta: 1 for machines, from the base part alone, to 0 for people.
    """

    def __init__(self, codec: Codec, beta: float = 1) -> None:
        self.codec = codec
        self.beta = beta

    def __call__(self, name: str, data: bytes) -> NDArray[np.uint8] | None:
        if not name.endswith(".rdc"):
            return None  # another handler's
        return self.codec.decode(data, beta=self.beta)


def write_shards(
    pattern: str, samples: Iterable[Sample], codec: Codec, quality: float = 50, per_shard: int = 1000
) -> None:
    """Write samples, each with `__key__`, a picture `rdc` and whatever else, to shards named by `pattern`."""
    encoder = EncodeMembers(codec, quality)
    with wds.ShardWriter(pattern, maxcount=per_shard, encoder=encoder, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def read_shards(shards: str | list[str], codec: Codec, beta: float = 1) -> Iterable[Sample]:
    """Return the samples of shards, with decoded pictures."""
    dataset = wds.WebDataset(shards, shardshuffle=False, empty_check=False)
    return dataset.decode(DecodeMembers(codec, beta))


def photographs(folder: Path) -> Iterator[Sample]:
    """Yield a sample for every picture below a folder, with the name of its own folder as its class."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            key = path.relative_to(folder).with_suffix("").as_posix().replace(".", "_")
            with Image.open(path) as image:
                yield {"__key__": key, "rdc": image, "class.txt": path.parent.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the pictures are")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("-q", "--quality", type=float, default=50)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    codec = Codec()
    pattern = str(arguments.output / "photos-%06d.tar")
    write_shards(pattern, photographs(arguments.folder), codec, arguments.quality)
    shards = sorted(str(path) for path in arguments.output.glob("photos-*.tar"))
    for sample in read_shards(shards, codec):
        height, width, _ = sample["rdc"].shape
        print(f"{sample['__key__']}\t{width}x{height}\t{sample['class.txt']}")


if __name__ == "__main__":
    main()
