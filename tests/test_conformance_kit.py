"""The conformance kit: this package passes it on every engine, and a reader that does something else does not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

from rdc_codec import Codec
from rdc_codec.conformance import ERRORS, KIT, check, main, read
from rdc_codec.errors import InputError

FOLDER = Path(__file__).parent / "conformance"
CASES = {case["name"]: case for case in read(FOLDER)["cases"]}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_this_package_passes(backend: str) -> None:
    outcomes = list(check(FOLDER, Codec(TINY, backend=backend)))
    assert [o for o in outcomes if o.problem] == []
    assert [o.name for o in outcomes] == list(CASES)


def test_the_kit_has_every_verdict_slice_count_and_chunk(tiny: Codec) -> None:
    assert {case["result"] for case in CASES.values()} == {"whole", "damaged", *ERRORS}
    assert {case.get("slices") for case in CASES.values()} == {None, 0, 1, 2, 3, 4}
    types = set()
    for case in CASES.values():
        if case["result"] == "whole":
            types |= {c["type"] for c in tiny.info((FOLDER / case["stream"]).read_bytes())["chunks"]}
    assert types == {
        "primary", "aux_slice", "icc", "exif", "xmp", "alpha", "grey", "lossless", "unknown_3", "unknown_99",
    }  # fmt: skip
    named = {name for case in CASES.values() for name in files_of(case)}
    assert {p.name for p in FOLDER.iterdir()} == named | {KIT}


def files_of(case: dict[str, Any]) -> list[str]:
    found = [case["stream"], *(p["file"] for p in case.get("pictures", ()))]
    found += [case["symbols"]] if "symbols" in case else []
    return found + ([case["image"]["alpha"]] if "alpha" in case.get("image", {}) else [])


def other_symbols(folder: Path) -> None:
    with np.load(folder / "slices_4.npz") as file:
        planes = {name: file[name].copy() for name in file.files}
    planes["auxiliary_latents"].flat[-1] += 1
    np.savez(folder / "slices_4.npz", **planes)


def other_pixels(folder: Path) -> None:
    """Move one sample by two levels, which no engine's rounding explains."""
    path = folder / "slices_4.0.png"
    pixels = np.array(Image.open(path))
    pixels[3, 4, 1] = (int(pixels[3, 4, 1]) + 2) % 256
    Image.fromarray(pixels).save(path)


def replaced(file: str, by: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        shutil.copy(folder / by, folder / file)

    return change


@pytest.mark.parametrize(
    ("change", "name", "problem"),
    [
        (other_symbols, "slices_4", "1 of 1024 auxiliary_latents differ"),
        (other_pixels, "slices_4", "differs by up to [23] levels"),
        (replaced("slices_4.rdc", "slices_3.rdc"), "slices_4", "slices=3"),
        (replaced("slices_4.rdc", "empty.rdc"), "slices_4", "decoding it is truncated, not a picture"),
        (replaced("flags.rdc", "slices_4.rdc"), "flags", "decoding it is a picture, not unsupported"),
        (replaced("flags.rdc", "width_0.rdc"), "flags", "decoding it is corrupt, not unsupported"),
        (replaced("flip_in_slice_2.rdc", "slices_4.rdc"), "flip_in_slice_2", "gives no warning"),
        (replaced("alpha_png.alpha.png", "slices_4.0.png"), "alpha_png", "its alpha differs"),
        (replaced("metadata.rdc", "grey.rdc"), "metadata", "."),
    ],
)
def test_who_does_something_else_fails_in_that_case_alone(
    tiny: Codec, tmp_path: Path, change: Callable[[Path], None], name: str, problem: str
) -> None:
    folder = tmp_path / "kit"
    shutil.copytree(FOLDER, folder)
    kit = read(folder)
    kit["cases"] = [c for c in kit["cases"] if c["name"] in (name, "slices_2", "cut_in_primary")]
    (folder / KIT).write_text(json.dumps(kit))
    change(folder)
    failed = {o.name: o.problem for o in check(folder, tiny) if o.problem}
    assert list(failed) == [name]
    assert re.search(problem, str(failed[name]))


def test_the_command_says_which_case_failed_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kit"
    shutil.copytree(FOLDER, folder)
    replaced("flags.rdc", "slices_4.rdc")(folder)
    assert main([str(folder), "--model", str(TINY), "--json"]) == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["case"] for line in lines] == list(CASES)
    assert [line["case"] for line in lines if not line["passed"]] == ["flags"]
    assert printed.err.startswith(f"{len(CASES) - 1} of {len(CASES)} cases passed by ")


def test_what_is_no_kit_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="is no conformance kit"):
        read(tmp_path)
    (tmp_path / KIT).write_text('{"format": 2, "cases": []}')
    with pytest.raises(InputError, match="kit of format 2"):
        read(tmp_path)
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
