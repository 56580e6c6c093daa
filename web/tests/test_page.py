"""What a person sees: files, sliders, the original, damage, keys and phones."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, serving
from PIL import Image
from playwright.sync_api import Page, expect

from rdc_codec import Codec
from web.serve import server

OpenPage = Callable[..., Page]
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def written(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return written


@pytest.fixture
def photo_file(tmp_path: Path, photo: np.ndarray) -> Path:
    Image.fromarray(photo).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#file", [str(path) for path in paths])
    wait(page)


def wait(page: Page) -> None:
    """Wait until the page has done what it was asked for, and drawn it."""
    page.wait_for_selector("body[data-state=ready]")
    page.evaluate(TWO_FRAMES)


def canvas(page: Page) -> np.ndarray:
    """Return what is on the canvas, uint8 [H, W, 4]."""
    text = page.evaluate("document.getElementById('canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.split(",")[1]))).convert("RGBA"))


def shown(page: Page, height: int, width: int) -> np.ndarray:
    """Return the picture as it is shown with one screen pixel for each of its own, int [H, W, 3]."""
    page.click("#fit")
    page.click("#whole")
    page.evaluate(TWO_FRAMES)
    whole = canvas(page)
    drawn = whole[..., 3] > 0
    rows, columns = np.flatnonzero(drawn.sum(1) > 10), np.flatnonzero(drawn.sum(0) == height)
    top, left = rows[0], columns[0]
    assert (rows[-1] + 1 - top, columns[-1] + 1 - left) == (height, width)
    return whole[top : top + height, left : left + width, :3].astype(int)


def slide(page: Page, slider: str, value: float) -> None:
    """Move a slider as a person does, who lets go of it in the end."""
    page.evaluate(
        """([id, value]) => {
            const slider = document.getElementById(id);
            slider.value = value;
            for (const type of ["input", "change"]) slider.dispatchEvent(new Event(type, { bubbles: true }));
        }""",
        [slider, value],
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def test_a_stream_that_is_chosen_is_seen_with_its_facts_and_bytes(
    open_page: OpenPage, address: str, shipped: Codec, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    expected = shipped.decode(stream).astype(int)
    assert np.abs(shown(page, 300, 451) - expected).max() <= 1
    assert page.inner_text("#name") == "cat.rdc"
    assert page.inner_text("#dimensions") == "451 × 300"
    assert page.inner_text("#bytes") == f"{len(stream):,} B"
    assert page.inner_text("#rate") == f"{8 * len(stream) / (451 * 300):.3f} bits a pixel"
    facts = shipped.info(stream)
    # To a tenth, halves up, as JavaScript's Math.round has it; quality maps have quarters.
    base, auxiliary = (math.floor(10 * facts[f"{name}_quality"] + 0.5) / 10 for name in ("base", "aux"))
    assert page.inner_text("#qualities") == f"50 (base {base:g}, auxiliary {auxiliary:g})"
    lengths = [chunk["length"] for chunk in shipped.info(stream)["chunks"]]
    header = len(stream) - sum(lengths)
    lines = [line.split("\n") for line in page.locator("#layers li").all_inner_texts()]
    names = ["Header", "Base", "Slice 0", "Slice 1", "Slice 2", "Slice 3"]
    assert lines == [[n, f"{b:,} B"] for n, b in zip(names, [header, *lengths], strict=True)]
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#compress")).to_be_hidden()


def test_beta_blends_the_two_pictures_at_once(
    open_page: OpenPage, address: str, shipped: Codec, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    base, full = shipped.decode(stream, beta=1).astype(int), shipped.decode(stream).astype(int)
    for beta in (1, 0.25, 0):
        slide(page, "beta", beta)
        page.evaluate(TWO_FRAMES)
        expected = base + (1 - beta) * (full - base)
        assert np.abs(shown(page, 300, 451) - expected).max() <= 2, beta
        assert page.inner_text("#beta-value") == f"{beta:.2f}"
    assert np.abs(base - full).max() > 20  # so that a slider without effect would be seen


def test_slices_are_left_out_at_once_and_their_bytes_are_not_counted(
    open_page: OpenPage, address: str, shipped: Codec, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    lengths = [chunk["length"] for chunk in shipped.info(stream)["chunks"]]
    for slices in (0, 1, 3, 4):
        slide(page, "slices", slices)
        wait(page)
        expected = shipped.decode(stream, layers=slices).astype(int)
        assert np.abs(shown(page, 300, 451) - expected).max() <= 1, slices
        used = len(stream) - sum(lengths[slices + 1 :])
        assert page.inner_text("#used").startswith(f"{used:,} B")
        assert page.locator("#bar [data-used=true]").count() == slices + 2
        expect(page.locator("#beta")).to_be_enabled(enabled=slices > 0)


def flipped(stream: bytes, offset: int) -> bytes:
    return stream[:offset] + bytes([stream[offset] ^ 4]) + stream[offset + 1 :]


def test_a_damaged_slice_is_named_and_the_picture_is_shown_without_it(
    open_page: OpenPage, address: str, shipped: Codec, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    chunk = shipped.info(stream)["chunks"][2]  # slice 1 of 0 to 3
    page = open_page(address)
    choose(page, file("hurt.rdc", flipped(stream, chunk["offset"] + 3)))
    alert = page.locator("#problem")
    expect(alert).to_contain_text("Damaged: shown without a part of it")
    expect(alert).to_contain_text("auxiliary slice 1: the checksum is wrong")
    assert np.abs(shown(page, 300, 451) - shipped.decode(stream, layers=1)).max() <= 1
    assert page.locator("#layers li").nth(3).inner_text().startswith("Slice 1 · damaged")
    assert page.get_attribute("#slices", "max") == "1"


def test_a_stream_that_is_cut_off_is_shown_as_far_as_it_came(
    open_page: OpenPage, address: str, shipped: Codec, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    end = shipped.info(stream)["chunks"][3]["offset"] + 5
    page = open_page(address)
    choose(page, file("cut.rdc", stream[:end]))
    expect(page.locator("#problem")).to_contain_text("auxiliary slice 2: it is cut off")
    assert np.abs(shown(page, 300, 451) - shipped.decode(stream, layers=2)).max() <= 1
    states = page.locator("#layers li").evaluate_all("items => items.map((item) => item.dataset.state)")
    assert states == ["ok", "ok", "ok", "ok", "truncated", "missing"]


@pytest.mark.parametrize(
    ("hurt", "title", "says"),
    [
        (lambda s: flipped(s, 80), "This stream is damaged", "primary data"),
        (lambda s: flipped(s, 20), "This stream is damaged", "header"),
        (lambda s: s[:20], "This stream is cut off", "header"),
        (lambda s: b"GIF89a" + s, "This stream is damaged", "not an RDC stream"),
        (lambda s: s[:3] + b"\x02" + s[4:], "This page cannot read the stream", "version 2"),
        (
            lambda s: (GOLDEN / "full.rdc").read_bytes(),
            "This stream is of another model",
            "another model than light",
        ),
        (lambda s: b"", "This stream is cut off", "header"),
    ],
    ids=["base", "header", "cut", "no stream", "version", "model", "empty"],
)
def test_what_has_no_picture_is_said_to_have_none(
    open_page: OpenPage,
    address: str,
    stream: bytes,
    file: Callable[[str, bytes], Path],
    hurt: Callable[[bytes], bytes],
    title: str,
    says: str,
) -> None:
    page = open_page(address)
    choose(page, file("bad.rdc", hurt(stream)))
    assert page.inner_text("#problem-title") == title
    expect(page.locator("#problem-list")).to_contain_text(says)
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#dials")).to_be_hidden()
    assert not canvas(page).any()
    choose(page, file("good.rdc", stream))  # and the next one is as if nothing had been
    expect(page.locator("#problem")).to_be_hidden()
    assert canvas(page).any()


def test_a_photo_becomes_a_stream_that_can_be_saved_and_its_rate_set(
    open_page: OpenPage, address: str, shipped: Codec, photo: np.ndarray, photo_file: Path
) -> None:
    page = open_page(address)
    choose(page, photo_file)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "cat.rdc"
    saved = Path(download.value.path()).read_bytes()
    assert shipped.verify(saved).ok and shipped.info(saved)["quality"] == 50
    decoded = shipped.decode(saved)
    assert np.abs(shown(page, 300, 451) - decoded).max() <= 1
    assert float(page.inner_text("#psnr").split()[0]) == pytest.approx(psnr(decoded, photo), abs=0.02)
    slide(page, "quality", 10)
    wait(page)
    assert page.inner_text("#qualities").startswith("10 ")
    assert int(page.inner_text("#bytes").split()[0].replace(",", "")) < len(saved) / 2


def test_the_original_is_shown_beside_or_behind_a_wipe_with_the_psnr(
    open_page: OpenPage,
    address: str,
    shipped: Codec,
    stream: bytes,
    photo: np.ndarray,
    photo_file: Path,
    file: Callable[[str, bytes], Path],
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    page.set_input_files("#original-file", str(photo_file))
    wait(page)
    for slices, beta in ((4, 0), (4, 1), (4, 0.5), (2, 0)):
        slide(page, "slices", slices)
        wait(page)
        slide(page, "beta", beta)
        expected = psnr(shipped.decode(stream, beta=beta, layers=slices), photo)
        assert float(page.inner_text("#psnr").split()[0]) == pytest.approx(expected, abs=0.03)
    decoded = shipped.decode(stream, layers=2).astype(int)
    page.check("input[value=wipe]", force=True)
    page.evaluate(TWO_FRAMES)
    wiped = shown(page, 300, 451)
    assert np.abs(wiped[:, :215] - decoded[:, :215]).max() <= 1
    np.testing.assert_array_equal(wiped[:, 235:], photo[:, 235:])
    slide(page, "divider", 0)
    np.testing.assert_array_equal(shown(page, 300, 451)[:, 5:], photo[:, 5:])
    page.check("input[value=side]", force=True)
    page.evaluate(TWO_FRAMES)
    both = canvas(page)
    left, right = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    assert left[..., 3].any() and right[..., 3].any()
    expect(page.locator("#captions span").first).to_be_visible()


def test_an_original_of_another_size_is_refused_with_the_reason(
    open_page: OpenPage, address: str, stream: bytes, tmp_path: Path, file: Callable[[str, bytes], Path]
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "small.png")
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    page.set_input_files("#original-file", str(tmp_path / "small.png"))
    wait(page)
    expect(page.locator("#original-note")).to_have_text("small.png is of 30 × 20 pixels, the stream is not.")
    expect(page.locator("#comparison")).to_be_hidden()
    assert page.inner_text("#psnr") == ""


def test_zooming_in_shows_pixels_as_squares(
    open_page: OpenPage, address: str, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    page.focus("#canvas")
    page.keyboard.press("1")
    assert page.inner_text("#scale") == "100 %"
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -2000)
    page.evaluate(TWO_FRAMES)
    assert page.inner_text("#scale") == "3200 %"
    view = canvas(page)
    columns = np.flatnonzero((view[100:101, 1:] != view[100:101, :-1]).any(2)[0])
    assert len(columns) > 3 and set(np.diff(columns)) <= {32, 64, 96, 128}  # edges only between squares
    page.keyboard.press("ArrowRight")
    page.evaluate(TWO_FRAMES)
    assert (canvas(page) != view).any()
    page.keyboard.press("0")
    page.evaluate(TWO_FRAMES)
    assert page.inner_text("#scale") != "3200 %"


def test_sliders_answer_while_networks_run(open_page: OpenPage, address: str, photo_file: Path) -> None:
    page = open_page(address)
    choose(page, photo_file)
    before = canvas(page)
    slide(page, "quality", 60)
    slide(page, "beta", 1)
    page.evaluate(TWO_FRAMES)
    assert page.get_attribute("body", "data-state") == "busy"
    assert (canvas(page) != before).any()
    wait(page)


def test_addresses_open_streams_with_their_originals(
    open_page: OpenPage, address: str, stream: bytes, photo_file: Path, file: Callable[[str, bytes], Path]
) -> None:
    file("cat.rdc", stream)
    with serving(server(0, folders={"files": photo_file.parent})) as here:
        page = open_page(f"{here}?src=files/cat.rdc&original=files/cat.png")
        expect(page.locator("#psnr")).to_contain_text(" dB", timeout=60_000)
        assert page.inner_text("#name") == "cat.rdc"
        page.goto(f"{here}?src=files/none.rdc")
        expect(page.locator("#problem-list")).to_contain_text("files/none.rdc cannot be loaded")


def test_it_fits_a_phone_and_the_dark(
    open_page: OpenPage, address: str, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(
        address, viewport={"width": 360, "height": 740}, color_scheme="dark", device_scale_factor=3
    )
    choose(page, file("cat.rdc", stream))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, background[4:-1].split(","))) < 3 * 60
    for name in ("slices", "beta"):
        assert page.locator(f"#{name}").bounding_box()["width"] > 250


def test_all_that_can_be_done_has_a_name_and_is_reached_by_keys(
    open_page: OpenPage, address: str, stream: bytes, file: Callable[[str, bytes], Path]
) -> None:
    page = open_page(address)
    choose(page, file("cat.rdc", stream))
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    wanted = ["choose", "canvas", "smaller", "larger", "fit", "whole", "slices", "beta", "add-original"]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted
    for slider in ("Distortion", "Cognition"):
        expect(page.get_by_role("slider", name=slider)).to_be_visible()
    before = canvas(page)
    page.focus("#beta")
    page.keyboard.press("End")
    page.evaluate(TWO_FRAMES)
    assert (canvas(page) != before).any()
