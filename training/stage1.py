"""Stage I: the primary branch. `python -m training.stage1 --data DIR --out runs/stage1`."""

from __future__ import annotations

import argparse
import dataclasses

import torch
from torch import Tensor

from model import BranchConfig, ModelConfig, RateDistortionCognition, checkpoint
from training.loop import Trainer, add_options, lambdas_at, levels_for
from training.losses import mse, outside_range, pixels_of, psnr


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--init", help="checkpoint to start from (else random)")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--lambdas", type=float, nargs=2, metavar=("LOW", "HIGH"))
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    if args.init:
        model = checkpoint.load(args.init)
    else:
        config = ModelConfig(primary=BranchConfig(channels=args.channels), auxiliary=None)
        if args.lambdas:
            config = dataclasses.replace(config, primary_lambda=tuple(args.lambdas))
        model = RateDistortionCognition(config)
    config = model.config
    trainer = Trainer(args, model, list(model.primary.parameters()))

    def step(folded: Tensor) -> tuple[Tensor, dict[str, float]]:
        level = levels_for(folded.shape[0], config.levels, folded.device)
        weight = lambdas_at(level, config.primary_lambda, config.levels)
        out = model.primary(folded, level)
        bpp = out.bits.sum(1) / pixels_of(folded)
        error = mse(out.image, folded)
        outside = outside_range(out.image)
        loss = (bpp + weight * 255**2 * (error + outside)).mean()
        return loss, {
            "loss": float(loss),
            "bpp": float(bpp.mean()),
            "bpp_z": float(out.bits[:, 0].mean()) / pixels_of(folded),
            "psnr": psnr(error.detach()),
            "outside": float(outside.mean()),
        }

    trainer.run(step)


if __name__ == "__main__":
    main()
