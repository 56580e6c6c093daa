"""Every exported graph is run in ONNX Runtime and compared with PyTorch before a bundle is called done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from model import BranchOutput, RateDistortionCognition
from model.transforms import fold, unfold
from rdc_codec.backends import Backend
from rdc_codec.bundle import Bundle

# Symbols may differ where a latent falls on a rounding boundary; pictures then differ smoothly.
SYMBOL_TOLERANCE = 1e-3  # share of encoder symbols that may differ
FEW_SYMBOLS = 4  # that many always may: one on a boundary moves what is predicted from it, and 1/512 is 0.2 %
PIXEL_TOLERANCE = 1e-4  # share of samples that may differ by one grey level, none by more


class ExportError(RuntimeError):
    """An exported graph does not compute what the PyTorch model computes."""


def synthetic_picture(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 [H, W, 3]: smooth gradients, edges and noise, so that latents of every size occur."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 32.0
    waves = np.stack([np.sin(x * k + y * (3 - k) + k) for k in range(3)], -1)
    blocks = np.kron(rng.normal(size=(-(-height // 16), -(-width // 16), 3)), np.ones((16, 16, 1)))
    noise = rng.normal(size=(height, width, 3))
    image = 128 + 50 * waves + 30 * blocks[:height, :width] + 6 * noise
    return image.clip(0, 255).astype(np.uint8)


@torch.no_grad()
def torch_pictures(
    model: RateDistortionCognition,
    rgb: np.ndarray,
    base_level: float,
    aux_level: float,
    beta: float,
    slices: int | None = None,
) -> tuple[BranchOutput, BranchOutput | None, np.ndarray]:
    """What PyTorch makes of one image (sides multiples of 64): both branches' outputs with all slices, and
    the picture, uint8, of a decoder that received `slices` of them (None: all)."""
    folded = fold(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)
    base = model.primary(folded, torch.tensor([base_level]))
    image, extra = base.image, None
    if model.auxiliary is not None:
        extra = model.auxiliary(folded, torch.tensor([aux_level]), base)
        received = model.auxiliary(folded, torch.tensor([aux_level]), base, slices)
        image = image + (1 - beta) * received.image
    shown = (unfold(image)[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return base, extra, shown.permute(1, 2, 0).numpy()


def _compare_symbols(name: str, ours: np.ndarray, expected: torch.Tensor) -> None:
    wrong = int((ours != expected.numpy().astype(np.int32)).sum())
    if wrong > max(SYMBOL_TOLERANCE * ours.size, FEW_SYMBOLS):
        raise ExportError(f"{name}: {wrong} of {ours.size} symbols differ from PyTorch")


def compare_pictures(name: str, ours: np.ndarray, expected: np.ndarray) -> None:
    """uint8 pictures; raises ExportError beyond one grey level, or in too many samples."""
    difference = np.abs(ours.astype(int) - expected.astype(int))
    share = float((difference > 0).mean())
    if difference.max() > 1 or share > max(PIXEL_TOLERANCE, 8 / difference.size):
        raise ExportError(f"{name}: {share:.3%} of samples differ, by up to {difference.max()} grey levels")


# Between two runtimes of one graph. fp16 rounds at other places and sums in another order: some symbols fall on the
# other side of a boundary, and samples on the other side of a grey level. For the shipped model rounding alone, as
# benchmarks/fp16.py does it, against ONNX Runtime's CPU provider, which leaves most of it out: 0.0006, 0.015 and 1.
LIMITS = {  # share of symbols that may differ; share of samples; grey levels
    "fp32": (SYMBOL_TOLERANCE, 1e-3, 1),
    "fp16": (0.01, 0.05, 3),
}


def compare_backends(
    reference: Backend, other: Backend, bundle: Bundle, graph: str, size: tuple[int, int, int], precision: str
) -> None:
    """Run a graph of a bundle on golden inputs in both. size: pictures, and their sides in strides of 64 pixels.

    Raises ExportError where symbols or pictures differ by more than `LIMITS` has for the precision.
    """
    inputs = golden_inputs(reference, bundle, graph, size)
    expected, found = reference.run(graph, inputs), other.run(graph, inputs)
    symbols, samples, levels = LIMITS[precision]
    for tensor, a, b in zip(bundle.outputs[graph], expected, found, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ExportError(f"{graph}: {tensor.name} is {b.dtype} {b.shape}, not {a.dtype} {a.shape}")
        difference = np.abs(a.astype(int) - b.astype(int))
        wrong, most = int((difference > 0).sum()), int(difference.max())
        pixels = tensor.name == "pixels"
        if wrong > max((samples if pixels else symbols) * a.size, FEW_SYMBOLS) or (pixels and most > levels):
            raise ExportError(f"{graph}: {wrong} of {a.size} {tensor.name} differ, by up to {most}")


def golden_inputs(
    reference: Backend, bundle: Bundle, graph: str, size: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Test pictures in the middle of the dials; for a decoder, the symbols that the encoder makes of them."""
    n, rows, columns = size
    middle = [b.level(50) for b in (bundle.primary, bundle.auxiliary) if b is not None]
    pictures = np.stack([synthetic_picture(64 * rows, 64 * columns, seed) for seed in range(n)])
    known: dict[str, np.ndarray] = {
        "pixels": (pictures ^ np.uint8(0x80)).view(np.int8),
        "base_level": np.full(n, middle[0], np.float32),
        "aux_level": np.full(n, middle[-1], np.float32),
        "slices": np.full(n, 0 if bundle.auxiliary is None else bundle.auxiliary.slices, np.int32),
        "beta": np.full(n, 0.25, np.float32),
    }
    if graph.startswith("decode"):
        encoder = graph.replace("decode", "encode")
        symbols = reference.run(encoder, {t.name: known[t.name] for t in bundle.inputs[encoder]})
        known |= {t.name: s for t, s in zip(bundle.outputs[encoder], symbols, strict=True)}
    return {t.name: known[t.name] for t in bundle.inputs[graph]}


def verify(model: RateDistortionCognition, bundle: Path) -> None:
    """Compare on three sizes and settings, decoders on PyTorch's own symbols. Raises ExportError.

    The symbols of all slices are given with the number that was received, which the graph must obey.
    """
    sessions = {
        path.stem: ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in sorted(bundle.glob("*.onnx"))
    }
    top = model.config.levels - 1
    most = model.config.auxiliary.slices if model.config.auxiliary is not None else 0
    cases = [
        (192, 128, 0.0, 0.0, 0.0, most),
        (64, 256, 0.4 * top, 0.7 * top, 0.25, max(1, most // 2)),
        (128, 128, top, top, 0.5, most),
    ]
    for seed, (height, width, base_level, aux_level, beta, slices) in enumerate(cases):
        rgb = synthetic_picture(height, width, seed)
        base, extra, picture = torch_pictures(model, rgb, base_level, aux_level, beta, slices)
        inputs = {
            "pixels": (rgb ^ np.uint8(0x80)).view(np.int8)[None],
            "base_level": np.array([base_level], np.float32),
            "z1": base.z.numpy().astype(np.int32),
            "y1": base.symbols.numpy().astype(np.int32),
        }
        expected = {"z1": base.z, "y1": base.symbols}
        if extra is not None:
            inputs |= {
                "aux_level": np.array([aux_level], np.float32),
                "z2": extra.z.numpy().astype(np.int32),
                "y2": extra.symbols.numpy().astype(np.int32),
                "slices": np.array([slices], np.int32),
                "beta": np.array([beta], np.float32),
            }
            expected |= {"z2": extra.z, "y2": extra.symbols}
        base_picture = torch_pictures(model, rgb, base_level, aux_level, 1.0)[2]
        for name, session in sessions.items():
            feeds = {i.name: inputs[i.name] for i in session.get_inputs()}
            outputs = dict(
                zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True)
            )
            where = f"{name} at {width}x{height}"
            for key, value in outputs.items():
                if key == "pixels":
                    shown = value[0].view(np.uint8) ^ np.uint8(0x80)
                    compare_pictures(where, shown, base_picture if name == "decode_base" else picture)
                else:
                    _compare_symbols(f"{where}, {key}", value, expected[key])
