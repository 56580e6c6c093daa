"""This module is the native entropy coder. docs/entropy_coding.md describes the bytes.

Every function checks its arguments and raises ValueError naming the one that is wrong; arrays must
be C-contiguous and of the exact type, nothing is converted. The GIL is released while coding, and
every object but a Decoder or a ScaleState may be used by several threads at once.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import Buffer

class CorruptStream(ValueError):
    """Says that the data encodes no symbols under these indexes, tables and limit."""

class Tables:
    """Holds 1 to 256 integer CDF tables.

    cdf: uint16 [N], all tables one after the other. Table t has sizes[t] + 2 entries, from 0 to
    1 << precision and strictly increasing: its symbols minimum[t], minimum[t] + 1, ... and, last, the
    escape symbol. sizes, minimum: int32 [T]. N <= 65536, symbols within +-16383, precision 8 to 14.
    """

    def __init__(
        self,
        cdf: NDArray[np.uint16],
        sizes: NDArray[np.int32],
        minimum: NDArray[np.int32],
        precision: int = 14,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def precision(self) -> int: ...

class ScaleNetwork:
    """Is the first half of the integer network: it makes guesses of indexes, and features, of z; normative.

    layers: (weight int8 [out, in, k, k] with k 1 or 3, bias int32 [out], shift uint8 or int32 [out]
    in 1..30, clip_max) each. clip_max is at most 127, in the last layer at most 255. ValueError if a
    sum could overflow 32 bits. The last layer has C * shuffle ** 2 outputs.
    """

    def __init__(
        self,
        layers: Sequence[
            tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.uint8] | NDArray[np.int32], int]
        ],
        shuffle: int = 4,
    ) -> None: ...
    def __call__(
        self, z: NDArray[np.int32] | NDArray[np.int16] | NDArray[np.int8], threads: int = 1
    ) -> NDArray[np.uint8]:
        """Return uint8 [C, h * shuffle, w * shuffle] of z [in, h, w], which lies within +-127.

        threads: that share the work at most, the caller's among them; the result is the same.
        """

class ScaleContext:
    """Is the second half of the integer network: it tells the tables of latents in four passes; normative.

    Latent (c, i, j) is in pass `(order[i % 2][j % 2] + c // (latent / 4)) % 4`. With m the bit lengths of the known
    symbols' magnitudes (of the other branch's after those of its own),
    `hidden = clip((bias[pass] + conv3x3(m) + (features << shift) + half) >> shift, 0, clip_max)`, and
    `index = clip(start + ((bias[pass] + weight[pass] @ hidden + half) >> shift[pass]), 0, clip_max)`.

    neighbours: (weight int8 [hidden, latent + other, 3, 3], bias int32 [4, hidden], shift int32 [hidden] in 1..20,
    clip_max up to 127). heads: (weight int8 [4, latent, hidden], bias int32 [4, latent], shift int32 [4, latent] in
    1..30, clip_max up to 255). order: uint8 [2, 2]. ValueError if a sum could overflow 32 bits.
    """

    def __init__(
        self,
        neighbours: tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32], int],
        heads: tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32], int],
        order: NDArray[np.uint8],
    ) -> None: ...
    @property
    def latent(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def other(self) -> int:
        """Tells how many channels of another branch's symbols there are, which are known from the first pass on."""

class ScaleState:
    """Follows the latents of one picture: `indexes` of the next pass, then `add` its symbols. For one thread."""

    def __init__(
        self,
        context: ScaleContext,
        start: NDArray[np.uint8],
        other: NDArray[np.int32] | NDArray[np.int16] | None = None,
        dtype: Literal["int32", "int16"] = "int32",
        keep: bool = True,
        threads: int = 1,
    ) -> None:
        """start: what the ScaleNetwork gives, [latent + hidden, h, w]: first guess of every index, then features.

        h and w are even. other: symbols of another branch [other, h, w], if the context has that. dtype: of all
        symbols, here and below. keep: have `symbols`. threads: that share the work of each call at most.
        """

    def indexes(self) -> NDArray[np.uint8]:
        """Return the table of each latent of the next pass, in channel, row, column order: [latent * h * w / 4]."""

    def gather(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the next pass's part of symbols [latent, h, w], in the same order."""

    def add(self, symbols: NDArray[Any]) -> None:
        """Take the symbols of the next pass; the one after it is then the next."""

    @property
    def symbols(self) -> NDArray[Any]:
        """Return every symbol so far, [latent, h, w], zeros in passes to come. `add` writes into this array.

        None without `keep`.
        """

def encode(
    symbols: NDArray[np.int32] | NDArray[np.int16], indexes: NDArray[np.uint8], tables: Tables, limit: int
) -> bytes:
    """Code symbols (any shape, |symbol| <= limit <= 16383), each with table indexes[i]; b"" for none."""

def decode(
    data: Buffer, indexes: NDArray[np.uint8], tables: Tables, limit: int, dtype: DTypeLike = "int32"
) -> NDArray[Any]:
    """Return the symbols as a 1-D array of dtype (int32 or int16), as many as there are indexes.

    Raises CorruptStream for truncated or trailing bytes, a wrong final state, or a symbol beyond
    +-limit. The final states hold 15 bits of the symbols' CRC-32C (30 or all 32 of them where there are
    more lanes), so wrong tables are noticed too; a container should still carry a checksum of the bytes.
    """

def encode_parts(
    parts: Sequence[tuple[NDArray[np.int32] | NDArray[np.int16], NDArray[np.uint8], Tables, int]],
) -> bytes:
    """Code (symbols, indexes, tables, limit) one after the other as one segment, all symbols of one type.

    One chain of states and one CRC: a few bytes less than a segment for each, and a decoder can work out
    the indexes of a part from the symbols of those before it.
    """

class Decoder:
    """Reads a segment of several parts: `read` each of them, then `finish`.

    All the symbols are certain only once `finish` has returned. For one thread, and of no use after an error or
    `finish` (ValueError).
    """

    def __init__(self, data: Buffer) -> None:
        """Start to read a segment. Raises CorruptStream for an odd number of bytes."""

    def read(
        self, indexes: NDArray[np.uint8], tables: Tables, limit: int, dtype: DTypeLike = "int32"
    ) -> NDArray[Any]:
        """Return the next symbols, within +-limit, as `decode` does. Raises CorruptStream."""

    def finish(self) -> None:
        """End the segment. Raises CorruptStream for trailing bytes or a wrong final state."""

def lanes(n: int) -> int:
    """Tell how many interleaved lanes code n symbols: 1 to 16, a power of two."""

def crc32c(buffer: Buffer, value: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of buffer; value is the checksum of what came before it."""

def set_simd(name: Literal["auto", "scalar", "avx2", "avx512"]) -> None:
    """Choose the code path for the whole process, for tests. Raises ValueError if this machine lacks it."""

def simd() -> str:
    """Return the path in use: "scalar", "avx2" or "avx512". None of them changes a byte or a symbol."""
