"""Rates: discretised zero-mean densities for residual symbols, a factorised prior for hyper-latents."""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops import LowerBound
from torch import Tensor, nn

from model.config import SCALE_TABLES, SIGMA_HIGH, SIGMA_LOW

LOG2 = math.log(2.0)


def sigma_of(index: Tensor) -> Tensor:
    """Return the standard deviation of table `index` (continuous while training): low * (high / low)^(index / 63)."""
    return SIGMA_LOW * torch.exp(index * (math.log(SIGMA_HIGH / SIGMA_LOW) / (SCALE_TABLES - 1)))


class LatentRate(nn.Module):
    """Bits of residual symbols r, -log2(F(r + 1/2) - F(r - 1/2)), F of standard deviation sigma and mean zero.

    F mixes a Gaussian and a Laplace distribution; the share of the Gaussian is learned for each table. Residuals
    of a codec for all rates have heavier tails than a Gaussian: a Laplace fit took 4 % fewer bits (docs/training.md).
    """

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Parameter(torch.zeros(SCALE_TABLES))
        self.lower_bound = LowerBound(1e-9)

    def gaussian_shares(self) -> Tensor:
        """Return the share of the Gaussian in each table, float [64] in (0, 1)."""
        return torch.sigmoid(self.shape)

    def forward(self, r: Tensor, index: Tensor) -> Tensor:
        """r: any shape, integers at inference or with noise added. index: table of each, integer-valued float."""
        r, sigma = r.float().abs(), sigma_of(index)  # symmetry keeps differences of tails accurate
        slope = -(2**-0.5) / sigma
        gaussian = 0.5 * (torch.special.erfc(slope * (0.5 - r)) - torch.special.erfc(slope * (-0.5 - r)))
        rate = -(2**0.5) / sigma
        near = 1 - 0.5 * (torch.exp(rate * (r + 0.5)) + torch.exp(rate * (0.5 - r).clamp_min(0)))
        far = -0.5 * torch.exp(rate * (r - 0.5).clamp_min(0)) * torch.expm1(rate)
        laplace = torch.where(r < 0.5, near, far)
        # Indexing would sort all elements in its gradient on a GPU; this one adds them up.
        share = self.gaussian_shares().index_select(0, index.detach().long().flatten()).view_as(r)
        return -torch.log(self.lower_bound(laplace + share * (gaussian - laplace))) / LOG2


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
