"""The `rdc` command works on real files with the shipped bundle."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, rdc
from PIL import Image

from export.to_half import copy_bundle
from rdc_codec import Codec, container

WIDTH, HEIGHT = 97, 61


def fails(*arguments: object) -> list[str]:
    """Return the lines on stderr of a command that must end with exit code 2."""
    result = rdc(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    # A progress bar is drawn and wiped out within lines that end in a carriage return.
    lines = [line for line in result.stderr.splitlines() if line.strip() and "file/s]" not in line]
    assert all(line.startswith("rdc: ") for line in lines), result.stderr
    return lines


def picture() -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [128 + 90 * np.sin(x / a + y / b) for a, b in ((9, 30), (25, 11), (16, -14))]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture().save(path)
    return path


@pytest.fixture(scope="module")
def stream_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("stream")
    picture().save(folder / "in.png")
    assert rdc("encode", folder / "in.png", "-o", folder / "out.rdc").exit_code == 0
    return (folder / "out.rdc").read_bytes()


@pytest.fixture
def stream(tmp_path: Path, stream_bytes: bytes) -> Path:
    path = tmp_path / "photo.rdc"
    path.write_bytes(stream_bytes)
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


# --- one file ---------------------------------------------------------------------------------


def test_encode_and_decode_one_file(photo, tmp_path):
    out, back = tmp_path / "a.rdc", tmp_path / "back.png"
    result = rdc("encode", photo, "-o", out, "-q", "80")
    assert (result.exit_code, result.output) == (0, "")
    assert rdc("decode", out, "-o", back).output == ""
    codec = Codec()
    assert out.read_bytes() == codec.encode(picture(), quality=80)
    with Image.open(back) as image:
        np.testing.assert_array_equal(np.asarray(image), codec.decode(out.read_bytes()))
    assert files(tmp_path) == ["a.rdc", "back.png", "photo.png"]


def test_as_a_process_of_its_own(photo, tmp_path):
    command = [sys.executable, "-c", "from rdc_codec.cli import main; main()"]
    out = tmp_path / "out.rdc"
    subprocess.run([*command, "encode", photo, "-o", out], check=True)
    done = subprocess.run([*command, "info", out, "--json"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["width"] == WIDTH
    bad = subprocess.run(
        [*command, "decode", photo, "-o", tmp_path / "x.png"], capture_output=True, text=True
    )
    assert bad.returncode == 2
    assert bad.stderr == f"rdc: {photo}: not an RDC stream\n"


def test_output_may_be_a_folder_where_an_earlier_stream_is_replaced(photo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.rdc").write_bytes(b"RDC of another day")
    assert rdc("encode", photo, "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "photo.rdc").read_bytes()[:3] == container.MAGIC


def test_layers_and_qualities_reach_the_stream(photo, tmp_path):
    out = tmp_path / "out.rdc"
    slices = {}
    for layers in ("base", "2", "all"):
        rdc("encode", photo, "-o", out, "--layers", layers, "--base-quality", "30", "--aux-quality", "70.5")
        found = json.loads(rdc("info", out, "--json").stdout)
        assert (found["base_quality"], found["aux_quality"]) == (30.0, 70.5)
        types = [c.type for c in container.read(out.read_bytes(), max_pixels=1 << 20).chunks]
        slices[layers] = types.count(container.ChunkType.AUX_SLICE)
    assert slices["base"] == 0 and slices["2"] == 2 and slices["all"] >= 4


def test_beta_and_layers_of_decode(stream, tmp_path):
    pictures = {}
    for options in (["--beta", "1"], ["--layers", "0"], ["--layers", "1"], []):
        assert rdc("decode", stream, "-o", tmp_path / "out.bmp", "--overwrite", *options).exit_code == 0
        pictures[" ".join(options)] = (tmp_path / "out.bmp").read_bytes()
    assert len(set(pictures.values())) >= 3
    assert pictures[""] not in (pictures["--beta 1"], pictures["--layers 1"])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "turned.jpg", exif=exif)
    rdc("encode", tmp_path / "turned.jpg", "-o", tmp_path / "out.rdc")
    found = json.loads(rdc("info", tmp_path / "out.rdc", "--json").stdout)
    assert (found["width"], found["height"]) == (HEIGHT, WIDTH)


def test_info(stream, stream_bytes):
    text = rdc("info", stream).stdout
    found = json.loads(rdc("info", stream, "--json").stdout)
    assert (found["width"], found["height"], found["quality"]) == (WIDTH, HEIGHT, 50.0)
    last = found["chunks"][-1]
    assert last["offset"] + last["length"] == len(stream_bytes)
    assert all(chunk["state"] == "ok" for chunk in found["chunks"])
    assert str(WIDTH) in text and text.count(" ok") == len(found["chunks"])


# --- several files ----------------------------------------------------------------------------


def test_folders_keep_their_structure(tmp_path):
    for name in ("in/one.png", "in/deep/two.JPG", "in/deep/er/three.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(tmp_path / name)
    result = rdc("encode", tmp_path / "in", "-o", tmp_path / "coded")
    assert result.exit_code == 0 and result.output == ""
    assert files(tmp_path / "coded") == ["deep/er/three.rdc", "deep/two.rdc", "one.rdc"]
    assert rdc("decode", tmp_path / "coded", "-o", tmp_path / "back").exit_code == 0
    assert files(tmp_path / "back") == ["deep/er/three.png", "deep/two.png", "one.png"]


def test_a_bad_file_does_not_stop_the_others(photo, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    missing = tmp_path / "missing.png"
    lines = fails("encode", tmp_path / "a.png", missing, photo, "-o", tmp_path / "out")
    assert [line.split(": ")[1] for line in lines] == [str(tmp_path / "a.png"), str(missing)]
    assert files(tmp_path / "out") == ["photo.rdc"]


def test_two_inputs_never_share_an_output(photo, tmp_path):
    other = tmp_path / "photo.bmp"
    picture().save(other)
    (line,) = fails("encode", photo, other, "-o", tmp_path / "out")
    assert line.startswith(f"rdc: {other}: not written")
    assert files(tmp_path / "out") == ["photo.rdc"]


def test_several_inputs_need_a_folder(photo, tmp_path):
    (tmp_path / "taken").write_text("kept")
    (line,) = fails("encode", photo, photo, "-o", tmp_path / "taken")
    assert "must be a folder" in line
    (tmp_path / "empty").mkdir()
    (line,) = fails("encode", tmp_path / "empty", "-o", tmp_path / "out")
    assert "no file in this folder" in line


# --- bad input --------------------------------------------------------------------------------


def make_bad_images(folder: Path) -> dict[str, Path]:
    contents = {"empty.png": b"", "text.png": b"hello, I am a text file\n"}
    picture().save(folder / "whole.png")
    contents["cut.png"] = (folder / "whole.png").read_bytes()[:-900]
    picture().save(folder / "whole.jpg")
    contents["cut.jpg"] = (folder / "whole.jpg").read_bytes()[:700]
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.tif")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "sixteen.png")
    return {name: folder / name for name in (*contents, "cmyk.tif", "sixteen.png", "none.png")}


@pytest.mark.parametrize(
    "name", ["empty.png", "text.png", "cut.png", "cut.jpg", "cmyk.tif", "sixteen.png", "none.png"]
)
def test_bad_images(name, tmp_path):
    bad = make_bad_images(tmp_path)[name]
    (line,) = fails("encode", bad, "-o", tmp_path / "out.rdc")
    assert line.startswith(f"rdc: {bad}: ")
    assert not (tmp_path / "out.rdc").exists()


def test_decompression_bomb(tmp_path, monkeypatch):
    Image.new("1", (4000, 4000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 1000
    )  # which is for applications: --max-pixels is the limit here
    (line,) = fails("encode", tmp_path / "bomb.png", "-o", tmp_path / "out.rdc", "--max-pixels", 1000000)
    assert "4000x4000 is over 1000000 pixels" in line


def test_cut_and_damaged_auxiliary_data_is_a_warning(stream, stream_bytes, tmp_path):
    last = container.read(stream_bytes, max_pixels=1 << 20).chunks[-1]
    damaged = bytearray(stream_bytes)
    damaged[last.offset] ^= 0xFF
    for data in (stream_bytes[: last.offset], bytes(damaged)):
        stream.write_bytes(data)
        result = rdc("decode", stream, "-o", tmp_path / "out.png", "--overwrite")
        assert result.exit_code == 0
        assert result.stderr.startswith(f"rdc: {stream}: warning: ") and result.stderr.count("\n") == 1
        assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize("size", [0, 3, 20, 60])
def test_streams_cut_within_header_or_primary(size, stream, stream_bytes, tmp_path):
    first = container.read(stream_bytes, max_pixels=1 << 20).chunks[0]
    assert first.offset + first.length > 60 > first.offset
    stream.write_bytes(stream_bytes[:size])
    (line,) = fails("decode", stream, "-o", tmp_path / "out.png")
    assert line.startswith(f"rdc: {stream}: ")
    assert not (tmp_path / "out.png").exists()


def test_precision_is_the_codecs(photo, tmp_path):
    """A bundle in fp16 is what tells them apart on every machine."""
    half, stream, shown = tmp_path / "half", tmp_path / "a.rdc", tmp_path / "a.png"
    copy_bundle(TINY, half, "fp16")
    (line,) = fails("encode", photo, "-o", stream, "--model", half, "--precision", "exact")
    assert "precision='exact' needs fp32" in line and not stream.exists()
    assert rdc("encode", photo, "-o", stream, "--model", half, "--precision", "fast").exit_code == 0
    (line,) = fails("decode", stream, "-o", shown, "--model", half, "--precision", "exact")
    assert "precision='exact' needs fp32" in line and not shown.exists()
    assert rdc("decode", stream, "-o", shown, "--model", half, "--precision", "fast").exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-q", "nan"],
        ["-q", "101"],
        ["--base-quality", "-1"],
        ["--aux-quality", "inf"],
        ["--layers", "some"],
        ["--backend", "abacus"],
        ["--model", "no/such/bundle"],
    ],
    ids=" ".join,
)
def test_bad_encode_options(options, photo, tmp_path):
    assert len(fails("encode", photo, "-o", tmp_path / "out.rdc", *options)) == 1
    assert not (tmp_path / "out.rdc").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["--loud"],
        ["encode"],
        ["encode", "in.png"],
        ["encode", "in.png", "-o", "out.rdc", "--threads", "0"],
        ["encode", "in.png", "-o", "out.rdc", "--precision", "half"],
        ["encode", "in.png", "-o", "out.rdc", "--quality", "best"],
        ["decode", "in.rdc", "-o", "out.png", "--layers", "-1"],
        ["info"],
        ["info", "--loud", "b.rdc"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_one_line(arguments):
    (line,) = fails(*arguments)
    assert "--help)" in line


def test_help_is_shown_where_nothing_is_asked_for():
    result = rdc()
    assert "Usage:" in result.output and "encode" in result.output


def test_max_pixels(photo, stream, tmp_path):
    enough = 128 * 64
    for command, source, target in (("encode", photo, "out.rdc"), ("decode", stream, "out.png")):
        (line,) = fails(command, source, "-o", tmp_path / target, "--max-pixels", enough - 1)
        assert "limit" in line or "over" in line
        assert rdc(command, source, "-o", tmp_path / target, "--max-pixels", enough).exit_code == 0


def test_streams_of_huge_pictures_can_be_inspected(stream, stream_bytes):
    parsed = container.read(stream_bytes, max_pixels=1 << 20)
    header = dataclasses.replace(parsed.header, width=1 << 24, height=1 << 24)
    stream.write_bytes(container.write(header, [(c.type, c.payload) for c in parsed.chunks]))
    assert json.loads(rdc("info", stream, "--json").stdout)["width"] == 1 << 24


@pytest.mark.parametrize(("suffix", "said"), [(".gif", 1), (".webp", 1), (".mpo", 0)])
def test_further_frames_are_mentioned(suffix, said, tmp_path):
    frames = [picture().convert("RGB"), picture().rotate(180).convert("RGB")]
    source = tmp_path / f"in{suffix}"
    frames[0].save(source, save_all=True, append_images=frames[1:])
    result = rdc("encode", source, "-o", tmp_path / "out.rdc")
    assert result.exit_code == 0 and result.stderr.count("first frame") == said


@pytest.mark.parametrize("beta", ["nan", "-0.1", "1.1"])
def test_bad_beta(beta, stream, tmp_path):
    (line,) = fails("decode", stream, "-o", tmp_path / "out.png", f"--beta={beta}")
    assert line == f"rdc: --beta must be a number from 0 to 1, got {float(beta)}"


def test_an_output_type_that_pillow_cannot_write(stream, tmp_path):
    (line,) = fails("decode", stream, "-o", tmp_path / "out.xyz")
    assert "'.xyz'" in line


def test_the_input_is_never_overwritten(photo, stream, tmp_path):
    before = photo.read_bytes()
    (line,) = fails("encode", photo, "-o", tmp_path / "." / "photo.png")
    assert "not written" in line and photo.read_bytes() == before
    (line,) = fails("info", photo)
    assert line == f"rdc: {photo}: not an RDC stream"


def test_a_target_that_cannot_be_written(photo, tmp_path):
    (tmp_path / "file").write_text("")
    (line,) = fails("encode", photo, "-o", tmp_path / "file" / "out.rdc")
    assert "cannot write" in line


@pytest.mark.skipif(not Path(os.devnull).is_char_device(), reason="no null device")
def test_a_device_is_written_to_and_not_replaced(photo):
    assert rdc("encode", photo, "-o", os.devnull).exit_code == 0
    assert Path(os.devnull).is_char_device()


def test_one_bad_path_costs_that_path(photo, tmp_path):
    """Whatever is wrong with it: the tests run as root, whom no permission keeps out."""
    long = tmp_path / ("n" * 300)
    missing, broken = tmp_path / "missing.png", tmp_path / "loop.png"
    broken.symlink_to(broken)
    lines = fails("encode", photo, long, missing, broken, "-o", tmp_path / "out")
    assert [line.split(": ")[1] for line in lines] == [str(long), str(missing), str(broken)]
    assert files(tmp_path / "out") == ["photo.rdc"]
    (line,) = fails("encode", photo, photo, "-o", tmp_path / ("o" * 300))
    assert "File name too long" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
def test_what_another_user_may_not_read_is_named(photo, tmp_path):
    """In a forked process, which has loaded what it needs before it becomes one who may read little."""
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    source = tmp_path / "photos"
    (source / "locked").mkdir(parents=True)
    for name in ("a.png", "unreadable.png", "c.png"):
        (source / name).write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    arguments = ["encode", source, "-o", out, "--model", model, "--backend", "onnxruntime"]
    assert rdc(*arguments).exit_code == 0
    shutil.rmtree(out)
    out.mkdir()
    out.chmod(0o777)
    (source / "unreadable.png").chmod(0)
    (source / "locked").chmod(0)
    folders = {folder: folder.stat().st_mode for folder in (tmp_path, *tmp_path.parents)}
    said = tmp_path / "said"
    said.touch()
    said.chmod(0o666)
    try:
        for folder, mode in folders.items():
            folder.chmod(mode | 0o711)
        child = os.fork()
        if not child:
            os.setgid(65534)
            os.setuid(65534)
            result = rdc(*arguments)
            said.write_text(result.stderr)
            os._exit(result.exit_code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2, said.read_text()
    finally:
        for folder, mode in folders.items():
            folder.chmod(mode)
    assert files(out) == ["a.rdc", "c.rdc"]
    assert said.read_text().splitlines() == [
        f"rdc: {source / 'locked'}: Permission denied",
        f"rdc: {source / 'unreadable.png'}: Permission denied",
    ]


def test_what_a_folder_holds_besides_is_named(photo, tmp_path):
    source = tmp_path / "photos"
    (source / "inner").mkdir(parents=True)
    for name in ("one.heic", "two.HEIC", "notes", ".hidden", "inner/raw.dng"):
        (source / name).write_bytes(b"?")
    (source / "one.png").write_bytes(photo.read_bytes())
    (source / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    lines = fails("encode", source, "-o", tmp_path / "out")
    assert lines == [
        f"rdc: {source / 'linked'}: a link to a folder, which is not followed",
        f"rdc: {source}: left out what is not read by its suffix: 1 of .dng, 2 of .heic, 1 of no suffix",
    ]
    assert files(tmp_path / "out") == ["one.rdc"]


def test_an_empty_argument_is_an_error_and_not_the_current_folder(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["encode", "", "-o", "out"], ["encode", photo, "-o", ""], ["info", ""]):
        (line,) = fails(*arguments)
        assert "the path is empty" in line
    assert files(tmp_path) == ["photo.png"]


def test_an_output_that_ends_in_a_slash_is_a_folder(photo, stream, tmp_path):
    assert rdc("encode", photo, "-o", f"{tmp_path}/new/").exit_code == 0
    assert rdc("decode", stream, "-o", f"{tmp_path}/new/deep/").exit_code == 0
    assert files(tmp_path / "new") == ["deep/photo.png", "photo.rdc"]


def test_no_program_is_run_for_a_picture(tmp_path, monkeypatch):
    """Pillow runs Ghostscript for EPS, whatever the file's name is."""
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    source = tmp_path / "photos"
    source.mkdir()
    picture().save(source / "evil.eps")
    (source / "looks.jpg").write_bytes((source / "evil.eps").read_bytes())
    lines = fails("encode", source, "-o", tmp_path / "out")
    assert lines[0].endswith("left out what is not read by its suffix: 1 of .eps")
    assert lines[1] == f"rdc: {source / 'looks.jpg'}: not an image that can be read"
    (line,) = fails("encode", source / "evil.eps", "-o", tmp_path / "out.rdc")
    assert "not an image that can be read" in line
    assert not ran.exists()


def test_a_closed_stderr_is_no_obstacle(photo, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    command = f'"{sys.executable}" -m rdc_codec encode "{photo}" "{other}" -o "{tmp_path}/out" 2>&-'
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    assert files(tmp_path / "out") == ["other.rdc", "photo.rdc"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_terminals_have_a_progress_bar_and_logs_have_none(photo, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "rdc_codec", "encode", photo, other, "-o", tmp_path / "out"]
    subprocess.run(command, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal is said
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert b"2/2" in shown
    for options in ([], ["--quiet"]):
        result = rdc("encode", photo, other, "-o", tmp_path / "out", *options)
        assert result.exit_code == 0 and result.stderr == ""


def test_verify_names_every_stream_that_is_not_whole(stream, stream_bytes, tmp_path):
    assert rdc("verify", stream).output == ""
    folder = tmp_path / "streams"
    folder.mkdir()
    (folder / "cut.rdc").write_bytes(stream_bytes[:-1])
    (folder / "none.rdc").write_bytes(stream_bytes[:20])
    (folder / "whole.rdc").write_bytes(stream_bytes)
    lines = fails("verify", folder, tmp_path / "missing.rdc", stream)
    assert [line.split(": ")[1] for line in lines] == [
        str(folder / "cut.rdc"),
        str(folder / "none.rdc"),
        str(tmp_path / "missing.rdc"),
    ]
    assert "there is a picture" in lines[0] and "no picture" in lines[1] and "No such file" in lines[2]


def test_help_does_not_load_the_codec():
    code = "import sys, rdc_codec.cli; print({'onnxruntime', 'PIL', 'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
