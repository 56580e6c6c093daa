"""What both stages share: options, schedule, log, checkpoints, the time-budgeted loop."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model import AuxiliaryBranch, BranchConfig, PrimaryBranch, RateDistortionCognition, checkpoint
from model.transforms import fold
from training.data import Crops, PhotoCache
from training.validation import validate

Step = Callable[[Tensor], tuple[Tensor, dict[str, float]]]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="folder of photos (searched recursively)")
    parser.add_argument(
        "--out", required=True, help="run folder: checkpoint, log, state; a run there resumes"
    )
    parser.add_argument("--cache", default="runs/cache", help="where decoded photos are kept")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget; the schedule spans it")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256, help="crop side, a multiple of 64")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--decay", type=float, default=0.3, help="final share of the budget with cosine decay"
    )
    parser.add_argument(
        "--balance",
        type=float,
        default=0.5,
        help="losses are weighted by lambda^-this: 0.5 makes those of all levels about equally large",
    )
    parser.add_argument("--warmup", type=int, default=100, help="steps of linear warm-up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-bf16", action="store_true", help="train in fp32 where bf16 is at hand")
    parser.add_argument("--validate-every", type=float, default=10.0, help="minutes between validations")


def branch_option(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(f.name for f in dataclasses.fields(BranchConfig))
    parser.add_argument(
        "--branch", nargs="*", default=[], metavar="NAME=VALUE", help=f"architecture constants: {names}"
    )


def branch_config(settings: list[str], **defaults: float) -> BranchConfig:
    """`["channels=96", "blocks=3"]` over the defaults; raises SystemExit naming a bad setting."""
    types = {f.name: float if f.name == "latent_scale" else int for f in dataclasses.fields(BranchConfig)}
    values: dict[str, Any] = dict(defaults)
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = types[name](value)
        except (KeyError, ValueError):
            raise SystemExit(f"--branch: cannot use {setting!r}") from None
    try:
        return BranchConfig(**values)
    except ValueError as error:
        raise SystemExit(f"--branch: {error}") from None


def has_bf16(device: torch.device) -> bool:
    """Return whether bf16 autocast makes a step faster there. A CPU without such instructions imitates it,
    many times slower than fp32."""
    if device.type != "cpu":
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def levels_for(batch: int, levels: int, device: torch.device) -> Tensor:
    """Random gain positions, one per image: half of them trained levels, half in between."""
    position = torch.rand(batch, device=device) * levels - 0.5
    whole = torch.rand(batch, device=device) < 0.5
    return torch.where(whole, position.round(), position).clamp(0, levels - 1)


def groups_of(
    branch: PrimaryBranch | AuxiliaryBranch, transform_rate: float = 1.0
) -> list[tuple[list[torch.nn.Parameter], float]]:
    """Parameters of a branch and their shares of the learning rate, `transform_rate` that of the transforms."""
    transforms = [p for t in (branch.analysis, branch.synthesis) for p in t.parameters()]
    known = set(map(id, transforms))
    rest = [p for p in branch.parameters() if id(p) not in known]
    return [(rest, 1.0), (transforms, transform_rate)]


def balance(weight: Tensor, bounds: tuple[float, float], exponent: float) -> Tensor:
    """Weights of the losses of images with these multipliers, 1 in the (geometric) middle of the range.

    Unweighted, the top level's loss is about 25 times the bottom's, and low rates learn nothing.
    """
    return (weight / math.sqrt(bounds[0] * bounds[1])) ** -exponent


@dataclasses.dataclass
class Progress:
    steps: int = 0
    seconds: float = 0.0


class Trainer:
    """Runs `step` (batch of folded images -> loss, figures) until the time budget is spent.

    Adam; linear warm-up, constant rate, then a cosine to zero over the last part; gradient norm clipped
    to 1. `groups`: parameters and the factor of the rate that they learn with. A step
    whose loss or gradient is not finite is skipped and counted. The state is saved every two minutes,
    so a killed run resumes where it was. What there is when the decay begins stays as `before_decay.safetensors`:
    longer training goes on from there (`--init`), a decayed model has settled.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: RateDistortionCognition,
        groups: Sequence[tuple[Iterable[torch.nn.Parameter], float]],
    ) -> None:
        if args.threads:
            torch.set_num_threads(args.threads)
        if args.crop % 64:
            raise SystemExit(f"--crop {args.crop} is not a multiple of 64")
        self.args, self.device = args, torch.device(args.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        described = [{"params": list(parameters), "factor": factor} for parameters, factor in groups]
        self.optimizer = torch.optim.Adam(described, lr=args.lr, fused=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self._resume()
        torch.manual_seed(args.seed + self.progress.steps)  # a resumed run must not repeat its noise
        self.cache = PhotoCache(args.data, args.cache, args.crop)
        self.crops = Crops(self.cache, args.crop, args.batch, args.seed + self.progress.steps)

    def first_crops(self, count: int) -> Tensor:
        """About `count` training crops, folded, float in [0, 1]."""
        batches = itertools.islice(self.crops, max(1, count // self.args.batch))
        return torch.cat([fold(batch.float() / 255) for batch in batches]).to(self.device)

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
            print(f"resuming {self.out} at step {self.progress.steps}", file=sys.stderr)

    def save(self, path: Path | None = None) -> None:
        """Checkpoint (there, or in its usual place with the state to resume from)."""
        info: dict[str, Any] = dataclasses.asdict(self.progress) | {"arguments": vars(self.args)}
        checkpoint.save(path or self.out / "model.safetensors", self.model, info)
        if path is not None:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": dataclasses.asdict(self.progress),
        }
        partial = self.out / "state.partial"
        torch.save(state, partial)
        os.replace(partial, self.out / "state.pt")

    def _rate(self) -> float:
        warm = min(1.0, (self.progress.steps + 1) / self.args.warmup)
        done = min(1.0, self.progress.seconds / (60 * self.args.minutes))
        start = 1 - self.args.decay
        if done < start:
            return self.args.lr * warm
        return (
            self.args.lr
            * 0.5
            * (1 + float(torch.cos(torch.tensor(torch.pi * (done - start) / self.args.decay))))
        )

    def run(self, step: Step) -> None:
        budget, last = 60 * self.args.minutes, time.monotonic()
        trunk = self.out / "before_decay.safetensors"
        saved = validated = self.progress.seconds
        skipped, count = 0, 0
        sums: dict[str, float] = {}
        writer = SummaryWriter(str(self.out / "tensorboard"))
        bar = tqdm(total=int(budget), initial=int(self.progress.seconds), unit="s", mininterval=5)
        bf16 = has_bf16(self.device) and not self.args.no_bf16
        for batch in self.crops:
            if self.progress.seconds >= budget:
                break
            if self.progress.seconds >= (1 - self.args.decay) * budget and not trunk.exists():
                self.save(trunk)
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate() * group["factor"]
            self.model.train()
            folded = fold(batch.to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                loss, figures = step(folded)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            if torch.isfinite(norm):
                self.optimizer.step()
                count += 1
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
            else:
                skipped += 1
            now = time.monotonic()
            self.progress.steps += 1
            self.progress.seconds += now - last
            bar.update(int(self.progress.seconds) - bar.n)
            last = now
            done = self.progress.seconds >= budget
            if (done or self.progress.steps % 200 == 0) and count:
                row = {name: value / count for name, value in sums.items()}
                row |= {"lr": self._rate(), "skipped": skipped, "seconds": self.progress.seconds}
                self._log(writer, "train", row)
                bar.set_postfix({k: f"{v:.4g}" for k, v in row.items() if k != "seconds"})
                sums, count = {}, 0
            if self.progress.seconds - saved > 120:
                self.save()
                saved = self.progress.seconds
            if self.progress.seconds - validated > 60 * self.args.validate_every:
                self._validate(writer)
                validated, last = self.progress.seconds, time.monotonic()
        bar.close()
        self._validate(writer)
        self.save()

    def _validate(self, writer: SummaryWriter) -> None:
        photos = [self.cache.photo(e) for e in self.cache.validation]
        for row in validate(self.model, photos, self.device):
            print({k: round(v, 4) for k, v in row.items()}, file=sys.stderr)
            self._log(writer, f"validation-{row['level']:.0f}", row)

    def _log(self, writer: SummaryWriter, kind: str, row: dict[str, float]) -> None:
        for name, value in row.items():
            writer.add_scalar(f"{kind}/{name}", value, self.progress.steps)
        path = self.out / "log.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            lines = csv.writer(file)
            if new:
                lines.writerow(["step", "kind", "name", "value"])
            lines.writerows([self.progress.steps, kind, k, f"{v:.6g}"] for k, v in row.items())
