"""The threads that nobody asked for fit what the process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rdc_codec.cores import limit

MACHINE = os.cpu_count() or 1


def groups(folder: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Make control groups: the files by their path below the root, and what the process is a member of."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "membership").write_text(membership)
    return folder / "cgroup", folder / "membership"


@pytest.mark.skipif(MACHINE < 2, reason="a machine of one core cannot be held to fewer")
@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}),
        ("0::/pods/mine\n", {"pods/mine/cpu.max": "max 100000\n", "pods/cpu.max": "100000 100000\n"}),
        ("0::/of/the/host\n", {"cpu.max": "30000 100000\n"}),  # as a container with the host's paths sees it
        (
            "4:cpu,cpuacct:/mine\n2:memory:/mine\n",
            {"cpu/mine/cpu.cfs_quota_us": "100000\n", "cpu/mine/cpu.cfs_period_us": "100000\n"},
        ),
    ],
)
def test_a_quota_of_one_core_is_seen(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    assert limit(*groups(tmp_path, membership, files)) == 1


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("", {}),
        ("0::/\n", {"cpu.max": "max 100000\n"}),
        ("0::/\n", {"cpu.max": f"{1000 * MACHINE * 100} 1000\n"}),
        ("0::/\n", {"cpu.max": "no number\n"}),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_without_a_quota_engines_choose(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < MACHINE:
        pytest.skip("these tests are pinned to some of the cores")
    assert limit(*groups(tmp_path, membership, files)) is None


@pytest.mark.skipif(MACHINE < 2 or not hasattr(os, "sched_setaffinity"), reason="nothing to pin to")
def test_a_pinned_process_uses_as_many_threads_as_cores() -> None:
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
import onnxruntime
made = []
class Spy(onnxruntime.InferenceSession):
    def __init__(self, path, options, **more):
        made.append(options.intra_op_num_threads)
        super().__init__(path, options, **more)
onnxruntime.InferenceSession = Spy
from rdc_codec import Codec
picture = np.zeros((64, 64, 3), np.uint8)
Codec(backend="onnxruntime").encode(picture, layers="base")
Codec(backend="onnxruntime", threads=3).encode(picture, layers="base")
print(made)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[1, 3]\n", done.stderr
