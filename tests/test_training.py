"""Both stages run, resume, and leave a checkpoint that exports; the losses are what they say."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, TINY_CHECKPOINT, classifier
from PIL import Image
from torchvision.models import resnet50

from model import ModelConfig, RateDistortionCognition, checkpoint
from model.branches import lambda_at
from model.config import NAMED
from model.gain import interpolate
from model.grow import grow, with_points, with_range
from model.init_klt import klt_init
from model.transforms import fold
from model.widen import positions, start_new_channels, widen
from training import loop, stage1, stage2
from training.backbone import MocoBackbone, OnnxBackbone, fold_dequantize, load_backbone
from training.cognition import CognitionLoss, pooled
from training.data import Crops, DeviceCrops, PhotoCache, reducing
from training.loop import branch_config
from training.losses import outside_range
from training.pairs import by_multiplier, drawn, of_map
from training.validation import against_jpeg, jpeg_curve

SMALL = [
    "channels=8",
    "latent=8",
    "hyper=4",
    "blocks=1",
    "deep_blocks=0",
    "context_blocks=1",
    "scale_hidden=8",
    "scale_context=4",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: list[np.ndarray]):
    path = tmp_path_factory.mktemp("photos")
    for k in range(20):
        Image.fromarray(np.roll(photos[k % 3], 31 * k, axis=1)).save(path / f"{k}.png")
    return path


def options(folder, out, cache) -> list[str]:
    return [
        "--data",
        str(folder),
        "--out",
        str(out),
        "--cache",
        str(cache),
        "--batch",
        "4",
        "--crop",
        "64",
        "--minutes",
        "0.05",
        "--threads",
        "2",
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Train stage I, go on for the same time again, stage II, and that with more latents; give the runs' folders."""
    runs = tmp_path_factory.mktemp("runs")
    one, two, wide, cache = (runs / name for name in ("one", "two", "wide", "cache"))
    small = ["--branch", *SMALL]
    stage1.main([*options(folder, one, cache), "--levels", "3", *small])
    first = checkpoint.read_info(one / "model.safetensors")
    assert first["steps"] > 0
    more = str(first["seconds"] / 60 + 0.05)
    stage1.main([*options(folder, one, cache), "--levels", "3", "--minutes", more, *small])
    assert checkpoint.read_info(one / "model.safetensors")["steps"] > first["steps"]
    branches = ["--primary", str(one / "model.safetensors")]
    stage2.main([*options(folder, two, cache), *branches, *small])
    branches += [
        "--auxiliary",
        str(two / "model.safetensors"),
        "--widen",
        "12",
        "--points",
        "2",
        "--pairs",
        str(TINY),
    ]
    stage2.main([*options(folder, wide, cache), *branches])
    stage2.main([*options(folder, wide, cache), *branches, "--minutes", "0.1"])
    return one, two, wide


def test_two_stages_train_resume_and_log(trained) -> None:
    one, two, wide = trained
    log = (one / "log.csv").read_text()
    assert (
        "validation-0,base_psnr" in log and "base_real_bpp" in log and "validation,base_against_jpeg" in log
    )
    primary = checkpoint.load(one / "model.safetensors").primary.state_dict()
    model = checkpoint.load(two / "model.safetensors")
    assert all(torch.equal(v, primary[k]) for k, v in model.primary.state_dict().items()), (
        "stage II moved the primary"
    )
    wider = checkpoint.load(wide / "model.safetensors")
    assert wider.config.auxiliary.latent == 12 and wider.config.auxiliary.points == 2
    assert wider.auxiliary.points.slopes.any()


@pytest.mark.slow
@pytest.mark.parametrize("run", [1, 2], ids=["as wide", "wider"])
def test_what_both_stages_made_exports(trained, run: int, tmp_path) -> None:
    from export.to_onnx import export_bundle
    from rdc_codec import Codec

    quality_map = {"quality": [0, 100], "base_quality": [0, 60], "aux_quality": [0, 100]}
    model = checkpoint.load(trained[run] / "model.safetensors")
    export_bundle(model, tmp_path / "bundle", "test", quality_map)
    codec = Codec(tmp_path / "bundle")
    picture = np.zeros((70, 50, 3), np.uint8)
    assert codec.decode(codec.encode(picture)).shape == picture.shape


def test_time_in_which_a_run_was_stopped_does_not_count(folder, tmp_path, monkeypatch) -> None:
    """A step counts as so many seconds at most, here a thousandth: a budget of twenty takes twenty steps."""
    monkeypatch.setattr(loop, "STEP_COUNTS", 0.001)
    arguments = [*options(folder, tmp_path / "run", tmp_path / "cache"), "--minutes", str(0.0195 / 60)]
    stage1.main([*arguments, "--levels", "3", "--branch", *SMALL])
    info = checkpoint.read_info(tmp_path / "run" / "model.safetensors")
    assert info["steps"] == 20 and info["seconds"] == pytest.approx(0.02)


def test_the_log_has_the_bits_against_jpeg_at_equal_psnr(photos) -> None:
    """JPEG's own curve has 0 %; half of its bits everywhere are -50 %; what never rises has none."""
    jpeg = jpeg_curve(photos)
    assert np.all(np.diff(jpeg[0]) > 0) and np.all(np.diff(jpeg[1]) > 0)
    half = [
        {"base_real_bpp": bpp, "base_psnr": psnr, "full_real_bpp": bpp / 2, "full_psnr": psnr}
        for bpp, psnr in zip(*jpeg, strict=True)
    ]
    found = against_jpeg(half, jpeg)
    assert abs(found["base_against_jpeg"]) < 0.5 and abs(found["full_against_jpeg"] + 50) < 0.5
    flat = [{"base_real_bpp": bpp, "base_psnr": 30.0} for bpp in (0.2, 0.4)]
    assert math.isnan(against_jpeg(flat, jpeg)["base_against_jpeg"])


def test_the_large_configuration_trains() -> None:
    """Both branches, one step from the principal components: every parameter of the transforms gets a gradient."""
    torch.manual_seed(0)
    model = RateDistortionCognition(NAMED["large"])
    assert model.auxiliary is not None
    folded = torch.rand(40, 192, 8, 8)
    klt_init(model.primary, folded)
    model.auxiliary.start_from(model.primary)
    base = model.primary(folded[:2], torch.tensor([2.0, 5.0]))
    extra = model.auxiliary(folded[:2], torch.tensor([2.0, 5.0]), base)
    loss = base.bits.sum() + extra.bits.sum() + 1e5 * (base.image + extra.image - folded[:2]).square().sum()
    (loss + 1e5 * (base.image - folded[:2]).square().sum()).backward()
    for branch in (model.primary, model.auxiliary):
        for part in (branch.analysis, branch.synthesis):
            assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_auxiliary_transforms_start_from_the_primary_or_from_another_checkpoint(tmp_path) -> None:
    config = ModelConfig(primary=branch_config(SMALL), auxiliary=None, levels=3)
    paths, models = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(RateDistortionCognition(config))
        paths.append(tmp_path / f"{seed}.safetensors")
        checkpoint.save(paths[-1], models[-1], {})
    for transforms, source in ((None, models[0]), (str(paths[1]), models[1])):
        model = stage2.build(str(paths[0]), SMALL, None, transforms)
        assert model.auxiliary is not None
        assert torch.equal(model.auxiliary.synthesis.head.weight, source.primary.synthesis.head.weight)
        assert all(
            torch.equal(v, models[0].primary.state_dict()[k]) for k, v in model.primary.state_dict().items()
        )


def test_an_auxiliary_branch_goes_on_with_another_primary(tmp_path) -> None:
    """Weights of both are those of the checkpoints, and the auxiliary branch has the gains of the range asked for."""
    torch.manual_seed(0)
    trained = RateDistortionCognition(small_model().config)
    config = dataclasses.replace(trained.config, auxiliary=None, primary_lambda=(0.001, 0.01))
    other = RateDistortionCognition(config)
    paths = {"trained": tmp_path / "two.safetensors", "other": tmp_path / "one.safetensors"}
    checkpoint.save(paths["trained"], trained, {})
    checkpoint.save(paths["other"], other, {})
    low, high = trained.config.auxiliary_lambda
    model = stage2.build(str(paths["other"]), [], [low, high], auxiliary=str(paths["trained"]))
    assert model.auxiliary is not None and trained.auxiliary is not None
    assert model.config.primary_lambda == (0.001, 0.01)
    for branch, source in ((model.primary, other.primary), (model.auxiliary, trained.auxiliary)):
        expected = source.state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in branch.state_dict().items())
    ranged = stage2.build(str(paths["other"]), [], [low, 4 * high], auxiliary=str(paths["trained"])).auxiliary
    assert ranged is not None
    torch.testing.assert_close(ranged.gain.gains()[-1], 2 * trained.auxiliary.gain.gains()[-1])
    with pytest.raises(SystemExit, match="has none"):
        stage2.build(str(paths["other"]), [], None, auxiliary=str(paths["other"]))
    larger = ModelConfig(primary=branch_config(["channels=16"]), auxiliary=None, levels=3)
    checkpoint.save(tmp_path / "larger.safetensors", RateDistortionCognition(larger), {})
    with pytest.raises(SystemExit, match="built as that of --primary"):
        stage2.build(str(tmp_path / "larger.safetensors"), [], None, auxiliary=str(paths["trained"]))


def test_stage_one_trains_for_cognition(folder, tmp_path, capsys) -> None:
    classifier(tmp_path / "net.onnx")
    backbone = ["--backbone", str(tmp_path / "net.onnx")]
    arguments = [*options(folder, tmp_path / "run", tmp_path / "cache"), "--levels", "3", "--branch", *SMALL]
    for incomplete in (["--loss", "cognition"], backbone):
        with pytest.raises(SystemExit):
            stage1.main([*arguments, *incomplete])
        assert "belong together" in capsys.readouterr().err
    twice = [
        *backbone,
        str(tmp_path / "net.onnx"),
        "--cognition-sides",
        "48",
        "64",
    ]  # four variants of a step
    stage1.main([*arguments, "--loss", "cognition", *twice])
    log = (tmp_path / "run" / "log.csv").read_text()
    assert "train,contrastive" in log and "train,distance" in log


def test_outside_range_is_zero_wherever_a_picture_can_be_shown() -> None:
    image = torch.tensor([0.0, 0.5, 1.0, -0.5, 2.0]).reshape(1, 1, 1, 5).requires_grad_()
    loss = outside_range(image)
    assert loss.item() == pytest.approx((0.25 + 1.0) / 5)
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    assert (gradient[0, 0, 0] != 0).tolist() == [False, False, False, True, True]


def test_moco_checkpoints_are_read_with_gradients_to_the_image(tmp_path) -> None:
    torch.manual_seed(0)
    net = resnet50(weights=None)
    net.fc = torch.nn.Sequential(torch.nn.Linear(2048, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 128))
    state = {f"module.encoder_{kind}.{k}": v for kind in "qk" for k, v in net.state_dict().items()}
    path = tmp_path / "moco_v2_800ep_pretrain.pth.tar"
    torch.save(
        {"epoch": 800, "arch": "resnet50", "state_dict": state | {"module.queue_ptr": torch.zeros(1)}}, path
    )
    backbone = load_backbone(path).train()
    assert isinstance(backbone, MocoBackbone) and not any(p.requires_grad for p in backbone.parameters())
    image = torch.rand(2, 3, 224, 224, requires_grad=True)
    *maps, pooled = backbone(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    normalised = (image - torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).reshape(1, 3, 1, 1)
    net.fc = torch.nn.Identity()
    torch.testing.assert_close(pooled, net.eval()(normalised), rtol=1e-3, atol=1e-4)
    (gradient,) = torch.autograd.grad(pooled.square().sum(), image)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_other_files_are_no_moco_checkpoint(tmp_path) -> None:
    torch.save(
        {"state_dict": {"module.encoder_q.conv1.weight": torch.zeros(64, 3, 7, 7)}}, tmp_path / "x.pth"
    )
    with pytest.raises(ValueError, match="not a MoCo v2"):
        load_backbone(tmp_path / "x.pth")


def test_quantised_backbones_are_folded_and_give_gradients(tmp_path) -> None:
    import onnx
    import onnxruntime as ort

    path = tmp_path / "net.onnx"
    classifier(path)
    folded = fold_dequantize(onnx.load(str(path)))
    assert "DequantizeLinear" not in {n.op_type for n in folded.graph.node}
    x = np.random.default_rng(1).random((2, 3, 64, 64), np.float32)
    run = [
        ort.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
        for m in (str(path), folded.SerializeToString())
    ]
    np.testing.assert_allclose(*run, rtol=1e-5, atol=1e-6)

    backbone = OnnxBackbone(path)
    image = torch.from_numpy(x).requires_grad_()
    features = backbone(image)
    assert [f.shape for f in features] == [(2, 8, 8, 8), (2, 8)]
    features[0].square().sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in backbone.parameters())


def test_cognition_loss_pulls_features_together_and_away_from_the_queue(tmp_path) -> None:
    classifier(tmp_path / "net.onnx")
    backbone = OnnxBackbone(tmp_path / "net.onnx")
    torch.manual_seed(0)
    others, target = torch.rand(6, 3, 64, 64), torch.rand(4, 3, 64, 64)
    loss = CognitionLoss(backbone, pooled(backbone, others))
    contrastive, distance = loss(target, target)
    assert contrastive.shape == distance.shape == (4,) and torch.equal(distance, torch.zeros(4))
    first = pooled(backbone, torch.cat([target, others[:2]]))
    torch.testing.assert_close(loss.queue, first)  # the newest first, the oldest have gone
    near, far = loss(target, target)[0].mean(), loss(1 - target, target)[0].mean()
    assert near < far and loss.queue.shape == (6, 8)


def test_efficientnet_lite_gives_features_from_a_quarter_down_with_gradients() -> None:
    backbone = load_backbone("efficientnet-lite0")
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    *maps, last = backbone(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    # The package's own way to its class scores gives the same pooled feature.
    normalised = (image * 255 - 127) / 128
    torch.testing.assert_close(
        last, backbone.net.extract_features(normalised).mean((2, 3)), rtol=1e-4, atol=1e-5
    )
    (gradient,) = torch.autograd.grad(last.square().sum(), image)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def small_model(**changes: int) -> RateDistortionCognition:
    torch.manual_seed(0)
    primary = branch_config(SMALL, **changes)
    auxiliary = branch_config(SMALL, slices=4)
    return RateDistortionCognition(ModelConfig(primary=primary, auxiliary=auxiliary, levels=3)).eval()


def test_the_base_under_a_level_is_that_of_the_quality_map() -> None:
    config = small_model().config  # of three levels: 50 of 100 is the second
    quality_map = {"quality": [0, 50, 100], "base_quality": [0, 50, 100], "aux_quality": [0, 25, 100]}
    pairs = of_map(quality_map, config)
    level = torch.tensor([0.0, 0.25, 0.5, 2.0])
    torch.testing.assert_close(pairs(level), torch.tensor([0.0, 0.5, 1.0, 2.0]))
    torch.manual_seed(0)
    found = drawn(level.repeat(4000), pairs, 2.0).reshape(-1, 4)
    assert found.min() == 0 and found.max() == 2 and ((found - pairs(level)).abs() < 0.5).float().mean() > 0.6
    with pytest.raises(ValueError, match="monotone"):
        of_map(quality_map | {"base_quality": [0, 60, 50]}, config)


def test_without_a_map_the_base_has_a_seventh_of_the_multiplier() -> None:
    config = small_model().config
    level = torch.tensor([0.5, 1.0, 2.0])
    base = by_multiplier(config)(level)
    wanted = lambda_at(level, config.auxiliary_lambda, 3) / 7
    torch.testing.assert_close(
        lambda_at(base, config.primary_lambda, 3), wanted.clamp(*config.primary_lambda)
    )
    alone = by_multiplier(dataclasses.replace(config, auxiliary=None))
    assert torch.equal(alone(level), level)


def test_pairs_that_are_no_map_are_refused(tmp_path, capsys) -> None:
    for name, content in (("words.json", "none"), ("other.json", '{"quality": [0, 100]}')):
        (tmp_path / name).write_text(content)
    words = [
        "--data",
        "x",
        "--out",
        "y",
        "--primary",
        str(TINY_CHECKPOINT),
        "--auxiliary",
        str(TINY_CHECKPOINT),
    ]
    for wrong in ("words.json", "other.json", "missing.json"):
        with pytest.raises(SystemExit):
            stage2.main([*words, "--pairs", str(tmp_path / wrong)])
        assert "has no quality map" in capsys.readouterr().err


def test_a_grown_model_computes_the_same_to_the_bit_and_its_new_blocks_learn() -> None:
    model = small_model()
    grown = grow(model, 3, 2).eval()
    assert grown.config.primary.blocks == 3 and grown.config.auxiliary.deep_blocks == 2
    folded, level = torch.rand(2, 192, 8, 8), torch.tensor([0.0, 1.5])
    outputs = []
    for m in (model, grown):
        base = m.primary(folded, level)
        outputs.append((base, m.auxiliary(folded, level, base)))
    for before, after in zip(*outputs, strict=True):
        assert torch.equal(before.image, after.image) and torch.equal(before.bits, after.bits)
    grown.train().primary(folded, level).image.square().sum().backward()
    new = grown.primary.synthesis.body[2]
    assert all(end.weight.grad.abs().max() > 0 for end in new.ends)
    with pytest.raises(ValueError, match="more than blocks=0"):
        grow(model, 0, 0)


def test_channels_are_added_silently_and_then_tell_what_is_missing() -> None:
    model = with_points(checkpoint.load(TINY_CHECKPOINT), "auxiliary", 2).eval()
    torch.manual_seed(0)
    torch.nn.init.uniform_(model.auxiliary.points.slopes, -0.3, 0)  # of each channel others
    old = model.config.auxiliary.latent
    wide = widen(model, old + 8).eval()
    smooth = torch.nn.functional.interpolate(torch.rand(16, 3, 32, 32), scale_factor=4, mode="bicubic")
    folded = fold(smooth.clamp(0, 1))
    top = torch.full((1,), model.config.levels - 1.0)
    level = top.expand(len(folded))
    with torch.no_grad():
        base = model.primary(folded, level)
        before, silent = (m.auxiliary(folded, level, base) for m in (model, wide))
    new = torch.ones(old + 8, dtype=torch.bool)
    new[positions(old, old + 8)] = False
    assert torch.allclose(silent.image, before.image, atol=1e-5)
    assert torch.equal(silent.symbols[:, ~new], before.symbols) and not silent.symbols[:, new].any()
    assert torch.equal(silent.indexes[:, ~new], before.indexes)
    missing, left = start_new_channels(wide, old, folded, top, top)
    assert left < 0.95 * missing
    with torch.no_grad():
        started = wide.auxiliary(folded, level, base)
    assert all(started.symbols[:, channel].any() for channel in new.nonzero().flatten())
    wide.train().auxiliary(folded, level, base).image.square().sum().backward()
    assert wide.auxiliary.analysis.down.weight.grad[new].abs().amax((1, 2, 3)).min() > 0
    with pytest.raises(ValueError, match=f"more than {old - 4}"):
        widen(model, old - 4)
    model.auxiliary = None
    with pytest.raises(ValueError, match="no auxiliary branch"):
        widen(model, old)


def test_a_range_that_is_moved_keeps_the_gain_of_every_multiplier() -> None:
    model = small_model()
    with torch.no_grad():
        model.primary.gain.log_gain.add_(torch.rand_like(model.primary.gain.log_gain))
    low, high = model.config.primary_lambda
    narrower = with_range(model, "primary", (2 * low, high))
    assert narrower.config.primary_lambda == (2 * low, high)
    position = torch.log(torch.tensor([2.0])) / np.log(high / low) * 2
    expected = interpolate(model.primary.gain.gains(), position)[0, :, 0, 0]
    torch.testing.assert_close(narrower.primary.gain.gains()[0], expected)
    torch.testing.assert_close(narrower.primary.gain.gains()[-1], model.primary.gain.gains()[-1])
    wider = with_range(model, "primary", (low / 4, high))  # beyond the end: with the root of the multiplier
    torch.testing.assert_close(wider.primary.gain.gains()[0], model.primary.gain.gains()[0] / 2)
    torch.testing.assert_close(
        wider.primary.gain.inverse_gains()[0], model.primary.gain.inverse_gains()[0] * 2
    )


@pytest.mark.parametrize("factor", [1.0, 1.25, 1.618, 2.0])
def test_pictures_are_reduced_as_by_pillow(photo, factor: float) -> None:
    size = 64
    side = math.ceil(factor * size)
    part = photo[:side, 40 : 40 + side]
    span = factor * size
    expected = Image.fromarray(part).resize((size, size), Image.Resampling.BICUBIC, box=(0, 0, span, span))
    taps = reducing(torch.full((1, 1), factor), size)[0, :, :side].double()
    found = torch.einsum("ik,jl,klc->ijc", taps, taps, torch.from_numpy(part.copy()).double())
    differences = np.abs(found.round().clamp(0, 255).numpy() - np.asarray(expected, float))
    # Pillow rounds between rows and columns.
    assert differences.max() <= (1 if factor > 1 else 0) and differences.mean() < 0.25


@pytest.mark.parametrize("kind", ["processor", "device"])
def test_crops_are_parts_of_the_pictures_flipped_turned_or_reduced(folder, tmp_path, kind: str) -> None:
    cache = PhotoCache(folder, tmp_path, 64)
    photo = cache.photo(cache.training[0])
    cache.training = cache.training[:1]
    size, sets = 64, [(cache, 1.0)]
    made = (
        Crops(sets, size, 32, 0)
        if kind == "processor"
        else DeviceCrops(sets, size, 32, 0, torch.device("cpu"))
    )
    crops = next(iter(made))
    assert crops.shape == (32, 3, size, size) and crops.dtype == torch.uint8
    whole = 0
    for crop in crops.permute(0, 2, 3, 1).numpy():
        variants = [
            np.ascontiguousarray(v[::a, ::b])
            for v in (crop, crop.transpose(1, 0, 2))
            for a in (1, -1)
            for b in (1, -1)
        ]
        whole += any(_is_part(v, photo) for v in variants)
    assert 8 <= whole <= 24, "half of them are reduced"


def _is_part(crop: np.ndarray, source: np.ndarray) -> bool:
    h, w = (a - b + 1 for a, b in zip(source.shape[:2], crop.shape[:2], strict=True))
    corner = np.argwhere((source[:h, :w] == crop[0, 0]).all(2))
    return any(np.array_equal(source[r : r + crop.shape[0], c : c + crop.shape[1]], crop) for r, c in corner)


def test_sets_of_pictures_are_mixed_by_their_shares(tmp_path) -> None:
    caches = []
    for name, value, share in (("dark", 10, 0.8), ("light", 240, 0.2)):
        for k in range(18):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(tmp_path / name / f"{k}.png")
        caches.append((PhotoCache(tmp_path / name, tmp_path / "cache", 64), share))
    for batches in (Crops(caches, 64, 500, 0), DeviceCrops(caches, 64, 500, 0, torch.device("cpu"))):
        light = (next(iter(batches))[:, 0, 0, 0] == 240).float().mean()
        assert 0.14 < light < 0.26


def test_a_step_without_a_finite_gradient_changes_nothing_and_is_counted(folder, tmp_path) -> None:
    import argparse

    from training.loop import Trainer, add_options, groups_of

    parser = argparse.ArgumentParser()
    add_options(parser)
    args = parser.parse_args(options(folder, tmp_path / "run", tmp_path / "cache"))
    model = small_model()
    trainer = Trainer(args, model, groups_of(model.primary))
    before = [p.detach().clone() for p in trainer.parameters]
    folded = trainer.first_crops(4)

    def step(folded: torch.Tensor, variant: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (model.primary(folded, torch.zeros(len(folded))).image - folded).square().sum() * scale
        return loss, {"loss": loss.detach()}

    scale = float("nan")
    trainer._update(step, folded, 0)
    assert all(torch.equal(a, b) for a, b in zip(trainer.parameters, before, strict=True))
    assert trainer.counted.tolist() == [0, 1] and trainer.totals.tolist() == [0]
    scale = 1.0
    trainer._update(step, folded, 0)
    assert any(not torch.equal(a, b) for a, b in zip(trainer.parameters, before, strict=True))
    assert trainer.counted.tolist() == [1, 1]


def test_checkpoints_hold_the_average_and_training_goes_on_from_the_weights(folder, tmp_path) -> None:
    run = tmp_path / "run"
    arguments = [*options(folder, run, tmp_path / "cache"), "--levels", "3", "--branch", *SMALL]
    stage1.main([*arguments, "--average", "0.5", "--decay", "0.01"])
    saved = torch.load(run / "state.pt", weights_only=True)
    exported = checkpoint.load(run / "model.safetensors").state_dict()
    weights = saved["model"]["primary.analysis.stem.weight"]
    average = exported["primary.analysis.stem.weight"]
    assert any(a.shape == average.shape and torch.equal(a, average) for a in saved["average"])
    assert not torch.equal(weights, average)
