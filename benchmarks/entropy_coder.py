"""Measures throughput and overhead of entropy coders on the symbols of one large image.

    python -m benchmarks.entropy_coder [--json] [--repeats N] [--simd PATH]

Data: 500,000 symbols, each with its own table index, from a fixed generator and seed. The index is
a level of model.cdf.table_sigmas(); log(sigma) is normal with mean log(0.42) and standard
deviation 1.4, clipped to [0.11, 16], which gives about 1.35 bit per symbol, as latents of a learned
codec at a medium rate have. Neighbours are independent, which is harder on caches and branch
predictors than real latents, whose scales vary slowly. Every symbol is coded, none is skipped.

Every coder runs in one thread and is timed through its Python interface, from arrays to bytes and
back, outputs allocated anew. overhead is bytes against the entropy of the exact Gaussian:
8 * bytes / -sum(log2 P(symbol | sigma)) - 1. Coders whose package is missing are skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cdf import gaussian_pmf, scale_tables, table_sigmas
from rdc_codec import native

SYMBOLS = 500_000
SEED = 20240704
LIMIT = 2047
HIGHEST_SCALE = 16.0


@dataclass(frozen=True)
class Data:
    symbols: NDArray[np.int32]  # [SYMBOLS]
    indexes: NDArray[np.uint8]  # [SYMBOLS]
    sigmas: NDArray[np.float64]  # [64]
    entropy_bits: float  # of all symbols together


@dataclass(frozen=True)
class Row:
    coder: str
    threads: int
    encode_msym_s: float
    decode_msym_s: float
    overhead: float


@dataclass(frozen=True)
class Coder:
    name: str
    encode: Callable[[], object]
    decode: Callable[[], object]
    check: Callable[[Any], bool]  # what decode returned against the symbols
    size: int  # bytes


def make_data() -> Data:
    rng = np.random.default_rng(SEED)
    sigmas = table_sigmas()
    log_sigma = rng.normal(np.log(0.42), 1.4, SYMBOLS)
    last = int(np.searchsorted(sigmas, HIGHEST_SCALE)) - 1
    nearest = np.round((log_sigma - np.log(sigmas[0])) / np.log(sigmas[1] / sigmas[0]))
    indexes = np.clip(nearest, 0, last).astype(np.uint8)
    symbols = np.round(rng.normal(0, 1, SYMBOLS) * sigmas[indexes]).astype(np.int32)
    bits = 0.0
    for level in np.unique(indexes):
        magnitudes = np.abs(symbols[indexes == level])
        bits -= float(np.log2(gaussian_pmf(sigmas[level], int(magnitudes.max()))[magnitudes]).sum())
    return Data(symbols, indexes, sigmas, bits)


def rdc(data: Data) -> Coder:
    tables = native.Tables(*scale_tables(data.sigmas))
    stream = native.encode(data.symbols, data.indexes, tables, LIMIT)
    return Coder(
        "rdc",
        lambda: native.encode(data.symbols, data.indexes, tables, LIMIT),
        lambda: native.decode(stream, data.indexes, tables, LIMIT),
        lambda out: np.array_equal(out, data.symbols),
        len(stream),
    )


def compressai_gaussian_conditional(data: Data) -> Coder:
    """Make the coder as users call it: torch tensors in, torch tensors out."""
    import torch
    from compressai.entropy_models import GaussianConditional

    model = GaussianConditional(data.sigmas.tolist())
    model.update()
    latents = torch.from_numpy(data.symbols.astype(np.float32)).reshape(1, 1, -1, 1000)
    indexes = torch.from_numpy(data.indexes.astype(np.int32)).reshape(latents.shape)
    strings = model.compress(latents, indexes)
    return Coder(
        "compressai-gaussian-conditional",
        lambda: model.compress(latents, indexes),
        lambda: model.decompress(strings, indexes),
        lambda out: bool(torch.equal(out, latents)),
        len(strings[0]),
    )


def compressai_extension(data: Data) -> Coder:
    """Make its C++ coder alone; the Python lists that it takes are made beforehand."""
    from compressai import ans
    from compressai.entropy_models import GaussianConditional

    model = GaussianConditional(data.sigmas.tolist())
    model.update()
    arguments = (
        data.indexes.tolist(),
        model.quantized_cdf.tolist(),
        model.cdf_length.reshape(-1).int().tolist(),
        model.offset.reshape(-1).int().tolist(),
    )
    symbols = data.symbols.tolist()
    stream = ans.RansEncoder().encode_with_indexes(symbols, *arguments)
    return Coder(
        "compressai-extension",
        lambda: ans.RansEncoder().encode_with_indexes(symbols, *arguments),
        lambda: ans.RansDecoder().decode_with_indexes(stream, *arguments),
        lambda out: out == symbols,
        len(stream),
    )


def constriction_ans(data: Data) -> Coder:
    import constriction

    family = constriction.stream.model.QuantizedGaussian(-LIMIT, LIMIT)
    means = np.zeros(SYMBOLS)
    sigmas = data.sigmas[data.indexes]

    def encode() -> NDArray[np.uint32]:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(data.symbols, family, means, sigmas)
        return coder.get_compressed()

    words = encode()
    return Coder(
        "constriction-ans",
        encode,
        lambda: constriction.stream.stack.AnsCoder(words).decode(family, means, sigmas),
        lambda out: np.array_equal(out, data.symbols),
        words.nbytes,
    )


CODERS = (rdc, compressai_gaussian_conditional, compressai_extension, constriction_ans)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(data: Data, repeats: int) -> Iterator[Row]:
    for make in CODERS:
        try:
            coder = make(data)
        except ImportError as error:
            print(f"skipped {make.__name__.replace('_', '-')}: {error}", file=sys.stderr)
            continue
        if not coder.check(coder.decode()):
            raise RuntimeError(f"{coder.name} does not give its symbols back")
        yield Row(
            coder.name,
            1,
            SYMBOLS / median_seconds(coder.encode, repeats) / 1e6,
            SYMBOLS / median_seconds(coder.decode, repeats) / 1e6,
            8 * coder.size / data.entropy_bits - 1,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--repeats", type=int, default=15, help="timings each, of which the median counts")
    parser.add_argument("--simd", default="auto", help="rdc's code path: auto, scalar, avx2 or avx512")
    options = parser.parse_args()
    native.set_simd(options.simd)
    data = make_data()
    rows = list(measure(data, options.repeats))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    highest = data.sigmas[data.indexes].max()
    print(f"{SYMBOLS} symbols, {data.entropy_bits / SYMBOLS:.3f} bit each, scales up to {highest:.1f}\n")
    print("| coder | threads | encode, Msymbol/s | decode, Msymbol/s | overhead |")
    print("|---|---|---|---|---|")
    for row in rows:
        rates = f"{row.encode_msym_s:.1f} | {row.decode_msym_s:.1f}"
        print(f"| {row.coder} | {row.threads} | {rates} | {100 * row.overhead:.3f} % |")


if __name__ == "__main__":
    main()
