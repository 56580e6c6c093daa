"""Latent symbols <-> chunk payloads. Integers only: nothing here depends on a backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import rdc_native
from rdc_native import Tables
from runtime.bundle import HYPER_LIMIT, PIXEL_STRIDE, SYMBOL_LIMIT, Branch, Bundle
from runtime.container import Buffer, ChunkType, Stream
from runtime.errors import CorruptError


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


def _write_latents(y: np.ndarray, indexes: np.ndarray, tables: Tables) -> bytes:
    return rdc_native.encode(np.ascontiguousarray(y), np.ascontiguousarray(indexes), tables, SYMBOL_LIMIT)


def _read(data: Buffer, indexes: np.ndarray, tables: Tables, limit: int, what: str) -> np.ndarray:
    try:
        return rdc_native.decode(data, indexes, tables, limit)
    except rdc_native.CorruptStream as error:
        raise CorruptError(f"{what}: {error}") from None


def _read_hyper(data: Buffer, branch: Branch, height: int, width: int, what: str) -> np.ndarray:
    indexes = _hyper_indexes(branch.hyper, height, width)
    return _read(data, indexes, branch.hyper_tables, HYPER_LIMIT, what).reshape(branch.hyper, height, width)


def _read_latents(segment: memoryview, indexes: np.ndarray, tables: Tables, what: str) -> np.ndarray:
    indexes = np.ascontiguousarray(indexes)
    return _read(segment, indexes, tables, SYMBOL_LIMIT, what).reshape(indexes.shape)


def write(symbols: Symbols, bundle: Bundle) -> list[tuple[int, bytes]]:
    """Chunks of a picture, in stream order; `symbols.slices` auxiliary slices of it."""
    branch = bundle.primary
    hyper = _hyper_indexes(*symbols.z1.shape)
    indexes = branch.scale_network(symbols.z1)
    z1 = np.ascontiguousarray(symbols.z1)
    chunks: list[tuple[int, bytes]] = [
        (ChunkType.PRIMARY_HYPER, rdc_native.encode(z1, hyper, branch.hyper_tables, HYPER_LIMIT)),
        (ChunkType.PRIMARY_LATENTS, _write_latents(symbols.y1, indexes, bundle.gaussian)),
    ]
    if symbols.slices:
        assert bundle.auxiliary is not None and symbols.z2 is not None and symbols.y2 is not None
        branch = bundle.auxiliary
        z2 = np.ascontiguousarray(symbols.z2)
        hyper = _hyper_indexes(*z2.shape)
        indexes = branch.scale_network(np.concatenate([z2, z1]))
        chunks.append((ChunkType.AUX_HYPER, rdc_native.encode(z2, hyper, branch.hyper_tables, HYPER_LIMIT)))
        where = branch.slice_of(*symbols.y2.shape[1:])
        for s in range(symbols.slices):
            payload = _write_latents(symbols.y2[where == s], indexes[where == s], bundle.gaussian)
            chunks.append((ChunkType.AUX_SLICE, payload))
    return chunks


def read(stream: Stream, bundle: Bundle, layers: int) -> Symbols:
    """Symbols of a stream, at most `layers` auxiliary slices of it (no more than the model has).

    Raises TruncatedError or CorruptError for primary data; auxiliary damage ends up in `problem`.
    """
    height, width = (-(-side // PIXEL_STRIDE) for side in (stream.header.height, stream.header.width))
    primary, branch = stream.primary(), bundle.primary
    z1 = _read_hyper(primary.hyper, branch, height, width, "primary z")
    y1 = _read_latents(primary.latents, branch.scale_network(z1), bundle.gaussian, "primary latents")
    symbols = Symbols(z1, y1)
    auxiliary = stream.auxiliary(layers)
    symbols.problem = auxiliary.problem
    if not auxiliary.slices or auxiliary.hyper is None or bundle.auxiliary is None:
        return symbols
    branch = bundle.auxiliary
    try:
        z2 = _read_hyper(auxiliary.hyper, branch, height, width, "auxiliary z")
    except CorruptError as error:
        symbols.problem = str(error)
        return symbols
    indexes = branch.scale_network(np.concatenate([z2, z1]))
    where, y2 = branch.slice_of(*indexes.shape[1:]), np.zeros(indexes.shape, np.int32)
    for s, payload in enumerate(auxiliary.slices):
        try:
            y2[where == s] = _read_latents(
                payload, indexes[where == s], bundle.gaussian, f"auxiliary slice {s}"
            )
        except CorruptError as error:
            symbols.problem = str(error)
            break
        symbols.slices = s + 1
    if symbols.slices:
        symbols.z2, symbols.y2 = z2, y2
    return symbols
