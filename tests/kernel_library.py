"""CMake builds the fused operations of kernels/cuda here; tests call them by their C names."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CMAKE = (sys.executable, "-m", "cmake")  # of the environment, which need not be on the path
SOURCE = Path(__file__).parents[1] / "kernels" / "cuda"
LAYOUTS = ("planar", "channel-last")
MIXED = (*LAYOUTS, "channel-last, planar symbols")


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in "nchw"]


def build(folder: Path, cuda: bool, *options: str) -> Path:
    """Configure, build and return the library. Raises CalledProcessError with what the compiler said."""
    target = "rdc_kernels" if cuda else "rdc_kernels_host"
    configure = [
        *CMAKE,
        "-S",
        str(SOURCE),
        "-B",
        str(folder),
        f"-DRDC_CUDA={'ON' if cuda else 'OFF'}",
        *options,
    ]
    for command in (configure, [*CMAKE, "--build", str(folder), "--target", target, "--parallel", "2"]):
        subprocess.run(command, check=True, capture_output=True, text=True)
    (library,) = folder.glob(f"lib{target}.*")
    return library


def build_emulated(folder: Path) -> Path:
    """Build the CUDA sources for the CPU, with the threads of a block as threads (tests/emulated_cuda)."""
    library = folder / "librdc_kernels_emulated.so"
    flags = [
        "-std=c++20",
        "-O1",
        "-ffp-contract=off",
        "-fPIC",
        "-shared",
        "-D__CUDACC__",
        "-DRDC_EMULATED_CUDA",
    ]
    sources = [str(SOURCE / name) for name in ("gain.cu", "image.cu", "c_api.cpp")]
    include = Path(__file__).parent / "emulated_cuda"
    command = ["c++", *flags, "-I", str(include), "-x", "c++", *sources, "-o", str(library), "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Kernels:
    """Calls take and return NumPy arrays in NCHW order (pictures: NHWC); the layout is that of the memory.

    A layout is one of LAYOUTS or, where there are symbols, of MIXED.
    """

    def __init__(self, library: Path, device: bool = False) -> None:
        self.native = ctypes.CDLL(str(library))
        self.device = device

    def _to_memory(self, array: np.ndarray) -> Any:
        array = np.ascontiguousarray(array)
        if not self.device:
            return array
        import torch

        return torch.from_numpy(array).cuda()

    def _address(self, memory: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(memory.data_ptr() if self.device else memory.ctypes.data)

    def _call(
        self,
        name: str,
        layout: str,
        inputs: list[Any],
        outputs: list[np.ndarray],
        shape: tuple,
        *numbers: int,
    ) -> list[np.ndarray]:
        """Call a C function with inputs and outputs in its order; 4-D arrays of `shape` are in the layout."""
        names = [*layout.split(", ")]
        with_symbols = "gain" in name

        def is_planar(array: np.ndarray) -> bool:
            planes = layout == "planar" or (array.dtype == np.int32 and len(names) == 2)
            return planes or array.shape != shape

        def laid_out(array: np.ndarray) -> np.ndarray:
            return array if is_planar(array) else array.transpose(0, 2, 3, 1)

        dtype = next(a.dtype for a in [*inputs, *outputs] if a.shape == shape and a.dtype != np.int32)
        memory = [self._to_memory(laid_out(a)) for a in inputs]
        results = [self._to_memory(laid_out(a)) for a in outputs]
        status = getattr(self.native, name)(
            *map(self._address, (*memory, *results)),
            _Shape(*shape),
            *numbers,
            {np.dtype(np.float32): 0, np.dtype(np.float16): 1}[dtype],
            LAYOUTS.index(names[0]),
            *([0 if len(names) == 2 else LAYOUTS.index(layout)] if with_symbols else []),
            None,
        )
        assert status == 0, f"{name}: error {status}"
        found = [r.cpu().numpy() if self.device else r for r in results]
        return [f if is_planar(a) else f.transpose(0, 3, 1, 2) for f, a in zip(found, outputs, strict=True)]

    def gain_quantize(self, y, mean, gains, level, acc, index: int, layout: str) -> list[np.ndarray]:
        outputs = [np.full(y.shape, -9, np.int32), np.full_like(acc, -9)]
        return self._call(
            "rdc_gain_quantize", layout, [y, mean, gains, level, acc], outputs, y.shape, len(gains), index
        )

    def gain_dequantize(self, symbols, mean, acc, index: int, layout: str) -> np.ndarray:
        return self._call(
            "rdc_gain_dequantize", layout, [symbols, mean, acc], [np.full_like(acc, -9)], acc.shape, index
        )[0]

    def image_to_tensor(self, pixels, dtype: type, layout: str) -> np.ndarray:
        n, height, width, _ = pixels.shape
        folded = np.full((n, 192, height // 8, width // 8), -9, dtype)
        return self._call("rdc_image_to_tensor", layout, [pixels], [folded], folded.shape)[0]

    def blend_to_image(self, x1, r, beta, layout: str) -> np.ndarray:
        n, _, h, w = x1.shape
        pixels = np.full((n, 8 * h, 8 * w, 3), 99, np.int8)
        return self._call("rdc_blend_to_image", layout, [x1, r, beta], [pixels], x1.shape)[0]
