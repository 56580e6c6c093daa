"""Before any training the transforms are a Karhunen-Loeve codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model import AuxiliaryBranch, BranchConfig, ModelConfig, PrimaryBranch, RateDistortionCognition
from model.branches import level_lambdas
from model.init_klt import RESIDUAL_GAIN, klt_init, principal_components
from model.transforms import fold

SMALL = {
    "hyper": 4,
    "blocks": 1,
    "deep_blocks": 1,
    "context_blocks": 1,
    "scale_hidden": 8,
    "scale_context": 4,
}
BOUNDS = (0.001, 0.1)


@pytest.fixture(scope="module")
def folded(photos: list[np.ndarray]) -> Tensor:
    crops = [torch.from_numpy(p[:256, :384].copy()).permute(2, 0, 1).float() / 255 for p in photos]
    return fold(torch.stack(crops))


def started(folded: Tensor, channels: int, latent: int, silent: bool = True) -> PrimaryBranch:
    """Return a started model. silent: without what the residual paths of the blocks add."""
    torch.manual_seed(0)
    config = BranchConfig(**SMALL, channels=channels, latent=latent)
    model = RateDistortionCognition(ModelConfig(primary=config, auxiliary=None, primary_lambda=BOUNDS))
    klt_init(model.primary, folded)
    if silent:
        for name, parameter in model.primary.named_parameters():
            if name.startswith(("analysis", "synthesis")) and ("body" in name or "deep" in name):
                parameter.data.zero_()
    return model.primary.eval()


def tiles_of(folded: Tensor) -> Tensor:
    """Return blocks of 16x16 pixels as vectors [n, 768]."""
    n, c, h, w = folded.shape
    return folded.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, 4 * c)


def test_components_are_orthonormal_and_ordered(folded: Tensor) -> None:
    vectors = tiles_of(folded) - 0.5
    components, deviation = principal_components(vectors)
    torch.testing.assert_close(components @ components.T, torch.eye(768), atol=1e-4, rtol=0)
    found = (vectors @ components.T).square().mean(0).sqrt()
    torch.testing.assert_close(found[:50], deviation[:50], rtol=1e-3, atol=0)
    assert (deviation[:20].diff() < 0).all() and deviation[0] > 100 * deviation[-1]


@torch.no_grad()
def test_all_components_give_the_picture_back(folded: Tensor) -> None:
    branch = started(folded, 192, 768)
    torch.testing.assert_close(branch.synthesis(branch.analysis(folded)), folded, atol=1e-4, rtol=0)


@torch.no_grad()
def test_few_components_lose_hardly_more_than_they_must(folded: Tensor) -> None:
    """The best linear transform of 16x16 blocks to 64 numbers is the bound; ours works in two steps."""
    branch = started(folded, 48, 64)
    error = float((branch.synthesis(branch.analysis(folded)) - folded).square().mean())
    mean = folded.reshape(len(folded), -1, 3, *folded.shape[2:]).mean((0, 1, 3, 4)).repeat(64)[:, None, None]
    _, deviation = principal_components(tiles_of(folded - mean))
    bound = float(deviation[64:].square().sum() / 768)
    assert bound <= error < 1.3 * bound


@torch.no_grad()
def test_gain_is_the_optimal_step_of_a_uniform_quantiser(folded: Tensor) -> None:
    """At a gain of sqrt(lambda), bpp + lambda * 255^2 * MSE falls for neither finer nor coarser steps."""
    branch = started(folded, 192, 768)
    multiplier = 0.1
    y = branch.analysis(folded)
    # The transform is orthonormal but for one factor, which the energies of picture and latent tell.
    energy = (y - y.mean((0, 2, 3), keepdim=True)).square().sum()
    scale = (energy / (folded - folded.mean((0, 2, 3), keepdim=True)).square().sum()).sqrt()
    step = float(1 / (scale * multiplier**0.5))

    def loss(factor: float) -> float:  # at high rate: log2 of the step, and its square / 12
        bits = -np.log2(factor) * y[0].numel() / (folded[0].numel() / 3)
        return bits + multiplier * 255**2 * (factor * step) ** 2 / 12

    assert loss(1.0) < min(loss(0.97), loss(1.03))


@torch.no_grad()
def test_the_blocks_are_on_the_path_and_quiet(folded: Tensor) -> None:
    """What they add is noise at the start: it must be there to be trained, and small."""
    quiet, loud = started(folded, 192, 768), started(folded, 192, 768, silent=False)
    error = (loud.synthesis(loud.analysis(folded)) - quiet.synthesis(quiet.analysis(folded))).square().mean()
    assert 1e-6 < error < 1e-3 and RESIDUAL_GAIN < 1


def test_more_channels_than_components_are_refused(folded: Tensor) -> None:
    for channels, latent in ((200, 64), (8, 64)):
        with pytest.raises(ValueError, match="components"):
            started(folded, channels, latent)


@torch.no_grad()
def test_an_auxiliary_branch_that_starts_from_it_adds_nothing_until_symbols_do(folded: Tensor) -> None:
    primary = started(folded, 128, 384)  # enough that quantisation is what is lost
    config = BranchConfig(**SMALL, channels=128, latent=384, slices=4)
    branch = AuxiliaryBranch(config, level_lambdas(BOUNDS, 8), primary.config)
    branch.start_from(primary)
    level = torch.full((len(folded),), 3.0)
    base = primary(folded, level)
    z = torch.zeros(len(folded), 4, 4, 6)
    nothing = torch.zeros(len(folded), 384, 16, 24)
    received = torch.full((len(folded),), 4)
    residual = branch.eval().decode(z, nothing, level, received, base)
    torch.testing.assert_close(residual.image, torch.zeros_like(folded), atol=1e-5, rtol=0)
    better = branch(folded, level + 3, base)
    before = (base.image - folded).square().mean()
    assert (base.image + better.image - folded).square().mean() < 0.5 * before
