"""Rounding and clamping with useful gradients (straight-through estimators)."""

from __future__ import annotations

import torch
from torch import Tensor


def round_ste(x: Tensor) -> Tensor:
    """Round half to even; the gradient is the identity (Bengio et al. 2013)."""
    return x + (torch.round(x) - x).detach()


def floor_ste(x: Tensor) -> Tensor:
    """Floor; the gradient is the identity."""
    return x + (torch.floor(x) - x).detach()


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        # A value outside still learns when the step would bring it back (as CompressAI's LowerBound does).
        keep = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * keep, None, None


def clamp_ste(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp whose gradient is zero outside only when it would push the value further out."""
    return _Clamp.apply(x, low, high)
