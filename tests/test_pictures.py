"""Pictures of every kind: what becomes of each by itself, what needs an option, and what comes back."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import in_depth, rdc
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, features

from rdc_codec import Codec, container, stored
from rdc_codec.container import ChunkType
from rdc_codec.errors import CorruptError, DamagedMetadataWarning, InputError
from rdc_codec.pixels import Rules, composite, planes_of, size_of, to_8bit

WHITE = (255, 255, 255)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def types(codec: Codec, stream: bytes) -> list[str]:
    return [c["type"] for c in codec.info(stream)["chunks"]]


@pytest.fixture
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[100:170, 150:240])


@pytest.fixture
def mask() -> np.ndarray:
    """Return uint8 [70, 90]: an ellipse with a soft edge."""
    image = Image.new("L", (360, 280))
    ImageDraw.Draw(image).ellipse((40, 30, 320, 250), fill=255)
    return np.asarray(image.resize((90, 70), Image.Resampling.LANCZOS))


def png(
    width: int, height: int, bits: int, colour: int, data: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Return a PNG file of rows that begin with their filter, with further chunks before and after its pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before
    return start + chunk(b"IDAT", zlib.compress(data)) + after + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# --- the rule of each mode ----------------------------------------------------------------------------------------

BY_ITSELF = {
    "RGB": "RGB", "P": "RGB", "L": "L", "1": "L", "RGBA": "RGBA", "PA": "RGBA", "LA": "LA",
}  # fmt: skip
CONVERTED = {
    "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA",
}  # fmt: skip
ROUNDED = ["I;16", "I;16L", "I;16B", "I;16N", "I"]


def of_mode(mode: str) -> Image.Image:
    """Return a picture of 12 x 8 pixels of a mode, half transparent where the mode can be."""
    image = Image.new({"PA": "PA", "LA": "LA", "La": "LA"}.get(mode, "RGBA"), (12, 8), 200)
    if mode in ("LA", "La"):
        image = Image.merge("LA", [Image.new("L", (12, 8), 90), Image.new("L", (12, 8), 128)])
    elif mode == "PA":
        image = Image.new("RGBA", (12, 8), (200, 30, 90, 128)).convert("PA")
    else:
        image = Image.new("RGBA", (12, 8), (200, 30, 90, 128 if mode in ("RGBA", "RGBa") else 255))
    if mode in ("LAB", "HSV", "CMYK", "YCbCr", "1", "L", "P"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


@pytest.mark.parametrize("mode", BY_ITSELF)
def test_modes_that_are_taken_by_themselves(tiny: Codec, mode: str) -> None:
    image = of_mode(mode)
    assert image.mode == mode and size_of(image) == (8, 12)
    assert tiny.decode_image(tiny.encode(image)).mode == BY_ITSELF[mode]


@pytest.mark.filterwarnings("ignore::rdc_codec.errors.DroppedMetadataWarning")
@pytest.mark.parametrize("mode", CONVERTED)
def test_other_colour_spaces_need_an_option_that_the_error_names(tiny: Codec, mode: str) -> None:
    image = of_mode(mode)
    assert image.mode == mode
    with pytest.raises(InputError, match=rf"mode {mode} .*convert=True \(--convert\)"):
        tiny.encode(image)
    assert tiny.decode_image(tiny.encode(image, convert=True)).mode == CONVERTED[mode]
    planes = planes_of(image, Rules(convert=True))
    through = image.convert(CONVERTED[mode]).convert("RGB")
    np.testing.assert_array_equal(planes.rgb, np.asarray(through))
    assert planes.converted


@pytest.mark.parametrize("mode", ROUNDED)
def test_16_bits_need_an_option_that_the_error_names(tiny: Codec, mode: str) -> None:
    image = Image.new(mode, (12, 8), 40_000)
    with pytest.raises(InputError, match=rf"mode {mode} .*to_8bit=True \(--to-8bit\)"):
        tiny.encode(image)
    assert tiny.decode_image(tiny.encode(image, to_8bit=True)).mode == "L"
    planes = planes_of(image, Rules(to_8bit=True))
    assert (planes.rgb == round(40_000 * 255 / 65535)).all() and planes.grey


@pytest.mark.parametrize("value", [-1, 65_536])
def test_32_bit_numbers_beyond_16_bits_have_no_rule(tiny: Codec, value: int) -> None:
    with pytest.raises(InputError, match="outside 0 to 65535"):
        tiny.encode(Image.new("I", (8, 8), value), to_8bit=True)


def test_floating_point_is_always_refused(tiny: Codec) -> None:
    rules = {"convert": True, "to_8bit": True, "background": WHITE}
    with pytest.raises(InputError, match="mode F"):
        tiny.encode(Image.new("F", (8, 8)), **rules)  # type: ignore[arg-type]
    for kind in (np.float16, np.float32, np.float64):
        with pytest.raises(InputError, match="must be uint8, got float"):
            tiny.encode(np.zeros((8, 8, 3), kind), **rules)  # type: ignore[arg-type]


def test_every_mode_of_pillow_has_a_rule() -> None:
    """Modes that Pillow's readers give, beside those above, would need a line here."""
    modes = {*Image.MODES, "PA", "La", "RGBX", "RGBa", "I;16", "I;16L", "I;16B", "I;16N"}
    assert modes == {*BY_ITSELF, *CONVERTED, *ROUNDED, "F"}


# --- arrays -------------------------------------------------------------------------------------------------------


def test_arrays_may_be_grey_or_have_alpha(tiny: Codec, crop: np.ndarray, mask: np.ndarray) -> None:
    grey = crop[..., 1]
    assert tiny.encode(grey) == tiny.encode(grey[..., None]) == tiny.encode(Image.fromarray(grey))
    both = np.dstack([crop, mask])
    assert tiny.encode(both) == tiny.encode(Image.fromarray(both))
    opaque = np.dstack([crop, np.full_like(mask, 255)])
    assert tiny.encode(opaque) == tiny.encode(crop)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_arrays_of_16_bits_are_rounded_where_it_is_asked_for(tiny: Codec, channels: tuple[int, ...]) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, *channels)).astype(np.uint16)
    with pytest.raises(InputError, match="got uint16: to_8bit=True"):
        tiny.encode(deep)
    shallow = np.round(deep * (255 / 65535)).astype(np.uint8)
    assert tiny.encode(deep, to_8bit=True) == tiny.encode(shallow)


def test_16_bits_are_rounded_to_the_nearest_level() -> None:
    values = np.arange(65536).reshape(256, 256)
    np.testing.assert_array_equal(to_8bit(values), np.round(values * (255 / 65535)))


def test_files_of_16_bit_colour_are_taken_as_pillow_cuts_them(tiny: Codec, tmp_path: Path) -> None:
    ppm = b"P6\n2 2\n65535\n" + bytes(range(24))
    with pytest.raises(InputError, match=r"16 bits a channel .*--to-8bit"):
        tiny.encode(Image.open(io.BytesIO(ppm)))
    expected = np.asarray(Image.open(io.BytesIO(ppm)))
    assert tiny.encode(Image.open(io.BytesIO(ppm)), to_8bit=True) == tiny.encode(expected)


ROWS = {bits: bytes([0, *range(1, 2 * bits + 1)]) * 4 for bits in (1, 2, 4, 8)}  # 16 x 4 samples
DEEP_KEY = np.array([[0, 300, 301, 0]] * 4, ">u2")
ODD_FILES = {
    "1 bit": (png(16, 4, 1, 0, ROWS[1]), "L", {}),
    "2 bits": (png(16, 4, 2, 0, ROWS[2]), "L", {}),
    "4 bits": (png(16, 4, 4, 0, ROWS[4]), "L", {}),
    "transparent grey": (png(16, 4, 8, 0, ROWS[8], chunk(b"tRNS", b"\0\5")), "LA", {}),
    "palette with three alphas": (
        png(3, 2, 8, 3, b"\0\0\1\2" * 2, chunk(b"PLTE", bytes(range(9))) + chunk(b"tRNS", b"\0\x64\xff")), "RGBA", {},
    ),
    "16 bits with alpha": (png(4, 4, 16, 6, (b"\0" + bytes(range(32))) * 4), "RGBA", {"to_8bit": True}),
    "16 bits of grey with alpha": (png(4, 4, 16, 4, (b"\0" + bytes(range(16))) * 4), "RGBA", {"to_8bit": True}),
    "16 bits of grey, one of them transparent": (
        png(4, 4, 16, 0, b"".join(b"\0" + row.tobytes() for row in DEEP_KEY), chunk(b"tRNS", b"\x01\x2c")),
        "LA", {"to_8bit": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_FILES)
def test_png_files_of_odd_kinds(tiny: Codec, name: str) -> None:
    data, mode, needed = ODD_FILES[name]
    if needed:
        with pytest.raises(InputError, match="to_8bit"):
            tiny.encode(Image.open(io.BytesIO(data)))
    image = Image.open(io.BytesIO(data))
    stream = tiny.encode(image, **needed)  # type: ignore[arg-type]
    assert tiny.decode_image(stream).mode == mode
    if name.endswith("transparent"):
        assert (np.asarray(tiny.decode_image(stream))[..., 1] == [255, 0, 255, 255]).all()


# --- transparency -------------------------------------------------------------------------------------------------


def planes(shape: tuple[int, int], seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if kind == "steps":
        return (
            np.kron(rng.integers(0, 2, shape), np.ones((8, 8)))[: shape[0], : shape[1]].astype(np.uint8) * 255
        )
    return np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.uint8)


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(0, 1 << 32),
    st.sampled_from(["noise", "steps", "ramp"]),
    st.booleans(),
)
def test_alpha_comes_back_exactly(tiny: Codec, shape, seed: int, kind: str, grey: bool) -> None:
    plane = planes(shape, seed, kind)
    plane.flat[seed % plane.size] = seed % 255  # not opaque everywhere
    colours = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
    image = Image.fromarray(colours).convert("L" if grey else "RGB")
    image.putalpha(Image.fromarray(plane))
    back = tiny.decode_image(tiny.encode(image, layers="base"))
    assert back.mode == ("LA" if grey else "RGBA") and back.size == shape[::-1]
    np.testing.assert_array_equal(np.asarray(back)[..., -1], plane)


test_alpha_comes_back_exactly_in_depth = in_depth(
    test_alpha_comes_back_exactly,
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.integers(0, 1 << 32),
    st.sampled_from(["noise", "steps", "ramp"]),
    st.booleans(),
    examples=500,
)


@pytest.mark.parametrize("shape", [(1, 16383), (16384, 1), (3, 20000)])
def test_planes_too_long_for_webp_are_png(shape: tuple[int, int]) -> None:
    plane = planes(shape, 3, "noise")
    payload = stored.pack(plane)
    webp = max(shape) < 16384 and features.check("webp")
    assert payload[:4] == (b"RIFF" if webp else b"\x89PNG")
    np.testing.assert_array_equal(stored.unpack(memoryview(payload), *shape, channels=1), plane)


def test_transparency_of_palettes_and_single_colours_is_kept(tiny: Codec) -> None:
    palette = Image.new("RGBA", (16, 16), (10, 20, 30, 128)).quantize()
    assert palette.mode == "P"
    assert tiny.decode_image(tiny.encode(palette)).getchannel("A").getextrema() == (128, 128)
    key = Image.new("RGB", (8, 8), (9, 8, 7))
    key.putpixel((3, 2), (1, 1, 1))
    key.info["transparency"] = (9, 8, 7)
    back = tiny.decode_image(tiny.encode(key))
    assert back.mode == "RGBA" and back.getchannel("A").getextrema() == (0, 255)
    assert back.getpixel((3, 2))[3] == 255  # type: ignore[index]


def test_a_background_takes_the_place_of_transparency(
    tiny: Codec, crop: np.ndarray, mask: np.ndarray
) -> None:
    """Blended as Pillow does it, within its rounding."""
    image = Image.fromarray(np.dstack([crop, mask]))
    for colour in (WHITE, (0, 0, 0), (10, 200, 90)):
        base = Image.new("RGBA", image.size, colour)
        expected = np.asarray(Image.alpha_composite(base, image).convert("RGB"))
        blended = composite(crop, mask, colour)
        assert np.abs(blended.astype(int) - expected).max() <= 1
        stream = tiny.encode(image, background=colour)
        assert stream == tiny.encode(blended)
    exact = np.round(crop * (mask[..., None] / 255) + 255 * (1 - mask[..., None] / 255))
    assert np.abs(composite(crop, mask, WHITE) - exact).max() <= 1
    assert tiny.encode(image.convert("RGB"), background=WHITE) == tiny.encode(crop)


def test_grey_on_a_grey_background_stays_grey(tiny: Codec, mask: np.ndarray) -> None:
    image = Image.merge("LA", [Image.fromarray(mask[::-1].copy()), Image.fromarray(mask)])
    assert tiny.decode_image(tiny.encode(image, background=WHITE)).mode == "L"
    assert tiny.decode_image(tiny.encode(image, background=(255, 0, 0))).mode == "RGB"


@pytest.mark.parametrize("colour", [(1, 2), (1, 2, 256), (1, 2, -1), (0.5, 0, 0), "white", 255])
def test_a_background_is_three_numbers(tiny: Codec, crop: np.ndarray, colour) -> None:
    with pytest.raises(InputError, match="background"):
        tiny.encode(crop, background=colour)
    with pytest.raises(InputError, match="background"):
        tiny.encode_batch([], background=colour, on_error="return")


@pytest.mark.parametrize("name", ["convert", "to_8bit"])
def test_switches_are_true_or_false(tiny: Codec, crop: np.ndarray, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be True or False"):
        tiny.encode(crop, **{name: 1})  # type: ignore[arg-type]


def test_what_cannot_be_seen_costs_little(shipped: Codec, photo: np.ndarray) -> None:
    """Pixels with alpha above 0 are coded as they are; the others become smooth."""
    image = Image.new("L", photo.shape[1::-1])
    ImageDraw.Draw(image).ellipse((90, 60, 360, 240), fill=255)
    plane = np.asarray(image)
    taken = planes_of(np.dstack([photo, plane]))
    np.testing.assert_array_equal(taken.rgb[plane > 0], photo[plane > 0])
    steps = np.abs(np.diff(taken.rgb.astype(int), axis=1))[:, :, 1]
    hidden = (plane[:, 1:] == 0) & (plane[:, :-1] == 0)
    assert steps[hidden].mean() < 1 < np.abs(np.diff(photo.astype(int), axis=1))[:, :, 1][hidden].mean()
    pixels = {t: len(shipped.encode(p, metadata=False)) for t, p in (("as is", photo), ("smooth", taken.rgb))}
    assert pixels["smooth"] < 0.8 * pixels["as is"]
    back = np.asarray(shipped.decode_image(shipped.encode(np.dstack([photo, plane]))))
    seen = plane == 255
    alone = shipped.decode(shipped.encode(photo))
    assert psnr(back[..., :3][seen], photo[seen]) > psnr(alone[seen], photo[seen]) - 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (64, 65)])
def test_pictures_that_are_transparent_everywhere(tiny: Codec, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 4)).astype(np.uint8)
    image[..., 3] = 0
    assert planes_of(image).rgb.max() == 0
    assert (np.asarray(tiny.decode_image(tiny.encode(image)))[..., 3] == 0).all()


def test_a_batch_takes_alpha_before_its_buffer_is_filled_again(tiny: Codec, crop: np.ndarray) -> None:
    def frames():
        buffer = np.dstack([crop, crop[..., 0]])
        for level in (0, 100, 200):
            buffer[..., 3] = level
            yield buffer
        buffer[:] = 7

    found = [
        tiny.decode_image(s).getchannel("A").getextrema() for s in tiny.encode_batch(frames(), workers=3)
    ]
    assert found == [(0, 0), (100, 100), (200, 200)]


# --- damaged and hostile alpha ------------------------------------------------------------------------------------


def with_alpha(codec: Codec, payload: bytes, kind: ChunkType = ChunkType.ALPHA) -> bytes:
    """Return a stream of 12 x 8 pixels with this content of a chunk, whose checksum is right."""
    parsed = container.read(codec.encode(np.zeros((8, 12, 3), np.uint8)), max_pixels=1 << 20)
    chunks = [(c.type, bytes(c.payload or b"")) for c in parsed.chunks]
    return container.write(parsed.header, [*chunks, (kind, payload)])


def saved(image: Image.Image, picture_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


def huge_png() -> bytes:
    """Return a PNG file whose head says 12 x 8 and whose data are 64 MiB of zeros."""
    return png(12, 8, 8, 0, bytes(1 << 26))


PLANE = Image.new("L", (12, 8), 77)
HOSTILE = {
    "empty": b"",
    "short": b"RIFF",
    "text": b"no picture at all, but a text of some length",
    "JPEG": saved(PLANE, "JPEG"),
    "other size": saved(Image.new("L", (13, 8)), "WEBP", lossless=True),
    "other size of PNG": saved(Image.new("L", (12, 9)), "PNG"),
    "largest size": saved(PLANE, "WEBP", lossless=True)[:21] + b"\xff\xff\xff\x0f" + bytes(40),
    "lossy": saved(PLANE, "WEBP", lossless=False),
    "with alpha": saved(Image.new("RGBA", (12, 8), (1, 2, 3, 4)), "WEBP", lossless=True),
    "frames": saved(PLANE, "WEBP", lossless=True, save_all=True, append_images=[Image.new("L", (12, 8))]),
    "colours": saved(Image.new("RGB", (12, 8)), "PNG"),
    "16 bits": saved(Image.new("I;16", (12, 8)), "PNG"),
    "cut PNG": saved(PLANE, "PNG")[:-20],
    "cut WebP": saved(PLANE, "WEBP", lossless=True)[:-8],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_alpha_that_is_not_as_it_should_be_is_left_out(tiny: Codec, name: str) -> None:
    stream = with_alpha(tiny, HOSTILE[name])
    with pytest.warns(DamagedMetadataWarning, match="alpha: "):
        assert tiny.decode_image(stream).mode == "RGB"
    with pytest.raises(CorruptError, match="alpha: "):
        tiny.decode_image(stream, strict=True)
    assert not tiny.verify(stream).ok and tiny.verify(stream).decodable


@pytest.mark.parametrize("payload", [saved(PLANE, "PNG"), saved(PLANE, "WEBP", lossless=True)])
def test_either_type_of_file_is_read(tiny: Codec, payload: bytes) -> None:
    assert tiny.decode_image(with_alpha(tiny, payload)).getchannel("A").getextrema() == (77, 77)


def test_the_plane_is_never_larger_than_the_picture(tiny: Codec) -> None:
    assert tiny.decode_image(with_alpha(tiny, huge_png())).getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\2", b"\1\1"])
def test_a_mark_of_grey_that_is_not_known_is_left_out(tiny: Codec, payload: bytes) -> None:
    with pytest.warns(DamagedMetadataWarning, match="mark of grey"):
        assert tiny.decode_image(with_alpha(tiny, payload, ChunkType.GREY)).mode == "RGB"


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_alpha_costs_alpha(
    tiny: Codec, crop: np.ndarray, mask: np.ndarray, step: int
) -> None:
    stream = tiny.encode(np.dstack([crop, mask]), layers="base")
    chunk = tiny.info(stream)["chunks"][-1]
    assert chunk["type"] == "alpha"
    for position in range(chunk["offset"], chunk["offset"] + chunk["length"], step):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << position % 8
        with pytest.warns(DamagedMetadataWarning, match="alpha: damaged"):
            image = tiny.decode_image(damaged)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), tiny.decode(damaged))


@given(st.binary(max_size=80), st.sampled_from([b"", HOSTILE["cut PNG"][:33], HOSTILE["cut WebP"][:25]]))
@settings(max_examples=200)
def test_any_bytes_as_alpha_are_a_plane_or_corrupt(rest: bytes, start: bytes) -> None:
    try:
        assert stored.unpack(memoryview(start + rest), 8, 12, channels=1).shape == (8, 12)
    except CorruptError as error:
        assert str(error)


# --- grey ---------------------------------------------------------------------------------------------------------


def test_grey_comes_back_grey_smaller_and_nearer(shipped: Codec, photo: np.ndarray) -> None:
    """8 to 13 % fewer bytes than the same photo in colour, and 0.15 dB or more above its green channel alone."""
    image = Image.fromarray(photo).convert("L")
    grey = np.asarray(image)
    stream = shipped.encode(image)
    assert len(stream) < 0.95 * len(shipped.encode(photo))
    back = shipped.decode_image(stream)
    assert back.mode == "L"
    pixels = shipped.decode(stream)
    np.testing.assert_array_equal(np.asarray(back), np.round(pixels.astype(float).mean(axis=2)))
    assert psnr(grey, np.asarray(back)) > psnr(grey[..., None], pixels) + 0.1
    repeated = np.repeat(grey[..., None], 3, axis=2)
    assert len(stream) - len(shipped.encode(repeated)) == 7


def test_a_machine_reads_grey_as_three_channels(tiny: Codec, crop: np.ndarray) -> None:
    stream = tiny.encode(crop[..., 0])
    assert tiny.decode(stream).shape == (70, 90, 3)
    assert tiny.decode_image(stream, beta=1).mode == "L"


# --- what stays the same ------------------------------------------------------------------------------------------


def test_pictures_without_anything_beside_them_are_the_bytes_they_were(tiny: Codec, crop: np.ndarray) -> None:
    stream = tiny.encode(crop)
    assert types(tiny, stream) == ["primary", *["aux_slice"] * tiny.slices]
    assert tiny.encode(Image.fromarray(crop)) == stream
    rules = {"metadata": False, "background": WHITE, "convert": True, "to_8bit": True}
    assert tiny.encode(crop, **rules) == stream  # type: ignore[arg-type]
    assert tiny.decode_image(stream).mode == "RGB"


def test_a_tiff_file_that_lies_on_its_side_has_the_size_of_its_pixels(tiny: Codec, tmp_path: Path) -> None:
    """Pillow turns it while it decodes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), (200, 0, 0)).save(tmp_path / "a.tif", tiffinfo=exif)
    with Image.open(tmp_path / "a.tif") as image:
        stream = tiny.encode(image)
        assert tiny.decode_image(stream).size == image.size
        assert tiny.decode(stream).shape[:2] == image.size[::-1]


# --- on the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def logo(crop: np.ndarray, mask: np.ndarray, tmp_path: Path) -> Path:
    Image.fromarray(np.dstack([crop, mask])).save(tmp_path / "logo.png")
    return tmp_path / "logo.png"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif", ".jp2", ".tga", ".sgi", ".qoi"])
def test_alpha_goes_through_files(logo: Path, mask: np.ndarray, tmp_path: Path, suffix: str) -> None:
    assert rdc("encode", logo, "-o", tmp_path / "a.rdc").output == ""
    if suffix == ".qoi" and "QOI" not in Image.SAVE:
        pytest.skip("this Pillow does not write QOI")
    assert rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / f"back{suffix}").output == ""
    with Image.open(tmp_path / f"back{suffix}") as image:
        found = np.asarray(image.convert("RGBA"))[..., 3].astype(int)
    if suffix == ".avif":  # which Pillow writes with losses unless it is told otherwise
        assert np.abs(found - mask).mean() < 1
    else:
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm", ".gif"])
def test_alpha_is_never_lost_without_a_word(logo: Path, tmp_path: Path, suffix: str) -> None:
    rdc("encode", logo, "-o", tmp_path / "a.rdc")
    target = tmp_path / f"back{suffix}"
    done = rdc("decode", tmp_path / "a.rdc", "-o", target)
    assert done.exit_code == 2 and "--background" in done.stderr and not target.exists()
    assert rdc("decode", tmp_path / "a.rdc", "-o", target, "--background", "white").output == ""
    with Image.open(target) as image:
        assert min(image.convert("RGB").getpixel((0, 0))) > 240  # type: ignore[type-var,arg-type]


def test_options_of_encode(logo: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "a.rdc", tmp_path / "a.png"

    def mode_of(source: Path, *options: str) -> str:
        done = rdc("encode", source, "-o", out, *options)
        if done.exit_code:
            assert len(done.stderr.splitlines()) == 1 and not out.exists()
            return done.stderr
        assert rdc("decode", out, "-o", back, "--overwrite").exit_code == 0
        out.unlink()
        with Image.open(back) as image:
            return image.mode

    assert mode_of(logo) == "RGBA"
    assert mode_of(logo, "--background", "#102030") == "RGB"
    Image.new("CMYK", (8, 8)).save(tmp_path / "press.jpg")
    assert "--convert" in mode_of(tmp_path / "press.jpg")
    assert mode_of(tmp_path / "press.jpg", "--convert") == "RGB"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert "--to-8bit" in mode_of(tmp_path / "deep.png")
    assert mode_of(tmp_path / "deep.png", "--to-8bit") == "L"
    Image.new("F", (8, 8)).save(tmp_path / "float.tif")
    assert "mode F" in mode_of(tmp_path / "float.tif", "--to-8bit", "--convert")
    with Image.open(logo) as image:
        image.convert("L").save(tmp_path / "grey.jpg")
    assert mode_of(tmp_path / "grey.jpg") == "L"


@pytest.mark.parametrize("colour", ["", "whitish", "#12345", "#11223344"])
def test_a_colour_that_is_none_is_an_error(logo: Path, tmp_path: Path, colour: str) -> None:
    done = rdc("encode", logo, "-o", tmp_path / "a.rdc", "--background", colour)
    assert done.exit_code == 2 and done.stderr.startswith("rdc: --background must be a colour")


def test_warnings_are_none_for_pictures_that_lose_nothing(logo: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rdc("encode", logo, "-o", tmp_path / "a.rdc").output == ""
        assert rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / "b.png").output == ""
