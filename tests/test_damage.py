"""Damaged streams: a picture (with a warning where auxiliary data is lost) or a typed error, soon, never a crash."""

from __future__ import annotations

import resource
import time
import warnings

import numpy as np
import pytest

from runtime import Codec
from runtime.errors import CodecError, CorruptError, DamagedAuxiliaryWarning, TruncatedError


@pytest.fixture(scope="module")
def stream(tiny: Codec, photos: list[np.ndarray]) -> bytes:
    """Over 2 kB, most of it auxiliary data."""
    data = tiny.encode(photos[1], 100)
    assert len(data) > 2048
    return data


def decode(codec: Codec, data: bytes) -> tuple[np.ndarray | None, bool]:
    """(picture or None after a typed error, was there a warning); everything else fails the test."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            picture = codec.decode(data)
        except CodecError:
            picture = None
    assert time.perf_counter() - start < 1
    assert all(issubclass(w.category, DamagedAuxiliaryWarning) for w in caught)
    return picture, bool(caught)


def test_every_cut_after_the_primary_data_decodes(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"]
    end = chunks[1]["offset"] + chunks[1]["length"]
    size = tiny.decode(stream).shape
    ends = {c["offset"] + c["length"] for c in chunks[3:]}
    pictures = {n: tiny.decode(stream, layers=n) for n in range(tiny.slices + 1)}
    for cut in [*range(end, len(stream), 7), *ends, *(e - 1 for e in ends)]:
        picture, warned = decode(tiny, stream[:cut])
        assert picture is not None and picture.shape == size
        assert warned == (cut < len(stream))
        whole = sum(c["offset"] + c["length"] <= cut for c in chunks[3:])
        np.testing.assert_array_equal(picture, pictures[whole])


def test_every_cut_before_that_is_a_truncated_stream(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"]
    for cut in range(chunks[1]["offset"] + chunks[1]["length"]):
        with pytest.raises(TruncatedError):
            tiny.decode(stream[:cut])


def test_a_flipped_bit_anywhere_is_noticed(tiny: Codec, stream: bytes) -> None:
    """One bit at every byte position. Memory stays bounded: no length is believed before its CRC is checked."""
    chunks = tiny.info(stream)["chunks"]
    primary_end = chunks[1]["offset"] + chunks[1]["length"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for position in range(len(stream)):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << (position % 8)
        picture, warned = decode(tiny, bytes(damaged))
        if position < primary_end:
            assert picture is None
        else:
            assert picture is not None and warned
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"memory grew by {grown} kB"


def test_damage_costs_its_slice_and_those_after_it(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"]
    for n, chunk in enumerate(chunks[3:]):
        damaged = bytearray(stream)
        damaged[chunk["offset"] + chunk["length"] // 2] ^= 0x10
        with pytest.warns(DamagedAuxiliaryWarning, match=f"slice {n}"):
            picture = tiny.decode(damaged)
        np.testing.assert_array_equal(picture, tiny.decode(stream, layers=n))


def test_wrong_symbols_behind_a_right_checksum_of_bytes_are_noticed(tiny: Codec, stream: bytes) -> None:
    """A stream whose chunk CRCs were made anew (a broken writer, or the wrong tables) still carries the
    CRC of its symbols."""
    from runtime import container

    parsed = container.read(stream, max_pixels=1 << 30)
    chunks = [(c.type, bytearray(c.payload)) for c in parsed.chunks]  # type: ignore[arg-type]
    for index, error in ((1, CorruptError), (3, DamagedAuxiliaryWarning)):
        changed = [(kind, bytearray(payload)) for kind, payload in chunks]
        changed[index][1][len(changed[index][1]) // 2] ^= 0x55
        data = container.write(parsed.header, changed)
        if error is CorruptError:
            with pytest.raises(CorruptError):
                tiny.decode(data)
        else:
            with pytest.warns(DamagedAuxiliaryWarning):
                tiny.decode(data)


def test_trailing_bytes_are_an_error(tiny: Codec, stream: bytes) -> None:
    with pytest.raises(CorruptError):
        tiny.decode(stream + b"\0")
