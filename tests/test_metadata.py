"""ICC profiles, Exif and XMP data go through a stream as they are, and damage in them costs them alone."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import rdc
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from rdc_codec import Codec, container
from rdc_codec.container import ChunkType
from rdc_codec.errors import (
    CorruptError,
    DamagedAuxiliaryWarning,
    DamagedMetadataWarning,
    DroppedMetadataWarning,
    InputError,
)
from rdc_codec.metadata import MAX_BYTES, Metadata

ORIENTATION, MAKE, ARTIST, LENS = 0x0112, 0x010F, 0x013B, 0xA434
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:title="Caf\xc3\xa9"/></x:xmpmeta>'
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}


@functools.cache
def profile(space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile that names a colour space (and is sRGB otherwise); it holds the time when it was made."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[16:20] = space
    return bytes(made)


def exif(orientation: int | None = None) -> bytes:
    made = Image.Exif()
    made[MAKE] = "Maker"
    made[ARTIST] = "Somebody"
    made.get_ifd(0x8769)[LENS] = "A lens"
    if orientation is not None:
        made[ORIENTATION] = orientation
    return made.tobytes()


@pytest.fixture
def picture(photo: np.ndarray) -> Image.Image:
    """Return a small photo that has all three."""
    image = Image.fromarray(photo[:70, :90])
    image.info.update(icc_profile=profile(), exif=exif(), xmp=XMP)
    return image


def types(codec: Codec, stream: bytes) -> list[str]:
    return [c["type"] for c in codec.info(stream)["chunks"]]


def told(image: Image.Image) -> dict[int, object]:
    """Return what the Exif data of an image says, wherever its file keeps them."""
    found = image.getexif()
    return {MAKE: found.get(MAKE), ARTIST: found.get(ARTIST), LENS: found.get_ifd(0x8769).get(LENS)}


SAID = {MAKE: "Maker", ARTIST: "Somebody", LENS: "A lens"}


# --- in Python ----------------------------------------------------------------------------------------------------


def test_metadata_of_a_pil_image_comes_back_as_it_was(tiny: Codec, picture: Image.Image) -> None:
    stream = tiny.encode(picture)
    assert types(tiny, stream)[-3:] == ["icc", "exif", "xmp"]
    image = tiny.decode_image(stream)
    assert image.info == picture.info
    np.testing.assert_array_equal(np.asarray(image), tiny.decode(stream))


def test_metadata_changes_no_pixel_and_can_be_left_out(tiny: Codec, picture: Image.Image) -> None:
    bare = tiny.encode(np.asarray(picture))
    assert tiny.encode(picture, metadata=False) == bare
    np.testing.assert_array_equal(tiny.decode(tiny.encode(picture)), tiny.decode(bare))
    assert tiny.decode_image(bare).info == {}


def test_a_batch_keeps_metadata_as_one_by_one(tiny: Codec, picture: Image.Image) -> None:
    plain = np.asarray(picture)
    assert list(tiny.encode_batch([picture, plain])) == [tiny.encode(picture), tiny.encode(plain)]
    assert list(tiny.encode_batch([picture], metadata=False)) == [tiny.encode(plain)]


def test_arrays_may_be_given_metadata(tiny: Codec, photo: np.ndarray, picture: Image.Image) -> None:
    given = Metadata(profile(), exif(), XMP)
    stream = tiny.encode(photo[:70, :90], metadata=given)
    assert stream == tiny.encode(picture)
    assert tiny.encode(picture, metadata=Metadata()) == tiny.encode(photo[:70, :90])


def test_exif_is_kept_without_the_prefix_of_jpeg(tiny: Codec, picture: Image.Image) -> None:
    """As docs/bitstream.md has it; a writer of HEIF files gives it without."""
    chunks = container.read(tiny.encode(picture), max_pixels=1 << 20).chunks
    payload = bytes(next(c.payload for c in chunks if c.type == ChunkType.EXIF) or b"")
    assert exif() == b"Exif\0\0" + payload
    assert Metadata(exif=payload) == Metadata(exif=exif())


@pytest.mark.parametrize("picture_format", FORMATS)
def test_metadata_of_files_is_read_whatever_the_type(
    tiny: Codec, picture: Image.Image, picture_format: str
) -> None:
    """TIFF keeps Exif as tags of its own, of which those about how it stores its pixels are left out."""
    file = io.BytesIO()
    given: dict = {"icc_profile": profile(), "exif": exif()}
    if picture_format == "TIFF":
        given["tiffinfo"] = Image.Exif()
        given["tiffinfo"].load(exif())
        given["tiffinfo"][700] = XMP
    elif picture_format != "PNG":
        given["xmp"] = XMP
    picture.save(file, picture_format, **given)
    image = tiny.decode_image(tiny.encode(Image.open(file)))
    assert image.info["icc_profile"] == profile()
    assert told(image) == SAID
    assert set(image.getexif()) <= {MAKE, ARTIST, 0x8769, 282, 283, 296}
    if picture_format != "PNG":
        assert image.info["xmp"] == XMP


def test_a_colour_profile_that_does_not_fit_what_is_coded_is_left_out_with_a_warning(tiny: Codec) -> None:
    press = Image.new("CMYK", (8, 8), (10, 200, 30, 0))
    press.info["icc_profile"] = profile(b"CMYK")
    with pytest.warns(DroppedMetadataWarning, match="before they were converted"):
        stream = tiny.encode(press, convert=True)
    assert "icc" not in types(tiny, stream)
    wrong = Image.new("RGB", (8, 8))
    wrong.info["icc_profile"] = profile(b"CMYK")
    with pytest.warns(DroppedMetadataWarning, match="colours of type 'CMYK'"):
        assert "icc" not in types(tiny, tiny.encode(wrong))
    wrong.info["icc_profile"] = profile(b"GRAY")
    with pytest.warns(DroppedMetadataWarning, match="'GRAY'"):
        assert "icc" not in types(tiny, tiny.encode(wrong))
    grey = wrong.convert("L")
    assert tiny.decode_image(tiny.encode(grey)).info["icc_profile"] == profile(b"GRAY")


def test_a_gamma_that_has_no_place_in_the_stream_is_said(tiny: Codec) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["gamma"] = 1.0
    with pytest.warns(DroppedMetadataWarning, match="gamma"):
        tiny.encode(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.encode(image, metadata=False)
        image.info["gamma"] = 0.45455
        image.info["chromaticity"] = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
        tiny.encode(image)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda codec, image: codec.encode(image, metadata="all"),
        lambda codec, image: codec.encode_batch([image], metadata=None),
        lambda codec, image: Metadata(exif="text"),
        lambda codec, image: Metadata(icc_profile=bytes(MAX_BYTES + 1)),
    ],
)
def test_what_is_no_metadata_is_refused(tiny: Codec, picture: Image.Image, wrong) -> None:
    with pytest.raises(InputError, match=r"metadata|exif|icc_profile"):
        wrong(tiny, picture)


def test_more_than_a_chunk_may_hold_is_refused_with_the_option_that_helps(tiny: Codec) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["xmp"] = bytes(MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"metadata=False \(--strip\)"):
        tiny.encode(image)
    assert types(tiny, tiny.encode(image, metadata=False)) == types(tiny, tiny.encode(np.asarray(image)))


# --- damage -------------------------------------------------------------------------------------------------------

KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}


@pytest.mark.parametrize("kind", KEYS)
def test_damage_in_a_chunk_costs_that_chunk_alone(tiny: Codec, picture: Image.Image, kind: str) -> None:
    stream = bytearray(tiny.encode(picture))
    chunk = next(c for c in tiny.info(stream)["chunks"] if c["type"] == kind)
    stream[chunk["offset"] + chunk["length"] // 2] ^= 1
    with pytest.warns(DamagedMetadataWarning, match=rf"(?i){kind}.*damaged") as caught:
        image = tiny.decode_image(stream)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert set(picture.info) - set(image.info) == {KEYS[kind]}
    np.testing.assert_array_equal(np.asarray(image), tiny.decode(tiny.encode(picture)))
    with pytest.raises(CorruptError, match=f"(?i){kind}"):
        tiny.decode_image(stream, strict=True)
    report = tiny.verify(stream)
    assert (report.ok, report.decodable, report.slices) == (False, True, tiny.slices)
    assert report.problem is not None and kind in report.problem.lower()


def test_what_decode_does_not_return_it_does_not_check(tiny: Codec, picture: Image.Image) -> None:
    stream = tiny.encode(picture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(tiny.decode(stream[:-1], strict=True), tiny.decode(stream))


def test_a_stream_that_was_cut_loses_metadata_before_pixels(tiny: Codec, picture: Image.Image) -> None:
    stream = tiny.encode(picture)
    chunks = {c["type"]: c["offset"] for c in tiny.info(stream)["chunks"]}
    with pytest.warns(DamagedMetadataWarning) as caught:
        image = tiny.decode_image(stream[: chunks["exif"] + 1])
    assert [str(w.message) for w in caught] == [
        "decoded without it: Exif data: truncated",
        "decoded without it: XMP data: missing",
    ]
    assert set(image.info) == {"icc_profile"}
    with pytest.warns((DamagedAuxiliaryWarning, DamagedMetadataWarning)) as caught:
        tiny.decode_image(stream[: chunks["icc"] - 1])
    assert [w.category for w in caught] == [DamagedAuxiliaryWarning, *[DamagedMetadataWarning] * 3]


def test_a_chunk_that_is_too_long_is_not_taken(tiny: Codec, picture: Image.Image) -> None:
    parsed = container.read(tiny.encode(picture, metadata=False), max_pixels=1 << 20)
    chunks = [(c.type, bytes(c.payload or b"")) for c in parsed.chunks]
    stream = container.write(parsed.header, [*chunks, (ChunkType.ICC, bytes(MAX_BYTES + 1))])
    with pytest.warns(DamagedMetadataWarning, match="at most"):
        assert tiny.decode_image(stream).info == {}


# --- on the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def source(picture: Image.Image, tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    picture.save(path, icc_profile=profile(), exif=exif(6), xmp=XMP, quality=95)
    return path


@pytest.mark.parametrize("picture_format", FORMATS)
def test_files_that_are_decoded_have_the_metadata_of_those_that_were_coded(
    picture_format: str, source: Path, tmp_path: Path
) -> None:
    """A Display P3 photo keeps its look. Its pixels were turned upright, so that nothing turns them again."""
    target = tmp_path / f"back{FORMATS[picture_format]}"
    assert rdc("encode", source, "-o", tmp_path / "a.rdc").output == ""
    assert rdc("decode", tmp_path / "a.rdc", "-o", target).output == ""
    with Image.open(target) as image:
        image.load()
        assert image.format == picture_format and image.size == (70, 90)
        assert image.info["icc_profile"] == profile()
        assert image.info["xmp"] == XMP
        assert told(image) == SAID
        assert image.getexif().get(ORIENTATION, 1) == 1


def test_strip_leaves_it_out(source: Path, tmp_path: Path) -> None:
    rdc("encode", source, "-o", tmp_path / "a.rdc", "--strip")
    rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.size == (70, 90) and not {"icc_profile", "exif", "xmp"} & set(image.info)


def test_what_a_jpeg_file_has_no_room_for_is_named(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.webp", icc_profile=profile(), exif=exif(), xmp=bytes(70_000))
    rdc("encode", tmp_path / "a.webp", "-o", tmp_path / "a.rdc")
    done = rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / "a.jpg")
    assert done.exit_code == 0
    assert done.stderr == (
        f"rdc: {tmp_path / 'a.rdc'}: warning: JPEG files have no room for so much xmp data: it is left out\n"
    )
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["icc_profile"] == profile() and told(image) == SAID


def test_damaged_metadata_is_a_warning_and_verify_names_it(source: Path, tmp_path: Path) -> None:
    rdc("encode", source, "-o", tmp_path / "a.rdc")
    (tmp_path / "a.rdc").write_bytes((tmp_path / "a.rdc").read_bytes()[:-1])
    done = rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / "a.png")
    assert done.exit_code == 0 and "warning: decoded without it: XMP data: truncated" in done.stderr
    done = rdc("verify", tmp_path / "a.rdc")
    assert done.exit_code == 2 and "XMP data: truncated" in done.stderr


def orientations(folder: Path) -> dict[str, bytes]:
    """Return files of 90 x 70 pixels that say in several ways that they lie on their side."""
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    raw = turned.tobytes()
    texts = PngInfo()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    image = Image.new("RGB", (90, 70), (200, 60, 20))
    found = {}
    for name, options in {
        "jpg": {"exif": raw},
        "png": {"exif": raw},
        "text.png": {"pnginfo": texts},
        "tif": {"tiffinfo": turned},
        "webp": {"xmp": b'<x:xmpmeta tiff:Orientation="6"/>'},
    }.items():
        image.save(folder / f"a.{name}", **options)
        found[name] = (folder / f"a.{name}").read_bytes()
    return found


@pytest.mark.parametrize("name", ["jpg", "png", "text.png", "tif", "webp"])
def test_pictures_are_turned_once(name: str, tmp_path: Path) -> None:
    (tmp_path / f"in.{name}").write_bytes(orientations(tmp_path)[name])
    rdc("encode", tmp_path / f"in.{name}", "-o", tmp_path / "a.rdc")
    for _ in range(2):  # a second time changes nothing
        assert rdc("decode", tmp_path / "a.rdc", "-o", tmp_path / "b.png", "--overwrite").exit_code == 0
        with Image.open(tmp_path / "b.png") as image:
            image.load()
            assert image.size == (70, 90) and image.getexif().get(ORIENTATION, 1) == 1
        rdc("encode", tmp_path / "b.png", "-o", tmp_path / "a.rdc")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_data_that_cannot_be_read_cost_themselves_alone(picture, suffix: str, tmp_path: Path) -> None:
    source = tmp_path / f"a{suffix}"
    picture.save(source, exif=b"Exif\0\0no TIFF at all", icc_profile=profile())
    done = rdc("encode", source, "-o", tmp_path / "a.rdc")
    assert done.exit_code == 0 and "warning: the Exif data cannot be read" in done.stderr
    assert [
        c["type"] for c in Codec(backend="onnxruntime").info((tmp_path / "a.rdc").read_bytes())["chunks"]
    ][-1] == "icc"
