"""What a full disk, a folder that may not be written to, a second writer and SIGKILL leave: old files or new ones.

Nothing is mocked: processes are killed, limited and deprived of rights by the system. `benchmarks/faults.py` does the
same at random moments, with the command as users start it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from surroundings import child_environment

from benchmarks import faults
from export import bundle_writer
from export.errors import ExportError
from export.to_half import copy_bundle
from rdc_codec import Codec, files
from rdc_codec.bundle import Bundle
from rdc_codec.corpus import plan
from rdc_codec.corpus.places import Place
from rdc_codec.corpus.settings import Settings

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX"),
    pytest.mark.timeout(300),
]
ROOT = Path(__file__).parents[1]
MODEL = ["--model", str(TINY), "--backend", "onnxruntime", "--threads", "1"]
OLD = b"RDC\1 what was there before"
BLOCK = 4096

# Limits the size of files to the first argument ("" for none), or gives the rights of root up ("ordinary"), and becomes
# Python with the others.
LIMITED = """
import ctypes, os, resource, sys
limit, *rest = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if limit.isdecimal():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
elif os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    sys.exit("cannot give the rights of root up")
os.execv(sys.executable, [sys.executable, *rest])
"""
# Python ignores the signal of files that grow too large; without that, it ends the process within a write.
ENDED_WITHIN_A_WRITE = (
    "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nfrom rdc_codec.cli import main; main()"
)


def limited(limit: int | str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def stream(tiny: Codec, photo: np.ndarray) -> bytes:
    data = tiny.encode(photo[:120, :160], 100)
    assert len(data) > 600
    return data


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray, stream: bytes) -> Path:
    """Return a folder with a.png, an older a.rdc, b.rdc and an older b.png."""
    Image.fromarray(photo[:120, :160]).save(tmp_path / "a.png")
    (tmp_path / "a.rdc").write_bytes(OLD)
    (tmp_path / "b.rdc").write_bytes(stream)
    (tmp_path / "b.png").write_bytes(OLD)
    return tmp_path


# --- SIGKILL --------------------------------------------------------------------------------------------------------


def killed_at_lines(work: str, before: Path, watch: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return what there was after the work was killed at each line in turn, and last after it came to its end."""
    asked = {"work": work, "before": str(before), "now": str(before) + "-now", "watch": watch}
    command = [sys.executable, str(ROOT / "tests" / "killed_at_lines.py"), json.dumps(asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=child_environment(ROOT))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) > 5 and [r["where"] for r in records].count("") == 1
    return records


def visible(found: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in found.items() if not any(p.startswith(".") for p in name.split("/"))
    }


def again(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what there was after the work was done once more."""
    found = [record["again"] for record in records if record["again"] is not None]
    assert len(found) > 1
    return found


WRITING = {"rdc_codec/files.py": ["write", "_replace", "settle"]}


@pytest.mark.parametrize(
    ("work", "output"),
    [
        ("trim", "a.rdc"),
        pytest.param("encode", "a.rdc", marks=pytest.mark.slow),
        pytest.param("decode", "b.png", marks=pytest.mark.slow),
    ],
)
def test_a_file_is_the_old_one_or_the_new_one_wherever_its_writer_is_killed(
    work: str, output: str, folder: Path
) -> None:
    before = {name: sha256((folder / name).read_bytes()) for name in names(folder)}
    records = killed_at_lines(work, folder, WRITING)
    new = records[-1]["found"][output]
    assert new != before[output]
    seen = [record["found"][output] for record in records]
    assert set(seen) == {before[output], new} and seen == sorted(seen, key=lambda value: value == new)
    for record in records:
        assert visible(record["found"]).keys() == before.keys()
    for record in again(records):  # what was left beside it is hidden, and in nobody's way
        assert visible(record) == {**before, output: new}
    assert any(len(record["found"]) > len(before) for record in records), (
        "never killed with a file half written"
    )
    assert len(records[-1]["found"]) == len(before)


def test_a_file_that_was_not_there_is_missing_or_whole_wherever_its_writer_is_killed(folder: Path) -> None:
    (folder / "a.rdc").unlink()
    records = killed_at_lines("trim", folder, WRITING)
    new = records[-1]["found"]["a.rdc"]
    assert {record["found"].get("a.rdc") for record in records} == {None, new}
    assert {record["a.rdc"] for record in again(records)} == {new}


def test_a_bundle_is_the_old_one_or_the_new_one_wherever_its_writer_is_killed(tmp_path: Path) -> None:
    before = tmp_path / "before"
    (before / "bundle").mkdir(parents=True)
    for name in ("manifest.json", "tables.npz", "training.safetensors", "weights.bin"):
        shutil.copyfile(TINY / name, before / "bundle" / name)
    old = {name: sha256((before / name).read_bytes()) for name in names(before)}
    watch = {
        "export/bundle_writer.py": ["new_bundle", "_take_place", "_exchange", "write_manifest"],
        "tempfile.py": ["__exit__", "cleanup"],
    }
    records = killed_at_lines("bundle", before, watch)
    new = visible(records[-1]["found"])
    assert new.keys() == old.keys() and new != old
    assert all(visible(record["found"]) in (old, new) for record in records)
    assert sum(visible(record["found"]) == new for record in records) > 1, "never killed after the exchange"
    assert all(visible(record) == new for record in again(records))


@pytest.mark.slow
def test_shards_and_their_streams_are_there_once_wherever_their_writer_is_killed(
    tmp_path: Path, photo: np.ndarray
) -> None:
    before = tmp_path / "before"
    (before / "photos").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(photo[number : number + 20, :30]).save(before / "photos" / f"{number}.png")
    watch = {
        "corpus/places.py": ["writing", "write", "remove_parts"],
        "corpus/sinks.py": ["close"],
        "corpus/work.py": ["do"],
        "corpus/plan.py": ["make", "keep"],
    }
    records = killed_at_lines("corpus", before, watch)
    shards = {"coded/streams-000000.tar", "coded/streams-000001.tar"}
    whole = {name: value for name, value in records[-1]["found"].items() if name in shards}
    assert whole.keys() == shards
    for record in records:
        made = {name: value for name, value in visible(record["found"]).items() if name.startswith("coded/")}
        assert made.items() <= whole.items()
    for record in again(records):
        made = {name: value for name, value in record.items() if name.startswith("coded/")}
        assert visible(made) == whole
        assert not [name for name in made if "/parts/" in name]


def test_a_process_that_ends_within_a_write_leaves_the_old_file(folder: Path) -> None:
    arguments = ["encode", folder / "a.png", "-o", folder / "a.rdc", "-q", "100", *MODEL]
    done = limited(500, "-c", ENDED_WITHIN_A_WRITE, *arguments)
    assert done.returncode == -signal.SIGXFSZ
    assert (folder / "a.rdc").read_bytes() == OLD
    (part,) = set(names(folder)) - {"a.png", "a.rdc", "b.png", "b.rdc"}
    assert part.startswith(".") and (folder / part).stat().st_size == 500


@pytest.mark.slow
def test_commands_that_are_killed_at_random_moments_leave_old_files_or_new_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert faults.main(["--kills", "12", "--tasks", "encode", "decode", "bundle"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    columns = [cell.strip() for cell in header.split("|")[1:-1]]
    found = [dict(zip(columns, (c.strip() for c in row.split("|")[1:-1]), strict=True)) for row in rows]
    assert [row["task"] for row in found] == ["encode", "decode", "bundle"]
    assert all(row["half"] == "0" for row in found) and sum(int(row["before its end"]) for row in found) > 2


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "output"), [("encode", "a.rdc"), pytest.param("decode", "b.png", marks=pytest.mark.slow)]
)
def test_where_there_is_no_room_the_old_file_stays_and_one_line_says_so(
    work: str, output: str, folder: Path
) -> None:
    """A file may not grow beyond a limit here, which writers meet as they meet a full disk."""
    source = folder / ("a.png" if work == "encode" else "b.rdc")
    options = ["-q", "100"] if work == "encode" else ["--overwrite"]
    before = names(folder)
    done = limited(500, "-m", "rdc_codec", work, source, "-o", folder / output, *options, *MODEL)
    said = f"rdc: {source}: cannot write {folder / output}: File too large\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert (folder / output).read_bytes() == OLD and names(folder) == before


def on_a_small_disk(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's script with a disk of 32 KiB at `folder`, in a namespace of its own. Skips where that cannot be."""
    mount = f'mount -t tmpfs -o size=32k rdc-test "{folder}"'
    unshared = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshared, "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("no disk can be mounted here")
    return subprocess.run(
        [*unshared, "sh", "-c", f"{mount} && {script}"], capture_output=True, text=True, cwd=ROOT
    )


def test_on_a_full_disk_all_old_files_stay(folder: Path, photo: np.ndarray, tiny: Codec) -> None:
    """Of three pictures two fit: the first, which is new, and the last, which takes the place of another."""
    source, disk = folder / "in", folder / "disk"
    source.mkdir()
    disk.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1536, 3), np.uint8)
    Image.fromarray(photo[:64, :64]).save(source / "a.png")
    Image.fromarray(noise).save(source / "b.png")
    Image.fromarray(photo[64:128, :64]).save(source / "c.png")
    assert len(tiny.encode(noise, 100)) > 32 << 10, "it fits"
    rdc = f"{sys.executable} -m rdc_codec encode {source} -o {disk} -q 100 -j 1 {' '.join(MODEL)}"
    script = (
        f"cp {folder / 'a.rdc'} {disk}/b.rdc && cp {folder / 'a.rdc'} {disk}/c.rdc; {rdc}; "
        f"echo code $?; cp -r {disk} {folder}/kept"
    )
    done = on_a_small_disk(disk, script)
    assert done.stdout == "code 2\n"
    assert done.stderr == f"rdc: {source / 'b.png'}: cannot write {disk / 'b.rdc'}: No space left on device\n"
    kept = folder / "kept"
    assert names(kept) == ["a.rdc", "b.rdc", "c.rdc"]
    assert (kept / "b.rdc").read_bytes() == OLD
    assert (kept / "a.rdc").read_bytes() == tiny.encode(photo[:64, :64], 100)
    assert (kept / "c.rdc").read_bytes() == tiny.encode(photo[64:128, :64], 100)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "a.png", "-o", "-", "-q", "100", *MODEL],
        ["trim", "b.rdc", "-o", "/dev/full", "--layers", "1"],
        ["info", "b.rdc", "--json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_where_the_output_has_no_room_one_line_says_so(arguments: list[str], folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rdc_codec", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=child_environment(),
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rdc: ") and "No space left on device" in line


def corpus_of(folder: Path, output: str) -> Settings:
    (folder / "photos").mkdir(exist_ok=True)
    for number in range(3):
        shutil.copy(folder / "a.png", folder / "photos" / f"{number}.png")
    return Settings(
        task="encode", source=str(folder / "photos"), destination=str(folder / "coded"), model=str(TINY),
        coding={"quality": 100}, output=output, per_shard=2,  # type: ignore[arg-type]
    )  # fmt: skip


WORKER = """
import json, sys
from rdc_codec.corpus.settings import Settings
from rdc_codec.corpus.units import Unit
from rdc_codec.corpus.work import Worker
worker = Worker(Settings(**json.loads(sys.argv[1])))
for text in sys.argv[2:]:
    print(worker.do(Unit.load(text)).dump())
"""


@pytest.mark.parametrize("output", ["files", "webdataset", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_worker_without_room_notes_it_and_leaves_nothing_half(output: str, folder: Path) -> None:
    asked = corpus_of(folder, output)
    place = Place(str(asked.destination))
    made = plan.make(Place(asked.source), place, asked, 1, True)
    given = json.dumps(
        {
            name: getattr(asked, name)
            for name in ("task", "source", "destination", "coding", "output", "per_shard", "model")
        }
    )
    done = limited(500, "-c", WORKER, given, *(unit.dump() for unit in made.units))
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(made.units), done.stderr
    notes = [note for outcome in outcomes for note in outcome["notes"]]
    assert len(notes) == 3 and all("File too large" in str(note) for note in notes)
    assert names(folder / "coded") == []
    again = plan.make(Place(asked.source), place, asked, 1, True)
    assert len(again.units) == len(made.units) and not again.skipped


# --- a folder that may not be written to ----------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written_to_is_said_and_a_file_in_it_written_in_place(
    folder: Path, stream: bytes
) -> None:
    locked = folder / "locked"
    locked.mkdir()
    (locked / "a.rdc").write_bytes(OLD)
    locked.chmod(0o555)
    try:
        command = ["-m", "rdc_codec", "encode", folder / "a.png", "-q", "100", *MODEL, "-o"]
        done = limited("ordinary", *command, locked / "new.rdc")
        said = f"rdc: {folder / 'a.png'}: cannot write {locked / 'new.rdc'}: Permission denied\n"
        assert (done.returncode, done.stderr) == (2, said)
        done = limited("ordinary", *command, locked / "new" / "new.rdc")
        assert done.returncode == 2 and "Permission denied" in done.stderr and done.stderr.count("\n") == 1
        assert names(locked) == ["a.rdc"] and (locked / "a.rdc").read_bytes() == OLD
        done = limited("ordinary", *command, locked / "a.rdc")
        assert (done.returncode, done.stderr) == (0, "")
        assert (locked / "a.rdc").read_bytes() == stream
    finally:
        locked.chmod(0o755)


IN_PLACE = """
import resource, sys
from pathlib import Path
from rdc_codec import files
from rdc_codec.errors import InputError
path, size, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    files.write(path, bytes(size))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [10, 5000, 70_000])
def test_a_file_that_is_written_in_place_is_kept_where_there_is_no_room(size: int, folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir()
    (locked / "a").write_bytes(OLD)
    locked.chmod(0o555)
    try:
        done = limited("ordinary", "-c", IN_PLACE, locked / "a", size, 60_000)
        fits = size < 60_000
        assert done.stdout == ("" if fits else f"cannot write {locked / 'a'}: File too large\n"), done.stderr
        assert (locked / "a").read_bytes() == (bytes(size) if fits else OLD)
    finally:
        locked.chmod(0o755)


def test_a_bundle_is_not_written_where_its_folder_may_not_be(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    shutil.copytree(TINY, locked / "bundle")
    locked.chmod(0o555)
    try:
        done = limited("ordinary", "-m", "export.to_half", TINY, "-o", locked / "bundle")
        assert done.returncode == 1 and "Permission denied" in done.stderr.splitlines()[-1]
        assert names(locked / "bundle") == names(TINY)
        assert all((locked / "bundle" / n).read_bytes() == (TINY / n).read_bytes() for n in names(TINY))
    finally:
        locked.chmod(0o755)


# --- two writers ----------------------------------------------------------------------------------------------------


def at_once(*calls: Callable[[], None]) -> None:
    """Do calls in threads of their own, and raise what one of them raised."""
    errors: list[BaseException] = []

    def do(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_of_two_writers_of_a_file_a_reader_sees_one_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "x.rdc"
    contents = [bytes([number]) * (200_000 + number) for number in range(2)]
    path.write_bytes(contents[0])
    seen: list[bytes] = []

    def write(data: bytes) -> None:
        for _ in range(40):
            files.write(path, data)

    def read() -> None:
        for _ in range(400):
            seen.append(path.read_bytes())

    at_once(lambda: write(contents[0]), lambda: write(contents[1]), read)
    assert set(seen) <= set(contents) and path.read_bytes() in contents
    assert names(tmp_path) == ["x.rdc"]


def test_of_two_writers_of_a_bundle_a_reader_sees_one_or_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    copy_bundle(TINY, folder, "fp32")
    known = {Bundle(folder).sha256}
    ends = threading.Event()

    def write(name: str) -> None:
        for number in range(6):
            with bundle_writer.new_bundle(folder) as made:
                for file in names(TINY):
                    if file != bundle_writer.MANIFEST:
                        shutil.copyfile(TINY / file, made / file)
                manifest = json.loads((TINY / bundle_writer.MANIFEST).read_text())
                bundle_writer.write_manifest(made, manifest | {"name": f"{name}{number}"})
                known.add(sha256((made / bundle_writer.MANIFEST).read_bytes()))

    def writers() -> None:
        try:
            at_once(lambda: write("one"), lambda: write("other"))
        finally:
            ends.set()

    def read() -> None:
        while not ends.is_set():
            # The folder is opened once: another one may have its name meanwhile, and this one is removed then.
            number = os.open(folder, os.O_RDONLY)
            try:
                here = Path(f"/proc/self/fd/{number}") if os.path.exists("/proc/self/fd") else folder
                found = sorted(os.listdir(here))
                replaced = os.stat(folder).st_ino != os.fstat(number).st_ino
            finally:
                os.close(number)
            assert replaced or found == names(TINY), found

    at_once(writers, read)
    assert Bundle(folder).sha256 in known
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_takes_the_place_of_nothing_else_also_where_that_came_later(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(ExportError, match="is not a bundle"), bundle_writer.new_bundle(folder) as made:
        (made / "x").write_bytes(b"x")
        folder.mkdir()
        (folder / "work of somebody").write_bytes(b"dear")
    assert names(tmp_path) == ["bundle/work of somebody"]


def test_where_names_cannot_be_exchanged_a_bundle_is_replaced_by_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the system's call, as on Windows."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    folder = tmp_path / "bundle"
    for name in ("one", "other"):
        with bundle_writer.new_bundle(folder) as made:
            for file in names(TINY):
                shutil.copyfile(TINY / file, made / file)
            (made / bundle_writer.LEFT_OVER).write_text(name)
        assert (folder / bundle_writer.LEFT_OVER).read_text() == name
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


# --- what the end of a machine may leave ----------------------------------------------------------------------------


def test_an_empty_file_is_none_that_a_job_has_done(folder: Path) -> None:
    """A name may be on the disk before what it is the name of."""
    asked = corpus_of(folder, "files")
    place = Place(str(asked.destination))
    place.write("0.rdc", b"")
    place.write("1.rdc", b"whatever has content is somebody's")
    made = plan.make(Place(asked.source), place, asked, 1)
    assert [unit.sources for unit in made.units] == [("0.png",), ("2.png",)] and made.skipped == 1
