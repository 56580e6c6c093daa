"""Drawn pictures for training, and the twelve of the benchmark, which training never sees."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from fontTools.ttLib import TTFont
from PIL import Image

from benchmarks import graphics as benchmark
from benchmarks.common import Point
from training import graphics
from training.drawings import typography
from training.drawings.canvas import SMOOTHINGS, Canvas


def drawn(kind: str, seed: int, height: int = 256, width: int = 256) -> np.ndarray:
    return graphics.draw(kind, np.random.default_rng(seed), height, width)


@pytest.mark.parametrize("kind", graphics.KINDS)
def test_every_kind_draws_the_same_picture_for_a_seed_and_another_for_another(kind: str) -> None:
    first, again, other = drawn(kind, 1), drawn(kind, 1), drawn(kind, 2)
    assert first.dtype == np.uint8 and first.shape == (256, 256, 3) and first.flags.c_contiguous
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.ptp(first) > 20, "not constant"


@pytest.mark.parametrize("kind", graphics.KINDS)
@pytest.mark.parametrize(("height", "width"), [(1, 300), (64, 96), (300, 500), (520, 257)])
def test_every_kind_has_the_size_that_is_asked_for(kind: str, height: int, width: int) -> None:
    for seed in range(3):
        assert drawn(kind, seed, height, width).shape == (height, width, 3)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of text, interface"):
        drawn("photo", 1)
    with pytest.raises(ValueError, match="0x8"):
        drawn("text", 1, 0, 8)
    with pytest.raises(ValueError, match="smoothing"):
        Canvas(8, 8, (0, 0, 0), "lcd")


def test_the_command_writes_pictures_named_by_kind_and_seed(tmp_path: Path) -> None:
    graphics.main(
        ["-o", str(tmp_path), "--count", "3", "--seed", "2", "--size", "80", "--kinds", "flat", "code"]
    )
    paths = sorted(tmp_path.glob("*.png"), key=lambda path: path.stem.split("-")[1])
    assert [path.stem.split("-")[1] for path in paths] == ["2000000", "2000001", "2000002"]
    for path in paths:
        kind, expected = graphics.picture(int(path.stem.split("-")[1]), 80, ("flat", "code"))
        assert path.stem.startswith(kind) and np.array_equal(np.asarray(Image.open(path)), expected)


@pytest.mark.parametrize("name", typography.FAMILIES)
def test_a_typeface_has_a_letter_for_all_that_is_set_in_it(name: str) -> None:
    family = typography.FAMILIES[name]
    (root,) = find_spec(family.package).submodule_search_locations  # type: ignore[union-attr]
    texts = {script: "".join(typography.WORDS[script]) for script in family.scripts}
    letters = set("".join(texts.values()))
    letters |= set("".join(text.upper() for script, text in texts.items() if script in typography.EUROPEAN))
    for file in (family.regular, family.bold, family.italic):
        known = TTFont(Path(root, family.folder, file), lazy=True).getBestCmap()
        assert not {letter for letter in letters if ord(letter) not in known}, file


def test_text_is_smoothed_in_three_ways() -> None:
    font = typography.Font(typography.SANS["dejavu-sans"], "regular", 14)
    pictures = {}
    for smoothing in SMOOTHINGS:
        canvas = Canvas(30, 120, (255, 255, 255), smoothing)
        canvas.text((5, 5), "smooth text", font, (0, 0, 0))
        pictures[smoothing] = canvas.pixels.astype(int)
    assert set(np.unique(pictures["none"])) == {0, 255}
    assert np.ptp(pictures["grey"], 2).max() == 0 and len(np.unique(pictures["grey"])) > 20
    assert np.ptp(pictures["subpixel"], 2).max() > 50, "edges have colours"
    means = [255 - picture.mean() for picture in pictures.values()]
    assert max(means) < 1.35 * min(means), "the same ink"


def test_the_benchmark_has_twelve_pictures_in_typefaces_that_training_does_not_use() -> None:
    assert len(benchmark.PICTURES) == 12
    own = {family.package for family in (benchmark.SERIF, benchmark.SANS, benchmark.MONO, benchmark.HAND)}
    assert not own & {family.package for family in typography.FAMILIES.values()}
    pictures = [draw() for draw in benchmark.PICTURES.values()]
    for k, picture in enumerate(pictures):
        assert picture.dtype == np.uint8 and picture.shape == (benchmark.SIZE, benchmark.SIZE, 3)
        assert not any(np.array_equal(picture, other) for other in pictures[:k])
    for name, draw in list(benchmark.PICTURES.items())[::3]:
        assert np.array_equal(draw(), benchmark.PICTURES[name]()), "the same each time"
    for kind in graphics.KINDS:
        training = drawn(kind, 41, benchmark.SIZE, benchmark.SIZE)
        assert not any(np.array_equal(picture, training) for picture in pictures)


def test_psnr_of_jpeg_at_equal_bytes_lies_between_its_points() -> None:
    curve = [Point("jpeg", "a", q, bpp, db) for q, bpp, db in ((90, 4.0, 40.0), (10, 1.0, 20.0))]
    assert benchmark.at_equal_bytes(curve, 2.0) == pytest.approx(30)
    assert benchmark.at_equal_bytes(curve, 4.0) == 40
    assert benchmark.at_equal_bytes(curve, 0.9) is None


def test_the_benchmark_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(TINY), "--pictures", "logo", "--qualities", "20", "100"]
    benchmark.main([*arguments, "--save", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4 and "JPEG 4:2:0" in rows[0] and all("logo" in row for row in rows[2:])
    assert [path.name for path in tmp_path.iterdir()] == ["logo.png"]
    benchmark.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found[0]["bpp"] < found[1]["bpp"] and found[0]["psnr"] < found[1]["psnr"]
