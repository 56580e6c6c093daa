"""This module turns symbols into payloads of chunks and back. All is integers: no backend can change it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import interrupts, native
from .bundle import HYPER_LIMIT, HYPER_STRIDE, PASSES, SYMBOL_LIMIT, Branch, Bundle
from .container import ChunkType, Header, Stream
from .errors import CorruptError
from .native import Decoder, ScaleState, Tables
from .types import Buffer

# Symbols, table of each, tables, limit: what native.encode_parts takes
Part = tuple[np.ndarray, np.ndarray, Tables, int]


@dataclass
class Symbols:
    """Holds the integers of one picture. z: int16 [Cz, h/4, w/4]; y: int16 [C, h, w], h = ceil(H / 64) * 4.

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
    return np.ascontiguousarray(z, np.int16), _hyper_indexes(*z.shape), branch.hyper_tables, HYPER_LIMIT


def _pass_part(state: ScaleState, y: np.ndarray, tables: Tables) -> Part:
    """Describe the next pass of latents as a part for the encoder."""
    indexes, symbols = state.indexes(), state.gather(y)
    state.add(symbols)
    return symbols, indexes, tables, SYMBOL_LIMIT


def _read_hyper(decoder: Decoder, branch: Branch, height: int, width: int) -> np.ndarray:
    indexes = _hyper_indexes(branch.hyper, height, width)
    symbols = decoder.read(indexes, branch.hyper_tables, HYPER_LIMIT, "int16")
    return symbols.reshape(branch.hyper, height, width)


def _read_pass(decoder: Decoder, state: ScaleState, tables: Tables) -> None:
    state.add(decoder.read(state.indexes(), tables, SYMBOL_LIMIT, "int16"))


def write(symbols: Symbols, bundle: Bundle, threads: int = 1) -> list[tuple[int, bytes]]:
    """Return the chunks of a picture in stream order, with `symbols.slices` auxiliary slices.

    threads: that share the work at most, here and below.
    """
    return write_primary(symbols, bundle, threads) + write_auxiliary(symbols, bundle, threads)


def write_primary(symbols: Symbols, bundle: Bundle, threads: int = 1) -> list[tuple[int, bytes]]:
    """Return the primary chunk of a picture."""
    interrupts.check()
    y1 = np.ascontiguousarray(symbols.y1, np.int16)
    state = bundle.primary.scale_state(symbols.z1, keep=False, threads=threads)
    parts = [_hyper_part(symbols.z1, bundle.primary)]
    parts += [_pass_part(state, y1, bundle.primary.latent_tables) for _ in range(PASSES)]
    return [(ChunkType.PRIMARY, native.encode_parts(parts))]


def write_auxiliary(symbols: Symbols, bundle: Bundle, threads: int = 1) -> list[tuple[int, bytes]]:
    """Return the auxiliary chunks of a picture, `symbols.slices` of them."""
    chunks: list[tuple[int, bytes]] = []
    if symbols.slices:
        assert bundle.auxiliary is not None and symbols.z2 is not None and symbols.y2 is not None
        branch, y2 = bundle.auxiliary, np.ascontiguousarray(symbols.y2, np.int16)
        y1 = np.ascontiguousarray(symbols.y1, np.int16)
        hyper = np.concatenate([symbols.z2, symbols.z1])
        state = branch.scale_state(hyper, y1, keep=False, threads=threads)
        for s in range(symbols.slices):
            interrupts.check()
            parts = [_hyper_part(symbols.z2, branch)] if s == 0 else []
            parts.append(_pass_part(state, y2, branch.latent_tables))
            chunks.append((ChunkType.AUX_SLICE, native.encode_parts(parts)))
    return chunks


class SymbolReader:
    """Reads the symbols of a picture chunk by chunk: `read_primary` once, then `read_slice` in their order.

    symbols: what was read so far, None before the primary chunk. For one thread.
    """

    def __init__(self, header: Header, bundle: Bundle, threads: int = 1) -> None:
        """Start with the picture that a header describes. threads: that share the work at most."""
        self._bundle, self._threads = bundle, threads
        self._sides = -(-header.height // HYPER_STRIDE), -(-header.width // HYPER_STRIDE)
        self._state: ScaleState | None = None  # of the auxiliary branch
        self.symbols: Symbols | None = None

    def read_primary(self, payload: Buffer) -> Symbols:
        """Read the payload of the primary chunk. Raises CorruptError."""
        branch = self._bundle.primary
        try:
            decoder = Decoder(payload)
            z1 = _read_hyper(decoder, branch, *self._sides)
            state = branch.scale_state(z1, threads=self._threads)
            for _ in range(PASSES):
                _read_pass(decoder, state, branch.latent_tables)
            decoder.finish()
        except native.CorruptStream as error:
            raise CorruptError(f"primary data: {error}") from None
        self.symbols = Symbols(z1, state.symbols)
        return self.symbols

    def read_slice(self, payload: Buffer) -> bool:
        """Read the payload of the next auxiliary slice, of a model that has one, and tell whether it is intact.

        What is wrong with it is in `symbols.problem` otherwise, and nothing of it is in the symbols; no other slice
        may follow then.
        """
        symbols, branch = self.symbols, self._bundle.auxiliary
        assert symbols is not None and branch is not None
        try:
            decoder = Decoder(payload)
            z2, state = symbols.z2, self._state
            if z2 is None or state is None:
                z2 = _read_hyper(decoder, branch, *self._sides)
                hyper = np.concatenate([z2, symbols.z1])
                state = branch.scale_state(hyper, symbols.y1, threads=self._threads)
            latents = decoder.read(state.indexes(), branch.latent_tables, SYMBOL_LIMIT, "int16")
            decoder.finish()  # nothing of a damaged slice may reach the picture
            state.add(latents)
        except native.CorruptStream as error:
            symbols.problem = f"auxiliary slice {symbols.slices}: {error}"
            return False
        self._state = state
        symbols.z2, symbols.y2, symbols.slices = z2, state.symbols, symbols.slices + 1
        return True


def read(stream: Stream, bundle: Bundle, layers: int, threads: int = 1) -> Symbols:
    """Read the symbols of a stream with at most `layers` auxiliary slices (no more than the model has).

    threads: that share the work at most; rANS itself is done by the caller's.
    Raises TruncatedError or CorruptError for primary data; auxiliary damage ends up in `problem`.
    """
    reader = SymbolReader(stream.header, bundle, threads)
    symbols = reader.read_primary(stream.primary())
    auxiliary = stream.auxiliary(layers)
    symbols.problem = auxiliary.problem
    if bundle.auxiliary is not None:
        for payload in auxiliary.slices:
            if not reader.read_slice(payload):
                break
    return symbols
