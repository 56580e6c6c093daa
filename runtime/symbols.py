"""Latent symbols <-> chunk payloads. Integers only: nothing here depends on a backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import rdc_native
from rdc_native import Decoder, Tables
from runtime.bundle import HYPER_LIMIT, PIXEL_STRIDE, SYMBOL_LIMIT, Branch, Bundle
from runtime.container import ChunkType, Stream
from runtime.errors import CorruptError

# Symbols, table of each, tables, limit: what rdc_native.encode_parts takes
Part = tuple[np.ndarray, np.ndarray, Tables, int]


@dataclass
class Symbols:
    """Integers of one picture. z: int32 [Cz, h/4, w/4]; y: int32 [C, h, w], h = ceil(H / 64) * 4.

    `y2` has zeros where a slice was not received; `slices` counts those that were.
    Without auxiliary data z2 and y2 are None. `problem` says why auxiliary data stopped early.
    """

    z1: np.ndarray
    y1: np.ndarray
    z2: np.ndarray | None = None
    y2: np.ndarray | None = None
    slices: int = 0
    problem: str | None = None


def _hyper_indexes(channels: int, height: int, width: int) -> np.ndarray:
    """Table of every z symbol: its channel."""
    return np.repeat(np.arange(channels, dtype=np.uint8), height * width)


def _part(symbols: np.ndarray, indexes: np.ndarray, tables: Tables, limit: int) -> Part:
    return np.ascontiguousarray(symbols), np.ascontiguousarray(indexes), tables, limit


def _hyper_part(z: np.ndarray, branch: Branch) -> Part:
    return _part(z, _hyper_indexes(*z.shape), branch.hyper_tables, HYPER_LIMIT)


def _read_hyper(decoder: Decoder, branch: Branch, height: int, width: int) -> np.ndarray:
    indexes = _hyper_indexes(branch.hyper, height, width)
    return decoder.read(indexes, branch.hyper_tables, HYPER_LIMIT).reshape(branch.hyper, height, width)


def _read_latents(decoder: Decoder, indexes: np.ndarray, tables: Tables) -> np.ndarray:
    """The last part of a segment."""
    y = decoder.read(np.ascontiguousarray(indexes), tables, SYMBOL_LIMIT)
    decoder.finish()
    return y.reshape(indexes.shape)


def write(symbols: Symbols, bundle: Bundle) -> list[tuple[int, bytes]]:
    """Chunks of a picture, in stream order; `symbols.slices` auxiliary slices of it."""
    indexes = bundle.primary.scale_network(np.ascontiguousarray(symbols.z1))
    latents = _part(symbols.y1, indexes, bundle.gaussian, SYMBOL_LIMIT)
    segment = rdc_native.encode_parts([_hyper_part(symbols.z1, bundle.primary), latents])
    chunks: list[tuple[int, bytes]] = [(ChunkType.PRIMARY, segment)]
    if symbols.slices:
        assert bundle.auxiliary is not None and symbols.z2 is not None and symbols.y2 is not None
        branch = bundle.auxiliary
        indexes = branch.scale_network(np.concatenate([symbols.z2, symbols.z1]))
        where = branch.slice_of(*symbols.y2.shape[1:])
        for s in range(symbols.slices):
            parts = [_part(symbols.y2[where == s], indexes[where == s], bundle.gaussian, SYMBOL_LIMIT)]
            if s == 0:
                parts.insert(0, _hyper_part(symbols.z2, branch))
            chunks.append((ChunkType.AUX_SLICE, rdc_native.encode_parts(parts)))
    return chunks


def read(stream: Stream, bundle: Bundle, layers: int) -> Symbols:
    """Symbols of a stream, at most `layers` auxiliary slices of it (no more than the model has).

    Raises TruncatedError or CorruptError for primary data; auxiliary damage ends up in `problem`.
    """
    height, width = (-(-side // PIXEL_STRIDE) for side in (stream.header.height, stream.header.width))
    try:
        decoder = Decoder(stream.primary())
        z1 = _read_hyper(decoder, bundle.primary, height, width)
        y1 = _read_latents(decoder, bundle.primary.scale_network(z1), bundle.gaussian)
    except rdc_native.CorruptStream as error:
        raise CorruptError(f"primary data: {error}") from None
    symbols = Symbols(z1, y1)
    auxiliary = stream.auxiliary(layers)
    symbols.problem = auxiliary.problem
    if not auxiliary.slices or bundle.auxiliary is None:
        return symbols
    branch = bundle.auxiliary
    for s, payload in enumerate(auxiliary.slices):
        try:
            decoder = Decoder(payload)
            if s == 0:
                z2 = _read_hyper(decoder, branch, height, width)
                indexes = branch.scale_network(np.concatenate([z2, z1]))
                where, y2 = branch.slice_of(*indexes.shape[1:]), np.zeros(indexes.shape, np.int32)
            y2[where == s] = _read_latents(decoder, indexes[where == s], bundle.gaussian)
        except rdc_native.CorruptStream as error:
            symbols.problem = f"auxiliary slice {s}: {error}"
            break
        symbols.z2, symbols.y2, symbols.slices = z2, y2, s + 1
    return symbols
