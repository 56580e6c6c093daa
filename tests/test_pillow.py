"""With `import rdc_codec.pillow`, streams are files that Pillow opens and saves, and whatever is built on it."""

from __future__ import annotations

import concurrent.futures
import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import TINY
from PIL import Image, UnidentifiedImageError
from surroundings import recorded_warnings

import rdc_codec.pillow as plugin
from rdc_codec import Codec
from rdc_codec.errors import (
    CorruptError,
    DamagedAuxiliaryWarning,
    DamagedMetadataWarning,
    InputError,
    LimitError,
    TruncatedError,
    WrongModelError,
)


@pytest.fixture(autouse=True)
def with_tiny(tiny: Codec) -> Iterator[None]:
    plugin.register(tiny)
    yield
    plugin.register(tiny)


@pytest.fixture
def crop(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[100:170, 150:240])


@pytest.fixture
def file(tiny: Codec, crop: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "a.rdc"
    path.write_bytes(tiny.encode(crop))
    return path


# --- reading ------------------------------------------------------------------------------------------------------


def test_opening_reads_the_header_and_loading_decodes(tiny: Codec, file: Path) -> None:
    class Refusing:
        def decode(self, *_: object) -> None:
            raise CorruptError("networks were asked for")

    plugin.register(Refusing())  # type: ignore[arg-type]
    with Image.open(file) as image:
        assert (image.size, image.mode, image.format) == ((90, 70), "RGB", "RDC")
        assert image.get_format_mimetype() == "image/x-rdc"
        with pytest.raises(OSError, match="networks were asked for"):
            image.load()
        plugin.register(tiny)
        np.testing.assert_array_equal(np.asarray(image), tiny.decode(file.read_bytes()))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_the_mode_is_known_before_anything_is_decoded(
    tiny: Codec, crop: np.ndarray, mode: str, tmp_path: Path
) -> None:
    original = Image.fromarray(crop).convert(mode)
    if "A" in mode:
        original.putalpha(Image.fromarray(crop[..., 2]))
    original.save(tmp_path / "a.rdc")
    with Image.open(tmp_path / "a.rdc") as image:
        assert image.mode == mode
        expected = tiny.decode_image((tmp_path / "a.rdc").read_bytes())
        assert image.tobytes() == expected.tobytes() and image.mode == expected.mode
        if "A" in mode:
            assert image.getchannel("A").tobytes() == crop[..., 2].tobytes()


def test_files_paths_and_bytes_may_be_opened(file: Path) -> None:
    data = file.read_bytes()
    with file.open("rb") as opened:
        pixels = {Image.open(source).tobytes() for source in (file, str(file), io.BytesIO(data), opened)}
        assert len(pixels) == 1 and not opened.closed
    with Image.open(file) as image:
        image.load()
    assert image.getpixel((0, 0)) == Image.open(file).getpixel((0, 0))  # loaded images outlive their file
    assert Image.open(io.BytesIO(data), formats=["RDC"]).size == (90, 70)


def test_dials_are_those_of_when_the_file_was_opened(tiny: Codec, file: Path) -> None:
    data = file.read_bytes()
    plugin.register(beta=1)
    machines = Image.open(file)
    plugin.register(layers=2)
    between = Image.open(file)
    plugin.register()
    np.testing.assert_array_equal(np.asarray(machines), tiny.decode(data, beta=1))
    np.testing.assert_array_equal(np.asarray(between), tiny.decode(data, layers=2))
    np.testing.assert_array_equal(np.asarray(Image.open(file)), tiny.decode(data))
    plugin.register(beta=2)
    with pytest.raises(OSError, match="beta") as caught:
        Image.open(file).load()
    assert isinstance(caught.value.__cause__, InputError)


def test_threads_may_share_an_image_that_is_not_loaded_yet(file: Path) -> None:
    expected = Image.open(file).tobytes()
    for _ in range(5):
        image = Image.open(file)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert {f.result() for f in [pool.submit(image.tobytes) for _ in range(4)]} == {expected}


def test_images_are_pickled_and_copied(file: Path) -> None:
    expected = Image.open(file)
    for image in (Image.open(file), expected):
        for other in (
            pickle.loads(pickle.dumps(image)),
            copy.copy(image),
            copy.deepcopy(image),
            image.copy(),
        ):
            assert (
                other is not image and other.tobytes() == expected.tobytes() and other.info == expected.info
            )
            other.resize((10, 10)).rotate(90)


def test_a_codec_may_code_an_image_of_the_plugin_again(tiny: Codec, file: Path) -> None:
    pixels = tiny.decode(file.read_bytes())
    assert tiny.encode(Image.open(file)) == tiny.encode(pixels)


# --- writing ------------------------------------------------------------------------------------------------------


def test_saving_takes_what_encode_takes(tiny: Codec, crop: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(crop)
    options: dict = {"quality": 30, "layers": "base"}
    image.save(tmp_path / "a.rdc", **options)
    assert (tmp_path / "a.rdc").read_bytes() == tiny.encode(crop, **options)
    memory = io.BytesIO()
    image.save(memory, "RDC", base_quality=70)
    assert memory.getvalue() == tiny.encode(crop, base_quality=70)
    image.convert("CMYK").save(tmp_path / "b.rdc", convert=True)
    assert Image.open(tmp_path / "b.rdc").mode == "RGB"
    image.save(tmp_path / "c.RDC", metadata=False)
    assert (tmp_path / "c.RDC").read_bytes() == tiny.encode(crop)


def test_metadata_goes_round(crop: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "Somebody"
    exif[0x0112] = 6
    image = Image.fromarray(crop)
    image.info.update(icc_profile=bytes(16) + b"RGB " + bytes(100), xmp=b"<x/>", exif=exif.tobytes())
    image.save(tmp_path / "a.rdc")
    with Image.open(tmp_path / "a.rdc") as back:
        assert back.info == image.info
        assert back.getexif()[0x013B] == "Somebody" and back.getexif()[0x0112] == 6
        back.save(tmp_path / "b.rdc", exif=Image.Exif(), xmp=None)
    with Image.open(tmp_path / "b.rdc") as again:
        assert again.info == {"icc_profile": image.info["icc_profile"]}
    Image.fromarray(crop).save(
        tmp_path / "c.rdc", exif=exif, icc_profile=image.info["icc_profile"], xmp="<x/>"
    )
    with Image.open(tmp_path / "c.rdc") as given:
        assert given.info == image.info
        given.save(tmp_path / "c.png")
    image.save(tmp_path / "d.rdc", metadata=False, exif=exif)
    assert Image.open(tmp_path / "d.rdc").info == {
        "exif": image.info["exif"]
    }  # what was given, and nothing else
    image.save(tmp_path / "e.rdc", metadata=False)
    assert Image.open(tmp_path / "e.rdc").info == {}


# --- errors -------------------------------------------------------------------------------------------------------


def test_what_is_no_stream_is_unidentified(file: Path) -> None:
    data = file.read_bytes()
    for bad, cause in ((data[:30], TruncatedError), (data[:10] + b"\xff" + data[11:], CorruptError)):
        with pytest.raises(UnidentifiedImageError, match="RDC file") as caught:
            Image.open(io.BytesIO(bad))
        assert isinstance(caught.value.__cause__, cause)
    for bad in (b"", b"RDC", b"RDC\x02" + data[4:]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(bad))


def test_damage_is_an_error_of_loading_and_verifying(tiny: Codec, shipped: Codec, file: Path) -> None:
    data = bytearray(file.read_bytes())
    first = tiny.info(data)["chunks"][0]
    data[first["offset"] + 5] ^= 1
    image = Image.open(io.BytesIO(data))
    for _ in range(2):
        with pytest.raises(OSError, match="cannot decode this RDC file: primary data is damaged") as caught:
            image.load()
        assert isinstance(caught.value.__cause__, CorruptError)
    with pytest.raises(OSError, match="primary is damaged"):
        Image.open(io.BytesIO(data)).verify()
    Image.open(file).verify()
    plugin.register(shipped)
    with pytest.raises(OSError, match="written with model") as caught:
        Image.open(file).load()
    assert isinstance(caught.value.__cause__, WrongModelError)


def test_damage_that_costs_a_part_is_a_warning(tiny: Codec, crop: np.ndarray) -> None:
    image = Image.fromarray(np.dstack([crop, crop[..., 0]]))
    image.info["xmp"] = b"<x/>"
    data = tiny.encode(image)
    chunks = {c["type"]: c["offset"] for c in tiny.info(data)["chunks"]}
    with pytest.warns(DamagedMetadataWarning, match="XMP data: truncated") as caught:
        opened = Image.open(io.BytesIO(data[: chunks["xmp"] + 1]))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert opened.mode == "RGB" and "xmp" not in opened.info
    with pytest.warns(DamagedMetadataWarning) as caught:
        opened.load()
    assert [str(w.message) for w in caught] == ["decoded without it: alpha: missing"]
    with recorded_warnings() as found:
        Image.open(io.BytesIO(data[: chunks["xmp"] - 1])).load()
    assert {w.category for w in found} == {DamagedAuxiliaryWarning, DamagedMetadataWarning}


def test_a_picture_over_the_limit_is_an_error_of_loading(crop: np.ndarray, file: Path) -> None:
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    codec.max_pixels = 64 * 64
    plugin.register(codec)
    with pytest.raises(OSError, match="over the limit") as caught:
        Image.open(file).load()
    assert isinstance(caught.value.__cause__, LimitError)
    with pytest.raises(OSError, match="over the limit"):
        Image.fromarray(crop).save(io.BytesIO(), "RDC")


def test_modes_and_arguments_that_cannot_be_saved(crop: np.ndarray, tmp_path: Path) -> None:
    target = tmp_path / "a.rdc"
    for mode in ("CMYK", "F", "I;16"):
        with pytest.raises(OSError, match=f"cannot write mode {mode} as RDC"):
            Image.new(mode, (8, 8)).save(target)
    with pytest.raises(ValueError, match="quality"):
        Image.fromarray(crop).save(target, quality=101)
    with pytest.raises(TypeError, match="subsampling"):
        Image.fromarray(crop).save(target, subsampling=0)
    assert not target.exists()


# --- registration -------------------------------------------------------------------------------------------------


def test_the_import_is_enough_and_loads_no_network(file: Path) -> None:
    code = (
        "import sys; from PIL import Image; import rdc_codec.pillow; image = Image.open(sys.argv[1]);"
        "print(image.size, 'onnxruntime' in sys.modules, Image.registered_extensions()['.rdc'], Image.MIME['RDC'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == "(90, 70) False RDC image/x-rdc\n"


def test_the_shipped_model_is_made_when_it_is_first_needed(photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo[:64, :64]).save(tmp_path / "photo.png")
    code = (
        "import sys; from PIL import Image; import rdc_codec.pillow\n"
        "Image.open(sys.argv[1]).save(sys.argv[2], quality=60)\n"
        "print(Image.open(sys.argv[2]).convert('L').size)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "photo.png"), str(tmp_path / "photo.rdc")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "(64, 64)\n"


# --- built on Pillow ----------------------------------------------------------------------------------------------


def test_imageio_reads_and_writes_streams(tiny: Codec, crop: np.ndarray, file: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(iio.imread(file), tiny.decode(file.read_bytes()))
    iio.imwrite(tmp_path / "b.rdc", crop, quality=80)
    assert (tmp_path / "b.rdc").read_bytes() == tiny.encode(crop, quality=80)
    assert iio.improps(file, plugin="pillow").shape == (70, 90, 3)
    both = np.dstack([crop, crop[..., 0]])
    iio.imwrite(tmp_path / "c.rdc", both)
    np.testing.assert_array_equal(iio.imread(tmp_path / "c.rdc")[..., 3], both[..., 3])
