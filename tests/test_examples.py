"""The examples of docs/datasets.md do what they say, with real photographs and the shipped model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader

from examples.dataloader import BaseLayers, classify
from examples.parquet_table import read_pictures, write_table
from examples.webdataset_shards import DecodeMembers, photographs, read_shards, write_shards
from rdc_codec import Codec, trim
from rdc_codec.errors import CorruptError, TruncatedError

EXAMPLES = Path(__file__).parents[1] / "examples"
CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def coded(shipped: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cat and a cup of coffee as streams."""
    folder = tmp_path_factory.mktemp("coded")
    for name, picture in (("cat", data.chelsea()), ("cup", data.coffee())):
        (folder / f"{name}.rdc").write_bytes(shipped.encode(picture, 50))
    return folder


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes, a picture each."""
    folder = tmp_path_factory.mktemp("photos")
    for name, picture in (("animals/cat.png", data.chelsea()), ("kitchen/cup.v2.png", data.coffee())):
        (folder / name).parent.mkdir()
        Image.fromarray(picture[:150, :200]).save(folder / name)
    return folder


# --- a DataLoader ---------------------------------------------------------------------------------------------------


def test_a_worker_classifies_base_layers(coded: Path) -> None:
    paths = sorted(coded.glob("*.rdc"))
    cat, cup = classify(paths, Codec(backend="onnxruntime", threads=1), workers=1)
    assert cat in CATS and cup in ("espresso", "cup", "coffee mug")


def test_the_data_set_needs_the_base_of_a_file_alone(shipped: Codec, coded: Path, tmp_path: Path) -> None:
    whole = (coded / "cat.rdc").read_bytes()
    base = shipped.info(whole)["chunks"][0]
    (tmp_path / "cut.rdc").write_bytes(whole[: base["offset"] + base["length"]])
    (tmp_path / "short.rdc").write_bytes(whole[:200])
    (tmp_path / "other.rdc").write_bytes(b"no stream")
    pictures = BaseLayers(
        [coded / "cat.rdc", *(tmp_path / f"{n}.rdc" for n in ("cut", "short", "other"))], shipped
    )
    assert len(pictures) == 4 and pictures[0].shape == (3, 224, 224)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert -1 <= pictures[0].min() < -0.3 and 0.3 < pictures[0].max() <= 1.01
    with pytest.raises(TruncatedError):
        pictures[2]
    with pytest.raises(CorruptError):
        pictures[3]


# --- WebDataset -----------------------------------------------------------------------------------------------------


def test_shards_hold_streams_and_give_pictures(shipped: Codec, photos_folder: Path, tmp_path: Path) -> None:
    write_shards(str(tmp_path / "s-%03d.tar"), photographs(photos_folder), shipped, 60, per_shard=1)
    shards = sorted(str(path) for path in tmp_path.glob("*.tar"))
    assert len(shards) == 2
    expected = [shipped.encode(p[:150, :200], 60) for p in (data.chelsea(), data.coffee())]
    stored = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [s["rdc"] for s in stored] == expected
    for beta in (1, 0):
        samples = list(read_shards(shards, shipped, beta))
        assert [s["__key__"] for s in samples] == ["animals/cat", "kitchen/cup_v2"]
        assert [s["class.txt"] for s in samples] == ["animals", "kitchen"]
        for sample, stream in zip(samples, expected, strict=True):
            np.testing.assert_array_equal(sample["rdc"], shipped.decode(stream, beta=beta))


def test_shards_are_read_in_worker_processes(tiny: Codec, photos_folder: Path, tmp_path: Path) -> None:
    write_shards(str(tmp_path / "s-%03d.tar"), photographs(photos_folder), tiny, per_shard=1)
    shards = sorted(str(path) for path in tmp_path.glob("*.tar"))
    dataset = wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode(DecodeMembers(tiny))
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    found = [np.asarray(sample["rdc"]) for sample in loader]
    for picture, sample in zip(found, read_shards(shards, tiny), strict=True):
        np.testing.assert_array_equal(picture, sample["rdc"])


# --- Parquet --------------------------------------------------------------------------------------------------------


def test_a_table_is_searched_before_anything_is_decoded(tiny: Codec, tmp_path: Path) -> None:
    pictures = {"a": data.chelsea()[:64, :90], "b": data.coffee()[:100, :300], "c": data.coffee()[:80, :310]}
    streams = {
        name: tiny.encode(p, quality)
        for (name, p), quality in zip(pictures.items(), (20, 50, 80), strict=True)
    }
    path = tmp_path / "photos.parquet"
    write_table(path, streams.items(), tiny)
    table = pq.read_table(path)
    assert table["stream"].to_pylist() == list(streams.values())
    assert table["bytes"].to_pylist() == [len(s) for s in streams.values()]
    assert table["width"].to_pylist() == [90, 300, 310] and table["height"].to_pylist() == [64, 100, 80]
    assert table["quality"].to_pylist() == [20, 50, 80]
    wide = dict(read_pictures(path, tiny, (pc.field("width") >= 256) & (pc.field("quality") < 60)))
    assert list(wide) == ["b"]
    np.testing.assert_array_equal(wide["b"], tiny.decode(streams["b"], beta=1))
    assert [name for name, _ in read_pictures(path, tiny, beta=0)] == ["a", "b", "c"]
    write_table(path, ((name, trim(stream, "base")) for name, stream in streams.items()), tiny)
    np.testing.assert_array_equal(dict(read_pictures(path, tiny))["b"], wide["b"])


# --- as commands ----------------------------------------------------------------------------------------------------


def run(*arguments: object) -> list[str]:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_examples_run_as_commands(coded: Path, photos_folder: Path, tmp_path: Path) -> None:
    cat, cup = run(EXAMPLES / "dataloader.py", coded, "--workers", 0)
    assert cat.split("\t")[1] in CATS and cup.startswith(str(coded / "cup.rdc"))
    lines = run(EXAMPLES / "webdataset_shards.py", photos_folder, "-o", tmp_path / "shards")
    assert lines == ["animals/cat\t200x150\tanimals", "kitchen/cup_v2\t200x150\tkitchen"]
    lines = run(EXAMPLES / "parquet_table.py", coded, "-o", tmp_path / "a.parquet", "--min-width", 500)
    assert lines == ["cup.rdc\t600x400"]
