"""What fuzzing found holds: every stream and bundle that is kept goes through every target (docs/fuzzing.md).

`tests/test_c_api.py` has the target that compares the package with the C API.
"""

from __future__ import annotations

import json
import random
import subprocess
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import DATA
from fuzz import bundles, native, streams
from fuzz.__main__ import KEPT, folders_of, make_seeds
from fuzz.engine import random_change
from fuzz.targets import TARGETS, hashing

import rdc_codec.pillow as plugin
from rdc_codec import Codec, container
from rdc_codec.bundle import Bundle
from rdc_codec.errors import CodecError

SEEDS = sorted([*(Path(__file__).parent / "conformance").glob("*.rdc"), *(DATA / "golden").glob("*.rdc")])
GOLDEN = [path for path in SEEDS if path.parent.name == "golden"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True, scope="module")
def with_tiny_afterwards(tiny: Codec) -> Iterator[None]:
    """Leave Pillow's plugin as its own tests do."""
    yield
    plugin.register(tiny)


def inputs_of(name: str) -> list[Path]:
    """Return the seeds and what is kept for a target."""
    target = TARGETS[name]
    kept = sorted(p for p in (KEPT / target.seeds).glob("*") if p.is_file())
    return kept if target.bundles else [*SEEDS, *kept]


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "same"])
def test_every_input_that_is_kept(name: str) -> None:
    inputs = inputs_of(name)
    assert inputs
    for path in inputs:
        try:
            TARGETS[name].run(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name} of {name}") from error


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_native_targets_with_what_is_kept_and_random_changes(tmp_path: Path) -> None:
    make_seeds(tmp_path / "seeds")
    for name, program in native.build(tmp_path / "build", None, "plain").items():
        command = [program, "-runs=3000", *folders_of(name, tmp_path / "seeds")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr[-4000:]}"


def test_a_stream_that_is_taken_apart_is_put_together_again() -> None:
    done = 0
    for data in (path.read_bytes() for path in SEEDS):
        try:
            container.read(data, max_pixels=1 << 48)
        except CodecError:
            continue
        fields = streams.take_apart(data)
        assert fields is not None
        if not any(chunk.more for chunk in fields.chunks):  # the checksum of what is missing is not known
            assert streams.put_together(fields) == data
            done += 1
    assert done > 30


def test_most_mutations_get_past_the_header(tiny: Codec) -> None:
    rng, deep, pictures = random.Random(5), 0, 0
    for _ in range(200):
        data = rng.choice(GOLDEN).read_bytes()
        made = TARGETS["verify"].mutate(data, 4096, rng.getrandbits(32), random_change(rng))
        assert len(made) <= 4096
        try:
            container.read(made, max_pixels=1 << 48)
            deep += 1
        except CodecError:
            continue
        pictures += hashing().verify(made).decodable
    assert deep > 100 and pictures > 30


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_the_small_bundle_is_one(tmp_path: Path, auxiliary: bool, method: int) -> None:
    data = bundles.small(auxiliary, method)
    TARGETS["bundle_python"].run(data)
    for name, content in zip(("manifest.json", "tables.npz"), bundles.unpack(data), strict=True):
        (tmp_path / name).write_bytes(content)
    for name in ("g.onnx", "weights.bin"):
        (tmp_path / name).write_bytes(bundles.FILE)
    assert (Bundle(tmp_path).auxiliary is not None) == auxiliary


def test_a_repaired_bundle_has_the_digests_of_what_is_there() -> None:
    manifest, tables = bundles.unpack(bundles.small())
    for digest in (json.loads(manifest)["parse_id"], sha256(tables).hexdigest()):
        wrong = manifest.replace(digest.encode(), b"0" * 64)
        assert wrong != manifest and bundles.repaired(wrong, tables) == manifest
