"""Writes the files of a bundle: graphs, their shared weights, the manifest, and the folder as a whole or not at all.

Needs NumPy and onnx, never PyTorch: engines and fp16 graphs are made where they run (tests/test_layers.py).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from export.errors import ExportError

MANIFEST = "manifest.json"
LEFT_OVER = "training.safetensors"  # trained tensors that are neither in a graph nor in the tables
ALIGNMENT = 64
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, and RENAME_EXCHANGE, which macOS calls RENAME_SWAP
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV)  # of systems that exchange no names
INLINE_BYTES = 1024  # smaller tensors (shapes, constants) stay inside the graph files


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is never seen half written, whoever else writes it at the same time."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def replaceable(folder: Path) -> bool:
    """Tell whether a folder is missing, empty, or a bundle.

    A mistyped output folder must not cost somebody's work, and browser extensions have a manifest.json too.
    """
    if not folder.exists():
        return True
    bundle = all((folder / name).is_file() for name in (MANIFEST, "tables.npz", LEFT_OVER))
    return folder.is_dir() and (bundle or not any(folder.iterdir()))


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Give a folder to write a bundle in, which takes the place of `folder` if the block ends without an exception.

    At no moment is `folder` half a bundle, or missing where there was one, on Linux and macOS at least (elsewhere it is
    missing for the moment between two renames). Raises ExportError where `folder` holds something else than a bundle;
    nothing was written then.
    """
    if not replaceable(folder):
        raise ExportError(f"{folder} exists and is not a bundle: nothing is written over it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it: a rename within one file system is what cannot stop half way.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "bundle"
        made.mkdir()
        yield made
        _take_place(made, folder, Path(temporary) / "replaced")


def _take_place(made: Path, folder: Path, aside: Path) -> None:
    """Give a folder its name, from which a bundle that has it goes `aside`, or where the new one was."""
    if not os.path.lexists(folder):
        try:
            made.rename(folder)
            return
        except OSError:
            if not os.path.lexists(folder):  # else another writer was faster
                raise
    if not replaceable(folder):
        raise ExportError(f"{folder} exists and is not a bundle: nothing is written over it")
    if not _exchange(made, folder):
        folder.rename(aside)
        made.rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; return whether the system can. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names = os.fsencode(one), os.fsencode(other)
    if (swap := getattr(libc, "renameat2", None)) is not None:  # Linux
        failed = swap(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE))
    elif (swap := getattr(libc, "renamex_np", None)) is not None:  # macOS
        failed = swap(*names, ctypes.c_uint(_EXCHANGE))
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _CANNOT:
        raise OSError(number, os.strerror(number), str(other))
    return not failed


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, with the SHA-256 of every other file that the folder has by now."""
    files = {p.name: sha256_of(p) for p in sorted(folder.iterdir())}
    text = json.dumps(manifest | {"files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


class WeightsFile:
    """Writes the bundle's `weights.bin`, with every tensor once, however many graphs use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._places: dict[bytes, int] = {}

    def place(self, tensor: onnx.TensorProto) -> None:
        """Move the data of an initialiser into the file."""
        data = np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()
        if data not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[data] = self._file.tell()
            self._file.write(data)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (
            ("location", self.path.name),
            ("offset", self._places[data]),
            ("length", len(data)),
        ):
            tensor.external_data.add(key=key, value=str(value))

    def close(self) -> None:
        self._file.close()


def write_graph(model: onnx.ModelProto, path: Path, weights: WeightsFile) -> None:
    """Write one graph; its larger initialisers go to the shared file. `model` is changed."""
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= INLINE_BYTES:
            weights.place(tensor)
    write_whole(path, model.SerializeToString(deterministic=True))
