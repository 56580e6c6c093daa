"""Both stages run, resume, and leave a checkpoint that exports; the losses are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import classifier
from PIL import Image
from torchvision.models import resnet50

from model import ModelConfig, RateDistortionCognition, checkpoint
from model.config import NAMED
from model.init_klt import klt_init
from training import stage1, stage2
from training.backbone import MocoBackbone, OnnxBackbone, fold_dequantize, load_backbone
from training.cognition import CognitionLoss
from training.loop import branch_config
from training.losses import outside_range

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


def test_two_stages_train_resume_and_export(folder, tmp_path) -> None:
    from export.to_onnx import export_bundle
    from rdc_codec import Codec

    cache = tmp_path / "cache"
    one, two = tmp_path / "one", tmp_path / "two"
    stage1.main([*options(folder, one, cache), "--levels", "3", "--branch", *SMALL])
    first = checkpoint.read_info(one / "model.safetensors")
    assert first["steps"] > 0
    more = str(first["seconds"] / 60 + 0.05)
    stage1.main([*options(folder, one, cache), "--levels", "3", "--minutes", more, "--branch", *SMALL])
    assert checkpoint.read_info(one / "model.safetensors")["steps"] > first["steps"]
    log = (one / "log.csv").read_text()
    assert "validation-0,base_psnr" in log and "base_real_bpp" in log

    primary = checkpoint.load(one / "model.safetensors").primary.state_dict()
    stage2.main(
        [
            *options(folder, two, cache),
            "--primary",
            str(one / "model.safetensors"),
            "--branch",
            *SMALL,
        ]
    )
    model = checkpoint.load(two / "model.safetensors")
    assert all(torch.equal(v, primary[k]) for k, v in model.primary.state_dict().items()), (
        "stage II moved the primary"
    )
    quality_map = {"quality": [0, 100], "base_quality": [0, 60], "aux_quality": [0, 100]}
    export_bundle(model, tmp_path / "bundle", "test", quality_map)
    codec = Codec(tmp_path / "bundle")
    picture = np.zeros((70, 50, 3), np.uint8)
    assert codec.decode(codec.encode(picture)).shape == picture.shape


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


def test_stage_one_trains_for_cognition(folder, tmp_path, capsys) -> None:
    classifier(tmp_path / "net.onnx")
    backbone = ["--backbone", str(tmp_path / "net.onnx")]
    arguments = [*options(folder, tmp_path / "run", tmp_path / "cache"), "--levels", "3", "--branch", *SMALL]
    for incomplete in (["--loss", "cognition"], backbone):
        with pytest.raises(SystemExit):
            stage1.main([*arguments, *incomplete])
        assert "belong together" in capsys.readouterr().err
    stage1.main([*arguments, "--loss", "cognition", *backbone])
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
    loss = CognitionLoss(OnnxBackbone(tmp_path / "net.onnx"), queue=6)
    torch.manual_seed(0)
    target = torch.rand(4, 3, 64, 64)
    contrastive, distance = loss(target, target)
    assert contrastive.shape == distance.shape == (4,) and torch.equal(distance, torch.zeros(4))
    assert loss.queue.shape == (4, 8)
    near, far = loss(target, target)[0].mean(), loss(1 - target, target)[0].mean()
    assert near < far and loss.queue.shape == (6, 8)
