"""The fused operations of kernels/cuda through their C names: built by CMake, called on CPU or GPU memory."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).parents[1] / "kernels" / "cuda"
LAYOUTS = ("planar", "channel-last")


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in "nchw"]


def build(folder: Path, cuda: bool, *options: str) -> Path:
    """Configure and build; returns the library. Raises CalledProcessError with what the compiler said."""
    target = "rdc_kernels" if cuda else "rdc_kernels_host"
    configure = [
        "cmake",
        "-S",
        str(SOURCE),
        "-B",
        str(folder),
        f"-DRDC_CUDA={'ON' if cuda else 'OFF'}",
        *options,
    ]
    for command in (configure, ["cmake", "--build", str(folder), "--target", target, "--parallel", "2"]):
        subprocess.run(command, check=True, capture_output=True, text=True)
    (library,) = folder.glob(f"lib{target}.*")
    return library


class Kernels:
    """Calls take and return NumPy arrays in NCHW order (pictures: NHWC); the layout is that of the memory."""

    def __init__(self, library: Path, device: bool = False) -> None:
        self.library = ctypes.CDLL(str(library))
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
        """inputs, outputs: arrays in the order of the C function; 4-D ones of `shape` are in the layout."""

        def laid_out(array: np.ndarray) -> np.ndarray:
            planar = layout == "planar" or array.shape != shape
            return array if planar else array.transpose(0, 2, 3, 1)

        dtype = next(a.dtype for a in [*inputs, *outputs] if a.shape == shape and a.dtype != np.int32)
        memory = [self._to_memory(laid_out(a)) for a in inputs]
        results = [self._to_memory(laid_out(a)) for a in outputs]
        status = getattr(self.library, name)(
            *map(self._address, (*memory, *results)),
            _Shape(*shape),
            *numbers,
            {np.dtype(np.float32): 0, np.dtype(np.float16): 1}[dtype],
            LAYOUTS.index(layout),
            None,
        )
        assert status == 0, f"{name}: error {status}"
        found = [r.cpu().numpy() if self.device else r for r in results]
        return [
            f if layout == "planar" or a.shape != shape else f.transpose(0, 3, 1, 2)
            for f, a in zip(found, outputs, strict=True)
        ]

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
