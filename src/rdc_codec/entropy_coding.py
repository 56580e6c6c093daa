"""This module turns symbols into payloads of chunks and back. All is integers: no backend can change it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import interrupts, native
from .bundle import HYPER_LIMIT, HYPER_STRIDE, PASSES, SYMBOL_LIMIT, Branch, Bundle
from .container import ChunkType, Stream
from .errors import CorruptError
from .native import Decoder, ScaleState, Tables

# Symbols, table of each, tables, limit: what native.encode_parts takes
Part = tuple[np.ndarray, np.ndarray, Tables, int]


@dataclass
class Symbols:
    """Holds the integers of one picture. z: int32 [Cz, h/4, w/4]; y: int32 [C, h, w], h = ceil(H / 64) * 4.

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
    """Return the table of every symbol of z, which is its channel."""
    return np.repeat(np.arange(channels, dtype=np.uint8), height * width)


def _hyper_part(z: np.ndarray, branch: Branch) -> Part:
    return np.ascontiguousarray(z), _hyper_indexes(*z.shape), branch.hyper_tables, HYPER_LIMIT


def _pass_part(state: ScaleState, y: np.ndarray, tables: Tables) -> Part:
    """Describe the next pass of latents as a part for the encoder."""
    indexes, symbols = state.indexes(), state.gather(y)
    state.add(symbols)
    return symbols, indexes, tables, SYMBOL_LIMIT


def _read_hyper(decoder: Decoder, branch: Branch, height: int, width: int) -> np.ndarray:
    indexes = _hyper_indexes(branch.hyper, height, width)
    return decoder.read(indexes, branch.hyper_tables, HYPER_LIMIT).reshape(branch.hyper, height, width)


def _read_pass(decoder: Decoder, state: ScaleState, tables: Tables) -> None:
    state.add(decoder.read(state.indexes(), tables, SYMBOL_LIMIT))


def write(symbols: Symbols, bundle: Bundle) -> list[tuple[int, bytes]]:
    """Return the chunks of a picture in stream order, with `symbols.slices` auxiliary slices."""
    interrupts.check()
    y1 = np.ascontiguousarray(symbols.y1)
    state = bundle.primary.scale_state(symbols.z1)
    parts = [_hyper_part(symbols.z1, bundle.primary)]
    parts += [_pass_part(state, y1, bundle.primary.latent_tables) for _ in range(PASSES)]
    chunks: list[tuple[int, bytes]] = [(ChunkType.PRIMARY, native.encode_parts(parts))]
    if symbols.slices:
        assert bundle.auxiliary is not None and symbols.z2 is not None and symbols.y2 is not None
        branch, y2 = bundle.auxiliary, np.ascontiguousarray(symbols.y2)
        state = branch.scale_state(np.concatenate([symbols.z2, symbols.z1]), y1)
        for s in range(symbols.slices):
            interrupts.check()
            parts = [_hyper_part(symbols.z2, branch)] if s == 0 else []
            parts.append(_pass_part(state, y2, branch.latent_tables))
            chunks.append((ChunkType.AUX_SLICE, native.encode_parts(parts)))
    return chunks


def read(stream: Stream, bundle: Bundle, layers: int) -> Symbols:
    """Read the symbols of a stream with at most `layers` auxiliary slices (no more than the model has).

    Raises TruncatedError or CorruptError for primary data; auxiliary damage ends up in `problem`.
    """
    height, width = (-(-side // HYPER_STRIDE) for side in (stream.header.height, stream.header.width))
    try:
        decoder = Decoder(stream.primary())
        z1 = _read_hyper(decoder, bundle.primary, height, width)
        state = bundle.primary.scale_state(z1)
        for _ in range(PASSES):
            interrupts.check()
            _read_pass(decoder, state, bundle.primary.latent_tables)
        decoder.finish()
    except native.CorruptStream as error:
        raise CorruptError(f"primary data: {error}") from None
    symbols = Symbols(z1, state.symbols)
    auxiliary = stream.auxiliary(layers)
    symbols.problem = auxiliary.problem
    if not auxiliary.slices or bundle.auxiliary is None:
        return symbols
    branch = bundle.auxiliary
    for s, payload in enumerate(auxiliary.slices):
        interrupts.check()
        try:
            decoder = Decoder(payload)
            if s == 0:
                z2 = _read_hyper(decoder, branch, height, width)
                state = branch.scale_state(np.concatenate([z2, z1]), symbols.y1)
            indexes = state.indexes()
            latents = decoder.read(indexes, branch.latent_tables, SYMBOL_LIMIT)
            decoder.finish()  # nothing of a damaged slice may reach the picture
            state.add(latents)
        except native.CorruptStream as error:
            symbols.problem = f"auxiliary slice {s}: {error}"
            break
        symbols.z2, symbols.y2, symbols.slices = z2, state.symbols, s + 1
    return symbols
