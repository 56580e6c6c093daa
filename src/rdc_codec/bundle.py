"""A bundle is the folder that `export/to_onnx.py` writes, and all that the runtime knows of a model.

docs/bundle.md describes the files. Everything that decoding the bits depends on (integer CDF tables,
integer scale networks) is in `tables.npz`, and its identity is recomputed from the arrays when a bundle is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .arrays import read as read_arrays
from .errors import CorruptError, InputError, UnsupportedError, WrongModelError, _text_of
from .native import ScaleContext, ScaleNetwork, ScaleState, Tables
from .rates import Expected

FORMAT = 2
HYPER_STRIDE = 64  # pictures are padded to multiples of this: the step of hyper-latents
LATENT_STRIDE = 16
PASSES = 4  # in which the latents of a branch are coded
PASS_ORDER = [[0, 2], [3, 1]]  # docs/bitstream.md; the graphs have it built in
SYMBOL_LIMIT = 2047
HYPER_LIMIT = 127
DEFAULT = Path(__file__).parent / "bundle"
MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"  # of all graphs


class Size(NamedTuple):
    """Says at what size a graph runs: n pictures, each of rows x columns strides of 64 pixels."""

    n: int
    rows: int
    columns: int

    @classmethod
    def of_pictures(cls, n: int, height: int, width: int) -> Size:
        """Return the size for n pictures of height x width pixels, which are padded to whole strides."""
        return cls(n, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE))


@dataclass(frozen=True)
class Tensor:
    """Describes an input or output of a graph, as the manifest does.

    shape: numbers and multiples of "n" (pictures), "rows" and "columns" (their sides in strides of 64 pixels), such
    as ("n", 192, "4*rows", "4*columns").
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]

    def sizes(self, n: int, rows: int, columns: int) -> tuple[int, ...]:
        """Return the shape that the tensor has for `n` pictures of rows x columns strides."""
        known = {"n": n, "rows": rows, "columns": columns}

        def value(dimension: int | str) -> int:
            if isinstance(dimension, int):
                return dimension
            factor, _, name = dimension.rpartition("*")
            return int(factor or 1) * known[name]

        return tuple(map(value, self.shape))


@dataclass(frozen=True)
class Branch:
    """Holds what is needed to code the symbols of one branch.

    latent, hyper: channels of y and z. levels: rows of the gain table. slices: chunks that the four passes of the
    latents are sent in, 1 or 4. hyper_tables: one for each channel of z. latent_tables: by scale index. scale_network,
    scale_context: the halves of the integer network that says which table each latent has (`scale_state`).
    """

    latent: int
    hyper: int
    levels: int
    slices: int
    hyper_tables: Tables
    latent_tables: Tables
    scale_network: ScaleNetwork
    scale_context: ScaleContext

    def level(self, quality: float) -> float:
        """Return the position of a quality 0-100 in the gain table, 0 to levels - 1."""
        return quality / 100 * (self.levels - 1)

    def scale_state(
        self, z: np.ndarray, other: np.ndarray | None = None, keep: bool = True, threads: int = 1
    ) -> ScaleState:
        """Make the state that tells, pass by pass, which table each latent has. Symbols are int16.

        z: [hyper, h / 4, w / 4], in the auxiliary branch with the primary's z as further channels. other: there, the
        primary's residual symbols [latent, h, w]. keep: have all symbols in the state's `symbols`. threads: that
        share the work at most.
        """
        start = self.scale_network(np.ascontiguousarray(z), threads)
        seen = None if other is None else np.ascontiguousarray(other)
        return ScaleState(self.scale_context, start, seen, "int16", keep, threads)


def identity(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> bytes:
    """Hash named arrays (names, types, shapes, little-endian values, in name order) and a configuration.

    The SHA-256, 32 bytes, of the tables and of what `parsing` says is the identity for parsing; that of all
    trained tensors is the identity for pictures.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}:{little.dtype.str}:{little.shape};".encode())
        digest.update(little.tobytes())
    return digest.digest()


def quality_map_columns(quality_map: Mapping[str, Sequence[float]]) -> list[np.ndarray]:
    """Return the columns quality, base_quality, aux_quality of a map, float64. Raises ValueError for what is no map."""
    columns = [np.asarray(quality_map[k], float) for k in ("quality", "base_quality", "aux_quality")]
    dial = columns[0]
    if dial.ndim != 1 or len(dial) < 2 or dial[0] != 0 or dial[-1] != 100 or not (np.diff(dial) > 0).all():
        raise ValueError("quality_map does not rise from 0 to 100")
    for column in columns:
        inside = column.shape == dial.shape and column[0] >= 0 and column[-1] <= 100
        if not inside or not (np.diff(column) >= 0).all():
            raise ValueError("quality_map is not monotone within 0-100")
    return columns


def read_quality_map(path: Path) -> tuple[dict[str, list[float]], str]:
    """Return the map of a JSON file, or of a bundle's folder, and where it is from. It is not checked.

    Raises OSError, KeyError or ValueError.
    """
    if not path.is_dir():
        return json.loads(path.read_text(encoding="utf-8")), path.name
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    origin = f"the bundle {manifest['name']}, picture_id {manifest['picture_id'][:8]}"
    return manifest["quality_map"], origin


def folder_named(path: str | os.PathLike[str], name: str) -> Path:
    """Return the absolute path of a folder that an argument names, for when the current folder is another one.

    Raises InputError, which names the argument, for what is no path, or an empty one, which an unset variable is.
    """
    try:
        text = os.fspath(path)
        if isinstance(text, str) and text:
            return Path(text).resolve()
        problem = f"got {path!r}"
    except (TypeError, ValueError) as error:  # no path, a zero in it
        problem = f"got {path!r}: {_text_of(error)}"
    except (OSError, RuntimeError) as error:  # the current folder is gone, links go round and round
        problem = f"cannot follow {path!r}: {_text_of(error)}"
    raise InputError(f"{name} must be the path of a folder, {problem}") from None


class Bundle:
    """Holds a loaded bundle.

    Raises InputError if there is no bundle, UnsupportedError, CorruptError or LimitError if it cannot be used.

    path: its folder (None: the one shipped with the package). sha256: what `sha256` has to be, or WrongModelError is
    raised before anything else of the folder is read.

    name, version: of the manifest, for people; "" where it has none. sha256: SHA-256 of manifest.json in hexadecimal,
    and so of the whole bundle: the manifest has the SHA-256 of every other file. parse_id, picture_id: SHA-256
    identities, 32 bytes. graphs: name -> file; inputs, outputs: name -> tensors. primary, auxiliary (None in a
    single-branch model): see `Branch`. precision: "fp32", or "fp16" where most of the graphs' arithmetic is
    (export/to_half.py). expected: what its map says that photos have.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, sha256: str | None = None) -> None:
        # Graphs are loaded when they are first used.
        self.path = DEFAULT.resolve() if path is None else folder_named(path, "model")
        text = self._read_manifest()
        self.sha256 = hashlib.sha256(text).hexdigest()
        self.check_sha256(sha256)
        self.manifest = self._parsed_manifest(text)
        if self.manifest.get("format") != FORMAT:
            raise UnsupportedError(
                f"{self.path}: bundle format {self.manifest.get('format')!r}, this runtime knows {FORMAT}"
            )
        try:
            self._check_manifest()
            self.check_files(self.manifest["files"])
            self._load(self.manifest)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            OSError,
            RuntimeError,  # of the native module, for what is no array
            TypeError,
            ValueError,
        ) as error:
            raise CorruptError(f"{self.path}: damaged bundle: {_text_of(error)}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy a bundle by its path: another process takes this one or none."""
        return Bundle, (self.path, self.sha256)

    def check_sha256(self, expected: str | None) -> None:
        """Raise WrongModelError unless the bundle is the one that is expected (None: any), InputError for no digest."""
        if expected is None:
            return
        if not isinstance(expected, str) or not re.fullmatch("[0-9a-fA-F]{64}", expected):
            raise InputError(f"sha256 must be 64 hexadecimal digits or None, got {expected!r}")
        if expected.lower() != self.sha256:
            raise WrongModelError(
                f"the bundle at {self.path} has SHA-256 {self.sha256}, not {expected.lower()}"
            )

    def _read_manifest(self) -> bytes:
        try:
            return (self.path / MANIFEST).read_bytes()
        except OSError as error:
            raise InputError(f"no model bundle at {self.path}: {error.strerror}") from None

    def _parsed_manifest(self, text: bytes) -> dict[str, Any]:
        try:
            manifest = json.loads(text.decode("utf-8"))
        except (RecursionError, ValueError):  # nested without end is what no writer of JSON makes
            raise CorruptError(f"{self.path / MANIFEST} is not JSON") from None
        if not isinstance(manifest, dict):
            raise CorruptError(f"{self.path / MANIFEST} is not a manifest")
        return manifest

    def _check_manifest(self) -> None:
        needed = {"tables.npz", WEIGHTS, *(g["file"] for g in self.manifest["graphs"].values())}
        if missing := sorted(needed - set(self.manifest["files"])):
            raise ValueError(f"the manifest has no SHA-256 of {missing[0]}")

    def check_files(self, names: Iterable[str]) -> None:
        """Raise ValueError or OSError where a file is not the one that the manifest was written for."""
        for name in names:
            expected = self.manifest["files"][name]
            found = hashlib.sha256((self.path / name).read_bytes()).hexdigest()
            if found != expected:
                raise ValueError(f"{name} has SHA-256 {found[:12]}…, the manifest says {expected[:12]}…")

    def _load(self, manifest: dict[str, Any]) -> None:
        found = read_arrays((self.path / "tables.npz").read_bytes())
        self.parse_id = bytes.fromhex(manifest["parse_id"])
        self.picture_id = bytes.fromhex(manifest["picture_id"])
        self.name, self.version = (str(manifest.get(key, "")) for key in ("name", "version"))
        self.precision: str = manifest.get("precision", "fp32")
        if self.precision not in ("fp32", "fp16"):
            raise ValueError(f"precision is {self.precision!r}, this runtime knows fp32 and fp16")
        if identity(found, manifest["parsing"]) != self.parse_id:
            raise ValueError("tables.npz is not the one that parse_id names")
        strides = {"pixels": HYPER_STRIDE // 8, "latent": LATENT_STRIDE, "hyper": HYPER_STRIDE}
        if manifest["strides"] != strides:
            raise ValueError(f"strides are {manifest['strides']}, this runtime knows {strides}")
        self.primary = _branch(found, "primary", manifest["parsing"]["primary"])
        auxiliary = manifest["parsing"]["auxiliary"]
        self.auxiliary = None if auxiliary is None else _branch(found, "auxiliary", auxiliary, self.primary)
        self.graphs: dict[str, str] = {name: g["file"] for name, g in manifest["graphs"].items()}
        self.inputs = {name: _tensors(g["inputs"]) for name, g in manifest["graphs"].items()}
        self.outputs = {name: _tensors(g["outputs"]) for name, g in manifest["graphs"].items()}
        names = [f"{way}_{part}" for part in ("base", "full") for way in ("encode", "decode")]
        if missing := [n for n in names if n not in self.graphs and (auxiliary or n.endswith("_base"))]:
            raise ValueError(f"no graph {missing[0]}")
        self._map = quality_map_columns(manifest["quality_map"])
        self.expected = Expected.of_map(manifest["quality_map"])

    def branch_qualities(self, quality: float) -> tuple[float, float]:
        """Return (base_quality, aux_quality) of a quality 0-100 by the manifest's map, linear between its rows."""
        dial, base, auxiliary = self._map
        return float(np.interp(quality, dial, base)), float(np.interp(quality, dial, auxiliary))

    def quality_of_base(self, base_quality: float) -> float:
        """Return a quality 0-100 for which `branch_qualities` has this base quality, or the nearest that any has."""
        dial, base, _ = self._map
        return float(np.interp(base_quality, base, dial))


def _tensors(described: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    found = [Tensor(d["name"], np.dtype(d["dtype"]), tuple(d["shape"])) for d in described]
    for tensor in found:
        tensor.sizes(1, 1, 1)  # what cannot be understood shows now
    return found


def cdf_tables(arrays: Mapping[str, np.ndarray], prefix: str) -> Tables:
    """Make the entropy coder's tables of the arrays of this prefix, such as "primary_hyper"."""
    return Tables(
        arrays[f"{prefix}_cdf"],
        arrays[f"{prefix}_sizes"],
        arrays[f"{prefix}_minimum"],
        int(arrays[f"{prefix}_precision"]),
    )


def _branch(
    arrays: Mapping[str, np.ndarray],
    prefix: str,
    config: dict[str, Any],
    primary: Branch | None = None,
) -> Branch:
    """Make a branch of the arrays. primary: the one that the auxiliary branch's integer network sees as well."""

    def layer(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        return (
            arrays[f"{name}_weight"],
            arrays[f"{name}_bias"],
            arrays[f"{name}_shift"],
            int(arrays[f"{name}_clip"]),
        )

    layers = [layer(f"{prefix}_scale{k}") for k in range(config["scale_layers"])]
    latent, hyper = int(config["latent"]), int(config["hyper"])
    hyper_tables = cdf_tables(arrays, f"{prefix}_hyper")
    if len(hyper_tables) != hyper:
        raise ValueError(f"{prefix}: {len(hyper_tables)} hyper tables for {hyper} channels")
    latent_tables = cdf_tables(arrays, f"{prefix}_latent")
    neighbours, heads = layer(f"{prefix}_neighbours"), layer(f"{prefix}_heads")
    slices = PASSES if primary else 1
    if config["pass_order"] != PASS_ORDER or config["slices"] != slices:
        raise ValueError(f"{prefix}: pass_order must be {PASS_ORDER} and slices {slices}")
    context = ScaleContext(neighbours, heads, np.array(PASS_ORDER, np.uint8))
    seen, planes = (primary.hyper, primary.latent) if primary else (0, 0)
    found = layers[0][0].shape[1], layers[-1][0].shape[0], context.latent, context.other
    outputs = (latent + context.hidden) * (HYPER_STRIDE // LATENT_STRIDE) ** 2
    if found != (hyper + seen, outputs, latent, planes):
        raise ValueError(f"{prefix}: a scale network of {found} channels does not fit")
    if heads[3] >= len(latent_tables):
        raise ValueError(f"{prefix}: the scale network names table {heads[3]} of {len(latent_tables)}")
    return Branch(
        latent=latent,
        hyper=hyper,
        levels=int(config["levels"]),
        slices=slices,
        hyper_tables=hyper_tables,
        latent_tables=latent_tables,
        scale_network=ScaleNetwork(layers, HYPER_STRIDE // LATENT_STRIDE),
        scale_context=context,
    )
