"""Yesterday's streams on tomorrow's machine: pinned bytes, pinned symbols, pictures within one grey level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, SHIPPED
from PIL import Image

from rdc_codec import Codec, container, entropy_coding
from rdc_codec.bundle import Bundle
from rdc_codec.container import ChunkType
from rdc_codec.entropy_coding import Symbols

CASES = sorted(p.stem for p in (DATA / "golden").glob("*.rdc"))


ROOT = Path(__file__).parents[1]
RELEASED = {  # an entry is never taken away
    **{name: ROOT / "bundles" / name for name in ("light-1", "light-2")},
    "light-4": SHIPPED,
}


def golden(name: str, folder: str = "golden") -> tuple[bytes, dict[str, np.ndarray]]:
    path = DATA / folder / name
    with np.load(path.with_suffix(".npz")) as file:
        return path.with_suffix(".rdc").read_bytes(), {k: file[k] for k in file.files}


def test_there_are_golden_streams() -> None:
    assert len(CASES) == 4


@pytest.mark.parametrize("name", CASES)
def test_pinned_streams_parse_to_their_symbols(tiny: Codec, name: str) -> None:
    stream, expected = golden(name)
    found = tiny.symbols(stream)
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize("name", CASES)
def test_pinned_symbols_are_written_to_the_same_bytes(tiny: Codec, name: str) -> None:
    stream, pinned = golden(name)
    parsed = container.read(stream, max_pixels=1 << 20)
    coded = Symbols(pinned["primary_hyper"], pinned["primary_latents"])
    if "auxiliary_latents" in pinned:
        coded.z2, coded.y2 = pinned["auxiliary_hyper"], pinned["auxiliary_latents"]
        coded.slices = sum(c.type == ChunkType.AUX_SLICE for c in parsed.chunks)
    assert container.write(parsed.header, entropy_coding.write(coded, tiny.bundle)) == stream


@pytest.mark.parametrize("name", CASES)
def test_pinned_streams_decode_to_their_pictures(tiny: Codec, name: str) -> None:
    stream, _ = golden(name)
    expected = np.asarray(Image.open(Path(DATA / "golden" / name).with_suffix(".png"))).astype(int)
    assert np.abs(tiny.decode(stream) - expected).max() <= 1


@pytest.mark.parametrize("name", RELEASED)
def test_streams_of_released_bundles_decode_to_their_symbols_and_pictures(name: str) -> None:
    codec = Codec(RELEASED[name], threads=2)
    assert f"{codec.bundle.name}-{codec.bundle.version}" == name
    stream, expected = golden(name, "released")
    found = codec.symbols(stream)
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])
    picture = np.asarray(Image.open(DATA / "released" / f"{name}.png")).astype(int)
    assert np.abs(codec.decode(stream) - picture).max() <= 1


def test_there_is_a_stream_of_each_released_bundle() -> None:
    assert Bundle(SHIPPED).name + "-" + Bundle(SHIPPED).version == list(RELEASED)[-1]
    assert sorted(path.stem for path in (DATA / "released").glob("*.rdc")) == sorted(RELEASED)
