"""`trim` leaves auxiliary slices out of a stream: what stays is whole, and has the bytes that `encode` writes."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, rdc
from hypothesis import given
from hypothesis import strategies as st

import rdc_codec
import runtime
from rdc_codec import Codec, container, trim
from rdc_codec.container import ChunkType
from rdc_codec.errors import (
    CorruptError,
    DamagedAuxiliaryWarning,
    InputError,
    LimitError,
    TruncatedError,
    UnsupportedError,
)

GOLDEN = {path.stem: path.read_bytes() for path in sorted((DATA / "golden").glob("*.rdc"))}
LOSSLESS = 40  # type of a chunk, docs/bitstream.md


@pytest.fixture(scope="module")
def stream(tiny: Codec, photos: list[np.ndarray]) -> bytes:
    return tiny.encode(photos[1][:130, :190], 100)


def chunks_of(data: bytes) -> list[tuple[int, bytes]]:
    return [(c.type, bytes(c.payload or b"")) for c in container.read(data, max_pixels=1 << 20).chunks]


def types(data: bytes) -> list[int]:
    return [kind for kind, _ in chunks_of(data)]


def with_chunks(data: bytes, *more: tuple[int, bytes]) -> bytes:
    return container.write(container.read(data, max_pixels=1 << 20).header, [*chunks_of(data), *more])


@pytest.mark.parametrize("layers", ["base", 0, 1, 2, 3, 4, "all", None])
def test_the_bytes_are_those_of_encode(
    tiny: Codec, shipped: Codec, photos: list[np.ndarray], layers: Any
) -> None:
    for codec, quality in ((tiny, 100), (tiny, 30), (shipped, 50)):
        picture = photos[0][:100, :140]
        whole = codec.encode(picture, quality)
        expected = codec.encode(picture, quality, layers="all" if layers is None else layers)
        assert trim(whole, layers) == expected
        assert codec.verify(expected).ok


def test_a_stream_that_has_no_more_is_left_as_it_is() -> None:
    for data in GOLDEN.values():
        assert trim(data) == trim(data, "all") == trim(data, 4) == trim(data, 9, 10**9) == data
    assert trim(GOLDEN["two_slices"], 3) == GOLDEN["two_slices"]


@given(limit=st.integers(0, 3000))
def test_as_many_slices_stay_as_fit(tiny: Codec, stream: bytes, limit: int) -> None:
    sizes = [len(trim(stream, n)) for n in range(tiny.slices + 1)]
    assert sizes == sorted(sizes) and sizes[-1] == len(stream)
    fitting = [n for n, size in enumerate(sizes) if size <= limit]
    if fitting:
        assert trim(stream, max_bytes=limit) == trim(stream, fitting[-1])
        assert trim(stream, 1, limit) == trim(stream, min(1, fitting[-1]))
    else:
        with pytest.raises(LimitError, match=f"least size is {sizes[0]}$"):
            trim(stream, max_bytes=limit)


def test_metadata_and_unknown_chunks_stay_where_they_are(tiny: Codec, stream: bytes) -> None:
    extra = [(ChunkType.ICC, b"profile"), (99, b"later"), (ChunkType.XMP, b"<x/>")]
    data = with_chunks(stream, *extra)
    for n in range(tiny.slices + 1):
        assert trim(data, n) == with_chunks(trim(stream, n), *extra)
    least = len(trim(data, "base"))
    assert trim(data, max_bytes=least) == trim(data, "base")
    with pytest.raises(LimitError, match=f"least size is {least}"):
        trim(data, max_bytes=least - 1)


def test_a_lossless_picture_is_the_last_layer_and_the_first_to_go(tiny: Codec, stream: bytes) -> None:
    data = with_chunks(stream, (LOSSLESS, b"exact" * 30), (99, b"z"))
    assert trim(data) == trim(data, "all") == data
    assert trim(data, max_bytes=len(data)) == trim(data, tiny.slices) == data
    assert trim(data, max_bytes=len(data) - 1) == with_chunks(stream, (99, b"z"))
    assert types(trim(data, 1)) == [ChunkType.PRIMARY, ChunkType.AUX_SLICE, LOSSLESS, 99]
    assert types(trim(data, "base")) == [ChunkType.PRIMARY, 99]
    with pytest.warns(DamagedAuxiliaryWarning, match="chunk unknown_40 is truncated|lossless is truncated"):
        assert trim(with_chunks(stream, (LOSSLESS, b"exact"))[:-1]) == stream


def test_what_is_damaged_and_what_comes_after_it_is_left_out(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"][1:]
    for n, chunk in enumerate(chunks):
        damaged = bytearray(stream)
        damaged[chunk["offset"]] ^= 1
        with pytest.warns(
            DamagedAuxiliaryWarning, match=f"left out: auxiliary slice {n} is damaged"
        ) as caught:
            assert trim(damaged) == trim(stream, n)
        assert caught[0].filename == __file__
        for cut, state in ((chunk["offset"], "missing"), (chunk["offset"] + 1, "truncated")):
            with pytest.warns(DamagedAuxiliaryWarning, match=f"slice {n} is {state}"):
                assert trim(stream[:cut]) == trim(stream, n)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what was to go in any case is no loss
            assert trim(damaged, n) == trim(stream, n)
            assert trim(damaged, max_bytes=len(trim(stream, "base"))) == trim(stream, 0)
    tail = with_chunks(stream, (ChunkType.EXIF, b"exif"), (99, b"later"))
    with pytest.warns(DamagedAuxiliaryWarning, match="left out: chunk unknown_99 is truncated$"):
        assert trim(tail[:-1]) == with_chunks(stream, (ChunkType.EXIF, b"exif"))


def test_a_stream_without_a_picture_is_an_error(tiny: Codec, stream: bytes) -> None:
    primary = tiny.info(stream)["chunks"][0]
    damaged = bytearray(stream)
    damaged[primary["offset"]] ^= 1
    for data, error in (
        (damaged, CorruptError),
        (stream + b"\0", CorruptError),
        (b"no stream", CorruptError),
        (stream[: primary["offset"] + 1], TruncatedError),
        (b"", TruncatedError),
        (b"RDC\2", UnsupportedError),
    ):
        with pytest.raises(error):
            trim(data)


def test_arguments_are_checked(stream: bytes) -> None:
    for layers in ("most", -1, 1.0, True, b"base"):
        with pytest.raises(InputError, match="layers must be"):
            trim(stream, layers)  # type: ignore[arg-type]
    for limit in ("9", 9.5, True):
        with pytest.raises(InputError, match="max_bytes must be"):
            trim(stream, max_bytes=limit)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        trim("text")  # type: ignore[arg-type]
    assert trim(memoryview(bytearray(stream)), np.int64(1), np.int32(10**6)) == trim(stream, 1)  # type: ignore[arg-type]


def test_it_needs_no_model_and_is_in_both_packages(stream: bytes, tmp_path: Path) -> None:
    assert runtime.trim is rdc_codec.trim
    (tmp_path / "a.rdc").write_bytes(stream)
    code = (
        "import sys; from pathlib import Path; from rdc_codec import trim; a, b = map(Path, sys.argv[1:]);"
        "b.write_bytes(trim(a.read_bytes(), 1)); print('onnxruntime' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.rdc"), str(tmp_path / "b.rdc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
    assert (tmp_path / "b.rdc").read_bytes() == trim(stream, 1)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_trims_files_and_folders(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "in" / "inner").mkdir(parents=True)
    (tmp_path / "in" / "inner" / "a.rdc").write_bytes(stream)
    (tmp_path / "in" / "cut.rdc").write_bytes(stream[:-1])
    done = rdc("trim", tmp_path / "in" / "inner" / "a.rdc", "-o", tmp_path / "one.rdc", "--layers", "base")
    assert done.exit_code == 0 and done.output == ""
    assert (tmp_path / "one.rdc").read_bytes() == trim(stream, "base")
    done = rdc("trim", tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "cut.rdc: warning: left out: auxiliary slice 3 is truncated" in done.stderr
    assert (tmp_path / "out" / "inner" / "a.rdc").read_bytes() == stream
    assert (tmp_path / "out" / "cut.rdc").read_bytes() == trim(stream, 3)
    limit = len(trim(stream, 2))
    done = rdc("trim", tmp_path / "in", "-o", tmp_path / "small/", "--layers", "3", "--max-bytes", limit)
    assert done.exit_code == 0 and done.output == ""
    assert (tmp_path / "small" / "cut.rdc").read_bytes() == trim(stream, 2)


def test_the_command_names_what_cannot_be_trimmed(stream: bytes, tmp_path: Path) -> None:
    for name, data in (("a", stream), ("bad", b"no stream")):
        (tmp_path / f"{name}.rdc").write_bytes(data)
    out = tmp_path / "out"
    done = rdc("trim", tmp_path / "a.rdc", tmp_path / "bad.rdc", tmp_path / "none.rdc", "-o", out)
    assert done.exit_code == 2 and (out / "a.rdc").read_bytes() == stream
    assert "bad.rdc: not an RDC stream" in done.stderr and "none.rdc: No such file" in done.stderr
    done = rdc("trim", tmp_path / "a.rdc", "-o", tmp_path / "b.rdc", "--max-bytes", 10)
    assert done.exit_code == 2 and "its least size is" in done.stderr and not (tmp_path / "b.rdc").exists()
    assert rdc("trim", tmp_path / "a.rdc", "-o", tmp_path / "b.rdc", "--layers", "some").exit_code == 2
    assert rdc("trim", tmp_path / "a.rdc", "-o", tmp_path / "a.rdc").exit_code == 2
    assert (tmp_path / "a.rdc").read_bytes() == stream


def test_verify_prints_a_line_of_json_for_every_stream(
    shipped: Codec, photo: np.ndarray, tmp_path: Path
) -> None:
    whole = shipped.encode(np.ascontiguousarray(photo[:70, :90]))
    for name, data in (("a", whole), ("b", whole[:-1]), ("c", b"no stream")):
        (tmp_path / f"{name}.rdc").write_bytes(data)
    done = rdc("verify", tmp_path, tmp_path / "none.rdc", "--json")
    assert done.exit_code == 2
    found = {Path(line["path"]).stem: line for line in map(json.loads, done.stdout.splitlines())}
    assert [found["a"][k] for k in ("ok", "decodable", "slices", "problem")] == [True, True, 4, None]
    assert [found["b"][k] for k in ("ok", "decodable", "slices")] == [False, True, 3]
    assert found["b"]["problem"] == "auxiliary slice 3 is truncated"
    assert [found["c"][k] for k in ("ok", "decodable", "slices")] == [False, False, 0]
    assert found["none"]["problem"] == "No such file or directory"
    assert len(done.stderr.splitlines()) == 3
    done = rdc("verify", tmp_path / "a.rdc", "--json")
    assert done.exit_code == 0 and done.stderr == "" and len(done.stdout.splitlines()) == 1


def test_verify_looks_at_chunks_that_no_picture_needs(tiny: Codec, stream: bytes) -> None:
    data = with_chunks(stream, (ChunkType.ICC, b"profile"), (99, b"later"))
    assert tiny.verify(data).ok
    assert tiny.verify(data[:-1]) == (False, True, 4, "chunk unknown_99 is truncated")
    damaged = bytearray(data)
    damaged[-6] ^= 1
    assert tiny.verify(damaged) == (False, True, 4, "ICC profile: damaged")
