"""Integer CDF tables for the entropy coder, made once at export and stored in the bundle.

Floating point ends here: coder and decoder use the stored integers and never recompute them, so
tables made on different machines need not agree.

All functions that make tables return ``(cdf, sizes, minimum)`` as native.Tables takes them: cdf
uint16 [N] with all tables one after the other, sizes and minimum int32 [T]. Table t holds the symbols
minimum[t] ... minimum[t] + sizes[t] - 1 and then the escape symbol, which stands for all others; its
sizes[t] + 2 CDF entries rise strictly from 0 to 2 ** precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

CdfTables = tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]

PRECISION = 14


def table_sigmas(n: int = 64, low: float = 0.11, high: float = 256.0) -> NDArray[np.float64]:
    """n standard deviations in geometric progression from low to high, float64 [n].

    The defaults are CompressAI's: below 0.11 a rounded Gaussian is zero but for five in a million.
    """
    if n < 2 or not 0 < low < high:
        raise ValueError("sigmas needs n >= 2 and 0 < low < high")
    return np.geomspace(low, high, n)


def gaussian_pmf(sigma: float, largest: int) -> NDArray[np.float64]:
    """P(round(X) = k) for k = 0 ... largest and X normal with mean 0, float64 [largest + 1].

    Phi((k + 1/2) / sigma) - Phi((k - 1/2) / sigma), as a difference of upper tails: those of Phi
    itself cancel far from zero. (Ballé et al., "Variational image compression with a scale
    hyperprior", ICLR 2018, equation 6.)
    """
    edges = (np.arange(largest + 2) - 0.5) / (sigma * math.sqrt(2))
    upper = np.array([0.5 * math.erfc(edge) for edge in edges])
    return upper[:-1] - upper[1:]


def laplace_pmf(sigma: float, largest: int) -> NDArray[np.float64]:
    """P(round(X) = k) for k = 0 ... largest and X Laplace with mean 0 and standard deviation sigma."""
    rate = math.sqrt(2) / sigma
    tails = -0.5 * np.exp(-rate * (np.arange(1, largest + 1) - 0.5)) * math.expm1(-rate)
    return np.concatenate([[-math.expm1(-0.5 * rate)], tails])


def scale_tables(
    sigmas: ArrayLike, gaussian_shares: ArrayLike = 1.0, precision: int = PRECISION, tail: float = 0.25
) -> CdfTables:
    """One table for each standard deviation, of round(X) for X of that deviation and mean 0.

    X is Gaussian with the given share (one for all, or one each), else Laplace: a mixture.
    tail: a symbol k has its own entry if 2 ** precision * P(k) >= tail; rarer ones are escapes. An
    entry costs all other symbols up to log2(e) / 2 ** precision bit, an escape costs its symbol at
    least 5 bit more than an entry of frequency 1 would: the two are equal at about 0.25.
    The zero always has an entry; frequencies of k and -k differ by one count at most.
    """
    sigmas = np.asarray(sigmas, dtype=np.float64)
    if sigmas.ndim != 1 or not np.all(np.isfinite(sigmas)) or np.any(sigmas <= 0):
        raise ValueError("sigmas must be one-dimensional, finite and positive")
    shares = np.broadcast_to(np.asarray(gaussian_shares, dtype=np.float64), sigmas.shape)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError("gaussian_shares must be within 0 to 1")
    if not tail > 0:
        raise ValueError("tail must be positive")
    pmfs = []
    for sigma, share in zip(sigmas, shares, strict=True):
        # Both densities fall below 2^-24 of their peak within 12 sigma, below any tail that matters.
        largest = math.ceil(12 * sigma) + 1
        half = share * gaussian_pmf(sigma, largest) + (1 - share) * laplace_pmf(sigma, largest)
        width = max(1, int(np.count_nonzero(half * (1 << precision) >= tail)))
        half = half[:width]
        pmfs.append((1 - width, np.concatenate([half[:0:-1], half])))
    return pmf_tables(pmfs, precision)


def pmf_tables(pmfs: Iterable[tuple[int, ArrayLike]], precision: int = PRECISION) -> CdfTables:
    """One table for each (minimum, pmf): pmf[k] is the probability of the symbol minimum + k.

    What a pmf lacks to 1 is the probability of the escape symbol.
    """
    cdfs, sizes, minima = [], [], []
    for minimum, given in pmfs:
        pmf = np.asarray(given, dtype=np.float64)
        if pmf.ndim != 1 or not pmf.size or not np.all(np.isfinite(pmf)) or np.any(pmf < 0):
            raise ValueError("a pmf must be one-dimensional, not empty, finite and not negative")
        if pmf.sum() > 1 + 1e-6:
            raise ValueError(f"a pmf sums to {pmf.sum()}, more than 1")
        frequencies = quantize_pmf(np.append(pmf, max(0.0, 1 - pmf.sum())), precision)
        cdfs.append(np.concatenate([[0], np.cumsum(frequencies)]))
        sizes.append(pmf.size)
        minima.append(minimum)
    if not cdfs:
        raise ValueError("there must be at least one table")
    return (
        np.concatenate(cdfs).astype(np.uint16),
        np.array(sizes, dtype=np.int32),
        np.array(minima, dtype=np.int32),
    )


def quantize_pmf(pmf: NDArray[np.float64], precision: int) -> NDArray[np.int64]:
    """Frequencies >= 1 with the sum 2 ** precision that code the pmf at nearly the least cost.

    The cost is -sum(pmf * log2(frequency)). Start from the rounded-down share, then add (or take)
    single counts where that gains most (or costs least), as in the method of largest remainders but
    by the change of the cost itself.
    """
    total = 1 << precision
    if pmf.size > total:
        raise ValueError(f"{pmf.size} symbols do not fit in 2 ** {precision} frequencies")
    frequencies = np.maximum(1, np.floor(pmf / pmf.sum() * total)).astype(np.int64)
    while missing := total - int(frequencies.sum()):
        if missing > 0:
            gain = pmf * np.log2(1 + 1 / frequencies)
            best = np.argsort(-gain, kind="stable")[:missing]
            frequencies[best] += 1
        else:
            # A count of 1 stays; half of the others at a time keeps the ranking honest.
            shrinkable = np.flatnonzero(frequencies > 1)
            loss = pmf[shrinkable] * np.log2(frequencies[shrinkable] / (frequencies[shrinkable] - 1))
            count = min(-missing, (shrinkable.size + 1) // 2)
            frequencies[shrinkable[np.argsort(loss, kind="stable")[:count]]] -= 1
    return frequencies
