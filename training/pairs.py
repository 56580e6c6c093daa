"""Which base goes with each level of the auxiliary branch: stage II trains and is validated there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
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
    _, base_quality, aux_quality = quality_map_columns(quality_map)

    def base(level: Tensor) -> Tensor:
        at = np.interp(level.cpu().numpy() * (100 / last), aux_quality, base_quality) * (last / 100)
        return torch.as_tensor(at, dtype=level.dtype, device=level.device)

    return base


def drawn(level: Tensor, pairs: Pairs, last: float) -> Tensor:
    """Draw positions of the base under these of the auxiliary branch: near their pairs, or anywhere up to `last`."""
    near = pairs(level) + SPREAD * torch.randn_like(level)
    anywhere = torch.rand_like(level) * last
    return torch.where(torch.rand_like(level) < NEAR, near, anywhere).clamp(0, last)
