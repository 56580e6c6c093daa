"""A stream is made smaller by leaving out auxiliary slices: chunks are copied, nothing is coded again."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .container import MAX_SIDE, Chunk, ChunkType, Stream, read, write
from .ending import guarded
from .errors import InputError, LimitError, warn_of_damage
from .types import Buffer

if TYPE_CHECKING:
    from .codec import Layers

_NAMED = 8  # chunks in a warning; a stream may have 65536
_LAYERS = (ChunkType.AUX_SLICE, ChunkType.LOSSLESS)  # as they come; the last is the first to go


@guarded
def trim(data: Buffer, layers: Layers | None = None, max_bytes: int | None = None) -> bytes:
    """Return a stream without some of its auxiliary slices, without coding it again; no model is needed.

    layers: "base" or the number of slices to keep (None or "all": those there are). max_bytes: keep as many of them as
    fit. A lossless picture in the stream is the layer after the slices, left out by "base" alone or for `max_bytes`;
    metadata and chunks of unknown types always stay. The result is whole: it has the bytes that `Codec.encode` writes
    for so many layers, except that the base beside a lossless picture is that of quality 0.

    Where auxiliary data is damaged or cut off, that slice and those after it are left out, and so is any other damaged
    chunk, with a DamagedAuxiliaryWarning if it would have been kept.

    Raises LimitError where not even the base fits `max_bytes`, with the least size; TruncatedError or CorruptError
    where the stream has no picture, UnsupportedError, and InputError for an argument.
    """
    wanted = _count(layers)
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int | np.integer)):
        raise InputError(f"max_bytes must be a number of bytes or None, got {max_bytes!r}")
    stream = read(data, max_pixels=MAX_SIDE * MAX_SIDE)  # nothing is allocated for them
    stream.primary()  # raises where that is not there
    layered = [k for k, c in enumerate(stream.chunks) if c.type in _LAYERS]
    if wanted is not None:
        slices = [k for k in layered if stream.chunks[k].type == ChunkType.AUX_SLICE]
        exact = [k for k in layered if stream.chunks[k].type == ChunkType.LOSSLESS]
        # A picture without loss is shown wherever a slice would be.
        layered = slices[:wanted] + (exact if wanted else [])
    intact = list(itertools.takewhile(lambda k: stream.chunks[k].payload is not None, layered))

    def size(count: int) -> int:
        return len(_written(stream, intact[:count]))

    count = len(intact)
    if max_bytes is not None:
        count = bisect.bisect_right(range(len(intact) + 1), max_bytes, key=size) - 1
        if count < 0:
            raise LimitError(f"stream cannot be trimmed to {max_bytes} bytes: its least size is {size(0)}")
    lost = [k for k, c in enumerate(stream.chunks) if c.payload is None and c.type not in _LAYERS]
    if count == len(intact) < len(layered):
        least = size(count) + stream.chunks[layered[count]].length  # with the layer that is not intact
        if max_bytes is None or least < max_bytes:
            lost.append(layered[count])
    if lost:
        states = ", ".join(_state_of(stream.chunks, k) for k in sorted(lost)[:_NAMED])
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        warn_of_damage(f"left out: {states}{more}")
    return _written(stream, intact[:count])


def _count(layers: Layers | None) -> int | None:
    """Return the number of slices to keep at most, None for all layers. Raises InputError."""
    if layers is None or (isinstance(layers, str) and layers == "all"):
        return None
    if isinstance(layers, str) and layers == "base":
        return 0
    if isinstance(layers, bool | str) or not isinstance(layers, int | np.integer) or layers < 0:
        raise InputError(f'layers must be "all", "base", a number of slices or None, got {layers!r}')
    return int(layers)


def _written(stream: Stream, layers: Collection[int]) -> bytes:
    """Write a stream with these of its layers, numbers of chunks, and with whatever else of it is intact."""
    kept = frozenset(layers)  # there may be as many as there are chunks, and those are 65536
    chunks = [
        (c.type, c.payload)
        for k, c in enumerate(stream.chunks)
        if c.payload is not None and (c.type not in _LAYERS or k in kept)
    ]
    return write(stream.header, chunks)


def _state_of(chunks: Sequence[Chunk], number: int) -> str:
    chunk = chunks[number]
    if chunk.type != ChunkType.AUX_SLICE:
        return f"chunk {chunk.name} is {chunk.state.value}"
    before = sum(c.type == ChunkType.AUX_SLICE for c in chunks[:number])
    return f"auxiliary slice {before} is {chunk.state.value}"
