"""`benchmarks/soak.py`: a short run finds nothing that stays, and its verdict would say so if something did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import soak

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory, threads and files are read from Linux")
def test_nothing_stays_of_a_thousand_operations(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--count", "1000", "--large", "1", "--no-arena"]
    found, drawn = tmp_path / "found.json", tmp_path / "memory.png"
    done = subprocess.run(
        [*command, "--json", str(found), "--plot", str(drawn)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(found.read_text())
    assert said["wrong"] == [] and said["grew"] == [] and said["flat"]
    happenings = ("forked", "interrupted")
    assert sum(n for name, n in said["counts"].items() if name not in happenings) == 1000
    assert all(said["counts"][name] > 0 for name in happenings)
    assert said["compared"] > 50 and len(said["rests"]) == soak.ROUNDS
    # Every codec is gone at the end: what is left of files are those of libraries.
    assert said["ended"]["files"] <= said["files_at_rest"][0]
    with Image.open(drawn) as image:
        assert image.format == "PNG"


def rests(memory: np.ndarray, **others: list[int]) -> list[dict[str, Any]]:
    """Return what rounds of 500 operations left."""
    count = len(memory)
    columns = {"threads": [9] * count, "files": [12] * count, **others}
    return [
        {
            "operations": 500 * (k + 1),
            "memory": memory[k],
            **{name: values[k] for name, values in columns.items()},
        }
        for k in range(count)
    ]


def test_a_leak_of_two_kilobytes_an_operation_is_found_beneath_the_noise_of_an_allocator() -> None:
    noise = np.random.default_rng(0).normal(0, 1e6, soak.ROUNDS)
    warming = np.minimum(np.arange(soak.ROUNDS), 5) * 20e6  # is over before the second half
    flat = soak.verdict(rests(400e6 + warming + noise))
    leaking = soak.verdict(rests(400e6 + warming + noise + 2000 * 500 * np.arange(soak.ROUNDS)))
    assert flat["flat"] and not leaking["flat"]
    assert abs(leaking["bytes_per_operation"] - flat["bytes_per_operation"] - 2000) < 1


def test_what_is_allocated_is_judged_where_it_is_known() -> None:
    """Resident memory may grow by pages that are not full, which nothing of ours holds."""
    memory = 400e6 + 3000 * 500 * np.arange(soak.ROUNDS)
    assert not soak.verdict(rests(memory))["flat"]
    allocated = [200_000_000] * soak.ROUNDS
    assert soak.verdict(rests(memory, allocated=allocated))["flat"]
    leaking = [200_000_000 + 2000 * 500 * k for k in range(soak.ROUNDS)]
    assert not soak.verdict(rests(memory, allocated=leaking))["flat"]


def test_threads_and_files_that_grow_are_named() -> None:
    memory = np.full(soak.ROUNDS, 400e6)
    assert soak.verdict(rests(memory))["grew"] == []
    growing = [12 + k // 4 for k in range(soak.ROUNDS)]
    assert soak.verdict(rests(memory, files=growing))["grew"] == ["files"]
    now_and_then = [12 + k % 2 for k in range(soak.ROUNDS)]
    assert soak.verdict(rests(memory, threads=now_and_then[::-1]))["grew"] == []
