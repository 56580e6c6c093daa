"""The command `rdc corpus`: whole corpora, on Ray. What concerns one picture has the options of the other commands.

Ray, pyarrow and the codec are loaded when a job is begun.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .. import cli
from ..codec import Layers
from ..errors import CodecError
from ..files import one_line
from ..pixels import Background, Rules

if TYPE_CHECKING:
    from .settings import Settings
    from .units import Note

SHOWN = 20  # lines on stderr of what is wrong; the report has all of them


def _of(command: str, *names: str) -> list[click.Parameter]:
    """Return options of another command, the very same."""
    found = {option.name: option for option in getattr(cli, command).params}
    return [found[name] for name in names]


_SOURCE = click.Argument(["source"], metavar="SRC")
_DESTINATION = click.Argument(["destination"], metavar="DST")
_OUTPUT = click.Option(
    ["--output"],
    type=click.Choice(["files", "webdataset", "parquet"]),
    help="What to write (default: files for files, and shards of a kind for such shards).",
)
_PER_SHARD = click.Option(
    ["--per-shard"],
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Files that go into one shard.",
)
_COLUMN = click.Option(
    ["--column"],
    metavar="NAME",
    help="Column of Parquet with the pictures or streams (default: image, stream, or the first of bytes).",
)
_ENGINE = [
    click.Option(
        ["--workers"],
        type=click.IntRange(min=1),
        help="Processes with a codec each (default: as many as there are cores for).",
    ),
    click.Option(
        ["--threads"],
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Cores of one worker.",
    ),
    click.Option(
        ["--ray-address"],
        metavar="ADDRESS",
        help="Ray cluster to use, auto for the one that is running (default: this machine alone).",
    ),
    *_of("encode", "model", "max_pixels"),
    click.Option(
        ["--json", "as_json"],
        is_flag=True,
        help="Print a line of JSON for all that is wrong, and one with the sums.",
    ),
    *_of("encode", "quiet"),
]
_ENCODING = (
    "quality", "base_quality", "aux_quality", "share", "layers", "target_bytes", "target_bpp", "target_psnr",
    "min_psnr", "background", "convert", "to_8bit", "strip",
)  # fmt: skip
_DECODING = ("beta", "layers", "background", "picture_format", "picture_quality")
_WRITING = [_OUTPUT, _PER_SHARD, _COLUMN, *_of("encode", "keep_suffix")]


@click.group()
def corpus() -> None:
    """Encode, decode and verify whole corpora, on all cores of a machine or on a Ray cluster.

    SRC is a folder of files, WebDataset shards (.tar, .tar.gz, .tgz) and Parquet, or one of these, here or at a URL. A
    job that is run again does what is not done yet. What is wrong stands in .rdc-corpus/report.jsonl of DST; the exit
    code is 2 then. Needs the extra ray.
    """


@corpus.command(params=[_SOURCE, _DESTINATION, *_of("encode", *_ENCODING), *_WRITING, *_ENGINE])
def encode(
    quality: float | None,
    base_quality: float | None,
    aux_quality: float | None,
    share: float | None,
    layers: Layers,
    target_bytes: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    min_psnr: float | None,
    background: Background | None,
    convert: bool,
    to_8bit: bool,
    strip: bool,
    **others: Any,
) -> None:
    """Compress the pictures of a corpus to streams.

    Pictures are taken upright, as `rdc encode` does. Of a Parquet file the streams take the place of the pictures, with
    width, height, quality, bytes and name beside; a WebDataset shard has that as JSON.
    """
    dials = cli.dials_of(
        quality=quality,
        base_quality=base_quality,
        aux_quality=aux_quality,
        share=share,
        layers=layers,
        min_psnr=min_psnr,
        target_bytes=target_bytes,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
    )
    coding = dials | {"metadata": not strip}
    _run("encode", coding, Rules(background, convert, to_8bit), **others)


@corpus.command(params=[_SOURCE, _DESTINATION, *_of("decode", *_DECODING), *_WRITING, *_ENGINE])
def decode(
    beta: float,
    layers: int | None,
    background: Background | None,
    picture_format: str | None,
    picture_quality: int | None,
    **others: Any,
) -> None:
    """Restore the pictures of a corpus of streams."""
    more: dict[str, Any] = {
        "picture_type": picture_format or cli.PICTURE_SUFFIX[1:],
        "picture_quality": picture_quality,
    }
    _run("decode", {"beta": beta, "layers": layers}, Rules(background), **more, **others)


@corpus.command(
    params=[_SOURCE, click.Argument(["destination"], metavar="[DST]", required=False), _COLUMN, *_ENGINE]
)
def verify(**others: Any) -> None:
    """Check the streams of a corpus, every chunk by checksum and symbols. Nothing is decoded.

    DST is a folder for the report.
    """
    _run("verify", {}, Rules(), **others)


def _run(
    task: str,
    coding: dict[str, Any],
    rules: Rules,
    *,
    workers: int | None,
    ray_address: str | None,
    model: Path | None,
    as_json: bool,
    quiet: bool,
    **others: Any,
) -> None:
    """Do a job, and exit with code 2 at the end if anything is bad or was left out."""
    try:
        from . import job
        from .settings import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("pyarrow", "fsspec"):
            raise
        raise _missing() from None
    settings = Settings(
        task=task,  # type: ignore[arg-type]
        coding=coding,
        rules=rules,
        model=None if model is None else str(model.absolute()),
        **others,
    )
    try:
        made = job.Job(settings, workers, ray_address)
        notes = made.plan.notes
        _tell(notes, 0, as_json)
        if (text := made.tally.left_out()) is not None:
            click.echo(f"rdc: {settings.source}: {text}", err=True)
        _show(made, settings, quiet, as_json)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise _missing() from None
    except (CodecError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise cli.BadInput(one_line(error)) from None
    tally = made.tally
    if len(tally.notes) > SHOWN and settings.destination is not None:
        click.echo(f"rdc: all {len(tally.notes)} lines are in {settings.destination}/{job.REPORT}", err=True)
    if as_json:
        click.echo(json.dumps({"summary": tally.sums()}))
    elif not quiet:
        click.echo(tally.sentence())
    if not tally.all_done:
        raise click.exceptions.Exit(2)


def _show(made: Any, settings: Settings, quiet: bool, as_json: bool) -> None:
    """Do a job with a bar where stderr is a terminal, and say what is wrong as it is found."""
    from tqdm import tqdm

    units = made.plan.units
    of_files = all(unit.kind == "files" for unit in units)
    total = sum(len(unit.sources) for unit in units)
    hidden = quiet or not units or not sys.stderr.isatty()
    told = len(made.plan.notes)
    stdout = sys.stdout
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),  # where Ray reports a worker that died
        tqdm(total=total, disable=hidden, unit="picture" if of_files else "source", file=sys.stderr) as shown,
    ):
        for outcome in made.outcomes():
            _tell(outcome.notes, told, as_json, stdout)
            told += len(outcome.notes)
            shown.update(len(units[outcome.number].sources))


def _tell(notes: Sequence[Note], before: int, as_json: bool, stdout: IO[str] | None = None) -> None:
    """Say what is wrong, on stderr so many times at most."""
    from tqdm import tqdm

    for number, note in enumerate(notes, before):
        if number < SHOWN:
            what = "warning: " if note.warning else ""
            tqdm.write(f"rdc: {note.name}: {what}{note.text}", file=sys.stderr)
        if as_json:
            click.echo(json.dumps(note.line()), file=stdout)


def _missing() -> cli.BadInput:
    return cli.BadInput('rdc corpus needs Ray: pip install "rdc-codec[ray]"')
