"""Counts what networks cost: multiply-accumulates per pixel of each branch, and parameters.

python -m benchmarks.cost [MODEL ...] [--size 512]

MODEL: a bundle or a checkpoint (default: the shipped bundle), or one of the named configurations. Counted by
PyTorch's FlopCounterMode (a multiply-accumulate is two operations); the integer scale networks, which run on the
CPU in any case, are a column of their own (an upper bound: they skip symbols that are zero).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import load_torch_model, table
from model import AuxiliaryBranch, RateDistortionCognition
from model.config import HYPER_STRIDE, LATENT_STRIDE, NAMED
from model.scale_network import ScaleNetwork
from model.transforms import IMAGE_CHANNELS, PIXEL_STRIDE
from rdc_codec.bundle import DEFAULT


def _kmac(counter: FlopCounterMode, size: int) -> float:
    """Count kMAC per pixel of everything but the integer network."""
    counts = counter.get_flop_counts()
    total = sum(counts["Global"].values())
    apart = sum(sum(v.values()) for k, v in counts.items() if k.endswith(".scale_network"))
    return (total - apart) / 2 / size**2 / 1000


def _integer_kmac(network: ScaleNetwork) -> float:
    """Count kMAC per pixel of the native integer network, at most: its second half skips symbols that are zero."""
    first = sum(p.numel() for p in network.layers.parameters() if p.ndim == 4) / HYPER_STRIDE**2
    seen = network.neighbours.weight.shape[1] - 0.25 * network.latent  # the last pass is nobody's context
    second = 9 * seen * network.context + network.latent * network.context
    return (first + second / LATENT_STRIDE**2) / 1000


@torch.no_grad()
def costs(model: RateDistortionCognition, size: int) -> list[list[object]]:
    """Return a row for each branch.

    It has a name, kMAC/pixel of everything (as in training: the encoder, and the decoder's synthesis), of the
    decoder and of the scale network, and million parameters.
    """
    model.eval()
    folded = torch.rand(1, IMAGE_CHANNELS, size // PIXEL_STRIDE, size // PIXEL_STRIDE)
    level = torch.zeros(1)
    base = model.primary(folded, level)
    rows: list[list[object]] = []
    for name, branch in (("primary", model.primary), ("auxiliary", model.auxiliary)):
        if branch is None:
            continue
        z = torch.zeros(1, branch.config.hyper, size // HYPER_STRIDE, size // HYPER_STRIDE)
        y = torch.zeros(1, branch.config.latent, size // LATENT_STRIDE, size // LATENT_STRIDE)
        if isinstance(branch, AuxiliaryBranch):
            with FlopCounterMode(display=False) as encoder:
                branch(folded, level, base)
            with FlopCounterMode(display=False) as decoder:
                branch.decode(z, y, level, torch.tensor([branch.config.slices]), base)
        else:
            with FlopCounterMode(display=False) as encoder:
                branch(folded, level)
            with FlopCounterMode(display=False) as decoder:
                branch.decode(z, y, level)
        parameters = sum(p.numel() for p in branch.parameters()) / 1e6
        integer = _integer_kmac(branch.scale_network)
        rows.append([name, _kmac(encoder, size), _kmac(decoder, size), integer, parameters])
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=[str(DEFAULT)])
    parser.add_argument("--size", type=int, default=512, help="side of the picture, a multiple of 64")
    args = parser.parse_args(argv)
    rows = []
    for path in args.models:
        model = RateDistortionCognition(NAMED[path]) if path in NAMED else load_torch_model(path)
        rows += [[Path(path).name, *row] for row in costs(model, args.size)]
    print(
        table(
            ["model", "branch", "whole kMAC/px", "decoder kMAC/px", "scale network kMAC/px", "M parameters"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
