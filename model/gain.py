"""Gain units: one model for every rate (Cui et al., "Asymmetric Gained Deep Image Compression", CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def between(level: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return the trained level below each position and how far it is to the next, int64 and float in [0, 1], each [N].

    level: float [N], clipped to [0, levels - 1].
    """
    level = level.clamp(0.0, float(levels - 1))
    low = level.floor().clamp(max=float(levels - 2)).long()
    return low, level - low


def interpolate(table: Tensor, level: Tensor) -> Tensor:
    """Geometric interpolation m = m_l^(1-t) * m_h^t between the two trained levels around `level`.

    table: float [L, C], positive. level: float [N], clipped to [0, L - 1]. Returns [N, C, 1, 1].
    """
    low, t = between(level, table.shape[0])
    t = t.unsqueeze(1)
    log = table.log()
    # index_select is exported as Gather; indexing would be GatherND, which waits for the CPU on a GPU.
    rows = (log.index_select(0, low), log.index_select(0, low + 1))
    return torch.exp(rows[0] * (1 - t) + rows[1] * t)[:, :, None, None]


class GainUnit(nn.Module):
    """Per-channel gains g of the encoder and separately learned inverse gains of the decoder, for L levels.

    Gains start at sqrt(lambda): at high rate the distortion of a uniform quantiser goes with 1/g^2, so
    the step that is optimal for a multiplier lambda goes with 1/sqrt(lambda). Kept as logarithms, hence
    always positive; the inverse gains start as reciprocals.
    """

    def __init__(self, channels: int, lambdas: Tensor) -> None:
        super().__init__()
        start = 0.5 * lambdas.log()[:, None].expand(-1, channels)
        self.log_gain = nn.Parameter(start.clone())
        self.log_inverse = nn.Parameter(-start)

    def gains(self) -> Tensor:
        """Encoder gains, float [L, C]."""
        return self.log_gain.exp()

    def inverse_gains(self) -> Tensor:
        """Decoder gains, float [L, C]."""
        return self.log_inverse.exp()

    def gain(self, y: Tensor, level: Tensor) -> Tensor:
        return y * interpolate(self.gains(), level)

    def inverse(self, y: Tensor, level: Tensor) -> Tensor:
        return y * interpolate(self.inverse_gains(), level)
