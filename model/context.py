"""Quadtree passes, and the prediction of each pass's means from what the decoder already has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import QUADTREE_PASSES, BranchConfig
from model.layers import blocks, conv1x1

# Pass in which the 2x2 spatial positions of channel group 0 are coded; group k is k passes later (mod 4),
# so every pass codes a quarter of the latents, spread over all channels (after DCVC-DC's quadtree).
PASS_ORDER = ((0, 2), (3, 1))


def _pass_order(device: torch.device) -> Tensor:
    """PASS_ORDER on a device, int64 [2, 2]."""
    if device.type != "cuda":
        return torch.tensor(PASS_ORDER, device=device)
    # Computed there: a CUDA graph cannot be captured while anything is copied from the CPU.
    (_, right), (below, across) = PASS_ORDER
    row = torch.arange(2, device=device)[:, None]
    column = torch.arange(2, device=device)
    return below * row + right * column + (across - below - right) * row * column


def pass_of(latent: Tensor) -> Tensor:
    """The pass that codes each element of a latent [N, C, h, w]: int64 [1, C, h, w] of 0 to 3.

    h and w are even, C is a multiple of 4. Repeated columns that alternate: engines make them several times faster
    than planes that repeat; exported, no value of it is made of a shape (export/function_bodies.py says why).
    """
    channels, height, width = latent.shape[1:]
    order = _pass_order(latent.device)
    group = torch.arange(QUADTREE_PASSES, device=latent.device)[:, None, None]
    corners = ((order + group) % QUADTREE_PASSES)[:, None, None]  # [4, 1, 1, 2, 2]
    rows = corners.expand(-1, channels // QUADTREE_PASSES, height // 2, -1, -1).reshape(
        1, channels, height, 2
    )
    odd = (order[0] > 0).expand(width // 2, -1).reshape(width)
    return torch.where(odd, rows[..., 1:], rows[..., :1])


class QuadtreeMean(nn.Module):
    """Mean of each of the four passes: pass 0 from hyper features alone, later ones also from decoded latents."""

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        c, latent, later = config.channels, config.latent, QUADTREE_PASSES - 1
        self.first = conv1x1(c, latent)
        self.adapters = nn.ModuleList(conv1x1(c + latent, c) for _ in range(later))
        self.trunk = blocks(c, config.context_blocks)
        self.heads = nn.ModuleList(conv1x1(c, latent) for _ in range(later))

    def forward(self, index: int, features: Tensor, decoded: Tensor) -> Tensor:
        """features [N, channels, h, w]; decoded float [N, latent, h, w], zero where not yet known."""
        if index == 0:
            return self.first(features).float()
        h = self.adapters[index - 1](torch.cat([features, decoded], 1))
        return self.heads[index - 1](self.trunk(h)).float()
