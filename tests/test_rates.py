"""Training estimates what files weigh: chunks within 1 % + 8 bytes each of the estimated rate, on real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SHIPPED

from export.from_bundle import load_model
from model.transforms import fold
from rdc_codec import Codec

PHOTOS = ["chelsea", "astronaut", "coffee"]  # in the order of the fixture


@pytest.mark.parametrize("quality", [0, 25, 50, 75, 100])
@pytest.mark.parametrize("index", range(3), ids=PHOTOS)
def test_real_size_is_the_estimated_rate(
    shipped: Codec, index: int, quality: float, photos: list[np.ndarray]
) -> None:
    codec, model, photo = shipped, load_model(SHIPPED), photos[index]
    photo = photo[: photo.shape[0] // 64 * 64, : photo.shape[1] // 64 * 64]
    stream = codec.encode(photo, quality)
    info = codec.info(stream)
    folded = fold(torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float() / 255)
    with torch.no_grad():
        base = model.primary(folded, torch.tensor([codec.bundle.primary.level(info["base_quality"])]))
        level = torch.tensor([codec.bundle.auxiliary.level(info["aux_quality"])])  # type: ignore[union-attr]
        bits = base.bits.sum() + model.auxiliary(folded, level, base).bits.sum()
    estimate = float(bits) / 8
    chunks = [chunk["length"] for chunk in info["chunks"]]
    assert abs(sum(chunks) - estimate) <= 0.01 * estimate + 8 * len(chunks)  # coder states and a CRC in each
    assert len(stream) - sum(chunks) <= 64, "header, directory and checksums"
