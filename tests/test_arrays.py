"""Arrays of a bundle: what is no archive of them is a ValueError, whatever zipfile, zlib and NumPy make of it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import TINY

from rdc_codec import arrays
from rdc_codec.errors import LimitError


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, content in members.items():
            out.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def npy(header: str, values: bytes = b"", version: int = 1) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + struct.pack("<BBH", version, 0, len(text)) + text + values


def described(shape: str, dtype: str = "<i4", order: bool = False) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def test_they_are_those_that_numpy_reads() -> None:
    data = (TINY / "tables.npz").read_bytes()
    found = arrays.read(data)
    with np.load(io.BytesIO(data)) as expected:
        assert list(found) == expected.files
        for name in expected.files:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_numbers_are_aligned_wherever_they_lie_in_the_file(method: int) -> None:
    for blanks in range(8):
        header = described("(2,)").replace("\n", " " * blanks + "\n")
        (found,) = arrays.read(archive({"a.npy": npy(header, struct.pack("<2i", 7, -9))}, method)).values()
        assert found.flags.aligned and found.tolist() == [7, -9]


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array",
        npy(described("(3,)"), bytes(11)),
        npy(described("(3,)"), bytes(13)),
        npy(described("(-1,)")),
        npy(described("(1000000000000,)"), bytes(4)),
        npy(described("(2, 2)", order=True), bytes(16)),
        npy(described("(1,)", "|O"), bytes(8)),
        npy("{'descr': '<i4', 'shape': (1,", bytes(4)),
        npy("{'descr': '<i4', \0", bytes(4)),
        npy("(" * 5000, bytes(4)),
        npy(described("(1,)"), bytes(4), version=9),
    ],
    ids=str,
)
def test_what_is_no_array_is_refused(member: bytes) -> None:
    with pytest.raises(ValueError, match="no archive of arrays"):
        arrays.read(archive({"a.npy": member}))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def test_damage_anywhere_is_refused_or_does_not_matter() -> None:
    """zlib, zipfile and NumPy have errors of their own for it, of many types."""
    content = npy(described("(40,)"), bytes(range(160)))
    data = archive({"a.npy": content}, zipfile.ZIP_DEFLATED)
    refused = 0
    for damaged in [*(flipped(data, k) for k in range(len(data))), *(data[:k] for k in range(len(data)))]:
        try:
            found = arrays.read(damaged)
        except (LimitError, ValueError):
            refused += 1
        else:
            assert all(array.tobytes() == content[-160:] for array in found.values())
    assert refused > len(data)


def test_two_arrays_of_one_name_are_refused() -> None:
    content = npy(described("(1,)"), bytes(4))
    with pytest.raises(ValueError, match="two arrays of one name"):
        arrays.read(archive({"a.npy": content, "a": content}))


def test_a_small_file_that_claims_much_takes_no_memory() -> None:
    data = archive({"a.npy": bytes(arrays.MAX_BYTES + 1)}, zipfile.ZIP_DEFLATED)
    assert len(data) < 20_000
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            arrays.read(data)
        with pytest.raises(ValueError, match="too few"):
            arrays.read(archive({"a.npy": npy(described("(1000000000000,)"), bytes(4))}))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
