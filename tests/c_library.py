"""CMake builds the C API of kernels/c_api here; tests call it by its C names, with NumPy arrays as its memory."""

from __future__ import annotations

import ctypes
import subprocess
from ctypes import byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint8, c_uint32, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kernel_library import CMAKE

SOURCE = Path(__file__).parents[1] / "kernels" / "c_api"
STATUSES = {
    0: "OK", 1: "DAMAGED", -1: "TRUNCATED", -2: "CORRUPT", -3: "UNSUPPORTED", -4: "WRONG_MODEL", -5: "LIMIT",
    -6: "INVALID", -7: "NO_ROOM", -8: "NO_MEMORY", -9: "INTERNAL",
}  # fmt: skip
STATES = ("ok", "damaged", "truncated", "missing")
ALL_LAYERS = 4


def configure_and_build(source: Path, folder: Path, *options: str) -> None:
    """Run CMake. Raises CalledProcessError with what the compiler said."""
    for command in (
        [*CMAKE, "-S", str(source), "-B", str(folder), *options],
        [*CMAKE, "--build", str(folder), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def built_in(folder: Path) -> Path:
    """Return the shared library of a build."""
    (path,) = (p for p in folder.glob("librdc.*") if p.suffix in (".so", ".dylib"))
    return path


class BundleInfo(ctypes.Structure):
    _fields_ = [
        *(
            (name, c_uint32)
            for name in ("latent1", "hyper1", "levels1", "latent2", "hyper2", "levels2", "slices")
        ),
        ("parse_id", c_uint8 * 32),
        ("picture_id", c_uint8 * 32),
    ]


class Shapes(ctypes.Structure):
    _fields_ = [
        *(("padded_width", c_uint32), ("padded_height", c_uint32)),
        *((name, c_uint32 * 3) for name in ("z1", "y1", "z2", "y2")),
        *((f"{name}_count", c_uint64) for name in ("z1", "y1", "z2", "y2")),
    ]


class HeaderFields(ctypes.Structure):
    _fields_ = [
        *(("width", c_uint32), ("height", c_uint32)),
        *((name, c_double) for name in ("quality", "base_quality", "aux_quality")),
        *(("parse_id", c_uint8 * 4), ("picture_id", c_uint8 * 4)),
        *(("header_bytes", c_uint32), ("chunks", c_uint32)),
    ]


class ChunkFields(ctypes.Structure):
    _fields_ = [
        ("offset", c_uint64),
        *((name, c_uint32) for name in ("length", "type", "state", "crc")),
    ]


class SymbolFields(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("z1", "y1", "z2", "y2")),
        *((f"{name}_room", c_size_t) for name in ("z1", "y1", "z2", "y2")),
        ("slices", c_uint32),
    ]


class Content(ctypes.Structure):
    _fields_ = [("type", c_uint32), ("data", c_char_p), ("size", c_size_t)]


class CError(Exception):
    """Says what a C function returned: `status` without its prefix, and the message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class Read:
    """Holds symbols that C read, [C, h, w] as the graphs have them, and what was wrong with the auxiliary data."""

    planes: dict[str, np.ndarray]
    slices: int
    problem: str | None


class CLibrary:
    """Calls the library. A status that is an error becomes a CError."""

    def __init__(self, path: Path) -> None:
        self.native = ctypes.CDLL(str(path))
        for name in (
            "rdc_message",
            "rdc_status_name",
            "rdc_bundle_name",
            "rdc_bundle_graph",
            "rdc_decode_graph",
        ):
            getattr(self.native, name).restype = c_char_p
        self.native.rdc_bundle_close.restype = self.native.rdc_stream_close.restype = None
        self.native.rdc_version.restype = c_uint32
        self.native.rdc_decode_graph.argtypes = [ctypes.c_void_p, c_uint32, c_float]

    def call(self, name: str, *arguments: Any) -> str | None:
        """Call a function. Return the message of a warning, None for RDC_OK. Sizes are passed as c_size_t."""
        sized = [c_size_t(a) if type(a) is int else a for a in arguments]
        status = c_int32(getattr(self.native, name)(*sized)).value
        if status < 0:
            raise CError(STATUSES[status], self.message())
        return self.message() if status else None

    def message(self) -> str:
        return self.native.rdc_message().decode()

    def bundle(self, folder: Path) -> CBundle:
        return self.open_bundle(*((folder / name).read_bytes() for name in ("manifest.json", "tables.npz")))

    def open_bundle(self, manifest: bytes, tables: bytes) -> CBundle:
        handle = ctypes.c_void_p()
        self.call("rdc_bundle_open", manifest, len(manifest), tables, len(tables), byref(handle))
        return CBundle(self, handle)

    def stream(self, data: bytes, max_pixels: int = 0) -> CStream:
        handle = ctypes.c_void_p()
        self.call("rdc_stream_open", data, len(data), c_uint64(max_pixels), byref(handle))
        return CStream(self, handle, data)


class CStream:
    """Owns a stream of the library, and the bytes that it refers to."""

    def __init__(self, library: CLibrary, handle: ctypes.c_void_p, data: bytes) -> None:
        self.api, self.handle, self.data = library, handle, data

    def __del__(self) -> None:
        self.api.native.rdc_stream_close(self.handle)

    @property
    def header(self) -> HeaderFields:
        fields = HeaderFields()
        self.api.call("rdc_stream_header", self.handle, byref(fields))
        return fields

    @property
    def chunks(self) -> list[ChunkFields]:
        found = [ChunkFields() for _ in range(self.header.chunks)]
        for k, fields in enumerate(found):
            self.api.call("rdc_stream_chunk", self.handle, c_uint32(k), byref(fields))
        return found

    def find(self, kind: int, nth: int = 0) -> ChunkFields:
        fields = ChunkFields()
        self.api.call("rdc_stream_find", self.handle, c_uint32(kind), c_uint32(nth), byref(fields))
        return fields

    def damage(self) -> str | None:
        return self.api.call("rdc_stream_check", self.handle)


class CBundle:
    """Owns a bundle of the library."""

    def __init__(self, library: CLibrary, handle: ctypes.c_void_p) -> None:
        self.api, self.handle = library, handle

    def __del__(self) -> None:
        self.api.native.rdc_bundle_close(self.handle)

    @property
    def info(self) -> BundleInfo:
        info = BundleInfo()
        self.api.call("rdc_bundle_describe", self.handle, byref(info))
        return info

    def shapes(self, width: int, height: int) -> Shapes:
        shapes = Shapes()
        self.api.call("rdc_bundle_shapes", self.handle, c_uint32(width), c_uint32(height), byref(shapes))
        return shapes

    def number_of(self, name: str, width: int, height: int) -> int:
        """Call rdc_working_memory or rdc_stream_bound."""
        found = c_uint64()
        self.api.call(name, self.handle, c_uint32(width), c_uint32(height), byref(found))
        return found.value

    def qualities(self, dial: float) -> tuple[float, float, float]:
        numbers = [c_double(dial), c_double(), c_double()]
        self.api.call("rdc_bundle_qualities", self.handle, *map(byref, numbers))
        return tuple(n.value for n in numbers)

    def level(self, branch: int, quality: float) -> float:
        level = c_float()
        self.api.call("rdc_bundle_level", self.handle, c_uint32(branch), c_double(quality), byref(level))
        return level.value

    def _fields(self, planes: dict[str, np.ndarray], slices: int) -> SymbolFields:
        fields = SymbolFields(slices=slices)
        for name, plane in planes.items():
            setattr(fields, name, plane.ctypes.data)
            setattr(fields, f"{name}_room", plane.size)
        return fields

    def arrays(self, width: int, height: int, dtype: type = np.int32) -> dict[str, np.ndarray]:
        """Return memory for the symbols of a picture, full of a value that no symbol has."""
        shapes = self.shapes(width, height)
        found = {
            name: np.full(tuple(getattr(shapes, name)), 9999, dtype) for name in ("z1", "y1", "z2", "y2")
        }
        return {name: plane for name, plane in found.items() if plane.size}

    def read(self, stream: CStream, layers: int = ALL_LAYERS, dtype: type = np.int32) -> Read:
        header = stream.header
        planes = self.arrays(header.width, header.height, dtype)
        fields = self._fields(planes, 77)
        name = "rdc_read_symbols" if dtype is np.int32 else "rdc_read_symbols16"
        problem = self.api.call(name, self.handle, stream.handle, c_uint32(layers), byref(fields))
        return Read(planes, fields.slices, problem)

    def write(
        self,
        header: HeaderFields,
        planes: dict[str, np.ndarray],
        slices: int,
        contents: tuple[tuple[int, bytes], ...] = (),
        room: int | None = None,
    ) -> bytes:
        planes = {name: np.ascontiguousarray(plane) for name, plane in planes.items()}
        fields, size = self._fields(planes, slices), c_size_t()
        others = (Content * len(contents))(*(Content(kind, data, len(data)) for kind, data in contents))
        most = self.number_of("rdc_stream_bound", header.width, header.height)
        room = most + sum(14 + len(data) for _, data in contents) if room is None else room
        out = np.full(room, 0xA5, np.uint8)
        name = "rdc_write_stream" if planes["z1"].dtype == np.int32 else "rdc_write_stream16"
        try:
            self.api.call(
                name,
                *(self.handle, byref(header), byref(fields), others, c_uint32(len(contents))),
                *(ctypes.c_void_p(out.ctypes.data), room, byref(size)),
            )
        except CError as error:
            error.size = size.value
            assert (out == 0xA5).all(), "something was written in spite of the error"
            raise
        return out[: size.value].tobytes()
