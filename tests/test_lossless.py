"""What the networks cannot show is stored without loss beside the base, where the caller asks for a least PSNR."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

from rdc_codec import Codec, container, lossless, stored
from rdc_codec.bundle import Bundle
from rdc_codec.cli import main as rdc
from rdc_codec.container import ChunkType
from rdc_codec.errors import CorruptError, DamagedAuxiliaryWarning, InputError
from tests.conftest import SHIPPED
from tests.test_codec import Recording, psnr


def checkerboard() -> np.ndarray:
    """Return uint8 [192, 192, 3] with black and white in turn, a pixel each."""
    rows, columns = np.mgrid[:192, :192]
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, 2)


def page() -> np.ndarray:
    """Return uint8 [200, 320, 3], a page of small text."""
    image = Image.new("RGB", (320, 200), "white")
    text = "\n".join(f"{k}: the quick brown fox jumps over the lazy dog, {k * 7919}" for k in range(15))
    ImageDraw.Draw(image).multiline_text((4, 4), text, "black", ImageFont.load_default(10), spacing=2)
    return np.asarray(image)


def png_bytes(picture: np.ndarray) -> int:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.tell()


GRAPHICS = pytest.mark.parametrize("picture", [checkerboard(), page()], ids=["checkerboard", "page"])


def replaced(stream: bytes, payload: bytes) -> bytes:
    """Return a stream whose lossless chunk has this content, with checksums that fit it."""
    read = container.read(stream, max_pixels=1 << 30)
    chunks = [
        (c.type, payload if c.type == ChunkType.LOSSLESS else bytes(c.payload or b"")) for c in read.chunks
    ]
    return container.write(read.header, chunks)


@pytest.fixture(scope="module")
def stream(shipped: Codec) -> bytes:
    """Return the stream of the page, which has its pixels without loss."""
    return shipped.encode(page(), min_psnr=36)


# --- what is written ----------------------------------------------------------------------------------------------


@GRAPHICS
def test_what_the_networks_cannot_show_comes_back_bit_for_bit(shipped: Codec, picture: np.ndarray) -> None:
    floor = 36
    best = psnr(picture, shipped.decode(shipped.encode(picture, 100)))
    assert best < floor, "else the test is of something else"
    made = shipped.encode(picture, min_psnr=floor)
    np.testing.assert_array_equal(shipped.decode(made, strict=True), picture)
    assert [c["type"] for c in shipped.info(made)["chunks"]] == ["primary", "lossless"]


@GRAPHICS
def test_it_takes_less_than_a_png(shipped: Codec, picture: np.ndarray) -> None:
    assert len(shipped.encode(picture, min_psnr=36)) < png_bytes(picture)


def test_the_base_beside_it_is_of_quality_0_unless_another_is_asked_for(
    shipped: Codec, stream: bytes
) -> None:
    assert (shipped.info(stream)["quality"], shipped.info(stream)["base_quality"]) == (50, 0)
    plain = shipped.encode(page(), base_quality=0)
    np.testing.assert_array_equal(shipped.decode(stream, beta=1), shipped.decode(plain, beta=1))
    np.testing.assert_array_equal(shipped.decode(stream, layers=0), shipped.decode(plain, layers=0))
    finer = shipped.encode(page(), base_quality=30, min_psnr=36)
    expected = shipped.decode(shipped.encode(page(), base_quality=30), beta=1)
    np.testing.assert_array_equal(shipped.decode(finer, beta=1), expected)


def test_a_photo_that_has_the_psnr_is_the_same_stream_as_ever(shipped: Codec, photo: np.ndarray) -> None:
    crop = np.ascontiguousarray(photo[:192, :192])
    plain = shipped.encode(crop, 60)
    has = psnr(crop, shipped.decode(plain))
    assert shipped.encode(crop, 60, min_psnr=has - 0.01) == plain
    np.testing.assert_array_equal(shipped.decode(shipped.encode(crop, 60, min_psnr=has + 0.01)), crop)


def test_a_base_alone_is_measured_by_what_it_shows(shipped: Codec, photo: np.ndarray) -> None:
    crop = np.ascontiguousarray(photo[:128, :128])
    base = shipped.encode(crop, 60, "base")
    has = psnr(crop, shipped.decode(base))
    assert shipped.encode(crop, 60, "base", min_psnr=has - 0.01) == base
    made = shipped.encode(crop, 60, "base", min_psnr=has + 0.01)
    np.testing.assert_array_equal(shipped.decode(made), crop)
    np.testing.assert_array_equal(shipped.decode(made, beta=1), shipped.decode(base))


def test_long_pictures_are_png_because_webp_ends_at_16383_pixels(tiny: Codec) -> None:
    rng = np.random.default_rng(0)
    long = rng.integers(0, 256, (2, 16384, 3), np.uint8)
    np.testing.assert_array_equal(tiny.decode(tiny.encode(long, min_psnr=99)), long)
    assert stored.pack(long).startswith(b"\x89PNG") and stored.pack(long[:, 1:]).startswith(b"RIFF")


def test_odd_sizes_come_back(tiny: Codec) -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (65, 1), (63, 130)):
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        np.testing.assert_array_equal(tiny.decode(tiny.encode(picture, min_psnr=100)), picture)


def test_batches_and_the_command_take_it(shipped: Codec, tmp_path) -> None:
    board = checkerboard()
    (made,) = shipped.encode_batch([board], min_psnr=36)
    np.testing.assert_array_equal(next(shipped.decode_batch([made])), board)
    Image.fromarray(board).save(tmp_path / "board.png")
    coded, restored = str(tmp_path / "board.rdc"), str(tmp_path / "restored.png")
    for words in (
        ["encode", str(tmp_path / "board.png"), "-o", coded, "--min-psnr", "36"],
        ["verify", coded],
        ["decode", coded, "-o", restored],
    ):
        done = CliRunner().invoke(rdc, words)
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.asarray(Image.open(restored)), board)


# --- what is read -------------------------------------------------------------------------------------------------


def test_no_network_runs_for_the_exact_picture(stream: bytes) -> None:
    bundle = Bundle(SHIPPED)
    backend = Recording(bundle)
    codec = Codec(bundle, backend=backend)
    codec.decode(stream)
    assert backend.graphs == []
    codec.decode(stream, beta=1)
    codec.decode(stream, beta=0.5)
    assert backend.graphs == ["decode_base", "decode_base"]


def test_between_it_is_the_base_and_the_rest_of_the_difference(shipped: Codec, stream: bytes) -> None:
    base = shipped.decode(stream, beta=1).astype(float)
    expected = np.rint(base + 0.75 * (page() - base))
    np.testing.assert_array_equal(shipped.decode(stream, beta=0.25), expected)


def test_a_reader_of_before_skips_what_it_does_not_know(shipped: Codec, stream: bytes) -> None:
    """A type that no reader knows stands in for the one that an old reader does not."""
    read = container.read(stream, max_pixels=1 << 30)
    chunks = [(99 if c.type == ChunkType.LOSSLESS else c.type, bytes(c.payload or b"")) for c in read.chunks]
    old = container.write(read.header, chunks)
    np.testing.assert_array_equal(shipped.decode(old), shipped.decode(stream, beta=1))


def gif() -> bytes:
    file = io.BytesIO()
    Image.fromarray(page()).save(file, "GIF")
    return file.getvalue()


def lossy() -> bytes:
    file = io.BytesIO()
    Image.fromarray(page()).save(file, "WEBP", quality=50)
    return file.getvalue()


def grey() -> bytes:
    file = io.BytesIO()
    Image.fromarray(page()).convert("L").save(file, "PNG")
    return file.getvalue()


def broken_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(page()).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[60:80] = bytes(20)
    return bytes(data)


GOOD = stored.pack(page())


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "is neither WebP nor PNG"),
        (gif(), "is neither WebP nor PNG"),
        (lossy(), "is no plain WebP file without loss"),
        (grey(), "is no PNG of 8-bit RGB without interlacing"),
        (stored.pack(page()[:100]), "is of 320x100, not of 320x200"),
        (GOOD + bytes(2), "is no plain WebP file without loss"),
        (GOOD[:40] + bytes(len(GOOD) - 40), "lossless picture "),
        (broken_png(), "cannot be read"),
    ],
    ids=["empty", "gif", "lossy", "grey", "size", "longer", "damaged", "broken png"],
)
def test_what_is_not_the_picture_costs_it_and_leaves_the_base(
    shipped: Codec, stream: bytes, payload: bytes, said: str
) -> None:
    bad = replaced(stream, payload)
    with pytest.warns(DamagedAuxiliaryWarning, match=said):
        made = shipped.decode(bad)
    np.testing.assert_array_equal(made, shipped.decode(stream, beta=1))
    with pytest.raises(CorruptError, match=said):
        shipped.decode(bad, strict=True)
    report = shipped.verify(bad)
    assert not report.ok and report.decodable and said in (report.problem or "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shipped.decode(bad, beta=1)  # who does not want it is not told


@pytest.mark.parametrize("cut", [1, 200])
def test_a_stream_that_is_cut_off_still_has_its_base(shipped: Codec, stream: bytes, cut: int) -> None:
    with pytest.warns(DamagedAuxiliaryWarning, match="lossless picture is truncated"):
        made = shipped.decode(stream[:-cut])
    np.testing.assert_array_equal(made, shipped.decode(stream, beta=1))
    end = shipped.info(stream)["chunks"][1]["offset"]
    with pytest.raises(CorruptError, match="lossless picture is missing"):
        shipped.decode(stream[:end], strict=True)


def test_a_damaged_byte_is_found_before_the_file_is_read(shipped: Codec, stream: bytes) -> None:
    damaged = bytearray(stream)
    damaged[-5] ^= 1
    with pytest.warns(DamagedAuxiliaryWarning, match="lossless picture is damaged"):
        shipped.decode(bytes(damaged))
    assert shipped.verify(bytes(damaged)).problem == "lossless picture is damaged"


def test_a_stream_without_its_base_is_no_picture_whatever_follows(shipped: Codec, stream: bytes) -> None:
    damaged = bytearray(stream)
    damaged[shipped.info(stream)["chunks"][0]["offset"] + 3] ^= 1
    with pytest.raises(CorruptError, match="primary data is damaged"):
        shipped.decode(bytes(damaged))


def test_a_small_file_cannot_ask_for_memory(shipped: Codec, stream: bytes) -> None:
    """The size in the file's own header is compared before Pillow makes room for it."""
    sides = struct.pack("<I", (16383 - 1) | (16383 - 1) << 14)
    bomb = GOOD[:21] + sides + GOOD[25:]
    with pytest.raises(CorruptError, match=r"^is of 16383x16383, not of 320x200$"):
        stored.unpack(bomb, 200, 320, channels=3)
    with pytest.warns(DamagedAuxiliaryWarning, match="16383x16383"):
        shipped.decode(replaced(stream, bomb))


def test_it_is_there_once_and_after_the_primary_chunk(stream: bytes) -> None:
    read = container.read(stream, max_pixels=1 << 30)
    (kind, primary), (other, exact) = ((c.type, bytes(c.payload or b"")) for c in read.chunks)
    assert (kind, other) == (1, 40)
    for chunks in ([(40, exact), (1, primary)], [(1, primary), (40, exact), (40, exact)]):
        with pytest.raises(InputError):
            container.write(read.header, chunks)


def test_psnr_is_exact_for_wide_rows() -> None:
    white, black = np.full((1, 40_000, 3), 255, np.uint8), np.zeros((1, 40_000, 3), np.uint8)
    assert lossless.psnr(white, black) == 0 and lossless.psnr(white, white) == float("inf")
    assert lossless.psnr(white, white - np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
