"""Every exported graph is run in ONNX Runtime and compared with PyTorch before a bundle is called done."""

from __future__ import annotations

from pathlib import Path

from export.compare import Dials, compare_backends
from export.reference import TorchBackend
from model import RateDistortionCognition
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.bundle import Bundle, Size


def verify(model: RateDistortionCognition, folder: Path) -> None:
    """Compare every graph of a bundle with its model on three sizes and settings. Raises ExportError.

    Decoders get PyTorch's own symbols, those of all slices with the number that was received, which the graph must
    obey.
    """
    bundle = Bundle(folder)
    reference, made = TorchBackend(model), OnnxRuntimeBackend(bundle, None, None)
    slices = 0 if bundle.auxiliary is None else bundle.auxiliary.slices
    cases = [
        (Size(1, 3, 2), Dials(0, 0, 0.0)),
        (Size(2, 1, 4), Dials(40, 70, 0.25, max(1, slices // 2))),
        (Size(1, 2, 2), Dials(100, 100, 0.5)),
    ]
    for graph in bundle.graphs:
        for size, dials in cases:
            compare_backends(reference, made, bundle, graph, size, "export", dials)
