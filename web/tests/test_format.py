"""The format on another machine, in another language, by another compiler: the page's worker against Python."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from conftest import EMULATED_GPU, GOLDEN, Worker, python_symbols
from PIL import Image
from playwright.sync_api import Browser, Page
from skimage import data

from rdc_codec import Codec

OpenPage = Callable[..., Page]


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def streams(codec: Codec) -> dict[str, bytes]:
    """Return streams of the shipped bundle: sizes, qualities, layers, and what is beside the pixels."""
    cat, astronaut = data.chelsea(), data.astronaut()
    found = {f"cat at {q}": codec.encode(cat, quality=q) for q in (0, 12.5, 35, 50, 77.7, 100)}
    found |= {f"cat with {n} slices": codec.encode(cat, layers=n) for n in range(4)}
    found |= {
        f"{height}x{width}": codec.encode(astronaut[:height, :width], quality=60)
        for height, width in ((1, 1), (1, 300), (257, 3), (64, 64), (65, 129), (512, 448))
    }
    rgba = np.dstack([cat, np.arange(cat[..., 0].size).reshape(cat.shape[:2]) % 256]).astype(np.uint8)
    board = np.kron(np.indices((90, 120)).sum(0)[..., None] % 2, np.ones((1, 1, 3))).astype(np.uint8) * 255
    noise = np.random.default_rng(1).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    found["transparent"] = codec.encode(rgba)
    found["without loss"] = codec.encode(board, min_psnr=36)
    found["noise"] = codec.encode(noise, quality=100)
    found["branches apart"] = codec.encode(cat, base_quality=90, aux_quality=3)
    return found


def test_symbols_of_twenty_streams_equal_those_of_python(
    open_page: OpenPage, address: str, shipped: Codec
) -> None:
    worker = Worker(open_page(address))
    cases = streams(shipped)
    assert len(cases) == 20
    for name, stream in cases.items():
        assert worker.open(stream)["problems"] == [], name
        found, expected = worker.symbols(), python_symbols(shipped, stream)
        assert found.keys() == expected.keys(), name
        for plane in expected:
            np.testing.assert_array_equal(found[plane], expected[plane], f"{name}: {plane}")


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.rdc")))
def test_golden_streams_are_read_to_their_symbols_and_pictures(
    open_page: OpenPage, address: str, tiny: Codec, name: str
) -> None:
    stream = (GOLDEN / f"{name}.rdc").read_bytes()
    worker = Worker(open_page(address), bundle="/tiny/")
    opened = worker.open(stream)
    found, expected = worker.symbols(), python_symbols(tiny, stream)
    assert found.keys() == expected.keys()
    for plane in expected:
        np.testing.assert_array_equal(found[plane], expected[plane])
    picture = np.asarray(Image.open(GOLDEN / f"{name}.png")).astype(int)
    shown = worker.pixels(opened["slices"], *picture.shape[:2])
    assert np.abs(shown - picture).max() <= 1


@pytest.mark.parametrize("isolated", [True, False], ids=["two threads", "one thread"])
def test_pictures_are_within_one_grey_level_of_those_of_python(
    open_page: OpenPage,
    address: str,
    plain_address: str,
    shipped: Codec,
    stream: bytes,
    photo: np.ndarray,
    isolated: bool,
) -> None:
    page = open_page(f"{address if isolated else plain_address}?threads=2&backend=wasm")
    worker = Worker(page)
    threads = "2 threads" if isolated else "1 thread"
    assert page.evaluate("model.runsOn") == f"WebAssembly, {threads}"
    assert worker.open(stream)["slices"] == 4
    height, width = photo.shape[:2]
    for slices in (0, 2, 4):
        expected = shipped.decode(stream, beta=0, layers=slices).astype(int)
        assert np.abs(worker.pixels(slices, height, width) - expected).max() <= 1, slices


def test_a_large_picture_is_made_in_windows_that_cannot_be_seen(
    open_page: OpenPage, address: str, shipped: Codec
) -> None:
    picture = np.tile(data.astronaut(), (5, 4, 1))[:2301, :1990]  # 4.6 megapixels
    stream = shipped.encode(picture, quality=10, layers="base")
    worker = Worker(open_page(address))
    worker.open(stream)
    difference = np.abs(worker.pixels(0, *picture.shape[:2]).astype(int) - shipped.decode(stream, beta=1))
    assert difference.max() <= 2  # windows are of floats, too
    assert np.mean(difference > 1) < 1e-5


def runs_on(page: Page) -> str:
    return page.evaluate("client.call('timings').then((timings) => timings.runsOn)")


def test_pictures_of_webgpu_are_within_one_grey_level(
    launch: Callable[..., Browser], address: str, shipped: Codec, photo: np.ndarray
) -> None:
    chromium = launch(*EMULATED_GPU)
    try:
        page = chromium.new_page()
        page.goto(f"{address}?backend=webgpu")
        if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no WebGPU, not even an emulated one")
        stream = shipped.encode(photo[100:164, 100:164], quality=60)
        worker = Worker(page)
        worker.open(stream)
        for slices in (0, 4):
            expected = shipped.decode(stream, layers=slices).astype(int)
            assert np.abs(worker.pixels(slices, 64, 64) - expected).max() <= 1
        assert runs_on(page) == "WebGPU"
    finally:
        chromium.close()


def test_where_webgpu_fails_webassembly_stands_in(
    open_page: OpenPage, address: str, shipped: Codec, photo: np.ndarray
) -> None:
    page = open_page(f"{address}?backend=webgpu&threads=1")  # of which this Chromium has none
    stream = shipped.encode(photo[:50, :70], quality=60)
    worker = Worker(page)
    worker.open(stream)
    assert np.abs(worker.pixels(4, 50, 70).astype(int) - shipped.decode(stream)).max() <= 1
    assert runs_on(page) == "WebAssembly, 1 thread"


def test_pictures_without_loss_are_exact_and_need_no_slices(
    open_page: OpenPage, address: str, shipped: Codec
) -> None:
    board = np.kron(np.indices((70, 90)).sum(0)[..., None] % 2, np.ones((1, 1, 3))).astype(np.uint8) * 255
    worker = Worker(open_page(address))
    opened = worker.open(shipped.encode(board, min_psnr=36))
    assert opened["exact"] and opened["slices"] == 1
    np.testing.assert_array_equal(worker.pixels(1, 70, 90), board)
    assert psnr(worker.pixels(0, 70, 90), board) < 36


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_streams_that_the_page_writes_are_those_of_python_but_for_rounding(
    open_page: OpenPage, address: str, shipped: Codec, photo: np.ndarray, quality: int
) -> None:
    written = Worker(open_page(address)).encode(png(photo), quality, 4)
    expected = shipped.encode(photo, quality=quality)
    assert abs(len(written) - len(expected)) <= 0.01 * len(expected)
    found, wanted = shipped.info(written), shipped.info(expected)
    assert {k: v for k, v in found.items() if k != "chunks"} == {
        k: v for k, v in wanted.items() if k != "chunks"
    }
    assert shipped.verify(written).ok
    assert psnr(shipped.decode(written), photo) == pytest.approx(
        psnr(shipped.decode(expected), photo), abs=0.05
    )
    coded, theirs = python_symbols(shipped, written), python_symbols(shipped, expected)
    for plane in theirs:
        assert np.mean(coded[plane] != theirs[plane]) < 2e-3, plane


def test_the_page_writes_base_streams_and_keeps_transparency(
    open_page: OpenPage, address: str, shipped: Codec, photo: np.ndarray
) -> None:
    alpha = np.where(np.indices(photo.shape[:2]).sum(0) % 7 < 3, 255, np.arange(451) // 2).astype(np.uint8)
    written = Worker(open_page(address)).encode(png(np.dstack([photo, alpha])), 40, 0)
    assert [chunk["type"] for chunk in shipped.info(written)["chunks"]] == ["primary", "alpha"]
    np.testing.assert_array_equal(np.asarray(shipped.decode_image(written))[..., 3], alpha)
