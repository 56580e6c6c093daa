"""`rdc_codec.Codec` does what an application may rely on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from conftest import SHIPPED, TINY
from PIL import Image

from rdc_codec import Codec
from rdc_codec.backends.base import BackendInfo, Inputs
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.bundle import Bundle, identity
from rdc_codec.errors import (
    BackendError,
    CorruptError,
    DamagedAuxiliaryWarning,
    InputError,
    LimitError,
    UnsupportedError,
    WrongModelError,
)
from rdc_codec.released_bundles import RELEASED
from tests import reference_coder


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (65, 1), (63, 64), (64, 65), (130, 77)])
def test_any_size_comes_back_with_its_size(tiny: Codec, photo: np.ndarray, size: tuple[int, int]) -> None:
    picture = photo[: size[0], : size[1]]
    restored = tiny.decode(tiny.encode(picture))
    assert restored.shape == picture.shape and restored.dtype == np.uint8


def test_streams_are_deterministic_and_quality_buys_fidelity(shipped: Codec, photo: np.ndarray) -> None:
    streams = [shipped.encode(photo, q) for q in (0, 50, 100)]
    assert streams[1] == shipped.encode(photo, 50)
    assert len(streams[0]) < len(streams[1]) < len(streams[2])
    fidelity = [psnr(photo, shipped.decode(s)) for s in streams]
    assert fidelity[0] < fidelity[1] < fidelity[2]
    assert fidelity[2] > 33


def test_quality_is_continuous(shipped: Codec, photo: np.ndarray) -> None:
    sizes = [len(shipped.encode(photo, q)) for q in np.linspace(40, 44, 9)]
    assert len(set(sizes)) == len(sizes) and sizes[0] < sizes[-1]


def test_quality_raises_bytes_and_fidelity_in_the_mean(shipped: Codec, photos: list[np.ndarray]) -> None:
    size, fidelity = [], []
    for quality in range(0, 101, 10):
        streams = [shipped.encode(photo, quality) for photo in photos]
        size.append(np.mean([len(s) for s in streams]))
        restored = [psnr(p, shipped.decode(s)) for p, s in zip(photos, streams, strict=True)]
        fidelity.append(np.mean(restored))
    assert (np.diff(size) > 0).all()
    assert (np.diff(fidelity) > 0).all()


def test_beta_one_is_the_base_picture_and_smaller_beta_is_nearer_to_the_original(
    shipped: Codec, photo: np.ndarray
) -> None:
    stream = shipped.encode(photo, 60)
    base = shipped.encode(photo, 60, layers="base")
    assert len(base) < len(stream)
    np.testing.assert_array_equal(shipped.decode(stream, beta=1), shipped.decode(stream, layers=0))
    fidelity = [psnr(photo, shipped.decode(stream, beta=b)) for b in (1, 0.5, 0)]
    assert fidelity == sorted(fidelity) and fidelity[2] > fidelity[0] + 1


def test_every_slice_helps_and_fewer_slices_are_a_prefix_of_the_symbols(
    shipped: Codec, photo: np.ndarray
) -> None:
    full = shipped.encode(photo, 70)
    everything = shipped.symbols(full)
    previous = psnr(photo, shipped.decode(full, layers=0))
    for n in range(1, shipped.slices + 1):
        stream = shipped.encode(photo, 70, layers=n)
        part, whole = shipped.symbols(stream)["auxiliary_latents"], everything["auxiliary_latents"]
        order = shipped.bundle.manifest["parsing"]["auxiliary"]["pass_order"]
        received = reference_coder.pass_of(whole.shape, order) < n
        np.testing.assert_array_equal(part, np.where(received, whole, 0))
        np.testing.assert_array_equal(shipped.decode(stream), shipped.decode(full, layers=n))
        now = psnr(photo, shipped.decode(stream))
        assert now > previous - 0.05
        previous = now


def test_branch_qualities_override_what_quality_implies(tiny: Codec, photo: np.ndarray) -> None:
    info = tiny.info(tiny.encode(photo, 30, base_quality=80, aux_quality=12.5))
    assert (info["quality"], info["base_quality"], info["aux_quality"]) == (30, 80, 12.5)
    assert tiny.info(tiny.encode(photo, 30))["quality"] == 30


def test_info_describes_the_chunks_and_is_json(tiny: Codec, photo: np.ndarray) -> None:
    stream = tiny.encode(photo)
    info = json.loads(json.dumps(tiny.info(stream)))
    assert (info["width"], info["height"]) == (photo.shape[1], photo.shape[0])
    assert [c["type"] for c in info["chunks"]] == [
        "primary",
        *["aux_slice"] * tiny.slices,
    ]
    assert all(c["state"] == "ok" for c in info["chunks"])
    last = info["chunks"][-1]
    assert last["offset"] + last["length"] == len(stream)


def information(codec: Codec, stream: bytes) -> float:
    """Return how many bytes the symbols of a stream are worth under the bundle's own tables."""
    arrays = np.load(codec.bundle.path / "tables.npz")

    def bits(symbols: np.ndarray, indexes: np.ndarray, kind: str) -> float:
        tables = reference_coder.split_tables(*(arrays[f"{kind}_{k}"] for k in ("cdf", "sizes", "minimum")))
        total = 0.0
        for symbol, index in zip(symbols.flat, indexes.flat, strict=True):
            table = tables[index]
            k = int(symbol) - table.minimum
            if not 0 <= k < table.size:
                distance = max(-k, int(symbol) - table.maximum)
                total += 5 + distance.bit_length() - 1
                k = table.size
            total -= np.log2((table.cdf[k + 1] - table.cdf[k]) / (1 << 14))
        return total

    def scale_indexes(name: str, z: np.ndarray, y: np.ndarray, other: np.ndarray | None) -> np.ndarray:
        parsing = codec.bundle.manifest["parsing"][name]

        def layer(part: str) -> tuple:
            return *(arrays[f"{name}_{part}_{k}"] for k in ("weight", "bias", "shift")), arrays[
                f"{name}_{part}_clip"
            ]

        layers = [layer(f"scale{k}") for k in range(parsing["scale_layers"])]
        start, order = reference_coder.scale_indexes(z, layers, 4), parsing["pass_order"]
        parts = layer("neighbours"), layer("heads")
        return reference_coder.context_indexes(start, y, *parts, order, other)

    found, total = codec.symbols(stream), 0.0
    z1, y1 = found["primary_hyper"], found["primary_latents"]
    for name in ("primary", "auxiliary"):
        if f"{name}_hyper" in found:
            z, y = found[f"{name}_hyper"], found[f"{name}_latents"]
            context = (z, None) if name == "primary" else (np.concatenate([z, z1]), y1)
            total += bits(z, np.indices(z.shape)[0], f"{name}_hyper")
            total += bits(y, scale_indexes(name, context[0], y, context[1]), f"{name}_latent")
    return total / 8


@pytest.mark.parametrize(("layers", "container", "everything"), [("base", 31, 35), ("all", 51, 67)])
def test_fixed_costs_are_small(tiny: Codec, layers: str, container: int, everything: int) -> None:
    """Container, and container with checksums and coder states, of a small picture."""
    picture = np.full((8, 8, 3), 128, np.uint8)
    stream = tiny.encode(picture, 0, layers=layers)
    assert len(stream) - sum(c["length"] for c in tiny.info(stream)["chunks"]) <= container
    assert len(stream) - information(tiny, stream) <= everything


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_pil_images_with_a_rule_are_taken(tiny: Codec, photo: np.ndarray, mode: str) -> None:
    """Grey ones are those of three equal channels, with a mark (tests/test_pictures.py)."""
    image = Image.fromarray(photo[:70, :90]).convert(mode)
    chunks = 1 + tiny.slices
    expected = tiny.info(tiny.encode(np.asarray(image.convert("RGB"))))["chunks"][:chunks]
    found = tiny.info(tiny.encode(image))["chunks"]
    assert [c["length"] for c in found[:chunks]] == [c["length"] for c in expected]
    assert [c["type"] for c in found[chunks:]] == (["grey"] if mode in ("L", "1") else [])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "I", "F", "I;16", "HSV", "LAB", "RGBa"])
def test_pil_images_without_a_rule_are_refused(tiny: Codec, mode: str) -> None:
    with pytest.raises(InputError, match=r"images of mode .* are not coded"):
        tiny.encode(Image.new(mode, (8, 8)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_left_out_where_it_is_opaque_everywhere(tiny: Codec, photo: np.ndarray, mode: str) -> None:
    """Screenshots have it. One pixel that is nearly opaque is transparency."""
    image = Image.fromarray(photo[:70, :90]).convert(mode)
    assert tiny.encode(image) == tiny.encode(image.convert("RGB" if mode == "RGBA" else "L"))
    image.putpixel((89, 69), (*image.getpixel((89, 69))[:-1], 254))  # type: ignore[index]
    assert tiny.decode_image(tiny.encode(image)).getpixel((89, 69))[-1] == 254  # type: ignore[index]


def test_a_palette_whose_transparent_colour_is_not_used_is_taken(tiny: Codec) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.info["transparency"] = 0
    assert tiny.encode(image) == tiny.encode(Image.new("RGB", (8, 8), (200, 100, 50)))


def test_16_bit_files_that_pillow_would_cut_to_8_bits_are_refused(tiny: Codec, tmp_path) -> None:
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(range(12)) for _ in range(2)))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    ppm = b"P6\n2 2\n65535\n" + bytes(24)
    for data in (png, ppm):
        image = Image.open(io.BytesIO(data))
        assert image.mode == "RGB"
        with pytest.raises(InputError, match="16 bits"):
            tiny.encode(image)


def test_pil_images_are_not_decoded_before_their_size_is_checked(photo: np.ndarray) -> None:
    codec = Codec(TINY, backend="onnxruntime")
    codec.max_pixels = 100
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    image = Image.open(file)
    with pytest.raises(LimitError):
        codec.encode(image)
    assert image.tile, "the file was decoded"


def test_a_closed_or_damaged_image_is_bad_input(tiny: Codec, photo: np.ndarray, tmp_path) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as closed:
        pass
    data = (tmp_path / "a.png").read_bytes()
    for image in (closed, Image.open(io.BytesIO(data[:1000]))):
        with pytest.raises(InputError, match="damaged"):
            tiny.encode(image)


def test_an_error_without_words_is_named_by_its_type(tiny: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception is always true, even one whose text is empty."""

    def convert(self: Image.Image, mode: str) -> None:
        raise EOFError

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(InputError, match=r"damaged image: EOFError$"):
        tiny.encode(Image.new("RGB", (8, 8)))

    class Session:
        def run(self, *_: object) -> None:
            raise AssertionError

    monkeypatch.setattr("rdc_codec.backends.ort_cpu.open_session", lambda *_: Session())
    codec = Codec(TINY, backend="onnxruntime")
    with pytest.raises(BackendError, match=r"encode_full: AssertionError$"):
        codec.encode(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "image",
    [
        None,
        "photo.png",
        np.zeros(8, np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8, 8, 5), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int8),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_what_is_not_an_image_is_refused(tiny: Codec, image: object) -> None:
    with pytest.raises(InputError):
        tiny.encode(image)


@pytest.mark.parametrize("quality", [float("nan"), float("inf"), -0.1, 100.1, 10**400, "high"])
def test_quality_must_be_0_to_100(tiny: Codec, photo: np.ndarray, quality: object) -> None:
    with pytest.raises(InputError, match="quality"):
        tiny.encode(photo, quality)  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [float("nan"), -0.01, 1.01, 10**400, "half", None])
def test_beta_must_be_0_to_1(tiny: Codec, photo: np.ndarray, beta: object) -> None:
    with pytest.raises(InputError, match="beta"):
        tiny.decode(tiny.encode(photo), beta=beta)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", ["some", -1, 1.5, True, np.array([1, 2])])
def test_layers_must_be_a_name_or_a_count(tiny: Codec, photo: np.ndarray, layers: object) -> None:
    with pytest.raises(InputError, match="layers"):
        tiny.encode(photo, layers=layers)  # type: ignore[arg-type]


def test_more_slices_than_the_model_has_cannot_be_sent_but_may_be_allowed(
    tiny: Codec, photo: np.ndarray
) -> None:
    with pytest.raises(InputError, match="4 auxiliary slices"):
        tiny.encode(photo, layers=5)
    stream = tiny.encode(photo)
    np.testing.assert_array_equal(tiny.decode(stream, layers=5), tiny.decode(stream))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), "text", 5, None])
def test_what_is_not_a_stream_is_refused(tiny: Codec, data: object) -> None:
    with pytest.raises(Exception) as caught:
        tiny.decode(data)  # type: ignore[arg-type]
    assert type(caught.value).__module__ == "rdc_codec.errors"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_streams_may_be_any_bytes(tiny: Codec, photo: np.ndarray, kind: type) -> None:
    stream = tiny.encode(photo)
    np.testing.assert_array_equal(tiny.decode(kind(stream)), tiny.decode(stream))


@pytest.mark.parametrize(
    "folder", [SHIPPED, Path(__file__).parents[1] / "benchmarks" / "twin"], ids=["shipped", "twin"]
)
def test_the_bundles_of_the_project_are_among_the_released(folder: Path) -> None:
    bundle = Bundle(folder)
    known = RELEASED[bundle.parse_id[:4].hex(), bundle.picture_id[:4].hex()]
    assert (known.name, known.version) == (bundle.name, bundle.version)


def test_a_stream_of_another_model_is_named_as_such(tiny: Codec, shipped: Codec, photo: np.ndarray) -> None:
    with pytest.raises(WrongModelError):
        shipped.decode(tiny.encode(photo))
    with pytest.raises(WrongModelError):
        shipped.symbols(tiny.encode(photo))
    named = f"bundle {shipped.bundle.name} {shipped.bundle.version}: the default of rdc-codec 0.2"
    with pytest.raises(WrongModelError, match=named):
        tiny.decode(shipped.encode(photo))
    assert shipped.info(tiny.encode(photo))["width"] == photo.shape[1]


def test_large_pictures_are_refused_before_anything_is_allocated(photo: np.ndarray) -> None:
    codec = Codec(TINY, backend="onnxruntime")
    stream = codec.encode(photo)
    codec.max_pixels = 5 * 8 * 64 * 64 - 1  # 300 x 451, padded to multiples of 64
    with pytest.raises(LimitError):
        codec.encode(photo)
    with pytest.raises(LimitError):
        codec.decode(stream)


def test_a_missing_or_damaged_bundle_is_named(tmp_path, photo: np.ndarray) -> None:
    with pytest.raises(InputError, match="no model bundle"):
        Codec(tmp_path)
    for name in TINY.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[100] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    with pytest.raises(CorruptError, match="weights"):
        Codec(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UnsupportedError, match="format 99"):
        Codec(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CorruptError, match="JSON"):
        Codec(tmp_path)


def test_a_bundle_that_is_replaced_before_its_graphs_are_loaded_is_noticed(
    tmp_path, photo: np.ndarray
) -> None:
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    codec = Codec(tmp_path, threads=1)
    stream = codec.encode(photo, layers="base")
    for name in ("decode_base.onnx", "weights.bin"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\0")
        with pytest.raises(CorruptError, match=f"changed.*{name}"):
            codec.decode(stream)
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    assert codec.decode(stream).shape == photo.shape


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": []},
        {"strides": {"pixels": 8, "latent": 32, "hyper": 64}},
        {"graphs": {}},
        {"graphs": []},
        {"quality_map": {"quality": [], "base_quality": [], "aux_quality": []}},
        {"quality_map": {"quality": [0, 100], "base_quality": [0, 200], "aux_quality": [0, 100]}},
        {"quality_map": {"quality": [0, 100], "base_quality": [50, 20], "aux_quality": [0, 100]}},
        {"parse_id": "00"},
        {"parsing": None},
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(tmp_path, change: dict) -> None:
    for name in TINY.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(CorruptError, match="damaged bundle"):
        Codec(tmp_path)


def test_a_manifest_that_is_nested_without_end_is_not_json(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text('{"a":' + "[" * 200_000)
    with pytest.raises(CorruptError, match="is not JSON"):
        Codec(tmp_path)


def test_a_relative_model_path_outlives_a_change_of_folder(photo: np.ndarray, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(TINY.parent)
    codec = Codec("tiny")
    os.chdir(tmp_path)
    assert codec.decode(codec.encode(photo)).shape == photo.shape


@pytest.mark.parametrize("model", [5, b"tiny", 1.5])
def test_model_must_be_a_path(model: object) -> None:
    with pytest.raises(InputError, match="model"):
        Codec(model)  # type: ignore[arg-type]


def test_backends_are_asked_for_by_name_and_never_replaced_silently() -> None:
    with pytest.raises(BackendError, match="quantum"):
        Codec(TINY, backend="quantum")
    for threads in (0, -1, 1.5, True, 2**40):
        with pytest.raises(InputError, match="threads"):
            Codec(TINY, threads=threads)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="session_options"):
        Codec(TINY, session_options={"threads": 1})
    with pytest.raises(InputError, match="session_options"):
        Codec(TINY, threads=1, session_options=ort.SessionOptions())


def test_one_codec_serves_many_threads(tiny: Codec, photos: list[np.ndarray]) -> None:
    expected = [(tiny.encode(p, 40), tiny.decode(tiny.encode(p, 40), 0.3)) for p in photos]

    def work(k: int) -> bool:
        stream = tiny.encode(photos[k % 3], 40)
        return stream == expected[k % 3][0] and np.array_equal(tiny.decode(stream, 0.3), expected[k % 3][1])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))


def test_a_good_stream_gives_no_warning(tiny: Codec, photo: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.decode(tiny.encode(photo))
        tiny.decode(tiny.encode(photo, layers="base"))


def test_beta_one_does_not_look_at_auxiliary_data(tiny: Codec, photo: np.ndarray) -> None:
    stream = tiny.encode(photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.decode(stream[:-10], beta=1)
    with pytest.warns(DamagedAuxiliaryWarning):
        tiny.decode(stream[:-10])


def test_the_import_brings_nothing_heavy() -> None:
    """What takes time to load is loaded by who uses it; PyTorch and the package onnx by nobody."""
    heavy = ("torch", "onnx", "compressai", "onnxscript", "onnxruntime", "PIL", "click")
    script = f"import sys, rdc_codec; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_large_pictures_need_no_memory_arena() -> None:
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = False
    codec = Codec(TINY, session_options=options)
    picture = np.full((1700, 1700, 3), 90, np.uint8)  # from 8 MiB on, memory is given back after a run
    assert codec.decode(codec.encode(picture, 0, layers="base")).shape == picture.shape


@pytest.mark.parametrize(("channels", "message"), [("hyper", "hyper tables"), ("latent", "scale network")])
def test_tables_that_do_not_fit_the_manifest_are_refused(tmp_path, channels: str, message: str) -> None:
    """A bundle whose identity is right and whose parts do not belong together."""
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["parsing"]["primary"][channels] *= 2
    arrays = dict(np.load(tmp_path / "tables.npz"))
    manifest["parse_id"] = identity(arrays, manifest["parsing"]).hex()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptError, match=message):
        Codec(tmp_path)


class Recording:
    """Is a backend of an application: it runs another one and keeps what it was asked for."""

    parallel = False

    def __init__(self, bundle: Bundle) -> None:
        self.inner = OnnxRuntimeBackend(bundle, 1, None)
        self.info = BackendInfo("recording", "host", "given")
        self.graphs: list[str] = []

    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        self.graphs.append(graph)
        return self.inner.run(graph, inputs, cuda_stream)


def test_an_application_may_bring_a_backend_and_a_loaded_bundle(tiny, photo) -> None:
    bundle = Bundle(TINY)
    backend = Recording(bundle)
    codec = Codec(bundle, backend=backend)
    assert codec.bundle is bundle and codec.backend is backend.info
    stream = codec.encode(photo)
    assert stream == tiny.encode(photo)
    np.testing.assert_array_equal(codec.decode(stream), tiny.decode(stream))
    np.testing.assert_array_equal(codec.decode(stream, beta=1), tiny.decode(stream, beta=1))
    assert backend.graphs == ["encode_full", "decode_full", "decode_base"]


def test_the_picture_for_people_is_made_without_the_one_for_machines(photo) -> None:
    """The golden bundle is older than the graph for that, which changes no picture."""
    bundle = Bundle(SHIPPED)
    backend = Recording(bundle)
    codec = Codec(bundle, backend=backend)
    crop = np.ascontiguousarray(photo[:128, :192])
    stream = codec.encode(crop)
    pictures = {beta: codec.decode(stream, beta) for beta in (0.0, 1e-6, 0.5)}
    codec.decode(stream, layers=1)
    assert backend.graphs[1:] == ["decode_people", "decode_full", "decode_full", "decode_people"]
    difference = np.abs(pictures[0.0].astype(int) - pictures[1e-6].astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    assert not np.array_equal(pictures[0.0], pictures[0.5])
    assert codec.decode(stream, layers=2).shape == crop.shape


def test_what_is_no_backend_is_refused(tiny) -> None:
    with pytest.raises(InputError, match="object has no info"):
        Codec(TINY, backend=object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="made by name"):
        Codec(TINY, backend=Recording(tiny.bundle), threads=2)


# --- a bundle that is pinned ----------------------------------------------------------------------


def test_a_bundle_may_be_pinned_by_its_sha256(tmp_path: Path) -> None:
    digest = hashlib.sha256((TINY / "manifest.json").read_bytes()).hexdigest()
    codec = Codec(TINY, sha256=digest.upper())
    assert codec.bundle.sha256 == digest
    Codec(codec.bundle, sha256=digest)
    assert pickle.loads(pickle.dumps(codec)).bundle.sha256 == digest
    for model in (None, codec.bundle):
        with pytest.raises(WrongModelError, match=f"not {'0' * 64}"):
            Codec(model, sha256="0" * 64)
    for wrong in ("0" * 63, "g" * 64, b"0" * 64, 5):
        with pytest.raises(InputError, match="sha256 must be 64 hexadecimal digits"):
            Codec(TINY, sha256=wrong)  # type: ignore[arg-type]


def test_a_pinned_bundle_that_is_changed_is_not_loaded(tmp_path: Path) -> None:
    """Neither with its checksums as they were nor with new ones."""
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder)
    digest = Codec(folder).bundle.sha256
    pickled = pickle.dumps(Bundle(folder))
    with (folder / "weights.bin").open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(CorruptError, match=r"weights\.bin"):
        Codec(folder, sha256=digest)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["weights.bin"] = hashlib.sha256((folder / "weights.bin").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Codec(folder).bundle.sha256 != digest
    with pytest.raises(WrongModelError, match=digest):
        pickle.loads(pickled)
    with pytest.raises(WrongModelError, match=digest):
        Codec(folder, sha256=digest)
