"""What both stages share: options, schedule, log, checkpoints, the time-budgeted loop."""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model import AuxiliaryBranch, BranchConfig, PrimaryBranch, RateDistortionCognition, checkpoint
from model.transforms import fold
from training.data import Crops, DeviceCrops, PhotoCache
from training.pairs import Pairs, by_multiplier
from training.validation import against_jpeg, jpeg_curve, validate

# A step that takes longer counts as so many seconds: a process that was stopped for an hour (SIGSTOP) and goes on has
# not trained for an hour.
STEP_COUNTS = 60.0

# (folded images, variant of the step) -> loss, figures for the log: scalars without gradient
Step = Callable[[Tensor, int], tuple[Tensor, dict[str, Tensor]]]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="folder of photos (searched recursively)")
    parser.add_argument(
        "--out", required=True, help="run folder: checkpoint, log, state; a run there resumes"
    )
    parser.add_argument("--cache", default="runs/cache", help="where decoded photos are kept")
    parser.add_argument("--graphics", help="folder of pictures that are not photos, mixed in")
    parser.add_argument("--graphics-share", type=float, default=0.08, help="their share of the crops")
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
    parser.add_argument(
        "--average",
        type=float,
        default=0.999,
        help="decay of the moving average of the weights, which is what checkpoints hold",
    )
    parser.add_argument("--no-bf16", action="store_true", help="train in fp32 where bf16 is at hand")
    parser.add_argument("--compile", action="store_true", help="compile the branch that learns (a minute)")
    parser.add_argument(
        "--no-graph", action="store_true", help="launch every kernel anew on a GPU, to look for a fault"
    )
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
    whose loss or gradient is not finite is skipped and counted. Checkpoints and validation have the moving average
    of the weights. The state is saved every two minutes, so a killed run resumes where it was. What there is when the
    decay begins stays as `before_decay.safetensors`: longer training goes on from there (`--init`), a decayed model
    has settled.

    On a GPU a step is captured once for each of its variants and replayed: its two thousand kernels are short.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: RateDistortionCognition,
        groups: Sequence[tuple[Iterable[torch.nn.Parameter], float]],
        pairs: Pairs | None = None,
    ) -> None:
        self.pairs = pairs or by_multiplier(model.config)  # at which it is validated
        if args.threads:
            torch.set_num_threads(args.threads)
        if args.crop % 64:
            raise SystemExit(f"--crop {args.crop} is not a multiple of 64")
        self.args, self.device = args, torch.device(args.device)
        self.on_gpu = self.device.type == "cuda"
        self.bf16 = has_bf16(self.device) and not args.no_bf16
        if self.on_gpu:
            # Exact where it has to be: products of 8-bit integers fit, sums are float32 (model/scale_network.py).
            torch.set_float32_matmul_precision("high")
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        described = [
            {"params": list(parameters), "factor": factor, "lr": self._number(args.lr)}
            for parameters, factor in groups
        ]
        self.optimizer = torch.optim.Adam(described, fused=True, capturable=self.on_gpu)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = [p.detach().clone() for p in self.parameters]
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.input: Tensor | None = None
        self.names: list[str] = []
        self.totals = self.counted = torch.zeros(0, device=self.device)
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self.jpeg: tuple[np.ndarray, np.ndarray] | None = None  # of the held-out photos
        self._resume()
        torch.manual_seed(args.seed + self.progress.steps)  # a resumed run must not repeat its noise
        self.random = random.Random(args.seed + self.progress.steps)
        self.cache = PhotoCache(args.data, args.cache, args.crop)
        caches = [(self.cache, 1.0)]
        if args.graphics:
            share = args.graphics_share
            graphics = PhotoCache(args.graphics, args.cache, args.crop, validation=0)
            caches = [(self.cache, 1 - share), (graphics, share)]
        seed = args.seed + self.progress.steps
        self.crops = (
            DeviceCrops(caches, args.crop, args.batch, seed, self.device)
            if self.on_gpu
            else Crops(caches, args.crop, args.batch, seed)
        )

    def _number(self, value: float) -> Any:
        """A learning rate that a captured step can read: there it is a tensor."""
        return torch.tensor(value, device=self.device) if self.on_gpu else value

    @torch.no_grad()
    def restart_average(self) -> None:
        """Let the average begin with the weights as they are, which something else than training has changed."""
        torch._foreach_copy_(self.average, self.parameters)

    def first_crops(self, count: int) -> Tensor:
        """About `count` training crops, folded, float in [0, 1]."""
        batches = itertools.islice(self.crops, max(1, -(-count // self.args.batch)))
        return torch.cat([fold(batch.to(self.device).float() / 255) for batch in batches])

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
            for average, saved in zip(self.average, state.get("average", self.parameters), strict=True):
                average.copy_(saved.detach())
            print(f"resuming {self.out} at step {self.progress.steps}", file=sys.stderr)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model has its averaged weights inside."""
        with torch.no_grad():
            kept = [p.clone() for p in self.parameters]
            torch._foreach_copy_(self.parameters, self.average)
            try:
                yield
            finally:
                torch._foreach_copy_(self.parameters, kept)

    def save(self, path: Path | None = None) -> None:
        """Checkpoint (there, or in its usual place with the state to resume from)."""
        info: dict[str, Any] = dataclasses.asdict(self.progress) | {"arguments": vars(self.args)}
        with self.averaged():
            checkpoint.save(path or self.out / "model.safetensors", self.model, info)
        if path is not None:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
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
        if done < start or not self.args.decay:
            return self.args.lr * warm
        return self.args.lr * 0.5 * (1 + math.cos(math.pi * (done - start) / self.args.decay))

    def _update(self, step: Step, folded: Tensor, variant: int) -> None:
        """Learn from one batch. Nothing here waits for a GPU, or copies from or to it: it may be captured."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss, figures = step(folded, variant)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        finite = torch.isfinite(norm)
        self.optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]  # such a step is skipped
        self.optimizer.step()
        values = torch.stack([value.float() for value in figures.values()])
        if not self.names:
            self.names = list(figures)
            self.totals = torch.zeros_like(values)
            self.counted = torch.zeros(2, device=self.device)
        self.totals += torch.where(finite, values, 0)
        self.counted += torch.stack([finite, ~finite])

    def _replay(self, step: Step, folded: Tensor, variant: int) -> None:
        """Learn from one batch by a captured step. The first time, it is captured after steps that are not."""
        if self.input is None:
            self.input = torch.empty_like(folded)
        self.input.copy_(folded)
        if variant not in self.graphs:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2 if self.graphs else 4):
                    self._update(step, self.input, variant)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            pool = next(iter(self.graphs.values())).pool() if self.graphs else None
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, pool=pool):
                self._update(step, self.input, variant)
            self.graphs[variant] = graph
        self.graphs[variant].replay()

    def run(self, step: Step, variants: int = 1) -> None:
        """Train. One of so many variants of the step is drawn for each batch."""
        budget, last = 60 * self.args.minutes, time.monotonic()
        trunk = self.out / "before_decay.safetensors"
        saved = validated = self.progress.seconds
        writer = SummaryWriter(str(self.out / "tensorboard"))
        bar = tqdm(total=int(budget), initial=int(self.progress.seconds), unit="s", mininterval=5)
        learn = self._replay if self.on_gpu and not self.args.no_graph else self._update
        for batch in self.crops:
            if self.progress.seconds >= budget:
                break
            if self.progress.seconds >= (1 - self.args.decay) * budget and not trunk.exists():
                self.save(trunk)
            for group in self.optimizer.param_groups:
                rate = self._rate() * group["factor"]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
            self.model.train()
            folded = fold(batch.to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)
            learn(step, folded, self.random.randrange(variants))
            kept = min(self.args.average, (1 + self.progress.steps) / (10 + self.progress.steps))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - kept)
            now = time.monotonic()
            self.progress.steps += 1
            self.progress.seconds += min(now - last, STEP_COUNTS)
            bar.update(int(self.progress.seconds) - bar.n)
            last = now
            if self.progress.seconds >= budget or self.progress.steps % 200 == 0:
                self._log_training(writer, bar)
            if self.progress.seconds - saved > 120:
                self.save()
                saved = self.progress.seconds
            if self.progress.seconds - validated > 60 * self.args.validate_every:
                self._validate(writer)
                validated, last = self.progress.seconds, time.monotonic()
        bar.close()
        self._validate(writer)
        self.save()

    def _log_training(self, writer: SummaryWriter, bar: tqdm) -> None:
        """Log the means of the figures since the last time."""
        count, skipped = self.counted.tolist()
        if count:
            row = dict(zip(self.names, (self.totals / count).tolist(), strict=True))
            row |= {"lr": self._rate(), "skipped": skipped, "seconds": self.progress.seconds}
            self._log(writer, "train", row)
            bar.set_postfix({k: f"{v:.4g}" for k, v in row.items() if k != "seconds"})
        self.totals.zero_()
        self.counted.zero_()

    def _validate(self, writer: SummaryWriter) -> None:
        photos = [self.cache.photo(e) for e in self.cache.validation]
        with self.averaged():
            rows = validate(self.model, photos, self.device, self.pairs)
        self.jpeg = self.jpeg or jpeg_curve(photos)
        against = against_jpeg(rows, self.jpeg)
        for kind, row in [
            *((f"validation-{row['level']:.0f}", row) for row in rows),
            ("validation", against),
        ]:
            print({k: round(v, 4) for k, v in row.items()}, file=sys.stderr)
            self._log(writer, kind, row)

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
