"""Options that `rdc encode`, `rdc decode` and `rdc serve` have in common."""

from __future__ import annotations

import click

BACKEND = click.option("--backend", default="auto", show_default=True, help="Where the networks run.")
PRECISION = click.option(
    "--precision",
    type=click.Choice(["exact", "fast"]),
    help="exact: fp32; fast: bf16 where OpenVINO and the processor have it (default: as the bundle is).",
)
