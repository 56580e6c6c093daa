"""The dial of the manifest is split between the branches as it should be."""

from __future__ import annotations

import numpy as np
import pytest

from export.quality_map import Surface, choose, refine


def surface(splitting_costs: float) -> tuple[np.ndarray, Surface]:
    """Make a model of two stages: 6 dB cost 0.5 bpp each; the finer of the two decides the error."""
    grid = np.linspace(0, 100, 9)
    base, auxiliary = np.meshgrid(grid / 40, grid / 25 + 0.5, indexing="ij")
    base_bpp = 0.1 * 2**base
    bpp = base_bpp + 0.1 * 2**auxiliary * splitting_costs
    mse = 0.01 * 4.0 ** -np.maximum(base, auxiliary)
    return refine(Surface(bpp, base_bpp, mse), grid)


@pytest.mark.parametrize("splitting_costs", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_the_path_rises_in_everything_and_keeps_the_share(splitting_costs: float, share: float) -> None:
    fine, found = surface(splitting_costs)
    path = choose(found, np.geomspace(0.0005, 0.5, 21), share)
    rows, columns = (np.array(p) for p in zip(*path, strict=True))
    assert path[0] == (0, 0) and fine[columns[-1]] == 100
    assert (np.diff(rows) >= 0).all() and (np.diff(columns) >= 0).all()
    assert (np.diff([found.mse[p] for p in path]) <= 0).all()
    assert all(found.base_bpp[p] <= share * found.bpp[p] for p in path[1:] if p != (0, 0))
    assert len(set(path)) > 5


def test_refinement_goes_through_what_was_measured() -> None:
    grid = np.linspace(0, 100, 9)
    random = np.random.default_rng(0)
    values = [np.exp(random.normal(size=(9, 9))) for _ in range(2)]
    base = np.exp(random.normal(size=(9, 1))).repeat(9, 1)
    fine, found = refine(Surface(values[0], base, values[1]), grid)
    at = np.searchsorted(fine, grid)
    for wanted, got in ((values[0], found.bpp), (base, found.base_bpp), (values[1], found.mse)):
        np.testing.assert_allclose(got[np.ix_(at, at)], wanted, rtol=1e-6)
