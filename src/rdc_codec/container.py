"""This module reads and writes the `.rdc` container: header, chunk directory and payloads, not their meaning.

`docs/bitstream.md` is the normative layout; this is its only reader and writer. The header and
directory carry a CRC of their own, so after `read` returns, every header field is as it was
written and no length can point outside the data. Payload damage is recorded per chunk: what may
be lost without losing the picture is decided in `Stream.primary` and `Stream.auxiliary`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, SupportsFloat

from .errors import (
    CodecError,
    CorruptError,
    InputError,
    LimitError,
    TruncatedError,
    UnsupportedError,
    WrongModelError,
    _text_of,
)
from .native import crc32c
from .released_bundles import described
from .types import Buffer

MAGIC = b"RDC"
VERSION = 1
ID_BYTES = 4
MAX_SIDE = 1 << 24
MAX_CHUNKS = 1 << 16
QUALITY_MAX = 100
_QUALITY_ONE = 256
_VARINT_BYTES = 5
_TYPE_BITS = 2  # of a directory entry; a type that does not fit them follows as a number of its own

_CRC = struct.Struct("<I")
_LEAST_ENTRY = 1 + _CRC.size
LEAST_HEAD = 26 + _LEAST_ENTRY  # bytes, with one chunk
_HEAD = struct.Struct(f"<B{ID_BYTES}s{ID_BYTES}s")
_QUALITIES = struct.Struct("<HHH")


class ChunkType(IntEnum):
    """Names the chunk types of version 1. Their numeric order is their order in a stream."""

    PRIMARY = 1
    AUX_SLICE = 2
    ICC = 32
    EXIF = 33
    XMP = 34
    ALPHA = 35
    GREY = 36
    LOSSLESS = 40


_KNOWN_TYPES = frozenset(ChunkType)


class ChunkState(Enum):
    """Says what `read` found where the directory has a chunk."""

    OK = "ok"
    MISSING = "missing"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"


def to_fixed(value: SupportsFloat, name: str = "quality") -> int:
    """Round a quality 0-100 to the stream's 8.8 fixed point, 0-25600, to nearest (ties to even).

    Raises InputError, which names the argument, for anything outside 0-100 (NaN included).
    """
    return round(number_within(value, QUALITY_MAX, name) * _QUALITY_ONE)


def number_within(value: SupportsFloat, high: float, name: str) -> float:
    """Return `value` as a float. Raises InputError, which names the argument, unless it is 0 to `high`."""
    # Texts and buffers are none, though `float` would parse them, and neither is an array of one number.
    is_number = hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
    if isinstance(value, str | bytes) or getattr(value, "ndim", None):  # NumPy's scalars are all convertible
        is_number = False
    try:
        number = float(value if is_number else "nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 <= number <= high:  # NaN neither
        raise InputError(f"{name} must be a number from 0 to {high:g}, got {value!r}")
    return number


def from_fixed(fixed: int) -> float:
    """Return the quality 0-100 that the stream's 8.8 fixed point stands for, exactly."""
    return fixed / _QUALITY_ONE


@dataclass(frozen=True)
class Header:
    """Holds what a stream says of its picture, apart from the chunk directory.

    width, height: pixels, 1 to 2^24. quality: the dial as the user set it, informative; base_quality
    and aux_quality: what the two branches were coded with. All three are 0-100 and must be
    representable in the stream (`from_fixed(to_fixed(q))`), so that an encoder cannot code with a
    value that its decoder will not see. parse_id, picture_id: the first 4 bytes of the model's two
    SHA-256 identities. Raises InputError for a field outside its range.
    """

    width: int
    height: int
    quality: float
    base_quality: float
    aux_quality: float
    parse_id: bytes
    picture_id: bytes

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if not 1 <= getattr(self, name) <= MAX_SIDE:
                raise InputError(f"{name} must be from 1 to {MAX_SIDE}, got {getattr(self, name)}")
        for name in ("quality", "base_quality", "aux_quality"):
            value = getattr(self, name)
            if from_fixed(to_fixed(value, name)) != value:
                raise InputError(f"{name} must be a multiple of 1/{_QUALITY_ONE}, got {value!r}")
        for name in ("parse_id", "picture_id"):
            if len(getattr(self, name)) != ID_BYTES:
                raise InputError(f"{name} must be {ID_BYTES} bytes, got {len(getattr(self, name))}")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Holds a directory entry and, only where its state is OK, its payload (a view of the data read).

    offset, length: bytes in the stream as the directory has them, whether or not they are there.
    """

    type: int
    offset: int
    length: int
    payload: memoryview | None
    state: ChunkState

    @property
    def name(self) -> str:
        """Return the lower-case name of the type, or `unknown_N`."""
        if self.type in _KNOWN_TYPES:
            return ChunkType(self.type).name.lower()
        return f"unknown_{self.type}"


class Entry(NamedTuple):
    """Holds a directory entry: the type of a chunk, its bytes, and their CRC."""

    type: int
    length: int
    crc: int

    def fits(self, payload: Buffer) -> bool:
        """Tell whether these are the bytes that the entry is of."""
        return crc32c(payload) == self.crc


class Head(NamedTuple):
    """Holds what stands before the chunks: header and directory, and the number of bytes that both take."""

    header: Header
    entries: tuple[Entry, ...]
    size: int


class Begun:
    """Keeps what was read of a directory that goes on in bytes to come, so that it is not read again then."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.position = 0  # in the stream, after the last of these


class Auxiliary(NamedTuple):
    """Holds usable auxiliary payloads, and says why there are no more (None: all that were asked for)."""

    slices: tuple[memoryview, ...]
    problem: str | None


@dataclass(frozen=True)
class Stream:
    """Holds a parsed stream: the header as written, and every chunk of the directory with its state."""

    header: Header
    chunks: tuple[Chunk, ...]

    def primary(self) -> memoryview:
        """Return the payload without which there is no picture.

        Raises TruncatedError where it is cut off, CorruptError where it is damaged.
        """
        chunk = next(c for c in self.chunks if c.type == ChunkType.PRIMARY)
        if chunk.payload is None:
            error = CorruptError if chunk.state is ChunkState.DAMAGED else TruncatedError
            raise error(f"primary data is {chunk.state.value}")
        return chunk.payload

    def damage(self) -> str | None:
        """Name the first chunk, of whatever type, that is not as it was written, and its state; None if all are."""
        for chunk in self.chunks:
            if chunk.payload is None:
                return f"chunk {chunk.name} is {chunk.state.value}"
        return None

    def auxiliary(self, limit: int | None = None) -> Auxiliary:
        """Return the longest run of intact slices from slice 0, at most `limit` of them.

        Never raises: what stopped the run early is in `problem`. Damage beyond `limit` is not looked at.
        """
        slices: list[memoryview] = []
        for chunk in [c for c in self.chunks if c.type == ChunkType.AUX_SLICE][:limit]:
            if chunk.payload is None:
                return Auxiliary(tuple(slices), f"auxiliary slice {len(slices)} is {chunk.state.value}")
            slices.append(chunk.payload)
        return Auxiliary(tuple(slices), None)


def identify(header: Header, parse_id: bytes, picture_id: bytes) -> None:
    """Check that the loaded model, given by its identities (SHA-256 or prefix), wrote the stream.

    Raises WrongModelError, with the identities of both in hexadecimal, and what a released bundle is called.
    """
    loaded = (parse_id[:ID_BYTES], picture_id[:ID_BYTES])
    if (header.parse_id, header.picture_id) != loaded:
        raise WrongModelError(
            f"stream was written with model {described(header.parse_id, header.picture_id)}, "
            f"loaded model is {described(*loaded)}; identities are parsing/picture"
        )


def write(header: Header, chunks: Sequence[tuple[int, Buffer]]) -> bytes:
    """Write a stream of a header and (type, payload) pairs in stream order.

    Raises InputError where the types are not in the order that the format asks for.
    """
    if problem := _order_problem([kind for kind, _ in chunks]):
        raise InputError(problem)
    if len(chunks) > MAX_CHUNKS:
        raise LimitError(f"{len(chunks)} chunks, at most {MAX_CHUNKS} fit a stream")
    payloads = [_as_bytes(payload) for _, payload in chunks]
    qualities = (header.quality, header.base_quality, header.aux_quality)
    head = bytearray(MAGIC)
    head.append(VERSION)
    head += _HEAD.pack(0, header.parse_id, header.picture_id)
    head += _varint(header.width) + _varint(header.height)
    head += _QUALITIES.pack(*(to_fixed(q) for q in qualities))
    head += _varint(len(chunks))
    for (kind, _), payload in zip(chunks, payloads, strict=True):
        head += _entry(kind, len(payload)) + _CRC.pack(crc32c(payload))
    head += _CRC.pack(crc32c(head))
    return b"".join([head, *payloads])


def read(data: Buffer, *, max_pixels: int) -> Stream:
    """Parse a stream; payloads are views of `data`, checked against their CRC but not decoded.

    Raises TruncatedError (data ends within the header), CorruptError (no RDC stream, damaged
    header, bytes after the last chunk), UnsupportedError (version, flags) and LimitError (more than
    `max_pixels` pixels, too many chunks). Damage after the header is not an
    error here: see `Chunk.state`. Nothing is allocated in proportion to a header value.
    """
    view = _as_bytes(data)
    head = read_head(view, max_pixels=max_pixels)
    return Stream(head.header, _chunks(view, head.size, head.entries))


def claimed_pixels(data: Buffer) -> int:
    """Return how many pixels a stream's header claims, of which nothing was checked; 0 for what is no stream.

    It says how long reading may take, before any of it is begun, and nothing else.
    """
    try:
        cursor = _Cursor(_as_bytes(data))
        cursor.take(len(MAGIC) + 1 + _HEAD.size)
        return cursor.varint() * cursor.varint()
    except CodecError:
        return 0


def read_head(data: Buffer, *, max_pixels: int, begun: Begun | None = None) -> Head:
    """Parse the header and the directory alone; what comes after them is not looked at.

    begun: of the same stream, whose beginning was given before; it is brought up to date. Raises as `read` does, but
    for bytes after the last chunk. The TruncatedError tells how many bytes are missing at least.
    """
    begun = begun or Begun()
    view = _as_bytes(data)
    cursor = _Cursor(view)
    start = view[: len(MAGIC)]
    if start != MAGIC[: len(start)]:
        raise CorruptError("not an RDC stream")
    cursor.take(len(MAGIC))
    # Checked before the CRC because another version may put its CRC elsewhere.
    if (version := cursor.take(1)[0]) != VERSION:
        raise UnsupportedError(f"stream version {version}, this reader knows version {VERSION}")
    flags, parse_id, picture_id = _HEAD.unpack(cursor.take(_HEAD.size))
    width, height = cursor.varint(), cursor.varint()
    qualities = _QUALITIES.unpack(cursor.take(_QUALITIES.size))
    quality, base_quality, aux_quality = map(from_fixed, qualities)
    if (count := cursor.varint()) > MAX_CHUNKS:
        raise LimitError(f"{count} chunks, at most {MAX_CHUNKS} fit a stream")
    entries = begun.entries
    if entries:
        cursor.position = begun.position
    for left in range(count - len(entries), 0, -1):
        cursor.at_least = cursor.position + left * _LEAST_ENTRY + _CRC.size
        entries.append(Entry(*cursor.entry(), *_CRC.unpack(cursor.take(_CRC.size))))
        begun.position = cursor.position
    computed = crc32c(view[: cursor.position])
    if _CRC.unpack(cursor.take(_CRC.size))[0] != computed:
        raise CorruptError("header is damaged (its CRC does not match)")
    # From here on every value is what the writer meant, so what is wrong is wrong on purpose.
    if flags:
        raise UnsupportedError(f"stream uses unknown flags 0x{flags:02x}")
    try:
        header = Header(width, height, quality, base_quality, aux_quality, parse_id, picture_id)
    except InputError as error:
        raise CorruptError(f"header is not valid: {error}") from None
    if width * height > max_pixels:
        raise LimitError(
            f"picture of {width}x{height} is over the limit of {max_pixels} pixels (raise max_pixels for larger ones)"
        )
    if problem := _order_problem([entry.type for entry in entries]):
        raise CorruptError(problem)
    return Head(header, tuple(entries), cursor.position)


def _chunks(view: memoryview, position: int, entries: Iterable[Entry]) -> tuple[Chunk, ...]:
    chunks = []
    for entry in entries:
        kind, length = entry.type, entry.length
        present = view[position : position + length]
        if len(present) == length:
            state = ChunkState.OK if entry.fits(present) else ChunkState.DAMAGED
        else:
            state = ChunkState.TRUNCATED if len(present) else ChunkState.MISSING
        payload = present if state is ChunkState.OK else None
        chunks.append(Chunk(kind, position, length, payload, state))
        position += length
    if len(view) > position:
        raise CorruptError(f"{len(view) - position} bytes after the end of the stream")
    return tuple(chunks)


def _order_problem(types: Sequence[int]) -> str | None:
    """Say why this sequence of chunk types is no version 1 stream, or return None. Unknown types are free."""
    known = [ChunkType(kind) for kind in types if kind in _KNOWN_TYPES]
    once = [kind for kind in known if kind is not ChunkType.AUX_SLICE]
    if ChunkType.PRIMARY not in once:
        return "stream has no PRIMARY chunk"
    if len(set(once)) != len(once):
        return "stream has two chunks of a type that only occurs once"
    if known != sorted(known):
        return "chunks are not in ascending order of type"
    return None


def copied(data: Buffer) -> bytes:
    """Return the bytes of a stream, which its buffer may change afterwards. Raises InputError for what is no buffer."""
    return data if type(data) is bytes else bytes(_as_bytes(data))


def _as_bytes(data: Buffer) -> memoryview:
    try:
        view = memoryview(data).toreadonly()
        return view.cast("B") if view.nbytes else memoryview(b"")  # a shape with zeros cannot be cast
    except TypeError:
        raise InputError(f"data must be contiguous bytes, got {type(data).__name__}") from None
    except (ValueError, BufferError) as error:  # released, closed, or of a type that has no bytes to show
        raise InputError(f"data cannot be read: {_text_of(error)}") from None


def _varint(value: int) -> bytes:
    """Return the canonical LEB128 of 0 <= value < 2^32."""
    if not 0 <= value < 1 << 32:
        raise LimitError(f"{value} does not fit a 32-bit field of the stream")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _entry(kind: int, length: int) -> bytes:
    """Return a directory entry without its CRC: the length and, in the lowest bits if it fits there, the type."""
    if kind >> _TYPE_BITS:
        return _varint(length << _TYPE_BITS) + _varint(kind)
    if not kind:
        raise InputError("0 is not a type of chunk")
    return _varint(length << _TYPE_BITS | kind)


class _Cursor:
    """Reads the fields of the header and checks bounds."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.position = 0
        self.at_least = LEAST_HEAD  # bytes that the whole header takes, by what is known of it

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self._view):
            error = TruncatedError(f"stream of {len(self._view)} bytes ends within its header")
            error.missing = max(end, self.at_least) - len(self._view)
            raise error
        taken = self._view[self.position : end]
        self.position = end
        return taken

    def varint(self) -> int:
        value = 0
        for index in range(_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if (byte == 0 and index) or value >= 1 << 32:
                    break
                return value
        raise CorruptError(f"header is damaged (bad number at byte {self.position - 1})")

    def entry(self) -> tuple[int, int]:
        """Read the type and the length of a chunk."""
        value = self.varint()
        kind, length = value & (1 << _TYPE_BITS) - 1, value >> _TYPE_BITS
        if not kind and not (kind := self.varint()) >> _TYPE_BITS:
            raise CorruptError(f"header is damaged (bad type at byte {self.position - 1})")
        return kind, length
