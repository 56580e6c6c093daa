"""Makes the pinned files of the tests: `python tests/make_golden.py`.

Run it only when the format changes on purpose: every byte it writes is a promise (tests/test_golden.py). For a bundle
that is about to be released, `python tests/make_golden.py BUNDLE` adds a stream of it, and leaves all else as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.to_onnx import export_bundle
from model import checkpoint
from rdc_codec import Codec

DATA = Path(__file__).parent / "data"
CASES = {  # name: (rows, columns, quality, layers)
    "full": (slice(20, 147), slice(150, 341), 100, "all"),
    "two_slices": (slice(100, 164), slice(100, 228), 80, 2),
    "base": (slice(0, 65), slice(0, 33), 90, "base"),
    "one_pixel": (slice(0, 1), slice(0, 1), 0, "all"),
}


def pin(codec: Codec, stream: bytes, path: Path) -> None:
    """Write a stream, its symbols and its picture."""
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".rdc").write_bytes(stream)
    np.savez_compressed(path.with_suffix(".npz"), **codec.symbols(stream))  # type: ignore[arg-type]
    Image.fromarray(codec.decode(stream)).save(path.with_suffix(".png"))


def pin_released(folder: str) -> None:
    """Pin a stream of a bundle under its name and version, once."""
    codec = Codec(folder, threads=1)
    path = DATA / "released" / f"{codec.bundle.name}-{codec.bundle.version}"
    if path.with_suffix(".rdc").exists():
        raise SystemExit(f"{path}.rdc is there: a stream of a released bundle never changes")
    pin(codec, codec.encode(data.chelsea()[20:147, 150:341], 50), path)


def main() -> None:
    if len(sys.argv) > 1:
        return pin_released(sys.argv[1])
    quality_map = {"quality": [0, 100], "base_quality": [0, 60], "aux_quality": [0, 100]}
    export_bundle(checkpoint.load(DATA / "tiny.safetensors"), DATA / "tiny", "tiny", quality_map)
    codec = Codec(DATA / "tiny", threads=1)
    for name, (rows, columns, quality, layers) in CASES.items():
        pin(
            codec, codec.encode(data.chelsea()[rows, columns], quality, layers=layers), DATA / "golden" / name
        )


if __name__ == "__main__":
    main()
