"""What one part of the codec promises holds for what the other parts make."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SHIPPED, TINY
from PIL import Image

import rdc_codec.pillow  # noqa: F401 (registers the plugin)
from rdc_codec import Codec, container, lossless, stored, trim
from rdc_codec.container import ChunkType
from rdc_codec.errors import CorruptError, DeadlineError, TargetError

COMMAND = [sys.executable, "-m", "rdc_codec"]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)


def test_a_picture_that_decodes_exactly_has_no_infinite_figure(shipped: Codec) -> None:
    """A search whose first figure is infinite went out with an OverflowError."""
    for value in range(0, 256, 17):
        dot = np.full((1, 1, 3), value, np.uint8)
        try:
            found = lossless.psnr(dot, shipped.decode(shipped.encode(dot, target_psnr=40)))
        except TargetError as error:
            assert 0 < error.best <= 100
        else:
            assert found >= 40


def test_a_floor_counts_what_can_be_seen(shipped: Codec) -> None:
    board = np.indices((256, 256)).sum(0) % 2 * 255
    picture = np.dstack([board] * 3 + [np.zeros((256, 256))]).astype(np.uint8)
    picture[:24, :24, 3] = 255  # the rest is transparent
    stream = shipped.encode(picture, min_psnr=20)
    image = np.asarray(shipped.decode_image(stream))
    np.testing.assert_array_equal(image[:24, :24], picture[:24, :24])


def test_an_array_is_the_callers_again_after_a_deadline(noise: np.ndarray) -> None:
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    large = np.tile(noise, (8, 8, 1))
    stream = codec.encode(large, min_psnr=90)
    target = np.zeros_like(large)
    for _ in range(5):
        target[:] = 0
        try:
            codec.decode(stream, out=target, timeout=0.03)
        except DeadlineError:
            before = target.copy()
            time.sleep(0.5)
            np.testing.assert_array_equal(target, before)


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_a_picture_without_loss_needs_its_base(tiny: Codec, noise: np.ndarray, beta: float) -> None:
    """decode, the incremental decoder and verify agree on it."""
    parsed = container.read(tiny.encode(noise, min_psnr=90), max_pixels=1 << 20)
    exact = next(c.payload for c in parsed.chunks if c.type == ChunkType.LOSSLESS)
    assert exact is not None
    stream = container.write(
        parsed.header, [(ChunkType.PRIMARY, b"garbage" * 9), (ChunkType.LOSSLESS, exact)]
    )
    with pytest.raises(CorruptError):
        tiny.decode(stream, beta)
    with pytest.raises(CorruptError):
        tiny.decoder().feed(stream)
    assert not tiny.verify(stream).decodable


def test_slices_beside_a_picture_without_loss_say_nothing_of_it(tiny: Codec, photo: np.ndarray) -> None:
    picture = photo[:128, :128]
    parsed = container.read(tiny.encode(picture), max_pixels=1 << 20)
    chunks = [(c.type, c.payload) for c in parsed.chunks if c.payload is not None]
    stream = container.write(parsed.header, [*chunks, (ChunkType.LOSSLESS, stored.pack(picture))])
    expected = lossless.blend(tiny.decode(stream, beta=1), picture, 0.5)
    np.testing.assert_array_equal(tiny.decode(stream, beta=0.5), expected)
    decoder = tiny.decoder()
    decoder.feed(stream)
    np.testing.assert_array_equal(decoder.picture(0.5), expected)


def test_trim_keeps_a_picture_without_loss_wherever_slices_are_wanted(tiny: Codec, noise: np.ndarray) -> None:
    stream = tiny.encode(noise, min_psnr=90)
    for layers in (1, 4, "all", None):
        np.testing.assert_array_equal(tiny.decode(trim(stream, layers)), noise)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tiny.decode(trim(stream, "base")), tiny.decode(stream, beta=1))


def test_pillow_keeps_what_save_was_given(photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    file = io.BytesIO()
    Image.fromarray(photo[:64, :64]).save(file, "RDC", metadata=False, exif=exif, layers="base")
    with Image.open(file) as image:
        assert image.getexif()[0x010E] == "a cat"


@pytest.mark.parametrize("command", ["info", "verify"])
def test_streams_are_looked_at_from_the_standard_input(command: str, photo: np.ndarray) -> None:
    stream = Codec(SHIPPED).encode(photo[:64, :64], layers="base")
    done = subprocess.run([*COMMAND, command, "-"], input=stream, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_limit_of_the_command_is_the_only_one(tmp_path: Path) -> None:
    """Pillow has one of its own, 179 megapixels."""
    Image.new("1", (15000, 12000)).save(tmp_path / "large.png")
    done = subprocess.run(
        [*COMMAND, "encode", str(tmp_path / "large.png"), "-o", str(tmp_path / "a.rdc")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "134217728" in done.stderr
    stream = Codec(SHIPPED).encode(np.zeros((128, 128, 3), np.uint8), layers="base")
    (tmp_path / "b.rdc").write_bytes(stream)
    for limit, code in ((16383, 2), (16384, 0)):
        verified = [*COMMAND, "verify", str(tmp_path / "b.rdc"), "--max-pixels", str(limit)]
        assert subprocess.run(verified, capture_output=True, check=False).returncode == code


ENDING = """
import sys, threading, time
import numpy as np
from rdc_codec import Codec, windows
windows.DECODE_LIMIT = 1
codec = Codec(sys.argv[1], backend="onnxruntime", threads=1)
stream = codec.encode(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
def work():
    while True:
        for rows in codec.decode_rows(stream):
            pass
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


def test_a_process_ends_in_peace_while_rows_are_made() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ENDING), str(TINY)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
