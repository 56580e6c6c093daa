"""Cognition loss: features of x1 from a frozen backbone are pulled to those of x, away from a queue of others.

InfoNCE with a queue of negatives (He et al., MoCo, CVPR 2020). The backbone is frozen, so keys from it
never go stale and no momentum encoder is needed. A multi-layer feature distance gives spatial detail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CognitionLoss(nn.Module):
    """contrastive + feature distance, per image [N]."""

    queue: Tensor

    def __init__(self, backbone: nn.Module, queue: int = 2048, temperature: float = 0.1) -> None:
        super().__init__()
        self.backbone = backbone
        self.size, self.temperature = queue, temperature
        self.register_buffer("queue", torch.empty(0))

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """image, target: [N, 3, H, W] in [0, 1]. Returns (contrastive, distance), each float [N].

        distance: mean over layers of |f(image) - f(target)|^2 / mean |f(target)|^2.
        """
        with torch.no_grad():
            targets = self.backbone(target)
        features = self.backbone(image)
        distances = [
            (f - t).square().flatten(1).mean(1) / t.square().mean().clamp_min(1e-6)
            for f, t in zip(features, targets, strict=True)
        ]
        query, key = F.normalize(features[-1], dim=1), F.normalize(targets[-1], dim=1)
        positive = (query * key).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ self.queue.T], 1) if len(self.queue) else positive
        labels = torch.zeros(len(query), dtype=torch.long, device=query.device)
        contrastive = F.cross_entropy(logits / self.temperature, labels, reduction="none")
        self.queue = torch.cat([key, self.queue])[: self.size] if len(self.queue) else key
        return contrastive, torch.stack(distances).mean(0)
