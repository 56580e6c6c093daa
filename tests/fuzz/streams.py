"""A stream is taken apart into fields, one is changed, and all checksums are made right again.

A change of bytes alone would end at the first checksum. cpp/stream_fields.cpp does the same in C++.
"""

from __future__ import annotations

import functools
import io
import random
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from rdc_codec import Codec, container, entropy_coding
from rdc_codec.entropy_coding import Symbols
from rdc_codec.errors import CodecError
from rdc_codec.native import crc32c

Change = Callable[[bytes], bytes]  # a mutation of bytes without a structure

_START = 13  # bytes of the fixed fields before the sides
_MAX_CHUNKS = 4096
_TYPES = (1, 2, 2, 2, 3, 4, 32, 33, 34, 35, 36, 40, 99, 2**32 - 1)
_SIDES = (1, 2, 63, 64, 65, 127, 128, 129, 256, 4096, 2**24, 2**24 + 1, 0, 2**32 - 1)


@dataclass
class Chunk:
    """Holds a chunk. payload: as much as is there; more: bytes that the directory claims besides."""

    type: int
    payload: bytes
    more: int = 0
    wrong_crc: int = 0


@dataclass
class Fields:
    """Holds a stream taken apart, whether or not it makes sense. start: magic, version, flags, identities."""

    start: bytes
    width: int
    height: int
    qualities: tuple[int, ...]
    more_chunks: int = 0
    wrong_crc: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    after: bytes = b""


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at = data, at

    def fixed(self, kind: struct.Struct) -> tuple[int, ...]:
        values = kind.unpack_from(self._data, self.at)
        self.at += kind.size
        return values

    def varint(self) -> int:
        value = 0
        for k in range(5):
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 127) << 7 * k
            if byte < 128:
                break
        return value & 0xFFFFFFFF


_QUALITIES, _CRC = struct.Struct("<3H"), struct.Struct("<I")


def take_apart(data: bytes) -> Fields | None:
    """Return the fields of bytes, or None where there is no header and directory."""
    if len(data) < _START:
        return None
    reader = _Reader(data, _START)
    try:
        fields = Fields(data[:_START], reader.varint(), reader.varint(), reader.fixed(_QUALITIES))
        count = reader.varint()
        entries = []
        for _ in range(min(count, _MAX_CHUNKS)):
            entry = reader.varint()
            entries.append((entry & 3 or reader.varint(), entry >> 2, *reader.fixed(_CRC)))
        reader.fixed(_CRC)
    except (IndexError, struct.error):
        return None
    fields.more_chunks = count - len(entries)
    at = reader.at
    for kind, length, crc in entries:
        payload = data[at : at + length]
        at += len(payload)
        more = length - len(payload)
        fields.chunks.append(Chunk(kind, payload, more, 0 if more else crc ^ crc32c(payload)))
    fields.after = data[at:]
    return fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def put_together(fields: Fields) -> bytes:
    """Return the stream of fields, with right checksums but for what `wrong_crc` flips in them."""
    head = fields.start + _varint(fields.width) + _varint(fields.height) + _QUALITIES.pack(*fields.qualities)
    head += _varint(len(fields.chunks) + fields.more_chunks & 0xFFFFFFFF)
    for chunk in fields.chunks:
        length = len(chunk.payload) + chunk.more & 0x3FFFFFFF
        short = chunk.type if 1 <= chunk.type <= 3 else 0
        head += _varint(length << 2 | short) + (b"" if short else _varint(chunk.type))
        head += _CRC.pack(crc32c(chunk.payload) ^ chunk.wrong_crc)
    head += _CRC.pack(crc32c(head) ^ fields.wrong_crc)
    return b"".join([head, *(chunk.payload for chunk in fields.chunks), fields.after])


def change_one(fields: Fields, rng: random.Random, change: Change) -> None:
    """Change a field, or the payload of a chunk."""
    chunks, choice = fields.chunks, rng.randrange(16)
    if choice < 2:
        side = rng.randint(1, 90) if rng.randrange(4) else rng.choice(_SIDES)
        setattr(fields, ("width", "height")[choice], side)
    elif choice == 2:
        qualities = list(fields.qualities)
        qualities[rng.randrange(3)] = rng.randint(0, 25600 if rng.randrange(4) else 65535)
        fields.qualities = tuple(qualities)
    elif choice == 3:
        if not rng.randrange(4):
            fields.start = change(fields.start)[:_START].ljust(_START, b"\0")
        else:
            fields.more_chunks = fields.wrong_crc = 0
            if not rng.randrange(4):
                fields.more_chunks = rng.randrange(70000)
    elif choice == 4:
        fields.after = b"" if rng.randrange(8) else change(fields.after)[:16]
    elif choice == 5:
        del chunks[16:]
        kind = rng.choice(_TYPES)
        content = rng.choice(_contents(kind, fields.width, fields.height) or [b""])
        chunks.insert(rng.randint(0, len(chunks)), Chunk(kind, content))
    elif chunks:
        _change_chunk(fields, rng, change)


def _change_chunk(fields: Fields, rng: random.Random, change: Change) -> None:
    chunks = fields.chunks
    number = rng.randrange(len(chunks))
    chunk, choice = chunks[number], rng.randrange(10)
    if choice == 0:
        del chunks[number]
    elif choice == 1:
        other = rng.randrange(len(chunks))
        chunks[number], chunks[other] = chunks[other], chunks[number]
    elif choice == 2:
        chunk.type = rng.choice(_TYPES)
    elif choice == 3:
        chunk.wrong_crc = rng.choice((0, 1 << rng.randrange(32)))
    elif choice == 4:
        chunk.more = rng.choice((0, rng.randrange(1 << 30)))
    elif choice == 5:  # cut it here: all that follows is missing
        kept = rng.randrange(len(chunk.payload) or 1)
        for cut in chunks[number:]:
            cut.payload, cut.more = cut.payload[:kept], cut.more + len(cut.payload) - len(cut.payload[:kept])
            kept = 0
        fields.after = b""
    else:
        chunk.payload = change(chunk.payload)


@functools.lru_cache(maxsize=256)
def _contents(kind: int, width: int, height: int) -> list[bytes]:
    """Return what a chunk of this type may hold beside a picture of this size."""
    if kind == container.ChunkType.GREY:
        return [b"\1", b"\0"]
    modes = {container.ChunkType.ALPHA: "L", container.ChunkType.LOSSLESS: "RGB"}
    if kind not in modes or not 0 < width * height <= 1 << 14:
        return [b"", b"x", b"Exif\0\0", b"bytes of no meaning"]
    found = []
    for name in ("PNG", "WEBP"):
        file = io.BytesIO()
        Image.new(
            modes[kind], (width, height), 77 if kind == container.ChunkType.ALPHA else (3, 200, 9)
        ).save(file, name, lossless=True)
        found.append(file.getvalue())
    return found


def with_other_symbols(codec: Codec, data: bytes, rng: random.Random) -> bytes | None:
    """Return a stream whose symbols are changed and coded anew; None where the bytes have no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            planes = codec.symbols(data)
        stream = container.read(data, max_pixels=codec.max_pixels)
    except CodecError:
        return None
    read = [planes.get(name) for name in ("primary_hyper", "primary_latents")]
    read += [planes.get(name) for name in ("auxiliary_hyper", "auxiliary_latents")]
    symbols = Symbols(*(None if p is None else p.astype(np.int16) for p in read))
    if symbols.z2 is not None:
        symbols.slices = rng.randint(0, codec.slices)
    for _ in range(rng.randint(1, 30)):
        name = rng.choice(("z1", "y1", "z2", "y2"))
        plane, most = getattr(symbols, name), 127 if name[0] == "z" else 2047
        if plane is not None:
            value = rng.randint(-most, most) if not rng.randrange(4) else rng.randint(-3, 3)
            plane.flat[rng.randrange(plane.size)] = value
    kinds = (container.ChunkType.PRIMARY, container.ChunkType.AUX_SLICE)
    rest = [(c.type, c.payload) for c in stream.chunks if c.type not in kinds and c.payload is not None]
    return container.write(stream.header, [*entropy_coding.write(symbols, codec.bundle), *rest])


def mutate(codec: Codec, data: bytes, size: int, seed: int, change: Change) -> bytes:
    """Return a mutation of a stream, of at most so many bytes. change: the fuzzer's own, of any bytes."""
    rng = random.Random(seed)
    fields = take_apart(data)
    if fields is None or not rng.randrange(16):
        return change(data)[:size]
    if not rng.randrange(6) and (made := with_other_symbols(codec, data, rng)) is not None:
        return made[:size]
    for _ in range(rng.randint(1, 3)):
        change_one(fields, rng, change)
    if not rng.randrange(32):
        fields.wrong_crc ^= 1 << rng.randrange(32)
    return put_together(fields)[:size]
