"""This module tells whether two backends compute the same, by one table of tolerances for exports and engines.

It needs NumPy alone, so that an engine is checked where it is built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.errors import ExportError
from rdc_codec.backends import Backend
from rdc_codec.bundle import HYPER_STRIDE, Bundle, Size

# Symbols may differ where a latent falls on a rounding boundary; pictures then differ smoothly. fp16 rounds at other
# places and sums in another order: some symbols fall on the other side of a boundary, and samples on the other side of
# a grey level. For the shipped model rounding alone, as benchmarks/precision.py does it, against ONNX Runtime's CPU
# provider, which leaves most of it out: 0.0006, 0.015 and 1.
LIMITS = {  # share of symbols that may differ; share of samples; grey levels
    "export": (1e-3, 1e-4, 1),  # ONNX Runtime against PyTorch
    "fp32": (1e-3, 1e-3, 1),  # an engine against ONNX Runtime
    "fp16": (0.01, 0.05, 3),
}
FEW = (
    4  # values that always may differ: one on a boundary moves what is predicted from it, and 1/512 is 0.2 %
)


STEPS = ("analyse", "code_base", "refine", "code_aux")  # each takes what those before it made

# What a latent may be off by, of its largest value; an output in floating point is rounded later.
LATENT_LIMITS = {"export": 1e-3, "fp32": 1e-2, "fp16": 5e-2}


@dataclass(frozen=True)
class Dials:
    """Says where a graph is tried: qualities of both branches, 0-100; beta; received slices (None: all)."""

    base_quality: float = 50.0
    aux_quality: float = 50.0
    beta: float = 0.25
    slices: int | None = None


MIDDLE = Dials()


def synthetic_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Make uint8 [H, W, 3]: smooth gradients, edges and noise, so that latents of every size occur."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 32.0
    waves = np.stack([np.sin(x * k + y * (3 - k) + k) for k in range(3)], -1)
    blocks = np.kron(rng.normal(size=(-(-height // 16), -(-width // 16), 3)), np.ones((16, 16, 1)))
    noise = rng.normal(size=(height, width, 3))
    image = 128 + 50 * waves + 30 * blocks[:height, :width] + 6 * noise
    return image.clip(0, 255).astype(np.uint8)


def golden_inputs(
    reference: Backend, bundle: Bundle, graph: str, size: Size, dials: Dials = MIDDLE
) -> dict[str, np.ndarray]:
    """Make test pictures for an encoder; for what comes after one, what the reference makes of them."""
    n, rows, columns = size
    sides = HYPER_STRIDE * rows, HYPER_STRIDE * columns
    pictures = np.stack([synthetic_picture(*sides, seed) for seed in range(n)])
    known: dict[str, np.ndarray] = {
        "pixels": (pictures ^ np.uint8(0x80)).view(np.int8),
        "base_level": np.full(n, bundle.primary.level(dials.base_quality), np.float32),
        "beta": np.full(n, dials.beta, np.float32),
    }
    if bundle.auxiliary is not None:
        received = bundle.auxiliary.slices if dials.slices is None else dials.slices
        known["aux_level"] = np.full(n, bundle.auxiliary.level(dials.aux_quality), np.float32)
        known["slices"] = np.full(n, received, np.int32)
    if graph.startswith("decode"):
        encoder = "encode_full" if any(t.name == "y2" for t in bundle.inputs[graph]) else "encode_base"
        symbols = reference.run(encoder, {t.name: known[t.name] for t in bundle.inputs[encoder]})
        known |= {t.name: s for t, s in zip(bundle.outputs[encoder], symbols, strict=True)}
    for step in STEPS[: STEPS.index(graph)] if graph in STEPS else ():
        made = reference.run(step, {t.name: known[t.name] for t in bundle.inputs[step]})
        known |= {t.name: a for t, a in zip(bundle.outputs[step], made, strict=True)}
    return {t.name: known[t.name] for t in bundle.inputs[graph]}


def compare_backends(
    reference: Backend,
    other: Backend,
    bundle: Bundle,
    graph: str,
    size: Size,
    limits: str,
    dials: Dials = MIDDLE,
) -> None:
    """Run a graph of a bundle on `golden_inputs` in both.

    Raises ExportError where symbols or pictures differ by more than `LIMITS` has under this name.
    """
    inputs = golden_inputs(reference, bundle, graph, size, dials)
    expected, found = reference.run(graph, inputs), other.run(graph, inputs)
    symbols, samples, levels = LIMITS[limits]
    for tensor, a, b in zip(bundle.outputs[graph], expected, found, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ExportError(f"{graph}: {tensor.name} is {b.dtype} {b.shape}, not {a.dtype} {a.shape}")
        if a.dtype == np.float32:
            off = np.abs(a - b)
            # One symbol on the other side of a boundary is a latent that is off by a whole step.
            wrong = int((off > LATENT_LIMITS[limits] * np.abs(a).max()).sum())
            if wrong > max(symbols * a.size, FEW):
                raise ExportError(
                    f"{graph}: {wrong} of {a.size} {tensor.name} differ, by up to {off.max():g}"
                )
            continue
        difference = np.abs(a.astype(int) - b.astype(int))
        wrong, most = int((difference > 0).sum()), int(difference.max())
        pixels = tensor.name == "pixels"
        if wrong > max((samples if pixels else symbols) * a.size, FEW) or (pixels and most > levels):
            raise ExportError(f"{graph}: {wrong} of {a.size} {tensor.name} differ, by up to {most}")
