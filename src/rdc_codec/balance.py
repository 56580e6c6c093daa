"""This module gives the base a share of a stream's bytes, without changing how many those are.

It runs no network: what qualities give is asked of functions, as in `rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .container import from_fixed, number_within, to_fixed
from .errors import InputError, TargetError
from .rates import HIGH, LOW, Expected, Goal, search, snapped
from .targets import Dial

LEAST, MOST = 0.05, 0.95
_BASE_SLOPE = 0.028  # how much the logarithm of the base's bytes grows with its quality, at about


def share_of(share: float | None, others: Mapping[str, object], base_only: bool) -> float | None:
    """Check a share, which goes with none of the other arguments (None: not given). Raises InputError.

    base_only: the stream is to have no auxiliary slices.
    """
    if share is None:
        return None
    if base_only:
        raise InputError("share is for streams with auxiliary slices, this one has the base alone")
    if also := [name for name, value in others.items() if value is not None]:
        raise InputError(f"give either share or {also[0]}, not both")
    number = number_within(share, 1, "share")
    if not LEAST <= number <= MOST:
        raise InputError(f"share must be from {LEAST:g} to {MOST:g}, got {share!r}")
    return number


def split(
    goal: Goal,
    share: float,
    beside: int,
    dial: Dial,
    base_bytes: Callable[[float], int],
    encode: Callable[[Dial], bytes],
    expected: Expected,
) -> bytes:
    """Return a stream that reaches the goal and whose base has its share, or as near to it as the model can come.

    goal: bytes of the whole stream. beside: how many of them are of neither branch; they count for nothing. dial: with
    which `encode` reaches the goal, with whatever split. base_bytes: base quality -> bytes of the primary chunk.
    expected: how bytes grow with quality. The quality of the dial is kept.

    Where the auxiliary branch takes more than what the base leaves even at its lowest quality, or less at its highest,
    it has that quality, and the base alone meets the goal. Where bytes hardly follow qualities, as in flat colours, the
    stream is that of the dial.
    """
    quality, base_before, auxiliary_before = dial
    coded = goal._replace(unit="bytes", value=goal.value - beside)
    wanted = coded._replace(value=share * coded.value)

    def of_base(fixed: int) -> tuple[float, float]:
        return from_fixed(fixed), float(base_bytes(from_fixed(fixed)))

    def of_both(base: float, auxiliary: float) -> tuple[bytes, float]:
        stream = encode((quality, base, auxiliary))
        return stream, len(stream) - beside

    away = wanted.scale(wanted.value) - wanted.scale(base_bytes(base_before))
    first = to_fixed(snapped(base_before + away / _BASE_SLOPE))
    try:
        base = search(of_base, wanted, first, slope=_BASE_SLOPE).result
    except TargetError as error:  # no base has so few bytes, or so many
        base = from_fixed(LOW if error.best > wanted.value else HIGH)
    try:
        return search(
            lambda fixed: of_both(base, from_fixed(fixed)),
            coded,
            to_fixed(auxiliary_before),
            slope=expected.auxiliary_slope(quality, of_bytes=True),
        ).result
    except TargetError as error:
        auxiliary = from_fixed(LOW if error.best > coded.value else HIGH)
    low, high = sorted((to_fixed(base_before), to_fixed(base)))
    try:
        return search(
            lambda fixed: of_both(from_fixed(fixed), auxiliary),
            coded,
            to_fixed(base),
            low,
            high,
            _BASE_SLOPE,
        ).result
    except TargetError:
        return encode(dial)
