"""Cognition loss: features of x1 from a frozen backbone are pulled to those of x, away from a queue of others.

InfoNCE with a queue of negatives (He et al., MoCo, CVPR 2020). The backbone is frozen, so keys from it
never go stale and no momentum encoder is needed. A multi-layer feature distance gives spatial detail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CognitionLoss(nn.Module):
    """Contrastive loss and feature distance, per image. The queue holds pooled features of earlier targets."""

    queue: Tensor

    def __init__(self, backbone: nn.Module, queue: Tensor, temperature: float = 0.1) -> None:
        """Start with the pooled features `queue`, float [K, C], as negatives (`pooled`).

        Fewer than there are photos, or other crops of the same photo would be negatives.
        """
        super().__init__()
        self.backbone = backbone
        self.temperature = temperature
        self.register_buffer("queue", queue)

    def forward(self, image: Tensor, target: Tensor, side: int | None = None) -> tuple[Tensor, Tensor]:
        """image, target: [N, 3, H, W] in [0, 1]. Returns (contrastive, distance), each float [N].

        side: what the backbone resizes both to (None: its own size). distance: mean over layers of
        |f(image) - f(target)|^2 / mean |f(target)|^2.
        """
        with torch.no_grad():
            targets = self.backbone(target, side)
        features = self.backbone(image, side)
        distances = [
            (f - t).square().flatten(1).mean(1) / t.square().mean().clamp_min(1e-6)
            for f, t in zip(features, targets, strict=True)
        ]
        known = torch.cat([targets[-1], self.queue])
        # Pooled features are positive, so those of any two images point nearly the same way, and the loss of a
        # perfect match would be far from zero: pictures would exaggerate what tells them apart. Hence the mean goes.
        mean = known.mean(0)
        query, keys = F.normalize(features[-1] - mean, dim=1), F.normalize(known - mean, dim=1)
        positive = (query * keys[: len(query)]).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ keys[len(query) :].T], 1)
        labels = torch.zeros(len(query), dtype=torch.long, device=query.device)
        contrastive = F.cross_entropy(logits / self.temperature, labels, reduction="none")
        self.queue.copy_(known[: len(self.queue)])
        return contrastive, torch.stack(distances).mean(0)


@torch.no_grad()
def pooled(backbone: nn.Module, images: Tensor, at_once: int = 16) -> Tensor:
    """Return the pooled features of images [N, 3, H, W] in [0, 1], float [N, C]."""
    return torch.cat([backbone(part)[-1] for part in images.split(at_once)])
