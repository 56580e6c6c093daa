"""The benchmarks that measure this codec run on a folder of photos, and count right."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHIPPED, TINY, TINY_CHECKPOINT, classifier
from PIL import Image

from benchmarks import (
    agreement,
    cost,
    installation,
    kernels,
    out_of_range,
    precision,
    scalability,
    spectra,
    speed,
    starts,
    targets,
    throughput,
)
from benchmarks.common import bd_rate, load_torch_model, psnr
from model import BranchConfig, ModelConfig, RateDistortionCognition
from rdc_codec import Codec
from rdc_codec.backends.openvino import can_reduce
from rdc_codec.backends.openvino_ready import core

TWIN = Path(throughput.__file__).parent / "twin"


@pytest.fixture
def folder(tmp_path, photos: list[np.ndarray]):
    for k, photo in enumerate(photos[:2]):
        Image.fromarray(photo[:130, :190]).save(tmp_path / f"{k}.png")
    return tmp_path


def test_cost_of_a_decoder_counted_by_hand() -> None:
    """Without blocks: 1x1 and 3x3 convolutions at the resolutions that the design says."""
    c, latent, hyper, hidden, context = 8, 12, 4, 16, 5
    config = BranchConfig(
        c,
        latent,
        hyper,
        blocks=0,
        deep_blocks=0,
        context_blocks=0,
        scale_hidden=hidden,
        scale_context=context,
    )
    model = RateDistortionCognition(ModelConfig(primary=config, auxiliary=None))
    ((_, _, decoder, integer, _),) = cost.costs(model, 128)
    hyper_synthesis = 9 * hyper * c + c * 16 * c  # at 1/64
    mean = c * latent + 3 * ((c + latent) * c + c * latent)  # at 1/16
    synthesis = latent * latent + latent * 4 * c + 4 * c * 192  # at 1/16, the last at 1/8
    assert decoder == pytest.approx((hyper_synthesis / 16 + mean + synthesis) / 256 / 1000)
    first = hyper * hidden + 9 * hidden**2 + hidden * 16 * (latent + context)  # at 1/64
    second = 9 * latent * context * 3 / 4 + latent * context  # at 1/16; the last pass is nobody's context
    assert integer == pytest.approx((first / 16 + second) / 256 / 1000)


def test_the_primary_decoder_costs_what_is_allowed() -> None:
    rows = cost.costs(load_torch_model(SHIPPED), 256)
    assert rows[0][0] == "primary" and rows[0][2] <= 12


def test_scalability_prints_every_slice(folder, capsys) -> None:
    scalability.main(
        ["--data", str(folder), "--model", str(TINY), "--json", "--plot", str(folder / "plot.png")]
    )
    rows = json.loads(capsys.readouterr().out)
    assert [r[1] for r in rows[:5]] == [0, 1, 2, 3, 4]
    assert all(a[2] < b[2] for a, b in itertools.pairwise(rows[:5]))
    assert Image.open(folder / "plot.png").width > 300


def test_distances_outside_the_range(folder) -> None:
    model = load_torch_model(TINY_CHECKPOINT)
    with torch.no_grad():
        model.primary.synthesis.head.bias += 10.0  # everything is far too bright
    photo = np.asarray(Image.open(folder / "0.png"))
    assert (out_of_range.distances(model, [photo]) > 255).mean() > 0.9
    out_of_range.main(
        [str(TINY), str(TINY_CHECKPOINT), "--data", str(folder), "--plot", str(folder / "plot.png")]
    )


def test_spectra_of_a_wave_are_two_points(folder) -> None:
    x = np.arange(128)
    wave = np.repeat((128 + 100 * np.sin(2 * np.pi * x / 8))[None, :, None], 128, 0).repeat(3, 2)
    found = spectra.spectrum(wave.astype(np.uint8))
    assert {tuple(p) for p in np.argwhere(found > 0.95 * found.max())} >= {(64, 48), (64, 80)}
    spectra.main([str(folder / "0.png"), "-o", str(folder / "figure.png"), "--model", str(TINY)])
    assert Image.open(folder / "figure.png").width > 1000


def test_agreement_of_a_classifier_with_itself_and_over_levels(folder, tmp_path, capsys) -> None:
    classifier(tmp_path / "net.onnx")
    opinion = agreement.opinions(tmp_path / "net.onnx")
    crops = agreement.centre_crops(str(folder), 128, 2)
    assert [crop.shape for crop in crops] == 2 * [(128, 128, 3)]
    assert np.exp(opinion(crops[0])).sum() == pytest.approx(1)
    agreement.main(
        [str(TINY), str(TINY), "--data", str(folder), "--net", str(tmp_path / "net.onnx"), "--crop", "128"]
    )
    levels, against = capsys.readouterr().out.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[3:-1]] for line in levels.splitlines()[2:]]
    bpp, divergence, _, db = np.array(rows, float).T
    count = len(bpp) // 2
    assert np.array_equal(bpp[:count], bpp[count:]) and (divergence >= 0).all()
    assert bpp[0] < bpp[count - 1] and db[0] < db[count - 1]
    assert against.count("0.000") >= 2


def test_throughput_counts_pictures_of_every_way(capsys) -> None:
    arguments = ["--model", str(TINY), "--size", "64x96", "--count", "2", "--rounds", "1", "--json"]
    throughput.main([*arguments, "--backends", "onnxruntime", "--torch", "eager"])
    rows = json.loads(capsys.readouterr().out)["frames_per_second"]
    ways = [(name.split()[0], what) for name, what, *_ in rows]
    assert ways[:3] == [("onnxruntime", what) for what in ("one by one", "batch", "networks")]
    assert ways[3:] == [("PyTorch", "networks")]
    assert all(rate > 0 for row in rows for rate in row[2:])


def test_fused_kernels_move_fewer_bytes(capsys) -> None:
    kernels.main(["--count", "--size", "64x64"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 32
    for kernel, *_, times in rows:
        assert float(times) > (2.4 if "gain_dequantize, pass -1" in kernel else 3)


@pytest.mark.parametrize(
    ("chosen", "kind"), [("--largest", "fp16"), ("--flattest", "fp16"), ("--flattest", "bf16")]
)
def test_half_precision_is_measured_on_the_hardest_photos(folder, capsys, chosen, kind) -> None:
    precision.main(["--data", str(folder), "--model", str(TINY), "--type", kind, chosen, "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 1 and [row["quality"] for row in found["rows"]] == list(precision.QUALITIES)
    for row in found["rows"]:
        assert row["streams with other symbols"] == 0
        assert all(abs(change) < 0.05 for name, change in row.items() if name.endswith("dB"))
    assert any(row["decoder, mean dB"] for row in found["rows"]), "other graphs make other pictures"


def test_what_openvino_makes_of_fast_is_measured_where_there_is_bf16(folder, capsys) -> None:
    command = ["--data", str(folder), "--model", str(SHIPPED), "--openvino", "--json", "--limit", "1"]
    if not can_reduce(core(), "CPU"):
        with pytest.raises(SystemExit, match="no bf16 here"):
            precision.main(command)
        return
    precision.main(command)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all(row["streams with other symbols"] == 0 for row in rows)
    assert any(row["decoder, mean dB"] for row in rows), "another arithmetic makes other pictures"


@pytest.mark.parametrize("span", [(0.0, 9.0), (0.1, 1.6), (0.3, 1.2)])
def test_half_of_the_bits_at_equal_psnr_are_a_bd_rate_of_minus_half(span: tuple[float, float]) -> None:
    bpp, psnr_db = np.array([0.1, 0.2, 0.4, 0.8, 1.6]), np.array([25.0, 28.0, 31.0, 34.0, 37.0])
    assert bd_rate((bpp, psnr_db), (bpp / 2, psnr_db), *span) == pytest.approx(-0.5, abs=1e-6)


def test_the_twin_differs_from_the_shipped_primary_branch_by_its_weights_alone(photo) -> None:
    twin, shipped = load_torch_model(TWIN), load_torch_model(SHIPPED)
    assert twin.auxiliary is None and twin.config.primary == shipped.config.primary
    assert twin.config.primary_lambda == shipped.config.primary_lambda
    same = [torch.equal(a, b) for a, b in zip(twin.parameters(), shipped.primary.parameters(), strict=True)]
    assert not any(same[:4])
    codec = Codec(TWIN, threads=2)
    assert psnr(photo, codec.decode(codec.encode(photo, 100))) > 30


def test_speed_takes_every_way_apart(folder, tmp_path, capsys) -> None:
    plot = tmp_path / "speed.png"
    arguments = ["--model", str(TINY), "--data", str(folder), "--sizes", "100x150", "--rounds", "3"]
    speed.main([*arguments, "--threads", "1", "--backends", "onnxruntime", "--json", "--plot", str(plot)])
    rows = json.loads(capsys.readouterr().out)["rows"]
    ways = {(row["way"], row["streams"]) for row in rows}
    assert ways == set(itertools.product(("encode", "decode"), ("both branches", "base only")))
    for row in rows:
        assert row["mp_s"] == pytest.approx(0.015 / row["ms"] * 1e3) and row["codec"] == "onnxruntime"
        assert list(row["stages"]) == list(speed.STAGES) and min(row["stages"].values()) > 0
        assert sum(row["stages"].values()) < 3 * row["ms"], "stages are parts of the whole"
    with Image.open(plot) as image:
        assert image.size[0] > 500
    with pytest.raises(SystemExit, match="no engines"):
        speed.main([*arguments, "--backends", "tensorrt"])


@pytest.mark.parametrize("kind", ["bpp", "psnr"])
def test_targets_are_counted(folder, capsys, kind: str) -> None:
    options = ["--data", str(folder), "--limit", "1", "--side", "64", "--kind", kind]
    targets.main([*options, "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["quality"] for row in rows] == [10, 30, 50, 70, 90]
    for row in rows:
        assert row["runs"]["analyse"] == 1
        if "figure" in row:
            assert not row["miss"] and row["time"] > 0
            assert (row["figure"] <= row["asked"]) == (kind == "bpp")
    targets.main([*options, "--layers", "base"])
    last = capsys.readouterr().out.splitlines()[-1].split("|")
    assert [cell.strip() for cell in last[1:3]] == ["all", "5"]


def test_pillows_codecs_are_peers(photos) -> None:
    rows = list(speed.of_pillow(np.ascontiguousarray(photos[0][:64, :64]), 1))
    assert {row.codec for row in rows} >= {"JPEG", "WebP", "AVIF speed 6", "AVIF speed 10"}
    assert all(row.ms > 0 and row.stages is None for row in rows)


def test_a_ratio_that_falls_by_more_than_its_margin_is_named() -> None:
    baseline = {"a": {"ratio": 4.0, "margin": 0.25}, "b": {"ratio": 2.0, "margin": 0.25}, "gone": {}}
    assert speed.fallen({"a": 3.1, "b": 9.0, "new": 1.0}, baseline) == []
    (problem,) = speed.fallen({"a": 2.9, "b": 1.6}, baseline)
    assert problem.startswith("a: 2.90 times") and problem.endswith("it was 4.00")
    with pytest.raises(ValueError, match="none of the ratios"):
        speed.fallen({"new": 1.0}, baseline)


def test_what_pip_brings_for_itself_is_not_counted(tmp_path) -> None:
    packages = tmp_path / "lib" / "python3" / "site-packages"
    for name, size in (("rdc_codec/a.py", 300), ("pip/b.py", 5000), ("pip-25.0.dist-info/RECORD", 70)):
        (packages / name).parent.mkdir(parents=True)
        (packages / name).write_bytes(bytes(size))
    assert installation.megabytes(tmp_path) == 300e-6


@pytest.mark.slow
def test_openvino_starts_sooner_with_what_it_compiled(capsys) -> None:
    starts.main(["--rounds", "3", "--json"])
    rows = {(row["backend"], row["cache"]): row for row in json.loads(capsys.readouterr().out)}
    first, second = (rows["openvino", cache] for cache in ("empty", "filled"))
    assert second["encoded"] + second["decoded"] < first["encoded"] + first["decoded"]


@pytest.mark.slow
def test_no_way_has_become_slower_beside_its_peer() -> None:
    """Times are of one run on one machine; only their ratios are compared, with margins for noise."""
    baseline = Path(speed.__file__).with_name("baseline.json")
    arguments = ["--sizes", "512x768", "--threads", "2", "--peers", "--backends", "onnxruntime"]
    speed.main([*arguments, "--check", str(baseline)])
