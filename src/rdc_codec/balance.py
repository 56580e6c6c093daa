"""This module gives the base a share of a stream's bytes, without changing how many those are.

It runs no network: what qualities give is asked of functions, as in `rates`.
"""

from __future__ import annotations

from collections.abc import Callable

from .container import from_fixed, number_within, to_fixed
from .errors import InputError, TargetError
from .rates import HIGH, LOW, Goal, search, snapped
from .targets import Dial

LEAST, MOST = 0.05, 0.95
# How much the logarithm of bytes grows with one quality, at about: of the base, of the whole by the auxiliary branch
_BASE_SLOPE, _AUX_SLOPE = 0.028, 0.018


def share_of(share: float | None, others: dict[str, object], base_only: bool) -> float | None:
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
    base_goal: Goal,
    dial: Dial,
    base_bytes: Callable[[float], int],
    encode: Callable[[Dial], bytes],
) -> bytes:
    """Return a stream that reaches the goal and whose base reaches its own, or comes as near to it as the model can.

    goal: bytes of the whole stream. base_goal: of the primary chunk. dial: with which `encode` reaches the goal, with
    whatever split. base_bytes: base quality -> bytes of the primary chunk. The quality of the dial is kept.

    Where the auxiliary branch takes more than what the base leaves even at its lowest quality, or less at its highest,
    it has that quality, and the base alone meets the goal. Where bytes hardly follow qualities, as in flat colours, the
    stream is that of the dial.
    """
    quality, base_before, _ = dial

    def of_base(fixed: int) -> tuple[float, float]:
        return from_fixed(fixed), float(base_bytes(from_fixed(fixed)))

    away = base_goal.scale(base_goal.value) - base_goal.scale(base_bytes(base_before))
    first = to_fixed(snapped(base_before + away / _BASE_SLOPE))
    try:
        base = search(of_base, base_goal, first, slope=_BASE_SLOPE).result
    except TargetError as error:  # no base has so few bytes, or so many
        base = from_fixed(LOW if error.best > base_goal.value else HIGH)

    def of_auxiliary(fixed: int) -> tuple[bytes, float]:
        stream = encode((quality, base, from_fixed(fixed)))
        return stream, len(stream)

    try:
        return search(of_auxiliary, goal, to_fixed(dial[2]), slope=_AUX_SLOPE).result
    except TargetError as error:
        auxiliary = from_fixed(LOW if error.best > goal.value else HIGH)

    def of_both(fixed: int) -> tuple[bytes, float]:
        stream = encode((quality, from_fixed(fixed), auxiliary))
        return stream, len(stream)

    low, high = sorted((to_fixed(base_before), to_fixed(base)))
    try:
        return search(of_both, goal, to_fixed(base), low, high, _BASE_SLOPE).result
    except TargetError:
        return encode(dial)
