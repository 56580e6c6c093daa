"""The dial of the manifest gives the base as much as costs nothing, at the bits that it had before."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image
from skimage import data

from export import quality_map
from export.quality_map import NEAR, SHARES, Surface, choose, figures, lost, lost_by_share, rates_of, refine
from rdc_codec import Codec
from rdc_codec.rates import FIGURES, Expected
from tests.conftest import TINY
from tests.test_codec import psnr

ROWS = np.linspace(0, 100, 21)
PLAIN = {"quality": [0.0, 100.0], "base_quality": [0.0, 60.0], "aux_quality": [0.0, 100.0]}


def surface(splitting_costs: float) -> tuple[np.ndarray, np.ndarray]:
    """Make a model in which PSNR follows the auxiliary quality, and a base costs bits by the square of its share.

    bpp, PSNR: float [base, auxiliary], each of 201 qualities.
    """
    base, auxiliary = np.meshgrid(np.linspace(0, 5, 201), np.linspace(0, 4, 201), indexing="ij")
    whole, of_base = 0.15 * 2**auxiliary, 0.02 * 2**base
    return whole + splitting_costs * of_base**2 / whole, 24 + 3 * auxiliary


def as_columns(path: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    base, auxiliary = np.array(path).T
    return base, auxiliary


@pytest.mark.parametrize("splitting_costs", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("tolerance", [0.1, 0.2, 0.5])
def test_everything_rises_along_the_dial_from_the_lowest_pair_to_the_highest_auxiliary_quality(
    splitting_costs: float, tolerance: float
) -> None:
    bpp, psnr = surface(splitting_costs)
    base, auxiliary = as_columns(choose(bpp, psnr, rates_of(PLAIN, ROWS, bpp), tolerance))
    assert (base[0], auxiliary[0]) == (0, 0) and auxiliary[-1] == 200
    assert (np.diff(base) > 0).all() and (np.diff(auxiliary) >= 0).all()
    assert (np.diff(bpp[base, auxiliary]) > 0).all() and (np.diff(psnr[base, auxiliary]) > 0).all()


@pytest.mark.parametrize("splitting_costs", [0.1, 0.25, 0.6])
def test_every_quality_keeps_its_bits(splitting_costs: float) -> None:
    bpp, psnr = surface(splitting_costs)
    rates = rates_of(PLAIN, ROWS, bpp)
    base, auxiliary = as_columns(choose(bpp, psnr, rates, 0.1))
    np.testing.assert_allclose(bpp[base, auxiliary][:-1], rates[:-1], rtol=NEAR + 0.001)


@pytest.mark.parametrize("splitting_costs", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("tolerance", [0.1, 0.2, 0.5])
def test_the_base_is_the_largest_that_costs_no_more_than_the_tolerance(
    splitting_costs: float, tolerance: float
) -> None:
    bpp, psnr = surface(splitting_costs)
    rates, cost = rates_of(PLAIN, ROWS, bpp), lost(bpp, psnr)
    base, auxiliary = as_columns(choose(bpp, psnr, rates, tolerance))
    assert (cost[base, auxiliary] <= tolerance)[1:].all()
    for row in range(1, len(ROWS) - 1):
        for larger in range(base[row] + 1, base[row + 1]):
            column = int(np.abs(np.log(bpp[larger] / rates[row])).argmin())
            over = cost[larger, column] > tolerance
            misses = abs(np.log(bpp[larger, column] / rates[row])) > NEAR
            rises = auxiliary[row - 1] <= column <= auxiliary[row + 1] and (
                psnr[base[row - 1], auxiliary[row - 1]]
                < psnr[larger, column]
                < psnr[base[row + 1], auxiliary[row + 1]]
            )
            assert over or misses or not rises, (row, larger)


def test_a_larger_tolerance_gives_larger_bases() -> None:
    bpp, psnr = surface(0.25)
    rates = rates_of(PLAIN, ROWS, bpp)
    sums = [as_columns(choose(bpp, psnr, rates, t))[0].sum() for t in (0.02, 0.1, 0.5, 2.0)]
    assert sums == sorted(sums) and sums[0] < sums[-1]


def test_pairs_beyond_another_bound_are_not_taken() -> None:
    """What the mean over photos allows may be too much for one of them."""
    bpp, psnr = surface(0.25)
    rates = rates_of(PLAIN, ROWS, bpp)
    free, _ = as_columns(choose(bpp, psnr, rates, 0.1))
    beyond = np.full(bpp.shape, -1.0)
    beyond[40:100] = 0.001
    bound, _ = as_columns(choose(bpp, psnr, rates, 0.1, beyond))
    assert ((free >= 40) & (free < 100)).any() and not ((bound >= 40) & (bound < 100)).any()
    np.testing.assert_array_equal(bound[bound >= 100], free[bound >= 100])


def test_where_no_pair_is_within_the_tolerance_the_nearest_are_taken() -> None:
    bpp, psnr = surface(0.25)
    bad = psnr.copy()
    bad[:150] -= 3 * (150 - np.arange(150))[:, None] / 150  # low bases are bad, and the dial begins with them
    base, auxiliary = as_columns(choose(bpp, bad, rates_of(PLAIN, ROWS, bpp), 0.1))
    assert lost(bpp, bad)[base, auxiliary].max() > 0.1 and (base[0], auxiliary[0]) == (0, 0)


def test_rates_that_do_not_rise_are_refused() -> None:
    bpp, psnr = surface(0.25)
    with pytest.raises(SystemExit, match="rise"):
        choose(bpp, psnr, np.full(21, bpp[0, 0]), 0.1)


def test_what_is_lost_is_told_against_the_best_of_no_more_bits() -> None:
    bpp = np.array([[1.0, 2.0], [1.5, 3.0]])
    psnr = np.array([[30.0, 33.0], [32.0, 32.5]])
    np.testing.assert_allclose(lost(bpp, psnr), [[0, 0], [0, 0.5]])


def test_the_cost_of_a_share_is_that_of_the_pair_with_this_share_of_the_bits() -> None:
    bpp, psnr = surface(0.25)
    base_bpp = np.repeat(0.02 * 2 ** np.linspace(0, 5, 201)[:, None], 201, 1)
    rates = np.array([0.3, 1.0])
    found = lost_by_share(bpp, base_bpp, psnr, rates)
    for share, losses in zip(SHARES, found.T, strict=True):
        # Bits grow by the square of the share, and a doubling of what the auxiliary branch has is worth 3 dB.
        of_aux = [3 * np.log2(rate / (rate * (1 + math.sqrt(1 - share**2)) / 2)) for rate in rates]
        reached = [0.02 <= share * rate <= 0.64 for rate in rates]
        for cost, wanted, there in zip(losses, of_aux, reached, strict=True):
            assert np.isnan(cost) if not there else cost == pytest.approx(wanted, abs=0.12)


def test_refinement_goes_through_what_was_measured_and_rises_with_it() -> None:
    grid = np.linspace(0, 100, 9)
    random = np.random.default_rng(0)
    steps = [random.exponential(size=(2, 9, 9)).cumsum(1).cumsum(2) for _ in range(4)]
    fine, found = refine(Surface(*map(np.exp, steps[:2]), *steps[2:]), grid)
    at = np.searchsorted(fine, grid)
    measured = np.log(found.bpp), np.log(found.base_bpp), found.psnr, found.base_psnr
    for wanted, got in zip(steps, measured, strict=True):
        np.testing.assert_allclose(got[:, at][:, :, at], wanted, rtol=1e-6)
        assert (np.diff(got[:, at], axis=2) >= -1e-9).all() and (
            np.diff(got[:, :, at], axis=1) >= -1e-9
        ).all()


def test_the_command_measures_photos_and_writes_a_map_for_the_exporter(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, picture in enumerate((data.chelsea(), data.coffee(), data.astronaut())):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    target = tmp_path / "map.json"
    options = ["--limit", "2", "--steps", "3", "--rows", "3", "--crop", "64", "--tolerance", "5"]
    quality_map.main(["--data", str(tmp_path), "--model", str(TINY), "-o", str(target), *options])
    made = json.loads(target.read_text())
    assert made["quality"] == [0, 50, 100] and made["aux_quality"][-1] == 100
    assert (made["base_quality"][0], made["aux_quality"][0]) == (0, 0)
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["quality", "base", "auxiliary"] and len(table) == 4 + 3 + 3
    expected = Expected.of_map(made)
    for column in (expected.bpp, expected.base_bpp, expected.psnr, expected.base_psnr):
        assert (np.diff(column) > 0).all()
    assert (expected.base_bpp < expected.bpp).all()

    kept = tmp_path / "kept.json"
    quality_map.main(["--data", str(tmp_path), "--model", str(TINY), "-o", str(kept), "--keep", *options])
    of_bundle = json.loads((TINY / "manifest.json").read_text())["quality_map"]
    assert {name: json.loads(kept.read_text())[name] for name in of_bundle} == of_bundle
    assert set(FIGURES) < set(json.loads(kept.read_text()))


def test_figures_of_a_map_are_what_photos_have_at_its_pairs() -> None:
    fine = np.linspace(0, 100, 101)
    complexity = np.array([0.5, 1.0, 2.0])[:, None, None]  # of photos
    base_bpp = complexity * np.exp(0.02 * fine)[None, :, None] * np.ones(101)
    bpp = complexity**1.5 * np.exp(0.01 * fine)[None, :, None] * np.exp(0.03 * fine)
    psnr = 30 + 0.05 * fine[None, :, None] + 0.1 * fine + np.zeros((3, 1, 1))
    found = figures(Surface(bpp, base_bpp, psnr, psnr - 1), fine, np.array([0, 50]), np.array([10, 60]))
    wanted = {
        "bpp": np.exp([0.3, 0.5 + 1.8]),
        "base_bpp": np.exp([0, 1]),
        "psnr": [31, 38.5],
        "base_psnr": [30, 37.5],
        "exponent": [1.5, 1.5],
        "bpp_rise": [0.03, 0.03],
        "psnr_rise": [0.1, 0.1],
    }
    assert tuple(found) == FIGURES == tuple(wanted)
    for name, column in wanted.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-9)


def test_the_shipped_map_loses_little_against_other_splits_of_the_same_bytes(
    shipped: Codec, photos: list[np.ndarray]
) -> None:
    """On photos that it was not chosen on. Their streams of other shares have as many bytes, or 2 % less."""
    crops = [np.ascontiguousarray(p[20:276, 100:356]) for p in photos]
    for quality in (10, 60):
        by_default = [shipped.encode(crop, quality) for crop in crops]
        fidelity = np.mean([psnr(c, shipped.decode(s)) for c, s in zip(crops, by_default, strict=True)])
        for share in (0.15, 0.25, 0.5):
            others = [shipped.encode(crop, quality, share=share) for crop in crops]
            of_others = np.mean([psnr(c, shipped.decode(s)) for c, s in zip(crops, others, strict=True)])
            assert of_others < fidelity + 0.15, (quality, share)


def test_the_shipped_map_gives_the_base_half_of_the_bytes_at_low_rates_and_a_quarter_above(
    shipped: Codec, photo: np.ndarray
) -> None:
    for quality, share in ((5, 0.6), (30, 0.5), (60, 0.25), (100, 0.25)):
        stream = shipped.encode(photo, quality)
        assert shipped.info(stream)["chunks"][0]["length"] > share * len(stream), quality
