"""Make a trained model larger, or give it more choices, without losing what it has learned."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor

from model.branches import RateDistortionCognition
from model.config import BranchConfig
from model.layers import Block


@torch.no_grad()
def grow(model: RateDistortionCognition, blocks: int, deep_blocks: int) -> RateDistortionCognition:
    """Return a model with this many residual blocks in its transforms that computes the same, to the bit.

    The new blocks stand behind the trained ones and the ends of their residual paths are zero. Raise ValueError
    where a branch has more blocks than that.
    """

    def larger(config: BranchConfig | None) -> BranchConfig | None:
        if config is None:
            return None
        if config.blocks > blocks or config.deep_blocks > deep_blocks:
            raise ValueError(
                f"the model has {config.blocks} and {config.deep_blocks} blocks, "
                f"more than blocks={blocks} and deep_blocks={deep_blocks}"
            )
        return dataclasses.replace(config, blocks=blocks, deep_blocks=deep_blocks)

    primary = larger(model.config.primary)
    assert primary is not None
    config = dataclasses.replace(model.config, primary=primary, auxiliary=larger(model.config.auxiliary))
    grown = RateDistortionCognition(config)
    new = set(grown.load_state_dict(model.state_dict(), strict=False).missing_keys)
    for name, module in grown.named_modules():
        if isinstance(module, Block) and any(key.startswith(f"{name}.") for key in new):
            for end in module.ends:
                for parameter in end.parameters():
                    parameter.zero_()
    return grown


@torch.no_grad()
def with_points(
    model: RateDistortionCognition, branch: Literal["primary", "auxiliary"], magnitudes: int
) -> RateDistortionCognition:
    """Return a model one branch of which has reconstruction points of so many magnitudes, in the middle as before.

    Raise ValueError where it has other points already.
    """
    had = getattr(model.config, branch).points
    if had not in (0, magnitudes):
        raise ValueError(f"the branch has points of {had} magnitudes, not {magnitudes}")
    changed: dict[str, Any] = {branch: dataclasses.replace(getattr(model.config, branch), points=magnitudes)}
    pointed = RateDistortionCognition(dataclasses.replace(model.config, **changed))
    pointed.load_state_dict(model.state_dict(), strict=False)  # the new slopes are zero
    return pointed


@torch.no_grad()
def with_range(
    model: RateDistortionCognition, branch: Literal["primary", "auxiliary"], bounds: tuple[float, float]
) -> RateDistortionCognition:
    """Return a model one branch of which spans these multipliers, with the gains it had at each of them.

    Between trained levels gains are interpolated geometrically, as they are in use. Beyond the ends they go on with
    the square root of the multiplier, which is optimal at high rate (`model.gain`).
    """
    old, levels = getattr(model.config, f"{branch}_lambda"), model.config.levels
    changed: dict[str, Any] = {f"{branch}_lambda": bounds}
    ranged = RateDistortionCognition(dataclasses.replace(model.config, **changed))
    state = model.state_dict()
    wanted = torch.linspace(math.log(bounds[0]), math.log(bounds[1]), levels)
    inside = wanted.clamp(math.log(old[0]), math.log(old[1]))
    position = (inside - math.log(old[0])) / math.log(old[1] / old[0]) * (levels - 1)
    for name, sign in (("log_gain", 0.5), ("log_inverse", -0.5)):
        key = f"{branch}.gain.{name}"
        state[key] = _interpolated(state[key], position) + sign * (wanted - inside)[:, None]
    ranged.load_state_dict(state)
    return ranged


def _interpolated(table: Tensor, position: Tensor) -> Tensor:
    """Return rows of a table [L, C] at continuous positions [M], linear between two rows."""
    low = position.floor().clamp(0, table.shape[0] - 2).long()
    t = (position - low)[:, None]
    return table[low] * (1 - t) + table[low + 1] * t
