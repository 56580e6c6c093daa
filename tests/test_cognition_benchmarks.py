"""Rate against accuracy: every picture is coded once, bits at equal accuracy are what they are by hand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

from benchmarks import dial
from benchmarks.rate_cognition import Curve, bits_at_equal_metric, by_pictures, interval, measure, pillow, rdc
from benchmarks.tasks import Task
from rdc_codec import Codec


def brightness(name: str, photos: list[np.ndarray], threshold: float) -> Task:
    """Make the task of "brighter than the threshold", judged by the original."""
    items = [(str(k), photo[: 60 + k, :70]) for k, photo in enumerate(photos)]
    truth = [bool(rgb.mean() > threshold) for _, rgb in items]

    def predict(index: int, rgb: np.ndarray) -> float:
        return float((rgb.mean() > threshold) == truth[index])

    return Task(name, "top-1", items, predict, lambda p: lambda rows: float(np.asarray(p)[rows].mean()))


def test_tasks_with_the_same_pictures_share_the_coding(photos) -> None:
    tasks = [brightness("a", photos, 100), brightness("b", photos, 150), brightness("c", photos[:2], 100)]
    assert [[task.name for task in group] for group in by_pictures(tasks)] == [["a", "b"], ["c"]]
    coded = []

    def code(rgb: np.ndarray, quality: float) -> tuple[int, np.ndarray]:
        coded.append(quality)
        return int(quality), rgb

    curves = measure(tasks[:2], code, [10, 20])
    assert coded == [10] * 3 + [20] * 3 and len(curves) == 2
    bpp, metric = curves[0].at(np.array([0, 0, 1]))
    assert bpp == pytest.approx([8 * q * (2 / (60 * 70) + 1 / (61 * 70)) / 3 for q in (10, 20)])
    assert metric.tolist() == [1, 1]


def test_half_the_bits_at_equal_accuracy() -> None:
    accuracy = np.array([0.3, 0.5, 0.6, 0.7])
    bpp = np.array([0.1, 0.2, 0.4, 0.8])
    assert bits_at_equal_metric((bpp, accuracy), (bpp / 2, accuracy)) == pytest.approx(-0.5)
    worse = np.array([0.3, 0.2, 0.6, 0.7])  # a point that a cheaper one beats counts nothing
    assert bits_at_equal_metric((bpp, accuracy), (2 * bpp, worse)) == pytest.approx(
        bits_at_equal_metric((bpp, accuracy), (2 * bpp[[0, 2, 3]], worse[[0, 2, 3]]))
    )
    assert np.isnan(bits_at_equal_metric((bpp, accuracy), (bpp, accuracy + 1)))


def test_the_interval_is_of_pairs() -> None:
    """The second codec takes half of the bits for every picture, so no sample of pictures says anything else."""
    rng = np.random.default_rng(0)
    bpp = np.array([[0.1], [0.2], [0.4]]) * rng.uniform(0.5, 2, (1, 40))
    right = rng.random((3, 40)) < np.array([[0.3], [0.6], [0.9]])
    scores = [lambda rows, r=r: float(r[rows].mean()) for r in right]
    found = interval(Curve(bpp, scores), Curve(bpp / 2, scores), 50)
    assert found == pytest.approx((-0.5, -0.5, -0.5))


def test_coders_count_bytes_and_show_what_was_coded(photos) -> None:
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    rgb = photos[0][:64, :64]
    size, shown = rdc(codec, "base", 1.0)(rgb, 50)
    assert size == len(codec.encode(rgb, 50, layers="base")) and shown.shape == rgb.shape
    small, large = (pillow("JPEG", optimize=True)(rgb, q)[0] for q in (5, 90))
    assert small < large


def test_the_dial_has_a_row_for_every_beta(photos, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photos[1][:180, :200]).save(folder / "p.png")  # MS-SSIM needs 161 pixels a side
    monkeypatch.setitem(dial.TASKS, "a", lambda data, threads: brightness("a", photos, 100))
    rows = dial.measure(Codec(TINY, threads=1), 60, tmp_path, folder, ["a"])
    assert [row[1] for row in rows if row[3] == "PSNR"] == list(dial.BETAS)
    assert [row[1] for row in rows if row[2] == "a"] == list(dial.BETAS)
    assert all(0 <= row[5] <= 1 for row in rows if row[3] in ("top-1", "MS-SSIM"))
