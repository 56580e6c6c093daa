"""The networks: gains, integer scale network, context that is causal in what can be missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY_CHECKPOINT
from hypothesis import given, settings
from hypothesis import strategies as st

from model import BranchConfig, ModelConfig, RateDistortionCognition, checkpoint
from model.branches import level_lambdas, refining
from model.context import PASS_ORDER, pass_of
from model.gain import GainUnit, interpolate
from model.grow import with_points
from model.likelihood import HyperRate, LatentRate, sigma_of
from model.points import ReconstructionPoints
from model.quantization import clamp_ste, floor_ste, round_ste
from model.scale_network import ScaleNetwork
from model.transforms import fold, unfold
from rdc_codec import native
from tests import reference_coder

SMALL = {
    "channels": 8,
    "latent": 8,
    "hyper": 4,
    "blocks": 1,
    "deep_blocks": 0,
    "context_blocks": 1,
    "scale_hidden": 8,
    "scale_context": 4,
}


def small_model() -> RateDistortionCognition:
    torch.manual_seed(0)
    config = ModelConfig(BranchConfig(**SMALL), BranchConfig(**SMALL, slices=4), levels=4)
    return RateDistortionCognition(config).eval()


def with_moved_points(model: RateDistortionCognition) -> RateDistortionCognition:
    """Return a model both branches of which take symbols of magnitudes 1 and 2 to lie elsewhere."""
    torch.manual_seed(2)
    model = with_points(with_points(model, "primary", 2), "auxiliary", 2).eval()
    for branch in (model.primary, model.auxiliary):
        assert branch is not None and branch.points is not None
        torch.nn.init.uniform_(branch.points.slopes, -0.3, 0)
    return model


@pytest.fixture(scope="module", params=["points in the middle", "learned points"])
def trained(request) -> RateDistortionCognition:
    model = checkpoint.load(TINY_CHECKPOINT).eval()
    return model if request.param == "points in the middle" else with_moved_points(model)


def image(height: int = 128, width: int = 192) -> torch.Tensor:
    torch.manual_seed(1)
    return fold(torch.rand(2, 3, height, width))


def test_fold_is_onnx_space_to_depth_and_unfold_its_inverse() -> None:
    x = torch.rand(2, 3, 16, 24)
    folded = fold(x)
    assert folded.shape == (2, 192, 2, 3)
    assert folded[1, (5 * 8 + 6) * 3 + 2, 1, 2] == x[1, 2, 8 + 5, 16 + 6]
    assert torch.equal(unfold(folded), x)


def test_gains_interpolate_geometrically_between_levels() -> None:
    table = torch.tensor([[1.0, 4.0], [4.0, 1.0], [9.0, 1.0]])
    found = interpolate(table, torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0, 7.0]))[..., 0, 0]
    expected = torch.tensor([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [9.0, 1.0], [1.0, 4.0], [9.0, 1.0]])
    assert torch.allclose(found, expected)


def test_gains_start_at_the_root_of_lambda_and_inverses_at_the_reciprocal() -> None:
    lambdas = level_lambdas((0.0018, 0.18), 8)
    assert torch.allclose(lambdas[[0, 7]], torch.tensor([0.0018, 0.18]))
    unit = GainUnit(3, lambdas)
    assert torch.allclose(unit.gains(), lambdas.sqrt()[:, None].expand(-1, 3))
    y = torch.randn(2, 3, 4, 4)
    level = torch.tensor([0.3, 5.5])
    assert torch.allclose(unit.inverse(unit.gain(y, level), level), y, atol=1e-6)


def test_straight_through_estimators() -> None:
    x = torch.tensor([-1.5, -0.4, 0.5, 2.6], requires_grad=True)
    for ste, expected in ((round_ste, [-2.0, 0.0, 0.0, 3.0]), (floor_ste, [-2.0, -1.0, 0.0, 2.0])):
        (gradient,) = torch.autograd.grad(ste(x).sum(), x)
        assert ste(x).tolist() == expected and gradient.tolist() == [1, 1, 1, 1]
    (gradient,) = torch.autograd.grad(clamp_ste(x, -1, 1).sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1]  # a step down brings 2.6 back, -1.5 further out
    (gradient,) = torch.autograd.grad(-clamp_ste(x, -1, 1).sum(), x)
    assert gradient.tolist() == [-1, -1, -1, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4))
def test_scale_network_of_trainer_and_native_code_and_plain_integers_agree(seed: int, h: int, w: int) -> None:
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed % 1000)
    other = int(generator.choice([0, 4]))
    net = ScaleNetwork(6, 8, 4, 5, other)
    with torch.no_grad():
        net.heads.weight.normal_(generator=torch.Generator().manual_seed(seed % 1000))
        for p in net.parameters():
            p.mul_(float(generator.choice([0.1, 1, 10])))
    z = generator.integers(-127, 128, (6, h, w)).astype(np.int32)
    symbols, more = (
        np.round(generator.laplace(0, 3, (k, 4 * h, 4 * w))).astype(np.int32) for k in (4, other)
    )
    layers = [(x.weight, x.bias, x.shift, x.clip) for x in net.export()]
    neighbours, heads = ((x.weight, x.bias, x.shift, x.clip) for x in net.export_context())
    start, others = reference_coder.scale_indexes(z, layers, 4), more if other else None
    expected = reference_coder.context_indexes(start, symbols, neighbours, heads, PASS_ORDER, others)
    context = native.ScaleContext(neighbours, heads, np.array(PASS_ORDER, np.uint8))
    state = native.ScaleState(context, native.ScaleNetwork(layers, 4)(z), others)
    passes = reference_coder.pass_of(symbols.shape, PASS_ORDER)
    for index in range(4):
        np.testing.assert_array_equal(state.indexes(), expected[passes == index])
        state.add(state.gather(symbols))
    with torch.no_grad():
        seen = None if others is None else torch.from_numpy(others)[None]
        trained = net(torch.from_numpy(z)[None], torch.from_numpy(symbols)[None], seen)
    np.testing.assert_array_equal(trained[0].numpy(), expected)


def test_a_scale_network_snapped_to_integers_is_the_same_network() -> None:
    torch.manual_seed(3)
    net = ScaleNetwork(4, 8, 4, 5)
    torch.nn.init.normal_(net.heads.weight)
    z, symbols = torch.randint(-9, 9, (2, 4, 3, 3)), torch.randint(-3, 4, (2, 4, 12, 12))
    before, loose = net(z, symbols), net.heads.weight.clone()
    net.snap_to_integers()
    snapped = {name: value.clone() for name, value in net.state_dict().items()}
    assert torch.equal(net(z, symbols), before) and not torch.equal(net.heads.weight, loose)
    net.snap_to_integers()
    assert all(torch.equal(value, snapped[name]) for name, value in net.state_dict().items())


def test_scale_network_learns_through_its_rounding() -> None:
    torch.manual_seed(0)
    net = ScaleNetwork(4, 8, 4, 5)
    torch.nn.init.normal_(net.heads.weight)  # they start at zero
    net(torch.randint(-3, 4, (2, 4, 3, 3)), torch.randint(-3, 4, (2, 4, 12, 12))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_scale_network_too_wide_for_exact_floats_is_refused() -> None:
    for sizes in (
        (64, 128, 4, 8),
        (64, 64, 4, 800),
        (64, 64, 1100, 8),
        (64, 64, 192, 8, 900),
        (900, 8, 4, 8),
    ):
        with pytest.raises(ValueError, match="float32"):
            ScaleNetwork(*sizes)


@torch.no_grad()
def test_the_widest_scale_network_is_exact_in_floats_at_its_largest_sums() -> None:
    net = ScaleNetwork(128, 64, 192, 64, 192)
    for p in net.parameters():
        p.copy_(torch.where(torch.rand_like(p) < 0.01, -1.0, 1.0) * 1e4)  # beyond what any rounds to
    z = np.full((128, 1, 1), 127, np.int32)
    symbols = np.full((192, 4, 4), 2047, np.int32)
    layers = [(x.weight, x.bias, x.shift, x.clip) for x in net.export()]
    neighbours, heads = ((x.weight, x.bias, x.shift, x.clip) for x in net.export_context())
    assert {127, -127} == set(np.unique(neighbours[0])) | set(np.unique(heads[0]))
    start = reference_coder.scale_indexes(z, layers, 4)
    expected = reference_coder.context_indexes(start, symbols, neighbours, heads, PASS_ORDER, symbols)
    found = net(torch.tensor(z)[None], torch.tensor(symbols)[None], torch.tensor(symbols)[None])
    np.testing.assert_array_equal(found[0].numpy(), expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@torch.no_grad()
def test_latent_rate_is_that_of_the_rounded_mixture(share: float) -> None:
    r, sigma = torch.arange(-5.0, 6), sigma_of(torch.tensor(20.0))
    normal = torch.distributions.Normal(0.0, sigma)
    laplace = torch.distributions.Laplace(0.0, sigma / 2**0.5)
    parts = [d.cdf(r + 0.5) - d.cdf(r - 0.5) for d in (normal, laplace)]
    rate = LatentRate()
    rate.shape[20] = torch.logit(torch.tensor(share))
    expected = -torch.log2(share * parts[0] + (1 - share) * parts[1])
    assert torch.allclose(rate(r, torch.full((11,), 20.0)), expected, atol=1e-3)
    everything = torch.arange(-2047.0, 2048)
    assert float(torch.exp2(-rate(everything, torch.full((4095,), 40.0))).sum()) == pytest.approx(1, abs=1e-4)
    assert float(sigma_of(torch.tensor(0.0))) == pytest.approx(0.11)
    assert float(sigma_of(torch.tensor(63.0))) == pytest.approx(256)


def test_hyper_rate_is_a_distribution_over_the_integers() -> None:
    assert torch.allclose(HyperRate(5).pmf(127).sum(1), torch.ones(5), atol=1e-3)


@pytest.mark.parametrize("channels", [4, 8, 128])
def test_quadtree_passes_partition_the_latents_evenly_over_all_channels(channels: int) -> None:
    passes = pass_of(torch.zeros(1, channels, 4, 6))
    assert [int((passes == p).sum()) for p in range(4)] == [channels * 6] * 4
    # every 2x2 neighbourhood of a channel is spread over the four passes
    assert all(sorted(passes[0, c, :2, :2].flatten().tolist()) == [0, 1, 2, 3] for c in range(channels))


def test_what_is_decoded_is_what_the_encoder_reconstructed(trained: RateDistortionCognition) -> None:
    level = torch.tensor([0.5, 3.0])
    with torch.no_grad():
        base = trained.primary(image(), level)
        again = trained.primary.decode(base.z.int(), base.symbols.int(), level)
        full = trained.auxiliary(image(), level, base)
        received = torch.tensor([4, 4])
        decoded = trained.auxiliary.decode(full.z.int(), full.symbols.int(), level, received, again)
    assert torch.allclose(again.image, base.image, atol=1e-5)
    assert torch.allclose(decoded.image, full.image, atol=1e-5)


@pytest.mark.parametrize("received", [0, 1, 2, 3])
def test_received_slices_do_not_depend_on_later_ones(trained: RateDistortionCognition, received: int) -> None:
    """Latents of slices before the cut are equal whether or not later slices arrive; training cuts likewise."""
    level = torch.tensor([3.0, 2.0])
    with torch.no_grad():
        base = trained.primary(image(), level)
        full = trained.auxiliary(image(), level, base)
        cut = trained.auxiliary(image(), level, base, received)
        count = torch.full((2,), received)
        decoded = trained.auxiliary.decode(full.z, full.symbols, level, count, base)
    kept = (pass_of(full.latent) < received).expand_as(full.latent)
    assert torch.equal(cut.latent[kept], full.latent[kept])
    assert torch.equal(cut.symbols, torch.where(kept, full.symbols, 0))
    assert torch.allclose(decoded.latent, cut.latent, atol=1e-5)
    assert torch.equal(cut.bits[:, 1 + received :], torch.zeros_like(cut.bits[:, 1 + received :]))


def test_an_auxiliary_branch_that_starts_from_the_primary_changes_nothing_until_symbols_arrive() -> None:
    torch.manual_seed(0)
    model = small_model()
    assert model.auxiliary is not None
    model.auxiliary.start_from(model.primary)
    level = torch.tensor([3.0, 3.0])
    with torch.no_grad():
        base = model.primary(image(), level - 2)  # coarser: at equal multipliers nothing is left to refine
        silent = model.auxiliary(image(), level, base, 0)
        full = model.auxiliary(image(), level, base)
    assert torch.allclose(silent.image, torch.zeros_like(silent.image), atol=1e-6)
    assert torch.equal(silent.latent, base.latent)
    assert full.symbols.abs().sum() > 0 and full.image.abs().max() > 1e-3
    wider = RateDistortionCognition(
        ModelConfig(BranchConfig(**SMALL), BranchConfig(**(SMALL | {"channels": 16, "slices": 4})))
    )
    with pytest.raises(ValueError, match="does not fit"):
        wider.auxiliary.start_from(wider.primary)


def test_the_auxiliary_latent_has_the_channels_of_the_primary_and_may_have_more() -> None:
    wide = BranchConfig(**(SMALL | {"latent": 12, "slices": 4}))
    assert ModelConfig(BranchConfig(**SMALL), wide).auxiliary == wide
    with pytest.raises(ValueError, match="as many"):
        ModelConfig(BranchConfig(**SMALL), BranchConfig(**(SMALL | {"latent": 4, "slices": 4})))


def test_a_channel_and_its_refinement_are_coded_in_the_same_pass() -> None:
    primary, wide = torch.rand(1, 8, 4, 6), torch.zeros(1, 20, 4, 6)
    spread = refining(torch.add, wide, primary)
    kept = spread.abs().amax((0, 2, 3)) > 0
    assert kept.nonzero().flatten().tolist() == [0, 1, 5, 6, 10, 11, 15, 16]  # in front of each group of five
    assert torch.equal(spread[:, kept], primary)
    assert torch.equal(pass_of(wide)[:, kept], pass_of(primary))
    assert torch.equal(refining(torch.sub, spread, primary), wide)


def test_a_symbol_lies_where_the_points_of_its_magnitude_and_level_say() -> None:
    points = ReconstructionPoints(levels=3, magnitudes=2, channels=1)
    with torch.no_grad():
        points.slopes.copy_(torch.tensor([[-0.3, -0.1], [-0.2, 0], [0, 0]])[..., None])
    symbols = torch.tensor([-4.0, -1, 0, 1, 2, 3]).reshape(1, 1, 1, 6).expand(3, 1, 1, 6)
    moved = points(symbols, torch.tensor([0.0, 0.5, 9]))
    expected = [[0.5, 0.4, 0, -0.4, -0.5, -0.5], [0.35, 0.3, 0, -0.3, -0.35, -0.35], [0] * 6]
    torch.testing.assert_close(moved.reshape(3, 6), torch.tensor(expected))


def test_new_points_are_in_the_middle_and_what_they_move_leaves_symbols_as_they_are() -> None:
    plain = checkpoint.load(TINY_CHECKPOINT).eval()
    level = torch.tensor([1.0, 3.0])
    with torch.no_grad():
        before = plain.primary(image(), level)
        same = with_points(plain, "primary", 2).eval().primary(image(), level)
        moved = with_moved_points(plain).primary(image(), level)
    assert torch.equal(same.image, before.image) and torch.equal(moved.symbols, before.symbols)
    assert not torch.equal(moved.image, before.image) and torch.equal(moved.bits, before.bits)
    with pytest.raises(ValueError, match="points of 2 magnitudes"):
        with_points(with_moved_points(plain), "primary", 3)


def test_points_that_are_not_there_are_not_in_a_configuration() -> None:
    """Identities of bundles from before are made of it."""
    config = small_model().config
    assert "points" not in config.to_dict()["primary"] and "points" not in config.to_dict()["auxiliary"]
    assert ModelConfig.from_dict(config.to_dict()) == config
    with_some = with_points(small_model(), "auxiliary", 2).config
    assert with_some.to_dict()["auxiliary"]["points"] == 2
    assert ModelConfig.from_dict(with_some.to_dict()) == with_some


def test_every_parameter_learns() -> None:
    model = with_moved_points(small_model()).train()
    for gain in (model.primary.gain, model.auxiliary.gain):
        gain.log_gain.data += 2.0  # so that some z are not zero, which are all that the hyper-synthesis sees
    for branch in (model.primary, model.auxiliary):
        torch.nn.init.normal_(branch.scale_network.heads.weight)  # they start at zero
    x, level = image(64, 64), torch.tensor([1.5, 3.0])
    base = model.primary(x, level)
    full = model.auxiliary(x, level, base)
    loss = base.bits.sum() + full.bits.sum() + 1e4 * (base.image - x).square().sum()
    (loss + 1e4 * (base.image.detach() + full.image - x).square().sum()).backward()
    silent = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert silent == []


def test_checkpoints_round_trip_and_refuse_other_files(tmp_path) -> None:
    model = small_model()
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, {"steps": 3})
    again = checkpoint.load(path)
    assert again.config == model.config and checkpoint.read_info(path) == {"steps": 3}
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"garbage" * 10)
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(tmp_path / "b.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "bad", [{"latent": 6}, {"slices": 3}, {"slices": 8}, {"channels": 0}, {"blocks": -1}]
)
def test_bad_architectures_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        BranchConfig(**(SMALL | bad))
