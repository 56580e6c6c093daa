"""Other threads, other graph optimisations and PyTorch read a stream alike (all of it: benchmarks.conformance)."""

from __future__ import annotations

import numpy as np
from conftest import SHIPPED

from benchmarks.conformance import compare, odd_crop
from rdc_codec import Codec


def test_readers_agree_on_symbols_exactly_and_on_pictures_almost_everywhere(
    shipped: Codec, photos: list[np.ndarray]
) -> None:
    crops = [odd_crop(p, 30 + k) for k, p in enumerate(photos)]
    streams = [shipped.encode(crop, quality) for crop in crops for quality in (0, 60, 100)]
    found = compare(streams, SHIPPED)
    assert set(found) == {"2 threads", "no graph optimisation", "PyTorch", "OpenVINO"}
    for reader, row in found.items():
        assert row["streams with other symbols"] == 0, reader
        assert row["samples that differ"] <= 1e-4, reader
        assert row["largest difference"] <= 1, reader
