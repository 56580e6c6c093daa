"""Shared: the tiny fixed bundle (its streams are pinned; retraining the shipped model changes nothing here)
and real photos that come with scikit-image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from skimage import data

import rdc_native
from runtime import Codec
from runtime.bundle import DEFAULT

settings.register_profile("patient", deadline=None)  # machines under load, timings are not what is tested
settings.load_profile("patient")

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny"
TINY_CHECKPOINT = DATA / "tiny.safetensors"
SHIPPED = DEFAULT


def on_every_path(compute: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """What the native module computes by each code path that this machine has."""
    try:
        for path in ("scalar", "avx2", "avx512"):
            try:
                rdc_native.set_simd(path)  # type: ignore[arg-type]
            except ValueError:
                continue
            yield compute()
    finally:
        rdc_native.set_simd("auto")


@pytest.fixture(scope="session")
def tiny() -> Codec:
    return Codec(TINY, threads=1)


@pytest.fixture(scope="session")
def shipped() -> Codec:
    return Codec(SHIPPED, threads=2)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """uint8 [300, 451, 3], a cat."""
    return data.chelsea()


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Three real photos, uint8, at most 512 pixels a side."""
    return [data.chelsea(), data.astronaut(), data.coffee()[:, 50:511]]
