"""`rdc corpus`: what is planned, written and counted, without Ray; then the command on Ray, with workers that die."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import TINY, rdc
from PIL import Image

from benchmarks import corpus as benchmark
from rdc_codec import Codec
from rdc_codec.corpus import engine, plan
from rdc_codec.corpus.job import Job
from rdc_codec.corpus.places import Place
from rdc_codec.corpus.plan import Plan
from rdc_codec.corpus.settings import Settings
from rdc_codec.corpus.units import Outcome, Unit
from rdc_codec.corpus.work import Worker
from rdc_codec.errors import InputError, WrongModelError

WIDTH, HEIGHT = 61, 47
MODEL = str(TINY)


def picture_bytes(number: int, kind: str = "PNG") -> bytes:
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    file = io.BytesIO()
    small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [picture_bytes(number) for number in range(7)]


@pytest.fixture
def photos(tmp_path: Path, pictures: list[bytes]) -> Path:
    """Return a folder of six pictures, three of them in a folder of their own."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for number in range(6):
        name = f"inner/{number}.png" if number % 2 else f"{number}.png"
        (folder / name).write_bytes(pictures[number])
    return folder


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def read_shard(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None and member.name not in found
            found[member.name] = file.read()
        return found


def streams_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.rdc")}


def settings(source: Path | str, destination: Path | str | None, **others: Any) -> Settings:
    where = None if destination is None else str(destination)
    others = {"task": "encode", "model": MODEL, **others}
    return Settings(source=str(source), destination=where, **others)


def planned(asked: Settings, workers: int = 1) -> Plan:
    place = Place(asked.destination) if asked.destination else None
    first = place is not None and plan.is_first(place, asked.promise("model"))
    made = plan.make(Place(asked.source), place, asked, workers, first)
    if place is not None:
        plan.keep(place, asked.promise("model"))
    return made


def done_here(asked: Settings) -> tuple[Plan, list[Outcome]]:
    """Plan a job and do all of it in this process, without Ray."""
    made = planned(asked)
    worker = Worker(asked)
    return made, [worker.do(unit) for unit in made.units]


def total(outcomes: list[Outcome]) -> Outcome:
    return Outcome(
        done=sum(x.done for x in outcomes),
        size=sum(x.size for x in outcomes),
        pixels=sum(x.pixels for x in outcomes),
        notes=[note for x in outcomes for note in x.notes],
    )


# --- files ------------------------------------------------------------------------------------


def test_files_become_the_streams_of_a_loop(photos: Path, tmp_path: Path, tiny: Codec) -> None:
    _, outcomes = done_here(settings(photos, tmp_path / "out", coding={"quality": 30}))
    found = streams_below(tmp_path / "out")
    expected = {
        path.relative_to(photos).with_suffix(".rdc").as_posix(): tiny.encode(Image.open(path), quality=30)
        for path in photos.rglob("*.png")
    }
    assert found == expected
    everything = total(outcomes)
    assert (everything.done, everything.notes) == (6, [])
    assert everything.size == sum(map(len, expected.values())) and everything.pixels == 6 * WIDTH * HEIGHT


def test_a_second_run_plans_nothing_and_counts_what_is_there(photos: Path, tmp_path: Path) -> None:
    asked = settings(photos, tmp_path / "out")
    done_here(asked)
    again = planned(asked)
    assert (again.units, again.skipped) == ([], 6)


@pytest.mark.parametrize("output", ["files", "webdataset", "parquet"])
def test_what_is_missing_is_done_and_what_is_there_is_not_touched(
    photos: Path, tmp_path: Path, pictures: list[bytes], output: str
) -> None:
    asked = settings(photos, tmp_path / "out", output=output, per_shard=4)
    done_here(asked)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("**/*") if path.is_file()}
    (photos / "new.png").write_bytes(pictures[6])
    made, outcomes = done_here(asked)
    assert made.skipped == 6 and total(outcomes).done == 1
    assert [unit.sources for unit in made.units] == [("new.png",)]
    visible = {path: when for path, when in before.items() if ".rdc-corpus" not in path.parts}
    assert {path: path.stat().st_mtime_ns for path in visible} == visible


def test_a_bad_picture_is_noted_and_tried_again(photos: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    asked = settings(photos, tmp_path / "out")
    _, outcomes = done_here(asked)
    everything = total(outcomes)
    assert everything.done == 6
    assert [(n.name, n.error, n.text) for n in everything.notes] == [
        ("bad.jpg", "UnknownFormatError", "not an image that can be read")
    ]
    (photos / "bad.jpg").write_bytes(pictures[6])
    made, outcomes = done_here(asked)
    assert made.skipped == 6 and total(outcomes).done == 1 and not total(outcomes).notes


def test_two_files_that_would_become_one_are_told_apart_or_noted(photos: Path, tmp_path: Path) -> None:
    (photos / "0.jpg").write_bytes(picture_bytes(9, "JPEG"))
    made, _ = done_here(settings(photos, tmp_path / "out"))
    assert [(n.name, n.error) for n in made.notes] == [("0.png", "InputError")]
    done_here(settings(photos, tmp_path / "both", keep_suffix=True))
    assert {"0.png.rdc", "0.jpg.rdc"} <= set(streams_below(tmp_path / "both"))


def test_what_is_not_read_by_its_suffix_is_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "notes.txt").write_text("nothing")
    (photos / ".hidden.png").write_bytes(b"passed over")
    assert planned(settings(photos, tmp_path / "out")).left_out == {".txt": 1}


def test_another_job_is_not_mixed_with_what_is_there(photos: Path, tmp_path: Path) -> None:
    done_here(settings(photos, tmp_path / "out", coding={"quality": 30}))
    with pytest.raises(InputError, match="quality was 30, now it is 60"):
        planned(settings(photos, tmp_path / "out", coding={"quality": 60}))


def test_streams_of_one_quality_map_are_not_mixed_with_those_of_another(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(TINY, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["quality_map"]["base_quality"][-1] -= 1
    (other / "manifest.json").write_text(json.dumps(manifest))
    Job(settings(photos, tmp_path / "out"))
    with pytest.raises(InputError, match=r"model was .* now it is"):
        Job(settings(photos, tmp_path / "out", model=str(other)))
    # Of decoding it decides nothing.
    stream = Codec(TINY).encode(np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "coded").mkdir()
    (tmp_path / "coded" / "a.rdc").write_bytes(stream)
    for model in (MODEL, str(other)):
        Job(settings(tmp_path / "coded", tmp_path / "back", task="decode", model=model))


def test_an_output_within_the_source_is_refused(photos: Path) -> None:
    with pytest.raises(InputError, match="apart from"):
        Job(settings(photos, photos / "out"))


def test_a_shard_is_not_written_over_itself_or_a_stranger(shards: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shards)
    for destination in (shards, tmp_path / "link"):
        with pytest.raises(InputError, match="apart from"):
            Job(settings(shards / "0.tar", destination))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0.tar").write_bytes(b"someone else's")
    with pytest.raises(InputError, match=r"0\.tar is at .* already"):
        Job(settings(shards, tmp_path / "out"))
    (tmp_path / "out" / "streams-000000.tar").write_bytes(b"someone else's")
    with pytest.raises(InputError, match=r"streams-000000\.tar is at .* already"):
        Job(settings(photos, tmp_path / "out", output="webdataset"))
    assert (tmp_path / "out" / "0.tar").read_bytes() == b"someone else's"


def test_options_that_fit_no_picture_are_one_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layers is 9"):
        Job(settings(photos, tmp_path / "out", coding={"layers": 9}))
    assert not (tmp_path / "out").exists()


# --- shards -----------------------------------------------------------------------------------


def test_files_become_shards_with_what_is_known_of_each(photos: Path, tmp_path: Path, tiny: Codec) -> None:
    done_here(settings(photos, tmp_path / "out", output="webdataset", per_shard=4))
    shards = [read_shard(tmp_path / "out" / f"streams-{k:06d}.tar") for k in range(2)]
    assert [len(shard) for shard in shards] == [8, 4]
    everything = {**shards[0], **shards[1]}
    stream = everything["inner/1.rdc"]
    assert stream == tiny.encode(Image.open(photos / "inner" / "1.png"))
    assert json.loads(everything["inner/1.rdc.json"]) == {
        "name": "inner/1.png", "width": WIDTH, "height": HEIGHT, "quality": 50.0, "bytes": len(stream)
    }  # fmt: skip


def test_files_become_a_table_of_streams(photos: Path, tmp_path: Path, tiny: Codec) -> None:
    done_here(settings(photos, tmp_path / "out", output="parquet"))
    table = pq.read_table(tmp_path / "out" / "streams-000000.parquet")
    assert table.column_names == ["name", "width", "height", "quality", "bytes", "stream"]
    for row in table.to_pylist():
        assert row["stream"] == tiny.encode(Image.open(photos / row["name"]))
        assert (row["width"], row["height"], row["quality"]) == (WIDTH, HEIGHT, 50)
        assert row["bytes"] == len(row["stream"])
    assert table.num_rows == 6


@pytest.fixture
def shards(tmp_path: Path, pictures: list[bytes]) -> Path:
    """Return a folder of two shards with labels, three pictures in each."""
    for shard in range(2):
        members = {}
        for number in range(3):
            members[f"{shard}{number}.cls"] = b"%d" % number
            members[f"{shard}{number}.png"] = pictures[3 * shard + number]
        write_shard(tmp_path / "shards" / f"{shard}.tar", members)
    return tmp_path / "shards"


def test_shards_become_shards_and_labels_stay(shards: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    asked = settings(shards, tmp_path / "out")
    done_here(asked)
    found = read_shard(tmp_path / "out" / "1.tar")
    assert set(found) == {f"1{n}.{what}" for n in range(3) for what in ("cls", "rdc", "rdc.json")}
    assert found["12.cls"] == b"2"
    back, _ = done_here(settings(tmp_path / "out", tmp_path / "back", task="decode"))
    pixels = Image.open(io.BytesIO(read_shard(tmp_path / "back" / "1.tar")["12.png"]))
    assert pixels.size == (WIDTH, HEIGHT) and len(back.units) == 2
    again = planned(asked)
    assert (again.units, again.skipped) == ([], 6)


def test_shards_become_files_and_tables(shards: Path, tmp_path: Path) -> None:
    done_here(settings(shards, tmp_path / "files", output="files"))
    assert set(streams_below(tmp_path / "files")) == {f"{s}/{s}{n}.rdc" for s in range(2) for n in range(3)}
    assert (tmp_path / "files" / "1" / "12.cls").read_bytes() == b"2"
    done_here(settings(shards, tmp_path / "tables", output="parquet"))
    rows = pq.read_table(tmp_path / "tables" / "1.parquet").to_pylist()
    assert [(row["name"], row["cls"]) for row in rows] == [(f"1{n}.png", b"%d" % n) for n in range(3)]


def test_several_pictures_of_a_sample_stay_together(tmp_path: Path, pictures: list[bytes]) -> None:
    members = {"s/1.left.png": pictures[0], "s/1.right.png": pictures[1], "s/1.json": b"{}"}
    write_shard(tmp_path / "in" / "a.tar.gz", members)
    done_here(settings(tmp_path / "in", tmp_path / "out"))
    expected = {"s/1.left.rdc", "s/1.left.rdc.json", "s/1.right.rdc", "s/1.right.rdc.json", "s/1.json"}
    assert set(read_shard(tmp_path / "out" / "a.tar")) == expected


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_shard_cut_in_half_gives_what_could_be_read_and_is_noted(
    tmp_path: Path, pictures: list[bytes], suffix: str
) -> None:
    whole = write_shard(tmp_path / "whole" / f"a{suffix}", {f"{n}.png": p for n, p in enumerate(pictures)})
    data = whole.read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"a{suffix}").write_bytes(data[: len(data) // 2])
    asked = settings(tmp_path / "in", tmp_path / "out")
    _, (outcome,) = done_here(asked)
    (note,) = outcome.notes
    assert (note.name, note.error) == (f"a{suffix}", "DamagedShardError")
    assert 0 < outcome.done < len(pictures) and f"after {outcome.done} that could be read" in note.text
    assert len(read_shard(tmp_path / "out" / "a.tar")) == 2 * outcome.done
    again = planned(asked)  # it is not done again, and not forgotten
    assert (again.units, again.skipped, again.notes) == ([], outcome.done, [note])
    (tmp_path / "in" / f"a{suffix}").write_bytes(data)
    made, (mended,) = done_here(asked)
    assert (made.skipped, mended.done, mended.notes) == (0, len(pictures), [])


@pytest.mark.parametrize("kept", range(1, 5))
def test_a_shard_that_ends_between_members_is_noted(tmp_path: Path, pictures: list[bytes], kept: int) -> None:
    path = write_shard(tmp_path / "in" / "a.tar", {f"{n}.png": p for n, p in enumerate(pictures)})
    with tarfile.open(path) as archive:
        end = archive.getmembers()[kept].offset
    path.write_bytes(path.read_bytes()[:end])
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert outcome.done == kept and [note.error for note in outcome.notes] == ["DamagedShardError"]


def test_a_shard_with_a_damaged_header_is_noted(tmp_path: Path, pictures: list[bytes]) -> None:
    path = write_shard(tmp_path / "in" / "a.tar", {f"{n}.png": p for n, p in enumerate(pictures)})
    with tarfile.open(path) as archive:
        start = archive.getmembers()[3].offset
    data = bytearray(path.read_bytes())
    data[start : start + 512] = b"x" * 512
    path.write_bytes(data)
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert outcome.done == 3 and [note.error for note in outcome.notes] == ["DamagedShardError"]


def test_members_cannot_leave_the_output(tmp_path: Path, pictures: list[bytes]) -> None:
    members = {
        "../../up.png": pictures[0],
        "/top.png": pictures[1],
        "../up.txt": b"x",
        "./fine.png": pictures[2],
    }
    write_shard(tmp_path / "in" / "a.tar", members)
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "d" / "out", output="files"))
    assert outcome.done == 2 and outcome.bad == 2
    written = [path for path in tmp_path.rglob("*") if path.is_file() and ".rdc-corpus" not in path.parts]
    found = sorted(path.relative_to(tmp_path).as_posix() for path in written)
    assert found == ["d/out/a/fine.rdc", "d/out/a/top.rdc", "in/a.tar"]


def test_a_bad_picture_of_a_shard_takes_its_labels_along(tmp_path: Path, pictures: list[bytes]) -> None:
    write_shard(
        tmp_path / "in" / "a.tar",
        {"0.png": pictures[0], "1.png": b"no picture", "1.cls": b"7", "2.png": pictures[2]},
    )
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert [(note.name, note.error) for note in outcome.notes] == [("a.tar: 1.png", "UnknownFormatError")]
    assert set(read_shard(tmp_path / "out" / "a.tar")) == {"0.rdc", "0.rdc.json", "2.rdc", "2.rdc.json"}


# --- Parquet ----------------------------------------------------------------------------------


def test_columns_beside_keep_their_types(tmp_path: Path, pictures: list[bytes], tiny: Codec) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table(
        {
            "label": pa.array([5, None], pa.int8()),
            "picture": pa.array(["p0", "p1"]),
            "image": pa.array(
                [{"bytes": pictures[0], "path": "a/0.png"}, {"bytes": pictures[1], "path": "1.png"}]
            ),
            "tags": pa.array([["x", "y"], []], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "in" / "t.parquet")
    done_here(settings(tmp_path / "in", tmp_path / "out"))
    found = pq.read_table(tmp_path / "out" / "t.parquet")
    assert found.schema.field("label").type == pa.int8() and found["label"].to_pylist() == [5, None]
    assert found["picture"].to_pylist() == ["p0", "p1"]
    assert found["tags"].to_pylist() == [["x", "y"], []]
    assert found["name"].to_pylist() == ["a/0.png", "1.png"]
    assert found["stream"][0].as_py() == tiny.encode(Image.open(io.BytesIO(pictures[0])))
    done_here(settings(tmp_path / "out", tmp_path / "back", task="decode", output="files"))
    assert Image.open(tmp_path / "back" / "t" / "a" / "0.png").size == (WIDTH, HEIGHT)
    assert json.loads((tmp_path / "back" / "t" / "a" / "0.json").read_text()) == {
        "label": 5,
        "tags": ["x", "y"],
    }


def test_a_table_without_pictures_is_noted_by_its_columns(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "in" / "t.parquet")
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    (note,) = outcome.notes
    assert note.error == "InputError" and "the columns are a, b" in note.text
    assert not (tmp_path / "out" / "t.parquet").exists()


def test_a_table_cut_in_half_is_noted(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": pictures}), tmp_path / "in" / "t.parquet")
    data = (tmp_path / "in" / "t.parquet").read_bytes()
    (tmp_path / "in" / "t.parquet").write_bytes(data[: len(data) // 2])
    _, (outcome,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert outcome.done == 0 and [note.error for note in outcome.notes] == ["DamagedShardError"]


def test_rows_of_one_name_are_each_verified_and_written_once(
    tmp_path: Path, pictures: list[bytes], tiny: Codec
) -> None:
    (tmp_path / "in").mkdir()
    stream = tiny.encode(Image.open(io.BytesIO(pictures[0])))
    rows = {"name": ["a", "a", "b"], "stream": [stream, stream, stream[:40]]}
    pq.write_table(pa.table(rows), tmp_path / "in" / "t.parquet")
    _, (found,) = done_here(settings(tmp_path / "in", None, task="verify"))
    assert found.done == 2 and [note.name for note in found.notes] == ["t.parquet: b"]
    _, (made,) = done_here(settings(tmp_path / "in", tmp_path / "out", task="decode", output="files"))
    assert made.done == 1
    assert [(note.name, note.error) for note in made.notes] == [
        ("t.parquet: a", "InputError"),
        ("t.parquet: b", "TruncatedError"),
    ]


@pytest.mark.parametrize("output", ["files", "webdataset"])
def test_the_name_of_a_column_leads_nowhere_and_replaces_no_stream(
    tmp_path: Path, pictures: list[bytes], output: str
) -> None:
    source, out = tmp_path / "in", tmp_path / "w" / "out"
    source.mkdir()
    hostile = {"/../../../evil/file": [b"evil"], "rdc": [b"a false"], "note": [b"kept"]}
    pq.write_table(pa.table({"name": ["k.png"], "picture": pictures[:1], **hostile}), source / "t.parquet")
    _, (made,) = done_here(settings(source, out, output=output))
    assert made.done == 1 and made.size > 100
    assert {(note.name, note.error) for note in made.notes} == {
        ("t.parquet: k./../../../evil/file", "InputError"),
        ("t.parquet: k.rdc", "InputError"),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "w"]
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["out"]
    if output == "files":
        files = {path.name: path.read_bytes() for path in (out / "t").iterdir()}
    else:
        files = read_shard(out / "t.tar")
    assert files["k.note"] == b"kept" and files["k.rdc"].startswith(b"RDC\1")
    assert len(files["k.rdc"]) == made.size


def test_what_lies_beside_in_a_shard_replaces_no_stream(tmp_path: Path, pictures: list[bytes]) -> None:
    write_shard(tmp_path / "in" / "a.tar", {"x.png": pictures[0], "x.rdc": b"a false one", "x.txt": b"kept"})
    _, (made,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert made.done == 1 and [note.name for note in made.notes] == ["a.tar: x.rdc"]
    members = read_shard(tmp_path / "out" / "a.tar")
    assert members["x.rdc"].startswith(b"RDC\1") and members["x.txt"] == b"kept"


def test_members_that_claim_any_size_are_noted_and_not_read(tmp_path: Path, pictures: list[bytes]) -> None:
    """A sparse member of a terabyte takes two blocks of tar."""
    path = write_shard(tmp_path / "in" / "a.tar", {"0.png": pictures[0]})
    size = 1 << 40
    huge = tarfile.TarInfo("1.png")
    huge.type, huge.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(huge.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = block[398:410] = b"00000000000\0"  # one piece of no bytes
    block[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    other = write_shard(tmp_path / "other.tar", {"2.png": pictures[1]})
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 * (1 + -(-len(pictures[0]) // 512))] + bytes(block) + other.read_bytes())
    _, (made,) = done_here(settings(tmp_path / "in", tmp_path / "out"))
    assert made.done == 2
    assert [(note.name, note.error) for note in made.notes] == [("a.tar: 1.png", "LimitError")]


def test_a_shard_and_a_file_that_become_the_same_are_told_apart(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", {"x.png": pictures[0]})
    (tmp_path / "in" / "a").mkdir()
    (tmp_path / "in" / "a" / "x.png").write_bytes(pictures[1])
    made = planned(settings(tmp_path / "in", tmp_path / "out", output="files"))
    assert [unit.sources for unit in made.units] == [("a/x.png",)]
    assert [(note.name, note.error) for note in made.notes] == [("a.tar", "InputError")]


def test_a_worker_with_another_bundle_does_nothing(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError):
        Worker(settings(tmp_path, tmp_path / "out", sha256="0" * 64))


# --- what a killed run leaves -------------------------------------------------------------------


def test_a_unit_that_is_done_twice_leaves_the_same(photos: Path, shards: Path, tmp_path: Path) -> None:
    for source, output in ((photos, "files"), (photos, "webdataset"), (shards, "files"), (shards, "parquet")):
        asked = settings(source, tmp_path / f"{source.name}-{output}", output=output)
        made, once = done_here(asked)
        visible = [x for x in Path(str(asked.destination)).rglob("*") if x.is_file()]
        before = {path: path.read_bytes() for path in visible}
        worker = Worker(asked)
        assert [worker.do(unit) for unit in made.units] == once
        assert {path: path.read_bytes() for path in before} == before


def test_a_shard_whose_worker_died_before_it_said_so_is_done_again(photos: Path, tmp_path: Path) -> None:
    asked = settings(photos, tmp_path / "out", output="webdataset", per_shard=4)
    done_here(asked)
    (tmp_path / "out" / ".rdc-corpus" / "receipts" / "streams-000001.tar.json").unlink()
    (photos / "0.png").unlink()  # now all that waits fits one shard
    made, outcomes = done_here(asked)
    assert made.skipped + total(outcomes).done == 5
    names = [n for k in sorted((tmp_path / "out").glob("*.tar")) for n in read_shard(k) if n.endswith(".rdc")]
    assert len(names) == len(set(names))


def test_what_earlier_runs_did_is_never_guessed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt that cannot be read now is no reason to take its shard away."""
    asked = settings(photos, tmp_path / "out", output="webdataset", per_shard=4)
    done_here(asked)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    whole = Place.read

    def read(self: Place, name: str) -> bytes:
        if name.endswith("streams-000001.tar.json"):
            raise OSError(5, "Input/output error")
        return whole(self, name)

    monkeypatch.setattr(Place, "read", read)
    with pytest.raises(InputError, match="what earlier runs did cannot be read"):
        planned(asked)
    assert sorted((tmp_path / "out").glob("*.tar")) == shards and len(shards) == 2


def test_nothing_half_written_has_a_name(photos: Path, tmp_path: Path) -> None:
    place = Place(str(tmp_path / "out"))
    with pytest.raises(RuntimeError), place.writing("a/b.tar") as file:
        file.write(b"half")
        raise RuntimeError
    assert not list((tmp_path / "out").glob("[!.]*"))
    place.write("a/b.tar", b"one")
    place.write("a/b.tar", b"two")
    assert place.read("a/b.tar") == b"two"
    place.remove_parts()
    assert not (tmp_path / "out" / ".rdc-corpus" / "parts").exists()


def test_fsspec_opens_what_pyarrow_does_not(photos: Path, pictures: list[bytes]) -> None:
    place = Place("memory://corpus-source")
    for number in range(3):
        place.write(f"in/{number}.png", pictures[number])
    _, outcomes = done_here(settings("memory://corpus-source/in", "memory://corpus-out"))
    assert total(outcomes).done == 3
    assert [entry.name for entry in Place("memory://corpus-out").files([])] == ["0.rdc", "1.rdc", "2.rdc"]
    assert planned(settings("memory://corpus-source/in", "memory://corpus-out")).skipped == 3


def test_units_and_outcomes_survive_json() -> None:
    unit = Unit(3, "webdataset", ("a.tar",), "parquet", ("a.parquet",), (10, None), "r.json")
    assert Unit.load(unit.dump()) == unit
    outcome = dataclasses.replace(Outcome(1, 2, 3, 4, ["x"], [], (5, 6)))
    assert Outcome.load(outcome.dump()) == outcome


# --- the command on Ray -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Hold one session of Ray for the tests of this module."""
    with engine.session(None, 2, 1):
        yield


def corpus(*arguments: object) -> tuple[int, dict[str, Any], list[dict[str, Any]], str]:
    """Run the command, and return its exit code, sums, lines of what is wrong, and stderr."""
    result = rdc("corpus", *arguments, "--json", "--workers", 1)
    *lines, last = [json.loads(line) for line in result.stdout.splitlines()] or [{}]
    return result.exit_code, last.get("summary", {}), lines, result.stderr


def test_the_command_encodes_decodes_and_verifies(
    cluster: None, photos: Path, tmp_path: Path, tiny: Codec
) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    code, sums, lines, stderr = corpus("encode", photos, tmp_path / "out", "-q", 40, "--model", TINY)
    assert code == 2 and stderr == "rdc: bad.jpg: not an image that can be read\n"
    assert (sums["encoded"], sums["skipped"], sums["bad"], sums["left_out"]) == (6, 0, 1, 0)
    assert lines == [
        {"name": "bad.jpg", "error": "UnknownFormatError", "text": "not an image that can be read"}
    ]
    report = (tmp_path / "out" / ".rdc-corpus" / "report.jsonl").read_text()
    assert [json.loads(line) for line in report.splitlines()] == lines
    found = streams_below(tmp_path / "out")
    assert found["inner/1.rdc"] == tiny.encode(Image.open(photos / "inner" / "1.png"), quality=40)
    assert sums["bytes"] == sum(map(len, found.values())) and len(found) == 6

    (photos / "bad.jpg").unlink()
    code, sums, lines, stderr = corpus("encode", photos, tmp_path / "out", "-q", 40, "--model", TINY)
    assert (code, sums["encoded"], sums["skipped"], lines, stderr) == (0, 0, 6, [], "")

    url = f"local://{tmp_path}/back"  # a scheme of fsspec alone
    code, sums, _, _ = corpus(
        "decode", tmp_path / "out", url, "--format", "webp", "--model", TINY, "--output", "parquet"
    )
    assert (code, sums["decoded"]) == (0, 6)
    rows = pq.read_table(tmp_path / "back" / "pictures-000000.parquet").to_pylist()
    assert {Image.open(io.BytesIO(row["picture"])).format for row in rows} == {"WEBP"}

    name = "inner/3.rdc"
    (tmp_path / "out" / name).write_bytes(found[name][:-10])
    code, sums, lines, _ = corpus("verify", tmp_path / "out", "--model", TINY)
    assert (code, sums["whole"], sums["bad"]) == (2, 5, 1)
    assert [(line["name"], line["error"]) for line in lines] == [(name, "CorruptError")]


def kill_a_worker(of: int | None = None) -> int | None:
    """Kill a process that works on a unit, as the system does where memory runs out, and return its number."""
    for process in psutil.Process(of).children(recursive=True):
        words = process.cmdline() if process.is_running() else []
        if words and words[0].startswith("ray::MapWorker"):
            process.kill()
            return int(process.pid)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("output", ["files", "webdataset", "parquet"])
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    cluster: None, tmp_path: Path, output: str
) -> None:
    count = 120
    (tmp_path / "in").mkdir()
    for number in range(count):
        (tmp_path / "in" / f"{number:03d}.png").write_bytes(picture_bytes(number))
    job = Job(settings(tmp_path / "in", tmp_path / "out", output=output, per_shard=10), workers=2)
    killed = [kill_a_worker() for seen, _ in enumerate(job.outcomes()) if seen == 1]
    assert killed and killed[0] is not None
    sums = job.tally.sums()
    assert (sums["encoded"], sums["bad"]) == (count, 0)
    place = tmp_path / "out"
    if output == "files":
        names = sorted(streams_below(place))
    elif output == "webdataset":
        names = [n for shard in sorted(place.glob("*.tar")) for n in read_shard(shard) if n.endswith(".rdc")]
    else:
        tables = [pq.read_table(path) for path in sorted(place.glob("*.parquet"))]
        names = [name for table in tables for name in table["name"].to_pylist()]
    assert len(names) == len(set(names)) == count
    assert not list((place / ".rdc-corpus").glob("parts/*"))


@pytest.mark.slow
def test_the_benchmark_counts_what_it_does(
    cluster: None, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main(
        ["--data", str(photos), "--count", "24", "--side", "32", "--workers", "1", "--model", MODEL]
    )
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split("|")[1:-1] for line in lines if "1 workers" in line]
    assert [cell.strip() for cell in row[:3]] == ["32x32", "24", "1 workers"]
    facts = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines if ": " in line}
    killed, second = (json.loads(facts[name]) for name in ("a worker killed", "a second run"))
    assert (killed["encoded"], killed["bad"], facts["the same streams as the loop's"]) == (24, 0, "True")
    assert (second["encoded"], second["skipped"]) == (0, 24)
    assert json.loads(facts["a shard cut in half"])["bad"] == 1 and "DamagedShardError" in lines[-1]


@pytest.mark.slow
def test_a_picture_that_always_kills_its_worker_is_noted_and_the_others_are_done(
    cluster: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(photos, tmp_path / "out")
    made = planned(asked, workers=2)
    poisoned = [dataclasses.replace(unit) for unit in made.units]

    class Deadly(engine.Actor):
        def _outcome(self, unit: Unit) -> str:
            if unit.sources == ("2.png",):
                self._worker.do = lambda unit: os._exit(1)  # type: ignore[method-assign, assignment]
            return super()._outcome(unit)

    monkeypatch.setattr(engine, "Actor", Deadly)
    outcomes = list(engine.run(poisoned, asked, 2))
    everything = total(outcomes)
    assert everything.done == 5
    assert [(note.name, note.error) for note in everything.notes] == [("2.png", "WorkerDiedError")]


@pytest.mark.slow
def test_the_command_starts_and_stops_ray_by_itself(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rdc_codec", "corpus", "encode", str(photos), str(tmp_path / "out")]
    done = subprocess.run([*command, "--model", MODEL], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("6 encoded, 0 skipped, 0 bad, 0 left out; ")


@pytest.mark.slow
def test_nothing_but_json_is_printed_also_when_a_worker_dies(photos: Path, tmp_path: Path) -> None:
    for number in range(300):
        (photos / f"more{number}.png").write_bytes(picture_bytes(number))
    command = [sys.executable, "-m", "rdc_codec", "corpus", "encode", str(photos), str(tmp_path / "out")]
    running = subprocess.Popen(
        [*command, "--model", MODEL, "--workers", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").rglob("*.rdc")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert kill_a_worker(running.pid) is not None
    stdout, stderr = running.communicate(timeout=200)
    assert (running.returncode, stderr) == (0, "")
    (line,) = stdout.splitlines()
    assert json.loads(line)["summary"]["encoded"] == 306 == len(streams_below(tmp_path / "out"))


@pytest.mark.slow
def test_ctrl_c_ends_a_job_that_goes_on_later(photos: Path, tmp_path: Path) -> None:
    for number in range(400):
        (photos / f"more{number}.png").write_bytes(picture_bytes(number))
    command = [sys.executable, "-m", "rdc_codec", "corpus", "encode", str(photos), str(tmp_path / "out")]
    running = subprocess.Popen(
        [*command, "--model", MODEL, "--workers", "1"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").rglob("*.rdc")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=120)
    assert (running.returncode, stderr) == (130, "")
    left = planned_after(photos, tmp_path / "out")
    assert 0 < left < 406


def planned_after(source: Path, destination: Path) -> int:
    asked = settings(source, destination)
    made = plan.make(Place(asked.source), Place(str(destination)), asked, 1)
    return sum(len(unit.sources) for unit in made.units)


def test_without_the_extra_one_line_names_it(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "pyarrow.py").write_text("raise ModuleNotFoundError('none', name='pyarrow')")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path / 'without'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, "-m", "rdc_codec", "corpus", "encode", str(photos), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == 'rdc: rdc corpus needs Ray: pip install "rdc-codec[ray]"\n'


def test_help_loads_neither_ray_nor_pyarrow() -> None:
    code = (
        "import sys\nfrom rdc_codec.cli import main\n"
        "try:\n    main(['corpus', 'encode', '--help'])\n"
        "except SystemExit:\n    assert not {'ray', 'pyarrow', 'fsspec', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
