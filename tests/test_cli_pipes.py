"""The command `rdc` among other programs: pipes, standard streams, signals, files of others, JSON lines."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY
from PIL import Image
from surroundings import child_environment

from rdc_codec import Codec
from rdc_codec.cli import main

COMMAND = [sys.executable, "-m", "rdc_codec"]
MODEL = ["--model", str(TINY), "--backend", "onnxruntime"]
RDC = shlex.join(COMMAND)
OPTIONS = shlex.join(MODEL)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells and signals of POSIX")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        check=False,
        env=child_environment(),
    )


def run(*arguments: object) -> tuple[int, list[str], list[str]]:
    """Return the exit code of a command in this process, and the lines of its two outputs."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture(scope="module")
def stream(tiny: Codec, pixels: np.ndarray) -> bytes:
    return tiny.encode(pixels)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray, stream: bytes) -> Path:
    """Folder with photo.png and photo.rdc."""
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (tmp_path / "photo.rdc").write_bytes(stream)
    return tmp_path


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


# --- standard streams and pipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"{RDC} encode - -o - {OPTIONS} < photo.png",
        f"cat photo.png | {RDC} encode - -o - {OPTIONS} | cat",
        f"cat photo.png | {RDC} encode /dev/stdin -o /dev/stdout {OPTIONS} | cat",
        f"{RDC} encode <(cat photo.png) -o >(cat) {OPTIONS} | cat",
    ],
)
def test_a_picture_goes_through_pipes(line: str, folder: Path, stream: bytes) -> None:
    done = shell(line, folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == stream
    assert files(folder) == ["photo.png", "photo.rdc"]


def test_both_ways_in_one_pipe(folder: Path, tiny: Codec, stream: bytes) -> None:
    line = f"{RDC} encode photo.png -o - {OPTIONS} | {RDC} decode - -o - {OPTIONS}"
    done = shell(f"set -o pipefail; {line}", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_array_equal(decoded(done.stdout), tiny.decode(stream))


def test_what_a_shell_has_opened_is_not_begun_anew(folder: Path, stream: bytes) -> None:
    done = shell(f"{{ printf before; {RDC} encode photo.png -o /dev/stdout {OPTIONS}; }} >> log", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "log").read_bytes() == b"before" + stream


def test_a_stream_of_the_system_takes_the_format_that_is_asked_for(folder: Path) -> None:
    done = shell(f"{RDC} decode photo.rdc -o - --format jpg {OPTIONS}", folder)
    assert done.stdout[:3] == b"\xff\xd8\xff"


def test_a_file_named_minus_is_given_with_its_folder(
    folder: Path, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run("encode", "photo.png", "-o", "./-", *MODEL) == (0, [], [])
    assert (folder / "-").read_bytes() == stream


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photo.png", "photo.png", "-o", "-"], "only one picture can go there"),
        (["photo.png", "photo.png", "-o", "/dev/stdout"], "only one picture can go there"),
        (["-", "-o", "out/"], "no name"),
        (["photo.png", "-o", "-", "--json"], "cannot both go to the standard output"),
        (["photo.png", "-o", "new.rdc", "--overwrite", "--skip-existing"], "contradict"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    code, out, (line,) = run("encode", *arguments, *MODEL)
    assert code == 2 and out == [] and said in line
    assert files(folder) == ["photo.png", "photo.rdc"]


def test_a_reader_that_leaves_ends_the_command_without_a_word(folder: Path) -> None:
    # The picture has to be more than the pipe holds, or nobody notices.
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(folder / "large.png")
    assert run("encode", folder / "large.png", "-o", folder / "large.rdc", *MODEL)[0] == 0
    line = f"{RDC} decode large.rdc -o - --format bmp {OPTIONS} | true; echo ${{PIPESTATUS[0]}}"
    done = shell(line, folder)
    assert (done.stdout, done.stderr) == (b"141\n", b"")


def test_closed_outputs_are_no_obstacle(folder: Path) -> None:
    (folder / "in").mkdir()
    for name in ("a.png", "b.png"):
        (folder / "in" / name).write_bytes((folder / "photo.png").read_bytes())
    done = shell(f"{RDC} encode in -o out --json {OPTIONS} >&- 2>&-", folder)
    assert done.returncode == 0
    assert files(folder / "out") == ["a.rdc", "b.rdc"]
    done = shell(f"{RDC} decode photo.rdc -o - {OPTIONS} >&-", folder)
    assert done.returncode == 2 and b"standard output is closed" in done.stderr


# --- what is there already ----------------------------------------------------------------------------------------


def test_decoding_replaces_no_picture(folder: Path, pixels: np.ndarray) -> None:
    """Nor does encoding into the folder of the photos and back, which cost originals."""
    code, _, (line,) = run("decode", folder / "photo.rdc", "-o", folder, *MODEL)
    assert code == 2 and "is there already" in line and "--overwrite" in line
    with Image.open(folder / "photo.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert run("decode", folder / "photo.rdc", "-o", folder, "--skip-existing", *MODEL) == (0, [], [])
    with Image.open(folder / "photo.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert run("decode", folder / "photo.rdc", "-o", folder, "--overwrite", *MODEL) == (0, [], [])
    with Image.open(folder / "photo.png") as image:
        assert (np.asarray(image) != pixels).any()


def test_encoding_replaces_streams_and_nothing_else(folder: Path, stream: bytes) -> None:
    (folder / "notes.txt").write_text("mine")
    code, _, (line,) = run("encode", folder / "photo.png", "-o", folder / "notes.txt", *MODEL)
    assert code == 2 and "no RDC stream" in line and (folder / "notes.txt").read_text() == "mine"
    (folder / "photo.rdc").write_bytes(stream[:40])
    assert run("encode", folder / "photo.png", "-o", folder / "photo.rdc", *MODEL) == (0, [], [])
    assert (folder / "photo.rdc").read_bytes() == stream
    (folder / "empty").touch()  # as mktemp leaves it
    assert run("encode", folder / "photo.png", "-o", folder / "empty", *MODEL) == (0, [], [])
    assert (folder / "empty").read_bytes() == stream


def test_an_input_is_not_written_to_even_where_all_may_be_replaced(folder: Path) -> None:
    before = (folder / "photo.png").read_bytes()
    code, _, (line,) = run("encode", folder / "photo.png", "-o", folder / "photo.png", "--overwrite", *MODEL)
    assert code == 2 and "which is an input" in line
    assert (folder / "photo.png").read_bytes() == before


def test_names_that_clash_are_said_and_can_be_kept_apart(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.new("RGB", (64, 64), "red").save(source / "a.png")
    Image.new("RGB", (64, 64), "blue").save(source / "a.jpg")
    code, _, (line,) = run("encode", source, "-o", tmp_path / "out", *MODEL)
    assert code == 2 and str(source / "a.png") in line and "--keep-suffix" in line
    assert files(tmp_path / "out") == ["a.rdc"]
    assert run("encode", source, "-o", tmp_path / "both", "--keep-suffix", *MODEL) == (0, [], [])
    assert files(tmp_path / "both") == ["a.jpg.rdc", "a.png.rdc"]
    back = ["decode", tmp_path / "both", "-o", tmp_path / "back", "--format", "webp", "--keep-suffix"]
    assert run(*back, *MODEL) == (0, [], [])
    assert files(tmp_path / "back") == ["a.jpg.rdc.webp", "a.png.rdc.webp"]


# --- files of others ----------------------------------------------------------------------------------------------


def test_files_keep_their_mode_and_new_ones_follow_the_umask(folder: Path) -> None:
    target = folder / "photo.rdc"
    target.chmod(0o640)
    before = target.stat().st_ino
    assert run("encode", folder / "photo.png", "-o", target, *MODEL)[0] == 0
    assert target.stat().st_mode & 0o777 == 0o640 and target.stat().st_ino != before
    old = os.umask(0o027)
    try:
        assert run("encode", folder / "photo.png", "-o", folder / "new.rdc", *MODEL)[0] == 0
    finally:
        os.umask(old)
    assert (folder / "new.rdc").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(folder: Path, stream: bytes) -> None:
    (folder / "far").mkdir()
    (folder / "link.rdc").symlink_to(folder / "far" / "real.rdc")
    assert run("encode", folder / "photo.png", "-o", folder / "link.rdc", *MODEL)[0] == 0
    assert (folder / "link.rdc").is_symlink() and (folder / "far" / "real.rdc").read_bytes() == stream


@pytest.mark.parametrize("error", ["EBUSY", "EXDEV", "EACCES", "EPERM"])
def test_where_a_rename_cannot_work_the_file_is_written_in_place(
    error: str, folder: Path, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a file that is a mount of its own, which containers are given."""
    import errno

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    target = folder / "photo.rdc"
    target.write_bytes(stream[:30])
    before = target.stat().st_ino
    monkeypatch.setattr(os, "replace", refuse)
    assert run("encode", folder / "photo.png", "-o", target, *MODEL) == (0, [], [])
    assert target.read_bytes() == stream and target.stat().st_ino == before
    assert files(folder) == ["photo.png", "photo.rdc"]
    assert run("encode", folder / "photo.png", "-o", folder / "new.rdc", *MODEL)[0] == 2
    assert files(folder) == ["photo.png", "photo.rdc"]


# --- several at once, and what is said of them --------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3])
def test_several_at_once_are_what_one_by_one_gives(
    at_once: int, tmp_path: Path, tiny: Codec, photos: list[np.ndarray]
) -> None:
    pictures = [np.ascontiguousarray(photos[k % 3][: 60 + 5 * k, :80]) for k in range(6)]
    (tmp_path / "in").mkdir()
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "in" / f"{k}.png")
    (tmp_path / "in" / "3x.png").write_bytes(b"damaged")
    code, out, said = run("encode", tmp_path / "in", "-o", tmp_path / "out", "--jobs", at_once, *MODEL)
    assert code == 2 and out == [] and len(said) == 1 and "3x.png" in said[0]
    for k, picture in enumerate(pictures):
        assert (tmp_path / "out" / f"{k}.rdc").read_bytes() == tiny.encode(picture)


def test_every_damaged_stream_is_named_however_many_are_decoded_at_once(
    tmp_path: Path, stream: bytes
) -> None:
    (tmp_path / "in").mkdir()
    for k in range(8):
        (tmp_path / "in" / f"{k}.rdc").write_bytes(stream[: len(stream) - 1 - k] if k % 2 else stream)
    code, _, said = run("decode", tmp_path / "in", "-o", tmp_path / "out", "-j", 4, *MODEL)
    assert code == 0
    assert [line.split(": ")[1] for line in said] == [str(tmp_path / "in" / f"{k}.rdc") for k in (1, 3, 5, 7)]


def test_json_lines(folder: Path, stream: bytes) -> None:
    (folder / "bad.rdc").write_bytes(b"no stream")
    (folder / "cut.rdc").write_bytes(stream[:-1])
    arguments = [folder / f"{name}.rdc" for name in ("bad", "cut", "photo")]
    (folder / "out").mkdir()
    (folder / "out" / "photo.png").write_bytes(b"here")
    code, out, said = run("decode", *arguments, "-o", folder / "out", "--skip-existing", "--json", *MODEL)
    bad, cut, photo, last = map(json.loads, out)
    assert code == 2 and len(said) == 2
    assert bad == {
        "input": str(folder / "bad.rdc"),
        "output": str(folder / "out" / "bad.png"),
        "error": "not an RDC stream",
    }
    assert (cut["width"], cut["height"], cut["quality"]) == (70, 50, 50.0)
    assert cut["bytes"] == (folder / "out" / "cut.png").stat().st_size and "auxiliary" in cut["warnings"][0]
    assert cut["bpp"] == round(8 * (len(stream) - 1) / 3500, 4) and cut["seconds"] > 0
    assert photo["skipped"] is True
    counts = {k: last["summary"][k] for k in ("written", "skipped", "failed", "bytes")}
    assert counts == {"written": 1, "skipped": 1, "failed": 1, "bytes": cut["bytes"]}
    code, (line, _), _ = run("encode", folder / "photo.png", "-o", folder / "new.rdc", "--json", *MODEL)
    assert code == 0 and json.loads(line)["bytes"] == len(stream)


def test_info_takes_several_streams_and_its_exit_code_tells_damage(folder: Path, stream: bytes) -> None:
    (folder / "cut.rdc").write_bytes(stream[:-1])
    code, out, said = run(
        "info", folder / "photo.rdc", folder / "cut.rdc", folder / "photo.png", "--json", *MODEL[:2]
    )
    assert code == 2
    whole, cut, none = map(json.loads, out)
    assert whole["width"] == cut["width"] == 70 and none["error"] == "not an RDC stream"
    assert [c["state"] for c in cut["chunks"]][-1] == "truncated"
    assert [line.split(": ")[1] for line in said] == [str(folder / "cut.rdc"), str(folder / "photo.png")]
    assert run("info", folder / "photo.rdc", *MODEL[:2])[0] == 0


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--format", "JPG", "--picture-quality", 90], "JPEG"),
        (["--format", ".webp", "--picture-quality", 10], "WEBP"),
        (["--format", "tiff"], "TIFF"),
        ([], "PNG"),
    ],
)
def test_pictures_have_the_format_and_quality_that_are_asked_for(
    options: list[object], kind: str, folder: Path
) -> None:
    assert run("decode", folder / "photo.rdc", "-o", f"{folder}/out/", *options, *MODEL) == (0, [], [])
    (name,) = files(folder / "out")
    with Image.open(folder / "out" / name) as image:
        assert image.format == kind and image.size == (70, 50)


def test_a_lower_quality_of_pictures_makes_smaller_files(folder: Path) -> None:
    sizes = []
    for quality in (5, 95):
        target = folder / f"{quality}.jpg"
        assert run("decode", folder / "photo.rdc", "-o", target, "--picture-quality", quality, *MODEL)[0] == 0
        sizes.append(target.stat().st_size)
    assert 2 * sizes[0] < sizes[1]
    code, _, (line,) = run(
        "decode", folder / "photo.rdc", "-o", folder / "x.png", "--picture-quality", 5, *MODEL
    )
    assert code == 2 and "PNG has no quality" in line
    code, _, (line,) = run("decode", folder / "photo.rdc", "-o", folder / "x", "--format", "xyz", *MODEL)
    assert code == 2 and "no pictures of type xyz" in line


def test_the_examples_of_the_documentation_run_in_order(folder: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 3
    (folder / "photo.rdc").unlink()
    (folder / "photos").mkdir()
    (folder / "photos" / "cat.png").write_bytes((folder / "photo.png").read_bytes())
    done = shell("\n".join([f'rdc() {{ {RDC} "$@"; }}', "set -e -o pipefail", *blocks]), folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    made = ["coded/cat.rdc", "photo.rdc", "restored.jpg", "restored.png", "restored/cat.png", "web/cat.webp"]
    assert set(made) <= set(files(folder))


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


def wait_until_it_computes(process: subprocess.Popen[bytes], seconds: float = 3.0) -> None:
    """Wait until a process has had so much of the processor, which it does not have for its start."""
    while process.poll() is None:
        spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, spent)) / os.sysconf("SC_CLK_TCK") >= seconds:
            return
        time.sleep(0.05)
    raise AssertionError("it ended before it was interrupted")


@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupt_ends_the_command_within_a_second(count: int, tmp_path: Path) -> None:
    """A picture of 9 megapixels takes from four seconds to half a minute here; the network is in the midst of it."""
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    for k in range(count):
        Image.fromarray(noise).save(tmp_path / "in" / f"{k}.bmp")
    process = subprocess.Popen(
        [*COMMAND, "encode", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--backend", "onnxruntime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ignored where the tests run in the background, and inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until_it_computes(process)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 3  # a tenth of a second, and more on a busy machine
    assert (process.returncode, out, err) == (130, b"", b"")
    assert not (tmp_path / "out").exists() or files(tmp_path / "out") == []
