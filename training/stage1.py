"""Stage I: the primary branch. `python -m training.stage1 --data DIR --out runs/stage1`.

Loss: bpp + lambda * 255^2 * (w_mse * MSE + w_local * local MSE)
    + (lambda / lambda_high)^power * w_cog * cognition.
With `--loss mse` the cognition term is absent and this trains a distortion-only codec.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import torch
from torch import Tensor

from model import RateDistortionCognition, checkpoint
from model.branches import lambda_at
from model.config import NAMED
from model.grow import grow, with_points, with_range
from model.init_klt import klt_init
from model.transforms import unfold
from training.backbone import load_backbone
from training.cognition import CognitionLoss, pooled
from training.loop import (
    Trainer,
    add_options,
    balance,
    branch_config,
    branch_option,
    groups_of,
    levels_for,
)
from training.losses import mse, outside_range, pixels_of, psnr

COMPONENT_CROPS = 512  # that the principal components are taken of
QUEUE = 512  # negatives of the contrastive loss: fewer than there are photos


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--init", help="checkpoint to start from (else random)")
    parser.add_argument(
        "--config", choices=list(NAMED), default="light", help="architecture that --branch changes"
    )
    branch_option(parser)
    parser.add_argument("--levels", type=int, help="trained gain levels")
    parser.add_argument(
        "--lambdas",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="range of multipliers; with --init, the gains that it has at these",
    )
    parser.add_argument(
        "--grow",
        type=int,
        nargs=2,
        metavar=("BLOCKS", "DEEP_BLOCKS"),
        help="add silent residual blocks to the model of --init",
    )
    parser.add_argument(
        "--points",
        type=int,
        metavar="MAGNITUDES",
        help="give the model of --init reconstruction points for symbols of so many magnitudes (model/points.py)",
    )
    parser.add_argument(
        "--loss", choices=["mse", "cognition"], default="mse", help="cognition needs --backbone"
    )
    parser.add_argument(
        "--backbone",
        nargs="+",
        default=[],
        metavar="NET",
        help="for the cognition loss: efficientnet-lite0, an ONNX classifier (inputs -1..1) or a MoCo v2 file;\n"
        "of several, one is drawn for each step",
    )
    parser.add_argument(
        "--cognition",
        type=float,
        default=4.0,
        help="weight of the cognition loss at the highest level, in bpp",
    )
    parser.add_argument(
        "--cognition-power",
        type=float,
        default=0.75,
        help="that weight falls with this power of lambda towards the lowest level",
    )
    parser.add_argument(
        "--cognition-sides",
        type=int,
        nargs="*",
        help="sizes that a backbone sees crops at, one drawn for each step (default: its own)",
    )
    parser.add_argument("--cognition-crops", type=int, default=4, help="images of a batch that it looks at")
    parser.add_argument("--mse-weight", type=float, default=1.0, help="weight of the MSE inside [0, 1]")
    parser.add_argument("--local-mse", type=float, default=1.0, help="weight of the MSE outside [0, 1]")
    args = parser.parse_args(argv)
    for option in ("grow", "points"):
        if getattr(args, option) and not args.init:
            parser.error(f"--{option} needs --init")
    if (args.loss == "cognition") != bool(args.backbone):
        parser.error("--loss cognition and --backbone belong together")
    torch.manual_seed(args.seed)
    if args.init:
        model = checkpoint.load(args.init)
        if args.grow:
            model = grow(model, *args.grow)
        if args.points:
            try:
                model = with_points(model, "primary", args.points)
            except ValueError as error:
                parser.error(f"--points: {error}")
        if args.lambdas:
            model = with_range(model, "primary", tuple(args.lambdas))
    else:
        named = NAMED[args.config]
        primary = branch_config(args.branch, **dataclasses.asdict(named.primary))
        config = dataclasses.replace(
            named, primary=primary, auxiliary=None, levels=args.levels or named.levels
        )
        if args.lambdas:
            config = dataclasses.replace(config, primary_lambda=tuple(args.lambdas))
        model = RateDistortionCognition(config)
    config = model.config
    trainer = Trainer(args, model, groups_of(model.primary))
    if not args.init and trainer.progress.steps == 0:
        print("starting from the principal components of training crops", file=sys.stderr)
        klt_init(model.primary, trainer.first_crops(COMPONENT_CROPS))
        trainer.restart_average()
    code = torch.compile(model.primary) if args.compile else model.primary
    cognition: list[tuple[CognitionLoss, int | None]] = []
    if args.backbone:
        first = unfold(trainer.first_crops(QUEUE))[:QUEUE]
    for name in args.backbone:
        backbone = load_backbone(name).to(trainer.device)
        judge = CognitionLoss(backbone, pooled(backbone, first))
        cognition += [(judge, side) for side in args.cognition_sides or [None]]

    def step(folded: Tensor, variant: int) -> tuple[Tensor, dict[str, Tensor]]:
        level = levels_for(folded.shape[0], config.levels, folded.device)
        weight = lambda_at(level, config.primary_lambda, config.levels)
        out = code(folded, level)
        bpp = out.bits.sum(1) / pixels_of(folded)
        error, outside = mse(out.image, folded), outside_range(out.image)
        loss = bpp + weight * 255**2 * (args.mse_weight * error + args.local_mse * outside)
        figures = {
            "bpp": bpp.detach().mean(),
            "bpp_z": out.bits[:, 0].detach().mean() / pixels_of(folded),
            "psnr": psnr(error),
            "outside": outside.detach().mean(),
        }
        if cognition:
            seen = args.cognition_crops
            judge, side = cognition[variant]
            contrastive, distance = judge(unfold(out.image[:seen]), unfold(folded[:seen]), side)
            share = (weight[:seen] / config.primary_lambda[1]) ** args.cognition_power
            term = args.cognition * share * (contrastive + distance)
            # Over the images it saw, so that its weight does not depend on how many.
            images = len(loss)
            loss = loss + torch.nn.functional.pad(term * (images / len(term)), (0, images - len(term)))
            figures |= {
                "contrastive": contrastive.detach().mean(),
                "distance": distance.detach().mean(),
            }
        loss = loss * balance(weight, config.primary_lambda, args.balance)
        figures["loss"] = loss.detach().mean()
        return loss.mean(), figures

    trainer.run(step, max(1, len(cognition)))


if __name__ == "__main__":
    main()
