"""A bundle as an input: the size of its manifest (4 bytes), the manifest, and tables.npz. cpp/bundle.cpp has the same.

A small bundle, made here, is what both begin with: the tiny one of the tests is fifteen times as large.
"""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from hashlib import sha256
from typing import Any

import numpy as np

from rdc_codec import arrays
from rdc_codec.bundle import FORMAT, PASS_ORDER, WEIGHTS, identity

from .streams import Change

FILE = b"x"  # of all graphs and the weights, which are not looked at before they are used
_GRAPHS = ("encode_base", "decode_base", "encode_full", "decode_full")
_NUMBERS = ("0", "1", "2", "4", "-1", "16", "64", "100", "65536", "1e308", "2.5", "null", "true", "[]", '"x"')
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def pack(manifest: bytes, tables: bytes) -> bytes:
    """Return the input of a manifest and tables."""
    return len(manifest).to_bytes(4, "little") + manifest + tables


def unpack(data: bytes) -> tuple[bytes, bytes]:
    """Return the manifest and the tables of an input."""
    end = 4 + int.from_bytes(data[:4], "little")
    return data[4:end], data[end:]


def _branch(prefix: str, seen: int) -> dict[str, np.ndarray]:
    """Return the arrays of a branch with 4 latent channels, 1 of z, 1 hidden. seen: other branches before it."""
    rng = np.random.default_rng(seen)

    def layer(name: str, shape: tuple[int, ...], biases: tuple[int, ...], clip: int) -> dict[str, np.ndarray]:
        weights = rng.integers(-3, 4, shape).astype(np.int8)
        shift = np.full(biases[-1:] if name == "neighbours" else biases, 2, np.int32)
        values = {"weight": weights, "bias": np.full(biases, 3, np.int32), "shift": shift}
        return {f"{prefix}_{name}_{k}": v for k, v in (values | {"clip": np.int32(clip)}).items()}

    found: dict[str, np.ndarray] = {}
    for name, rows in (
        ("hyper", [[0, 90, 200, 250, 256]]),
        ("latent", [[0, 60, 190, 240, 256], [0, 250, 256]]),
    ):
        found |= {
            f"{prefix}_{name}_cdf": np.concatenate(rows).astype(np.uint16),
            f"{prefix}_{name}_sizes": np.array([len(row) - 2 for row in rows], np.int32),
            f"{prefix}_{name}_minimum": np.array([-((len(row) - 2) // 2) for row in rows], np.int32),
            f"{prefix}_{name}_precision": np.array(8, np.int32),
        }
    outputs = (4 + 1) * 16
    found |= layer("scale0", (outputs, 1 + seen, 1, 1), (outputs,), 40)
    found |= layer("neighbours", (1, 4 + 4 * seen, 3, 3), (4, 1), 9)
    return found | layer("heads", (4, 4, 1), (4, 4), 1)


def _npz(members: dict[str, np.ndarray], method: int) -> bytes:
    """Write arrays with headers as short as they may be."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in members.items():
            header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}\n".encode()
            start = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little")
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), start + header + array.tobytes(), method)
    return file.getvalue()


def small(auxiliary: bool = True, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a small bundle as an input."""
    members = _branch("primary", 0) | (_branch("auxiliary", 1) if auxiliary else {})
    tables = _npz(members, method)
    config = {"primary": _parsing(1), "auxiliary": _parsing(4) if auxiliary else None}
    graphs = _GRAPHS if auxiliary else _GRAPHS[:2]
    tensor = {"name": "a", "dtype": "int32", "shape": ["n", 4, "4*rows", "columns"]}
    manifest = {
        "format": FORMAT,
        "name": "small",
        "parse_id": identity(members, config).hex(),
        "picture_id": "00" * 32,
        "strides": {"pixels": 8, "latent": 16, "hyper": 64},
        "parsing": config,
        "quality_map": {"quality": [0, 50, 100], "base_quality": [0, 30, 60], "aux_quality": [0, 50, 100]},
        "graphs": {name: {"file": "g.onnx", "inputs": [tensor], "outputs": [tensor]} for name in graphs},
        "files": {"tables.npz": sha256(tables).hexdigest(), "g.onnx": sha256(FILE).hexdigest()},
    }
    manifest["files"] |= {WEIGHTS: sha256(FILE).hexdigest()}
    return pack(json.dumps(manifest).encode(), tables)


def _parsing(slices: int) -> dict[str, Any]:
    return {
        "latent": 4, "hyper": 1, "slices": slices, "pass_order": PASS_ORDER, "levels": 4, "scale_layers": 1,
    }  # fmt: skip


def _named(manifest: bytes, key: bytes, digest: str) -> bytes:
    """Put a digest where the manifest has one after a key."""
    return re.sub(rb'("%s"\s*:\s*")[0-9a-f]{64}' % key, lambda m: m[1] + digest.encode(), manifest, count=1)


def repaired(manifest: bytes, tables: bytes) -> bytes:
    """Return a manifest with the digests of these tables, as whoever writes a bundle makes it."""
    manifest = _named(manifest, rb"tables\.npz", sha256(tables).hexdigest())
    try:
        found = identity(arrays.read(tables), json.loads(manifest)["parsing"]).hex()
    except Exception:  # of many types: what cannot be read has no identity
        return manifest
    return _named(manifest, b"parse_id", found)


def mutate(data: bytes, size: int, seed: int, change: Change) -> bytes:
    """Return a mutation of a bundle, of at most so many bytes. change: as for streams."""
    rng = random.Random(seed)
    manifest, tables = unpack(data)
    for _ in range(rng.randint(1, 3)):
        choice = rng.randrange(6)
        numbers = list(_NUMBER.finditer(manifest)) if choice == 1 else []
        if choice == 0:
            manifest = change(manifest)
        elif numbers:
            at = rng.choice(numbers)
            manifest = manifest[: at.start()] + rng.choice(_NUMBERS).encode() + manifest[at.end() :]
        elif choice == 3:
            tables = change(tables)
        elif choice == 4 and (members := _members(tables)):
            name = rng.choice(list(members))
            members[name] = change(members[name])
            tables = _archive(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        elif tables:
            changed = bytearray(tables)
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(len(changed))] = rng.randrange(256 if rng.randrange(3) else 4)
            tables = bytes(changed)
    if rng.randrange(16):
        manifest = repaired(manifest, tables)
    return pack(manifest, tables)[:size]


def _members(tables: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(tables)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # of many types, on what is no archive
        return {}


def _archive(members: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()
