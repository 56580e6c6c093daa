"""Where inside its interval each symbol is taken to lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.gain import between


class ReconstructionPoints(nn.Module):
    """Moves decoded symbols towards zero, by an amount for each magnitude, channel and level that is learned.

    Residuals are densest at zero, so those that are rounded to 1 are less than 1 in the mean (G. Sullivan, "Efficient
    scalar quantization of exponential and Laplacian random variables", IEEE Trans. Information Theory, 1996). An
    inverse gain below the reciprocal of the gain moves them too, but the predicted means with them, and large symbols
    as much as small ones. Starts at zero: points in the middle. What predicts later passes does not see it.
    """

    def __init__(self, levels: int, magnitudes: int, channels: int) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.zeros(levels, magnitudes, channels))

    def forward(self, symbols: Tensor, level: Tensor) -> Tensor:
        """Return what is added to symbols, float [N, C, h, w]: sum over k from 1 of slope_k * clip(symbols, -k, k).

        symbols: float [N, C, h, w]. level: float [N], clipped to [0, levels - 1]; slopes are linear between two levels.
        """
        low, t = between(level, self.slopes.shape[0])
        t = t[:, None, None]
        # index_select is exported as Gather; indexing would be GatherND, which waits for the CPU on a GPU.
        slopes = self.slopes.index_select(0, low) * (1 - t) + self.slopes.index_select(0, low + 1) * t
        moved = torch.zeros_like(symbols)
        # Bounds are floats: the exporter puts the cast of an integer one behind the node that takes it.
        for k in range(slopes.shape[1]):
            moved = moved + slopes[:, k, :, None, None] * symbols.clamp(-(k + 1.0), k + 1.0)
        return moved
