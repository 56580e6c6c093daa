"""The linear parts of the transforms: a Karhunen-Loeve codec before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model import AuxiliaryBranch, BranchConfig, ModelConfig, PrimaryBranch, RateDistortionCognition
from model.codec import level_lambdas
from model.linear import principal_components, start_linear
from model.transforms import fold

SMALL = {"channels": 8, "hyper": 4, "blocks": 1, "deep_blocks": 0, "context_blocks": 1, "scale_hidden": 8}
BOUNDS = (0.001, 0.1)


@pytest.fixture(scope="module")
def folded(photos: list[np.ndarray]) -> Tensor:
    crops = [torch.from_numpy(p[:256, :384].copy()).permute(2, 0, 1).float() / 255 for p in photos]
    return fold(torch.stack(crops))


def started(folded: Tensor, latent: int) -> PrimaryBranch:
    model = RateDistortionCognition(
        ModelConfig(primary=BranchConfig(**SMALL, latent=latent), auxiliary=None, primary_lambda=BOUNDS)
    )
    start_linear(model.primary, folded)
    return model.primary.eval()


def test_components_are_orthonormal_and_ordered(folded: Tensor) -> None:
    _, components = principal_components(folded)
    flat = components.reshape(768, 768)
    torch.testing.assert_close(flat @ flat.T, torch.eye(768), atol=1e-4, rtol=0)
    energy = torch.nn.functional.conv2d(folded - 0.5, components, stride=2).var((0, 2, 3))
    assert (energy[:20].diff() < 0).all() and energy[:20].sum() > 100 * energy[-20:].sum()


@torch.no_grad()
def test_all_components_give_the_picture_back(folded: Tensor) -> None:
    branch = started(folded, 768)
    torch.testing.assert_close(branch.synthesis(branch.analysis(folded)), folded, atol=1e-4, rtol=0)


@torch.no_grad()
def test_what_few_components_lose_is_the_energy_of_the_others(folded: Tensor) -> None:
    branch = started(folded, 64)
    mean, components = principal_components(folded)
    lost = torch.nn.functional.conv2d(folded - mean.repeat(1, 16, 24), components[64:], stride=2)
    error = branch.synthesis(branch.analysis(folded)) - folded
    torch.testing.assert_close(error.square().sum(), lost.square().sum(), rtol=1e-3, atol=0)


@torch.no_grad()
def test_gain_is_the_optimal_step_of_a_uniform_quantiser(folded: Tensor) -> None:
    """At a gain of sqrt(lambda), bpp + lambda * 255^2 * MSE falls for neither finer nor coarser steps."""
    branch = started(folded, 768)
    multiplier = 0.1
    y = branch.analysis(folded) * multiplier**0.5
    step = 1 / (branch.analysis.scale * multiplier**0.5 * float(branch.analysis.linear.weight[0].norm()))

    def loss(factor: float) -> float:  # at high rate: log2 of the step, and its square / 12
        bits = -np.log2(factor) * y[0].numel() / (folded[0].numel() / 3)
        return bits + multiplier * 255**2 * (factor * step) ** 2 / 12

    assert loss(1.0) < min(loss(0.97), loss(1.03))


@torch.no_grad()
def test_an_auxiliary_branch_that_starts_from_it_adds_nothing_until_symbols_do(folded: Tensor) -> None:
    primary = started(folded, 384)  # enough that quantisation is what is lost
    branch = AuxiliaryBranch(
        BranchConfig(**SMALL, latent=400, slices=4), level_lambdas(BOUNDS, 8), primary.config
    )
    branch.start_from(primary)
    level = torch.full((len(folded),), 3.0)
    base = primary(folded, level)
    z = torch.zeros(len(folded), 4, 4, 6)
    nothing = torch.zeros(len(folded), 400, 16, 24)
    received = torch.full((len(folded),), 4)
    residual = branch.eval().decode(z, nothing, level, received, base)
    torch.testing.assert_close(residual.image, torch.zeros_like(folded), atol=1e-5, rtol=0)
    better = branch(folded, level + 3, base)
    before = (base.image - folded).square().mean()
    assert (base.image + better.image - folded).square().mean() < 0.5 * before
