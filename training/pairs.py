"""Which base goes with each level of the auxiliary branch: stage II trains and is validated there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from model import ModelConfig
from model.branches import lambda_at
from rdc_codec.bundle import quality_map_columns

Pairs = Callable[[Tensor], Tensor]  # gain positions of the auxiliary branch -> those of the base

SPREAD = 0.5  # standard deviation of the base's position about its pair, where training draws it
NEAR = 0.75  # how often it is drawn there, and not anywhere


def by_multiplier(config: ModelConfig) -> Pairs:
    """Pair each level with the base of a seventh of its multiplier, which splits the bytes about evenly.

    In a single-branch model, with the level itself.
    """
    last = config.levels - 1
    low, high = config.primary_lambda

    def base(level: Tensor) -> Tensor:
        if config.auxiliary is None:
            return level
        multiplier = lambda_at(level, config.auxiliary_lambda, config.levels) / 7
        return (last * torch.log(multiplier / low) / math.log(high / low)).clamp(0, last)

    return base


def of_map(quality_map: Mapping[str, Sequence[float]], config: ModelConfig) -> Pairs:
    """Pair each level with the base of a bundle's quality map. Raises KeyError, TypeError or ValueError for none."""
    last = config.levels - 1
    columns = quality_map_columns(quality_map)[1:]
    bases, levels = (torch.as_tensor(column * (last / 100), dtype=torch.float32) for column in columns)

    def base(level: Tensor) -> Tensor:  # linear between rows; on its device, nothing waits for the CPU there
        at, found = levels.to(level.device), bases.to(level.device)
        above = torch.searchsorted(at, level.contiguous(), right=True).clamp(1, len(at) - 1)
        low, high = at[above - 1], at[above]
        t = ((level - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        return found[above - 1] + t * (found[above] - found[above - 1])

    return base


def drawn(level: Tensor, pairs: Pairs, last: float) -> Tensor:
    """Draw positions of the base under these of the auxiliary branch: near their pairs, or anywhere up to `last`."""
    near = pairs(level) + SPREAD * torch.randn_like(level)
    anywhere = torch.rand_like(level) * last
    return torch.where(torch.rand_like(level) < NEAR, near, anywhere).clamp(0, last)
