"""What tests share about the process around them: its warnings, and the processes that it starts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rdc_codec


@contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record all warnings but those of open files that are collected meanwhile: whoever left them is elsewhere."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)
        yield caught


def child_environment(*others: Path) -> dict[str, str]:
    """Return the environment of a process that imports the package which this one has, and what is in other folders.

    In a clone whose package is installed, `src` has no native module, and must not come first.
    """
    package = Path(rdc_codec.__file__).resolve().parents[1]
    inherited = os.environ.get("PYTHONPATH")
    paths = [*map(str, (package, *others)), *([inherited] if inherited else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
