"""Stage II: the auxiliary branch, for distortion.

`python -m training.stage2 --primary runs/stage1/model.safetensors --data DIR --out runs/stage2`

The primary branch is frozen and runs as at inference. Slices are cut off at random, so that every prefix
of them is useful. Loss: bpp of the received chunks + lambda * 255^2 * MSE(x1 + r, x).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from torch import Tensor

from model import RateDistortionCognition, checkpoint
from model.branches import lambda_at
from model.config import QUADTREE_PASSES
from model.grow import with_points, with_range
from model.widen import start_new_channels, widen
from rdc_codec.bundle import read_quality_map
from training.loop import (
    Trainer,
    add_options,
    balance,
    branch_config,
    branch_option,
    groups_of,
    levels_for,
)
from training.losses import mse, pixels_of, psnr
from training.pairs import by_multiplier, drawn, of_map

NEW_CHANNEL_CROPS = 512  # training crops that the start of new channels is found on


def build(
    primary: str,
    settings: list[str],
    lambdas: list[float] | None,
    transforms: str | None = None,
    auxiliary: str | None = None,
) -> RateDistortionCognition:
    """A two-branch model: the checkpoint's primary branch, an auxiliary one that starts from its transforms or
    from those of another checkpoint, or goes on as another checkpoint's auxiliary branch."""
    trained = checkpoint.load(primary)
    if auxiliary:
        model = checkpoint.load(auxiliary)
        if model.auxiliary is None:
            raise SystemExit(f"--auxiliary: {auxiliary} has none")
        if model.config.primary != trained.config.primary or model.config.levels != trained.config.levels:
            raise SystemExit("--auxiliary: its primary branch must be built as that of --primary")
        if lambdas:
            model = with_range(model, "auxiliary", (lambdas[0], lambdas[1]))
        config = dataclasses.replace(model.config, primary_lambda=trained.config.primary_lambda)
        gone_on = RateDistortionCognition(config)
        gone_on.load_state_dict(model.state_dict())
        gone_on.primary.load_state_dict(trained.primary.state_dict())
        return gone_on
    start = dataclasses.asdict(trained.config.primary) | {"slices": QUADTREE_PASSES}
    config = dataclasses.replace(trained.config, auxiliary=branch_config(settings, **start))
    if lambdas:
        config = dataclasses.replace(config, auxiliary_lambda=(lambdas[0], lambdas[1]))
    model = RateDistortionCognition(config)
    model.primary.load_state_dict(trained.primary.state_dict())
    assert model.auxiliary is not None
    try:
        model.auxiliary.start_from(checkpoint.load(transforms).primary if transforms else model.primary)
    except ValueError as error:
        raise SystemExit(f"--branch: the transforms must be those of the primary branch ({error})") from None
    return model


def received_slices(batch: int, slices: int, device: torch.device) -> Tensor:
    """int [batch]: all slices half of the time, else any number from one up."""
    cut = torch.randint(1, slices + 1, (batch,), device=device)
    return torch.where(torch.rand(batch, device=device) < 0.5, torch.full_like(cut, slices), cut)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--primary", required=True, help="checkpoint of stage I")
    branch_option(parser)
    parser.add_argument(
        "--transforms",
        help="checkpoint whose primary branch the transforms start from (default: --primary); it and\n"
        "--primary must descend from one run, for latents are subtracted",
    )
    parser.add_argument(
        "--auxiliary",
        help="checkpoint whose auxiliary branch goes on, in place of a new one; its primary branch is not used",
    )
    parser.add_argument(
        "--widen",
        type=int,
        metavar="LATENT",
        help="give the branch of --auxiliary so many latent channels, for finer pictures",
    )
    parser.add_argument(
        "--points",
        type=int,
        metavar="MAGNITUDES",
        help="give the branch of --auxiliary reconstruction points for symbols of so many magnitudes (model/points.py)",
    )
    parser.add_argument(
        "--pairs",
        metavar="MAP",
        help="JSON of export.quality_map, or a bundle, whose pairs of qualities are trained (default: a seventh\n"
        "of the multiplier for the base)",
    )
    parser.add_argument("--transform-rate", type=float, default=0.3, help="their share of --lr")
    parser.add_argument("--lambdas", type=float, nargs=2, metavar=("LOW", "HIGH"))
    args = parser.parse_args(argv)
    if args.auxiliary and (args.transforms or args.branch):
        parser.error("--auxiliary has its own transforms and architecture: neither --transforms nor --branch")
    for option in ("widen", "points"):
        if getattr(args, option) and not args.auxiliary:
            parser.error(f"--{option} needs --auxiliary")
    torch.manual_seed(args.seed)
    model = build(args.primary, args.branch, args.lambdas, args.transforms, args.auxiliary)
    trained = model.config.auxiliary
    if args.widen:
        try:
            model = widen(model, args.widen)
        except ValueError as error:
            parser.error(f"--widen: {error}")
    if args.points:
        try:
            model = with_points(model, "auxiliary", args.points)
        except ValueError as error:
            parser.error(f"--points: {error}")
    model.primary.requires_grad_(False)
    config = model.config
    auxiliary = model.auxiliary
    assert auxiliary is not None and config.auxiliary is not None
    slices = config.auxiliary.slices
    # The transforms are trained already: at the rate of fresh networks they would forget that first.
    pairs = by_multiplier(config)
    if args.pairs:
        try:
            pairs = of_map(read_quality_map(Path(args.pairs))[0], config)
        except (OSError, KeyError, TypeError, ValueError) as error:
            parser.error(f"--pairs: {args.pairs} has no quality map ({error})")
    trainer = Trainer(args, model, groups_of(auxiliary, args.transform_rate), pairs)
    if args.widen and trained is not None and trainer.progress.steps == 0:
        top = torch.full((1,), config.levels - 1.0, device=trainer.device)
        crops = trainer.first_crops(NEW_CHANNEL_CROPS)
        before, after = start_new_channels(model, trained.latent, crops, top, pairs(top))
        print(f"MSE without rounding: {before:.3g}, with new channels {after:.3g}", file=sys.stderr)
        trainer.restart_average()

    refine = torch.compile(auxiliary) if args.compile else auxiliary

    def step(folded: Tensor, _: int) -> tuple[Tensor, dict[str, Tensor]]:
        level = levels_for(folded.shape[0], config.levels, folded.device)
        weight = lambda_at(level, config.auxiliary_lambda, config.levels)
        model.primary.eval()
        with torch.no_grad():
            base = model.primary(folded, drawn(level, pairs, config.levels - 1))
        received = received_slices(folded.shape[0], slices, folded.device)
        out = refine(folded, level, base, received)
        bpp = out.bits.sum(1) / pixels_of(folded)
        error = mse(base.image + out.image, folded)
        loss = (bpp + weight * 255**2 * error) * balance(weight, config.auxiliary_lambda, args.balance)
        return loss.mean(), {
            "loss": loss.detach().mean(),
            "bpp": bpp.detach().mean(),
            "bpp_z": out.bits[:, 0].detach().mean() / pixels_of(folded),
            "bpp_base": base.bits.sum(1).mean() / pixels_of(folded),
            "psnr": psnr(error),
            "psnr_base": psnr(mse(base.image, folded)),
        }

    trainer.run(step)


if __name__ == "__main__":
    main()
