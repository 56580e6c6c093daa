"""The calls of cuda-core and of the driver that the GPU backends make, on a stand-in for the driver.

Its cases are in tests/stand_in_cuda, and run in a process of their own, whose libcuda.so.1 is the stand-in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "stand_in_cuda"


def test_the_driver_is_called_as_it_wants_to_be(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the stand-in is a Linux library")
    try:
        import cuda.core  # noqa: F401
    except ImportError as error:
        pytest.skip(f"cuda-core or its bindings are not installed: {error}")
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    library = tmp_path / "libcuda.so.1"
    command = [
        "c++",
        *flags,
        str(CASES / "driver.cpp"),
        "-o",
        str(library),
        f"-Wl,-soname,{library.name}",
        "-ldl",
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES / "cases.py")]
    folders = [str(tmp_path), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    done = subprocess.run(
        command,
        env=os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(folders)},
        cwd=CASES.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout, done.stdout
