"""Large pictures: networks see windows, and nobody can tell. Parts, previews, rows of a picture, and where they go."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from rdc_codec import Codec, windows
from rdc_codec.errors import DamagedAuxiliaryWarning, InputError, LimitError
from rdc_codec.windows import Rectangle, Region, plan, reduced


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


# --- where windows lie --------------------------------------------------------------------------------------------


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, int, Rectangle]:
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    part = Rectangle(top, draw(st.integers(top + 1, rows)), left, draw(st.integers(left + 1, columns)))
    return rows, columns, part


@given(parts(), st.integers(0, 4), st.integers(1, 400))
def test_windows_cover_a_part_once_and_keep_to_the_limit(
    drawn: tuple[int, int, Rectangle], margin: int, limit: int
) -> None:
    rows, columns, part = drawn
    grid = plan(rows, columns, margin, limit, part)
    for spans, start, stop, end in zip(
        grid, (part.top, part.left), (part.bottom, part.right), (rows, columns), strict=True
    ):
        assert [s.start for s in spans] == [start, *[s.stop for s in spans[:-1]]] and spans[-1].stop == stop
        for span in spans:
            assert span.start < span.stop
            assert (span.first, span.last) == (max(0, span.start - margin), min(end, span.stop + margin))
    down, across = grid
    largest = max(s.last - s.first for s in down) * max(s.last - s.first for s in across)
    single = len(down) == part.bottom - part.top and len(across) == part.right - part.left
    assert largest <= limit or single


def test_margins_of_large_photos_cost_little() -> None:
    """24 megapixels: a fifth more to decode, a third more to encode."""
    for margin, most in ((windows.DECODE_MARGIN, 1.21), (windows.ENCODE_MARGIN, 1.35)):
        down, across = plan(63, 94, margin, 1024, Rectangle(0, 63, 0, 94))
        computed = sum(s.last - s.first for s in down) * sum(s.last - s.first for s in across)
        assert computed / (63 * 94) < most


# --- windows change nothing ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Return uint8 [700, 900, 3]: 11 x 15 strides of a real photo."""
    return data.retina()[200:900, 250:1150]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make windows of 10 x 10 strides, as if memory were scarce: twelve of them to encode the scene."""
    monkeypatch.setattr(windows, "ENCODE_LIMIT", 100)
    monkeypatch.setattr(windows, "DECODE_LIMIT", 64)


@pytest.mark.parametrize("layers", ["all", "base"])
@pytest.mark.parametrize("quality", [15, 75])
def test_a_stream_of_windows_is_that_of_the_whole(
    shipped: Codec, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch, layers: str, quality: int
) -> None:
    whole = shipped.encode(scene, quality, layers)  # type: ignore[arg-type]
    assert not windows.is_large(*scene.shape[:2], windows.ENCODE_LIMIT)
    monkeypatch.setattr(windows, "ENCODE_LIMIT", 100)
    assert windows.is_large(*scene.shape[:2], windows.ENCODE_LIMIT)
    stream = shipped.encode(scene, quality, layers)  # type: ignore[arg-type]
    assert len(stream) == pytest.approx(len(whole), rel=0.002)
    assert psnr(shipped.decode(stream), scene) > psnr(shipped.decode(whole), scene) - 0.02
    (batched,) = shipped.encode_batch([scene], quality, layers)  # type: ignore[arg-type]
    assert batched == stream


@pytest.mark.parametrize("beta", [0, 0.5, 1])
def test_a_picture_of_windows_is_that_of_the_whole(
    shipped: Codec, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch, beta: float
) -> None:
    stream = shipped.encode(scene, 60)
    whole = shipped.decode(stream, beta)
    monkeypatch.setattr(windows, "DECODE_LIMIT", 64)
    found = shipped.decode(stream, beta)
    assert np.abs(found.astype(int) - whole).max() <= 1
    assert (found != whole).mean() < 1e-3
    np.testing.assert_array_equal(next(iter(shipped.decode_batch([stream], beta))), found)


def test_no_seam_where_windows_meet(shipped: Codec, scene: np.ndarray, small_windows: None) -> None:
    """The error along the borders of windows is that of everywhere else."""
    found = shipped.decode(shipped.encode(scene, 40))
    down, across = plan(11, 15, windows.ENCODE_MARGIN, 100, Rectangle(0, 11, 0, 15))
    seam = np.zeros(scene.shape[:2], bool)
    for span in down[1:]:
        seam[64 * span.start - 4 : 64 * span.start + 4] = True
    for span in across[1:]:
        seam[:, 64 * span.start - 4 : 64 * span.start + 4] = True
    error = (found.astype(float) - scene) ** 2
    # Compared with lines half a stride away, whose content is alike.
    beside = np.roll(seam, 32, (0, 1))
    assert 10 * np.log10(error[seam].mean() / error[beside].mean()) < 0.5


def test_a_large_picture_may_be_changed_while_it_waits_in_a_batch(
    shipped: Codec, scene: np.ndarray, small_windows: None
) -> None:
    buffer = scene.copy()

    def frames():
        yield buffer
        buffer[:] = 0
        yield buffer

    first, _ = shipped.encode_batch(frames(), 30, layers="base")
    assert first == shipped.encode(scene, 30, layers="base")


# --- parts, previews, rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "region", [(0, 0, 1, 1), (899, 699, 1, 1), (130, 70, 300, 200), (63, 0, 2, 700), (0, 0, 900, 700)]
)
def test_a_region_is_that_part_of_the_picture(
    shipped: Codec, scene: np.ndarray, region: tuple[int, int, int, int]
) -> None:
    stream = shipped.encode(scene, 50)
    x, y, width, height = region
    found = shipped.decode(stream, region=region)
    assert found.shape == (height, width, 3)
    expected = shipped.decode(stream)[y : y + height, x : x + width]
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_region_runs_the_networks_over_little_more_than_itself(shipped: Codec, scene: np.ndarray) -> None:
    seen: list[tuple[int, ...]] = []

    class Watched:
        info, parallel = shipped.backend, False

        def run(self, graph, inputs, cuda_stream=None):
            seen.append(inputs["z1"].shape[2:])
            return codec.run(graph, inputs, cuda_stream)

    from rdc_codec import backends

    codec = backends.create("onnxruntime", shipped.bundle, backends.BackendOptions(2))
    watched = Codec(shipped.bundle, backend=Watched())
    stream = shipped.encode(scene, 50)
    watched.decode(stream, region=(320, 320, 64, 64))
    assert seen == [(5, 5)]  # one stride and a margin of two


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_preview_has_means_of_pixels(shipped: Codec, scene: np.ndarray, factor: int) -> None:
    stream = shipped.encode(scene[:693, :890], 50)
    whole = shipped.decode(stream).astype(float)
    found = shipped.decode(stream, scale=1 / factor)
    assert found.shape == (-(-693 // factor), -(-890 // factor), 3)
    rows, columns = 693 // factor, 890 // factor
    means = whole[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3).mean((1, 3))
    assert np.abs(found[:rows, :columns] - means).max() <= 1.5
    corner = whole[rows * factor :, columns * factor :]
    if corner.size:
        assert np.abs(found[-1, -1] - corner.mean((0, 1))).max() <= 1.5


@given(
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from([1, 2, 4, 8]),
    st.lists(st.integers(0, 9), max_size=9),
)
def test_means_do_not_depend_on_how_rows_come(height: int, width: int, factor: int, cuts: list[int]) -> None:
    picture = np.random.default_rng(height * 64 + width).integers(0, 256, (height, width, 3), np.uint8)
    edges = sorted({0, height, *np.minimum(np.cumsum(cuts), height).tolist()})
    bands = [picture[a:b] for a, b in itertools.pairwise(edges)]
    found = np.concatenate(list(reduced(bands, factor)))
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            block = picture[row * factor :, column * factor :][:factor, :factor].reshape(-1, 3).astype(int)
            np.testing.assert_array_equal(found[row, column], (block.sum(0) + len(block) // 2) // len(block))


def test_rows_come_one_window_after_the_other(shipped: Codec, scene: np.ndarray, small_windows: None) -> None:
    stream = shipped.encode(scene, 50)
    bands = list(shipped.decode_rows(stream))
    assert len(bands) > 1
    np.testing.assert_array_equal(np.concatenate(bands), shipped.decode(stream))
    part = list(shipped.decode_rows(stream, region=(10, 20, 500, 600), scale=1 / 2))
    np.testing.assert_array_equal(
        np.concatenate(part), shipped.decode(stream, region=(10, 20, 500, 600), scale=1 / 2)
    )


def test_damage_is_said_before_the_first_row(tiny: Codec, photo: np.ndarray) -> None:
    stream = tiny.encode(photo)
    with pytest.warns(DamagedAuxiliaryWarning, match="slice 3") as caught:
        rows = tiny.decode_rows(stream[:-1])
    assert Path(caught[0].filename).name == Path(__file__).name
    assert np.concatenate(list(rows)).shape == photo.shape


def test_a_picture_may_go_into_a_file(
    shipped: Codec, scene: np.ndarray, tmp_path: Path, small_windows: None
) -> None:
    """Neither the picture that is read nor the one that is written need be in memory."""
    source = np.memmap(tmp_path / "in.raw", np.uint8, "w+", shape=scene.shape)
    source[:] = scene
    stream = shipped.encode(np.memmap(tmp_path / "in.raw", np.uint8, "r", shape=scene.shape))
    assert stream == shipped.encode(scene)
    target = np.memmap(tmp_path / "out.raw", np.uint8, "w+", shape=scene.shape)
    assert shipped.decode(stream, out=target) is target
    np.testing.assert_array_equal(target, shipped.decode(stream))


def test_transparency_follows_its_part(shipped: Codec, scene: np.ndarray) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, scene.shape[:2], np.uint8)
    stream = shipped.encode(np.dstack([scene, alpha]), 30, layers="base")
    part = shipped.decode_image(stream, region=(7, 70, 101, 33))
    assert (part.mode, part.size) == ("RGBA", (101, 33))
    np.testing.assert_array_equal(np.asarray(part)[..., 3], alpha[70:103, 7:108])
    small = shipped.decode_image(stream, region=(7, 70, 101, 33), scale=1 / 4)
    assert small.size == (26, 9)
    assert abs(float(np.asarray(small)[0, 0, 3]) - alpha[70:74, 7:11].mean()) <= 0.5


def test_the_command_decodes_parts(tmp_path: Path, photo: np.ndarray) -> None:
    stream = tmp_path / "photo.rdc"
    stream.write_bytes(Codec().encode(photo, 40))
    command = [sys.executable, "-m", "rdc_codec", "decode", str(stream), "-o"]
    done = [*command, str(tmp_path / "part.png"), "--region", "100,50,64,32", "--scale", "1/2"]
    subprocess.run(done, check=True)
    whole = Codec().decode(stream.read_bytes())[50:82, 100:164].astype(float)
    means = whole.reshape(16, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(np.asarray(Image.open(tmp_path / "part.png")) - means).max() <= 1.5
    for bad, word in (("1,2,3", "X,Y,WIDTH,HEIGHT"), ("0,0,452,1", "not within 451x300")):
        refused = [*command, str(tmp_path / "none.png"), "--region", bad]
        found = subprocess.run(refused, capture_output=True, text=True, check=False)
        assert found.returncode == 2 and word in found.stderr and len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "none.png").exists()


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "region",
    [
        (0, 0, 452, 1),
        (0, 0, 1, 301),
        (-1, 0, 5, 5),
        (0, 0, 0, 5),
        (451, 0, 1, 1),
        (0, 0, 1),
        "abcd",
        3,
        (0.5, 0, 1, 1),
    ],
)
def test_a_region_lies_within_the_picture(tiny: Codec, photo: np.ndarray, region: object) -> None:
    with pytest.raises(InputError, match="region"):
        tiny.decode(tiny.encode(photo), region=region)  # type: ignore[call-overload]


@pytest.mark.parametrize("scale", [0, 2, 1 / 3, 1 / 16, "1/2", None, float("nan")])
def test_scales_are_few(tiny: Codec, photo: np.ndarray, scale: object) -> None:
    with pytest.raises(InputError, match="scale must be 1, 1/2, 1/4 or 1/8"):
        tiny.decode(tiny.encode(photo), scale=scale)  # type: ignore[call-overload]


def test_a_target_fits(tiny: Codec, photo: np.ndarray) -> None:
    stream = tiny.encode(photo)
    read_only = np.zeros(photo.shape, np.uint8)
    read_only.flags.writeable = False
    for target in (np.zeros((300, 450, 3), np.uint8), np.zeros(photo.shape, np.int8), read_only):
        with pytest.raises(InputError, match="out must be a writable uint8 array"):
            tiny.decode(stream, out=target)


def test_the_limit_names_what_raises_it(photo: np.ndarray) -> None:
    codec = Codec()
    stream = codec.encode(photo[:64, :64])
    codec.max_pixels = 64 * 64 - 1
    for attempt in (lambda: codec.encode(photo[:64, :64]), lambda: codec.decode(stream)):
        with pytest.raises(LimitError, match="raise max_pixels"):
            attempt()


def test_regions_name_strides() -> None:
    assert Region(0, 0, 64, 64).strides() == (0, 1, 0, 1)
    assert Region(63, 64, 2, 1).strides() == (1, 2, 0, 2)


# --- memory -------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
import numpy as np
from rdc_codec import Codec

def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
def now(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024
def reset(): open("/proc/self/clear_refs", "w").write("5")

codec = Codec(backend="onnxruntime")
rng = np.random.default_rng(0)
tile = (rng.normal(0, 9, (512, 512, 3)) + np.linspace(0, 240, 512)[:, None, None]).clip(0, 255).astype(np.uint8)
picture = np.tile(tile, (6, 8, 1))
codec.decode(codec.encode(tile[:128, :128]))
reset(); before = now()
stream = codec.encode(picture)
print("encode", peak() - before)
target = picture  # the caller's: it may as well be overwritten
reset(); before = now()
codec.decode(stream, out=target)
print("decode", peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_memory_above_the_picture_is_bounded() -> None:
    """12.6 megapixels took 1.7 GB to encode and 1.1 GB to decode as one piece; windows alone need about 0.6 GB."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE)], capture_output=True, text=True, check=True
    )
    found = {line.split()[0]: float(line.split()[1]) for line in run.stdout.splitlines()}
    assert found["encode"] < 900 and found["decode"] < 600
