"""Rates: discretised zero-mean Gaussians for residual symbols, a factorised prior for hyper-latents."""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops import LowerBound
from torch import Tensor, nn

from model.config import SCALE_TABLES, SIGMA_HIGH, SIGMA_LOW

LOG2 = math.log(2.0)


def sigma_of(index: Tensor) -> Tensor:
    """Standard deviation of table `index` (continuous while training): low * (high / low)^(index / 63)."""
    return SIGMA_LOW * torch.exp(index * (math.log(SIGMA_HIGH / SIGMA_LOW) / (SCALE_TABLES - 1)))


class GaussianRate(nn.Module):
    """Bits of residual symbols r under zero-mean Gaussians: -log2(Phi((r+.5)/sigma) - Phi((r-.5)/sigma)).

    As CompressAI's GaussianConditional computes it (the mean is already subtracted; symmetry keeps the
    difference of the tails accurate).
    """

    def __init__(self) -> None:
        super().__init__()
        self.lower_bound = LowerBound(1e-9)

    def forward(self, r: Tensor, index: Tensor) -> Tensor:
        r, scale = r.float().abs(), -(2**-0.5) / sigma_of(index)
        upper = torch.special.erfc(scale * (0.5 - r))
        lower = torch.special.erfc(scale * (-0.5 - r))
        return -torch.log(self.lower_bound(0.5 * (upper - lower))) / LOG2


class HyperRate(nn.Module):
    """Bits of hyper-latent symbols under a learned per-channel density (CompressAI's EntropyBottleneck).

    Its medians stay at zero: the coded integer is the network's input itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottleneck = EntropyBottleneck(channels)
        self.bottleneck.quantiles.requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        """z: float [N, C, h, w], integers at inference or with noise already added. Bits of each, same shape."""
        with torch.autocast(z.device.type, enabled=False):
            # `training=False` rounds about the (zero) medians, so noisy values need the density itself.
            values = z.float().permute(1, 0, 2, 3).reshape(z.shape[1], 1, -1)
            likelihood, _, _ = self.bottleneck._likelihood(values)
            likelihood = self.bottleneck.likelihood_lower_bound(likelihood)
            bits = -torch.log(likelihood) / LOG2
            return bits.reshape(z.shape[1], z.shape[0], *z.shape[2:]).permute(1, 0, 2, 3)

    @torch.no_grad()
    def pmf(self, limit: int) -> Tensor:
        """Probabilities of -limit..limit, float [C, 2 * limit + 1]."""
        channels = self.bottleneck.quantiles.shape[0]
        grid = torch.arange(-limit, limit + 1, dtype=torch.float32, device=self.bottleneck.quantiles.device)
        bits = self(grid.reshape(1, 1, 1, -1).expand(1, channels, 1, -1))
        return torch.exp2(-bits)[0, :, 0]
