"""A share of a stream's bytes is the base's, and the stream has the bytes that it would have had anyway."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rdc_codec import Codec
from rdc_codec.balance import split
from rdc_codec.cli import main as rdc
from rdc_codec.errors import InputError
from rdc_codec.rates import BELOW, OF_LIGHT_1, Goal
from rdc_codec.targets import Dial
from tests.conftest import rdc as command


@pytest.fixture(scope="module")
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[:192, 60:316])


def share_of(codec: Codec, stream: bytes) -> float:
    """Return the part of the bytes of both branches that the base has."""
    chunks = [c for c in codec.info(stream)["chunks"] if c["type"] in ("primary", "aux_slice")]
    return chunks[0]["length"] / sum(c["length"] for c in chunks)


# --- on curves ----------------------------------------------------------------------------------------------------


class Photo:
    """Has bytes that grow with qualities as those of photos do, and says with which dial it was coded last."""

    def __init__(self, base: float, auxiliary: float) -> None:
        self.base, self.auxiliary = base, auxiliary

    def base_bytes(self, quality: float) -> int:
        return round(self.base * math.exp(0.028 * quality))

    def whole(self, dial: Dial) -> int:
        return self.base_bytes(dial[1]) + round(self.auxiliary * math.exp(0.02 * dial[2])) + 40

    def encode(self, dial: Dial) -> bytes:
        self.dial = dial
        return bytes(self.whole(dial))


@given(
    st.floats(500, 5000),
    st.floats(1000, 10_000),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0.05, 0.95),
)
def test_the_bytes_are_kept_and_the_base_has_its_share_where_the_model_can(
    base: float, auxiliary: float, base_quality: float, aux_quality: float, share: float
) -> None:
    photo = Photo(base, auxiliary)
    before = 50.0, round(256 * base_quality) / 256, round(256 * aux_quality) / 256
    total = photo.whole(before)
    stream = split(
        Goal("bytes", total, 10_000), share, 40, before, photo.base_bytes, photo.encode, OF_LIGHT_1
    )
    assert (1 - BELOW) * total <= len(stream) <= total
    dial = photo.dial
    found = photo.base_bytes(dial[1])
    least, most = Goal("bytes", share * (total - 40), 10_000).window()
    if not least - 1 <= found <= most + 1:
        smaller_base_is_needed = found > most
        ends = (0, 100) if smaller_base_is_needed else (100, 0)  # of the base, or of the auxiliary branch
        assert dial[1] == ends[0] or dial[2] == ends[1], (dial, found, least, most)


# --- on pictures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["all", 2])
def test_the_base_has_about_the_share_that_was_asked_for_at_the_bytes_of_the_quality(
    shipped: Codec, crop: np.ndarray, layers
) -> None:
    plain = shipped.encode(crop, 50, layers)
    for share in (0.2, 0.4, 0.6):
        stream = shipped.encode(crop, 50, layers, share=share)
        assert 0.98 * len(plain) <= len(stream) <= len(plain)
        assert share_of(shipped, stream) == pytest.approx(share, rel=0.03)
        assert shipped.info(stream)["quality"] == 50 and shipped.verify(stream).ok


def test_a_larger_share_is_better_for_the_base_and_a_smaller_one_makes_it_small(
    shipped: Codec, crop: np.ndarray
) -> None:
    streams = [shipped.encode(crop, 60, share=share) for share in (0.1, 0.3, 0.5, 0.7)]
    bases = [shipped.info(s)["chunks"][0]["length"] for s in streams]
    errors = [np.mean((shipped.decode(s, beta=1) - crop.astype(float)) ** 2) for s in streams]
    assert bases == sorted(bases) and bases[-1] > 4 * bases[0]
    assert errors == sorted(errors, reverse=True)


def test_a_share_goes_with_a_target_of_bytes(shipped: Codec, crop: np.ndarray) -> None:
    for options in ({"target_bytes": 6000}, {"target_bpp": 6000 * 8 / crop[..., 0].size}):
        stream = shipped.encode(crop, share=0.4, **options)
        assert 0.98 * 6000 <= len(stream) <= 6000
        assert share_of(shipped, stream) == pytest.approx(0.4, rel=0.03)


def test_the_header_says_with_what_the_same_stream_is_made_again(shipped: Codec, crop: np.ndarray) -> None:
    stream = shipped.encode(crop, 40, share=0.3)
    said = shipped.info(stream)
    assert shipped.encode(crop, **{k: said[k] for k in ("quality", "base_quality", "aux_quality")}) == stream


def test_transparency_and_metadata_count_for_nothing(shipped: Codec, crop: np.ndarray) -> None:
    alpha = np.random.default_rng(0).integers(
        0, 256, crop.shape[:2], np.uint8
    )  # ten times what the rest takes
    stream = shipped.encode(np.dstack([crop, alpha]), 50, share=0.4)
    assert share_of(shipped, stream) == pytest.approx(0.4, rel=0.03)


def test_what_the_model_has_not_is_replaced_by_the_nearest_share(shipped: Codec, crop: np.ndarray) -> None:
    plain = len(shipped.encode(crop, 0))
    most = shipped.encode(crop, 0, share=0.95)
    assert 0.98 * plain <= len(most) <= plain
    assert shipped.info(most)["aux_quality"] == 0 or share_of(shipped, most) == pytest.approx(0.95, rel=0.03)
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert len(shipped.encode(flat, 50, share=0.5)) <= len(shipped.encode(flat, 50))


def test_a_bundle_without_the_steps_of_its_encoder_takes_a_share_too(tiny: Codec, crop: np.ndarray) -> None:
    assert "analyse" not in tiny.bundle.graphs
    plain = tiny.encode(crop, 60)
    stream = tiny.encode(crop, 60, share=0.5)
    assert 0.98 * len(plain) <= len(stream) <= len(plain)
    assert share_of(tiny, stream) == pytest.approx(0.5, rel=0.03)


def test_a_batch_has_the_streams_that_encode_makes(shipped: Codec, photos: list[np.ndarray]) -> None:
    crops = [np.ascontiguousarray(p[:128, :192]) for p in photos]
    assert list(shipped.encode_batch(crops, 30, share=0.3)) == [
        shipped.encode(c, 30, share=0.3) for c in crops
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0.01}, "share must be from 0.05 to 0.95"),
        ({"share": 0.96}, "share must be from 0.05 to 0.95"),
        ({"share": math.nan}, "share must be a number"),
        ({"share": "half"}, "share must be a number"),
        ({"share": 0.5, "layers": "base"}, "share is for streams with auxiliary slices"),
        ({"share": 0.5, "layers": 0}, "share is for streams with auxiliary slices"),
        ({"share": 0.5, "base_quality": 20}, "either share or base_quality"),
        ({"share": 0.5, "aux_quality": 20}, "either share or aux_quality"),
        ({"share": 0.5, "target_psnr": 30}, "either share or target_psnr"),
        ({"share": 0.5, "min_psnr": 30}, "either share or min_psnr"),
    ],
)
def test_shares_that_make_no_sense_are_refused(
    tiny: Codec, crop: np.ndarray, options: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        tiny.encode(crop, **options)
    with pytest.raises(InputError, match=said):
        tiny.encode_batch([], **options)


def test_the_command_takes_a_share(shipped: Codec, crop: np.ndarray, tmp_path) -> None:
    Image.fromarray(crop).save(tmp_path / "photo.png")
    target = tmp_path / "photo.rdc"
    done = command("encode", tmp_path / "photo.png", "-o", target, "-q", 40, "--share", 0.3)
    assert done.exit_code == 0, done.output
    assert target.read_bytes() == shipped.encode(crop, 40, share=0.3)
    for words, said in (
        (["--share", "2"], "share must be a number from 0 to 1, got 2.0"),
        (["--share", "0.5", "--layers", "base"], "share is for streams with auxiliary slices"),
        (["--share", "0.5", "--base-quality", "3"], "give either share or base-quality, not both"),
    ):
        done = CliRunner().invoke(
            rdc, ["encode", str(tmp_path / "photo.png"), "-o", str(tmp_path / "x"), *words]
        )
        assert done.exit_code == 2 and said in done.output and done.output.count("\n") == 1
