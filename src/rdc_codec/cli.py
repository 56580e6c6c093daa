"""The command `rdc` turns files and folders into files. Pictures and streams are `Codec`'s business.

Pillow and ONNX Runtime are loaded by the commands that use them, so that `rdc --help` and a mistyped
option answer at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from . import __version__, cores, files, jobs, picture_files, trimming
from .balance import share_of
from .codec import MAX_PIXELS, Codec, Layers, Report
from .container import MAX_SIDE, number_within, to_fixed
from .errors import CodecError, InputError
from .files import STDIO
from .jobs import Job, Made, Problem
from .options import BACKEND, PRECISION
from .pixels import Background, Rules
from .rates import MAX_PSNR, aim_of
from .service.command import serve

if TYPE_CHECKING:
    from PIL import Image

    from .backends.precision import Precision

STREAM_SUFFIX = ".rdc"
PICTURE_SUFFIX = ".png"
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 and the number of the signal that ends other programs then


class BadInput(click.ClickException):
    """Ends the command with exit code 2 and one line on stderr."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"rdc: {self.message}", err=True)


class _Path(click.Path):
    """A path that may be missing or unreadable, which is said of it alone when it is its turn.

    An empty one is what an unset variable leaves behind, and not the current folder. `-` is the standard input or
    output.
    """

    def __init__(self, output: bool = False) -> None:
        super().__init__(readable=False, path_type=Path)
        self._output = output

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        if value != str(STDIO) and Path(value) == STDIO:
            value = str(Path.cwd() / STDIO)  # `./-`, whose folder pathlib would drop
        if self._output and ctx is not None and str(value).endswith(("/", os.sep)):
            ctx.meta[_FOLDER] = True  # as cp has it: a folder, also one that is not there yet
        return super().convert(value, param, ctx)


_FOLDER = "rdc.output_is_a_folder"


class _Commands(click.Group):
    """Reports usage errors in one line, like every other error."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _usage(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _usage(error) from None
        except KeyboardInterrupt:
            _leave(INTERRUPTED)
        except BrokenPipeError:
            _leave(BROKEN_PIPE)
        except OSError as error:  # stdout is full, the current folder is gone: no file's own trouble
            raise BadInput(error.strerror or str(error)) from None


def _leave(code: int) -> NoReturn:
    """End the process at once, whatever its threads do, with nothing half written and nothing said."""
    files.remove_parts()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _usage(error: click.UsageError) -> click.ClickException:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        return error
    help_name = error.ctx.command_path if error.ctx else "rdc"
    return BadInput(f"{files.one_line(error.format_message())} ({help_name} --help)")


def _quality(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None:
        try:
            to_fixed(value, option.opts[-1])
        except InputError as error:
            raise BadInput(str(error)) from None
    return value


def _beta(_: click.Context, option: click.Parameter, value: float) -> float:
    try:
        return number_within(value, 1, option.opts[-1])
    except InputError as error:
        raise BadInput(str(error)) from None


def _layers(_: click.Context, option: click.Parameter, value: str) -> Layers:
    if value == "all":
        return "all"
    if value == "base":
        return "base"
    if not value.isdecimal():
        raise BadInput(f"{option.opts[-1]} must be all, base or a number of slices, got {value}")
    return int(value)


def _colour(_: click.Context, option: click.Parameter, value: str | None) -> Background | None:
    if value is None:
        return None
    from PIL import ImageColor

    try:
        found = ImageColor.getrgb(value)
    except ValueError:
        found = (0, 0, 0, 0)  # a transparent colour is none to blend with, either
    if len(found) != 3:
        raise BadInput(f"{option.opts[-1]} must be a colour like white or #ffffff, got {value}")
    return (found[0], found[1], found[2])


_SCALES = {"1": 1.0, "1/2": 1 / 2, "1/4": 1 / 4, "1/8": 1 / 8}


def _region(_: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height; whether they are within the picture is the decoder's question."""
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise BadInput(f"{option.opts[-1]} must be X,Y,WIDTH,HEIGHT, such as 0,0,256,256, got {value}")
    x, y, width, height = map(int, parts)
    return x, y, width, height


_BACKGROUND = click.option(
    "--background",
    metavar="COLOUR",
    callback=_colour,
    help="Blend transparency with this colour (white, #ffffff) instead of keeping it.",
)


_UNITS = {"": 1, "k": 1000, "M": 1_000_000}


def _bytes(_: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a number of bytes, which may end in k or M."""
    if value is None:
        return None
    number, unit = (value[:-1], value[-1]) if value[-1:] in ("k", "M") else (value, "")
    try:
        count = round(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise BadInput(f"{option.opts[-1]} must be a number of bytes, such as 90000, 100k or 1M, got {value}")
    return count


def _type_of_pictures(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Take a suffix with or without its dot, in any case."""
    if value is None:
        return None
    suffix = value.lower().removeprefix(".")
    try:
        picture_files.writable_format(Path(f"picture.{suffix}"))
    except InputError:
        raise BadInput(f"{option.opts[-1]}: Pillow writes no pictures of type {value}") from None
    return suffix


_INPUTS = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_Path())
_STREAM_OUTPUT = click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=_Path(output=True),
    help="Stream to write; a folder where it ends in / or the input is a folder or more than one file; - for stdout.",
)
_QUIET = click.option("--quiet", is_flag=True, help="No progress bar.")
_JSON_LINES = click.option(
    "--json", "as_json", is_flag=True, help="Print a line of JSON for each file, and one with the sums."
)
_JOBS = click.option(
    "-j",
    "--jobs",
    "at_once",
    type=click.IntRange(1, 256),
    help="Files at once (default: as many as threads).",
)
_KEEP_SUFFIX = click.option(
    "--keep-suffix", is_flag=True, help="In folders, append the suffix instead of replacing it: a.png.rdc."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace whatever is there already.")
_SKIP_EXISTING = click.option(
    "--skip-existing", is_flag=True, help="Leave files alone that are there already."
)
_MODEL = click.option(
    "--model",
    metavar="DIR",
    type=_Path(),
    help="Bundle to use, not the shipped one.",
)
_THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: all cores).")
_MAX_PIXELS = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures, counted with their padding.",
)


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="rdc", message="%(prog)s %(version)s")
def main() -> None:
    """Compress photographs to .rdc streams and restore them.

    A bad file is reported in one line, the other files are still done, and the exit code is 2. So are files of a
    folder that are left out because of their suffix, and folders that cannot be read.
    """
    if sys.stderr is None:  # closed by the caller (2>&-)
        # What is opened next would get its number, and what libraries print would end up there.
        with contextlib.suppress(OSError):
            os.open(os.devnull, os.O_RDWR)
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)


main.add_command(serve)


@main.command()
@_INPUTS
@_STREAM_OUTPUT
@click.option(
    "-q", "--quality", type=float, callback=_quality, help="0 to 100 (default: 50, unless there is a target)."
)
@click.option("--base-quality", type=float, callback=_quality, help="Set the primary branch apart from -q.")
@click.option("--aux-quality", type=float, callback=_quality, help="Set the auxiliary branch apart from -q.")
@click.option(
    "--share",
    type=float,
    metavar="S",
    help="Give the base this share of the bytes, 0.05 to 0.95, not the default.",
)
@click.option(
    "--layers",
    default="all",
    show_default=True,
    callback=_layers,
    help="all, base (no auxiliary data), or a number of auxiliary slices.",
)
@_BACKGROUND
@click.option("--convert", is_flag=True, help="Take CMYK, YCbCr, HSV and LAB pictures, converted to RGB.")
@click.option("--to-8bit", is_flag=True, help="Take 16-bit pictures, rounded to 8 bits.")
@click.option("--strip", is_flag=True, help="Leave out ICC profile, Exif and XMP data.")
@click.option(
    "--target-bytes",
    metavar="N",
    callback=_bytes,
    help="Search the quality for at most N bytes a picture, such as 90000, 100k or 1M.",
)
@click.option("--target-bpp", type=float, metavar="BITS", help="Search it for at most so many bits a pixel.")
@click.option("--target-psnr", type=float, metavar="DB", help="Search it for at least so many dB.")
@click.option(
    "--min-psnr",
    type=float,
    metavar="DB",
    help="Store pictures without loss that would have fewer dB than this.",
)
@_MODEL
@BACKEND
@PRECISION
@_THREADS
@_MAX_PIXELS
@_JOBS
@_KEEP_SUFFIX
@_OVERWRITE
@_SKIP_EXISTING
@_JSON_LINES
@_QUIET
def encode(
    inputs: tuple[Path, ...],
    output: Path,
    quality: float | None,
    base_quality: float | None,
    aux_quality: float | None,
    share: float | None,
    layers: Layers,
    background: Background | None,
    convert: bool,
    to_8bit: bool,
    strip: bool,
    target_bytes: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    min_psnr: float | None,
    model: Path | None,
    backend: str,
    precision: Precision | None,
    threads: int | None,
    max_pixels: int,
    at_once: int | None,
    keep_suffix: bool,
    overwrite: bool,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compress pictures to .rdc streams (folders recursively), with transparency, ICC profile, Exif and XMP data.

    8-bit RGB, grey and palette pictures of every type of file that Pillow reads by itself; what needs --convert or
    --to-8bit, or has no rule, is refused in one line.

    Pixels are coded upright: an Exif orientation is applied first and its tag removed. An .rdc stream that is there
    already is replaced, any other file only with --overwrite.
    """
    dials = dials_of(
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
    planned, problems = _plan(
        inputs, output, STREAM_SUFFIX, picture_files.readable_suffixes(), keep_suffix, as_json
    )
    codec = _codec(model, backend, threads, precision)
    codec.max_pixels = max_pixels
    taken = Rules(background, convert, to_8bit)

    def work(job: Job) -> Made:
        data = codec.encode(
            _load_image(job.source, codec.max_pixels, taken),
            metadata=not strip,
            background=background,
            convert=convert,
            to_8bit=to_8bit,
            **dials,
        )
        return Made(data, _facts(codec, data) if as_json else {})

    rules = jobs.Rules(streams=True, overwrite=overwrite, skip=skip_existing)
    _run(planned, work, problems, rules, at_once or _threads(threads), quiet, as_json)


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=_Path(output=True),
    help="Picture to write, of the type that --format or its suffix says; a folder where it ends in / or the input "
    "is a folder or more than one file; - for stdout.",
)
@click.option(
    "--beta",
    type=float,
    default=0.0,
    show_default=True,
    callback=_beta,
    help="1: for machines (primary branch alone), 0: for people, or between.",
)
@click.option("--layers", type=click.IntRange(min=0), help="Use at most so many auxiliary slices.")
@click.option(
    "--region",
    metavar="X,Y,WIDTH,HEIGHT",
    callback=_region,
    help="Decode this part alone, in pixels of the picture.",
)
@click.option(
    "--scale",
    type=click.Choice(list(_SCALES)),
    default="1",
    show_default=True,
    help="Make it smaller: means of 2x2, 4x4 or 8x8 pixels.",
)
@_BACKGROUND
@click.option(
    "--format",
    "picture_format",
    metavar="TYPE",
    callback=_type_of_pictures,
    help="png, jpg, webp, ...: what pictures are written as (default: what the suffix says, or png).",
)
@click.option(
    "--picture-quality",
    type=click.IntRange(0, 100),
    help="Quality that jpg, webp and avif are written with (default: Pillow's).",
)
@_MODEL
@BACKEND
@PRECISION
@_THREADS
@_MAX_PIXELS
@_JOBS
@_KEEP_SUFFIX
@_OVERWRITE
@_SKIP_EXISTING
@_JSON_LINES
@_QUIET
def decode(
    inputs: tuple[Path, ...],
    output: Path,
    beta: float,
    layers: int | None,
    region: tuple[int, int, int, int] | None,
    scale: str,
    background: Background | None,
    picture_format: str | None,
    picture_quality: int | None,
    model: Path | None,
    backend: str,
    precision: Precision | None,
    threads: int | None,
    max_pixels: int,
    at_once: int | None,
    keep_suffix: bool,
    overwrite: bool,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Restore pictures from .rdc streams (folders recursively), with what the type of file has room for.

    That is transparency (which must have room, or --background), ICC profile, Exif and XMP data.

    Where auxiliary data is damaged or cut off, the picture is decoded without it, with a warning. A file that is
    there already is replaced only with --overwrite.
    """
    suffix = PICTURE_SUFFIX if picture_format is None else f".{picture_format}"
    planned, problems = _plan(inputs, output, suffix, {STREAM_SUFFIX}, keep_suffix, as_json)
    codec = _codec(model, backend, threads, precision)
    codec.max_pixels = max_pixels

    def work(job: Job) -> Made:
        unnamed = picture_format is not None or files.is_stream(job.target)
        kind = picture_files.writable_format(Path(f"picture{suffix}") if unnamed else job.target)
        if picture_quality is not None and kind not in picture_files.HAVE_QUALITY:
            raise InputError(
                f"{kind} has no quality: --picture-quality is for {', '.join(picture_files.HAVE_QUALITY)}"
            )
        data = files.read(job.source)
        image = codec.decode_image(data, beta=beta, layers=layers, region=region, scale=_SCALES[scale])
        facts = _facts(codec, data) if as_json else {}
        return Made(picture_files.to_bytes(image, kind, background, picture_quality), facts)

    rules = jobs.Rules(streams=False, overwrite=overwrite, skip=skip_existing)
    _run(planned, work, problems, rules, at_once or _threads(threads), quiet, as_json)


@main.command()
@_INPUTS
@_STREAM_OUTPUT
@click.option(
    "--layers",
    default="all",
    show_default=True,
    callback=_layers,
    help="Keep all, base (no auxiliary data), or at most a number of auxiliary slices.",
)
@click.option("--max-bytes", type=click.IntRange(min=1), help="Keep as many of them as fit so many bytes.")
@_OVERWRITE
@_SKIP_EXISTING
@_QUIET
def trim(
    inputs: tuple[Path, ...],
    output: Path,
    layers: Layers,
    max_bytes: int | None,
    overwrite: bool,
    skip_existing: bool,
    quiet: bool,
) -> None:
    """Leave auxiliary slices of .rdc streams out (folders recursively), without coding anything again.

    What is written is a whole stream: damaged or missing auxiliary data is left out, with a warning. An .rdc stream
    that is there already is replaced, any other file only with --overwrite.
    """
    planned, problems = _plan(inputs, output, STREAM_SUFFIX, {STREAM_SUFFIX})

    def work(job: Job) -> Made:
        return Made(trimming.trim(files.read(job.source), layers, max_bytes), {})

    rules = jobs.Rules(streams=True, overwrite=overwrite, skip=skip_existing)
    _run(planned, work, problems, rules, 1, quiet, False)


@main.command()
@_INPUTS
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each stream.")
@_MODEL
def info(inputs: tuple[Path, ...], as_json: bool, model: Path | None) -> None:
    """Print what .rdc streams (folders recursively) say of themselves, and the state of their chunks.

    The exit code is 2 where a chunk is missing or damaged, or a file is no stream.
    """
    planned, problems = _plan(inputs, _nowhere(inputs), STREAM_SUFFIX, {STREAM_SUFFIX})
    several = len(planned) > 1
    codec = _codec(model, "onnxruntime")
    codec.max_pixels = MAX_SIDE * MAX_SIDE  # nothing is allocated for it
    for job in planned:
        try:
            found = codec.info(files.read(job.source))
        except (CodecError, OSError) as error:
            problems.append(Problem(job.source, files.one_line(error)))
            if as_json:
                click.echo(json.dumps({"input": str(job.source), "error": problems[-1].text}))
            continue
        if as_json:
            click.echo(json.dumps({"input": str(job.source), **found}))
        else:
            click.echo((f"{job.source}\n" if several else "") + _info_text(found) + ("\n" if several else ""))
        if lost := [c["type"] for c in found["chunks"] if c["state"] != "ok"]:
            problems.append(Problem(job.source, f"not whole: {len(lost)} of {len(found['chunks'])} chunks"))
    _report(problems)


@main.command()
@_INPUTS
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for every stream.")
@_MODEL
@_MAX_PIXELS
def verify(inputs: tuple[Path, ...], as_json: bool, model: Path | None, max_pixels: int) -> None:
    """Check .rdc streams (folders recursively), every chunk by checksum and symbols. Nothing is decoded.

    A line on stderr for each stream that is not whole; the exit code is 2 then. Objects of --json have path, ok,
    decodable (there is a picture), slices (that it can be made of) and problem (a text, or null).
    """
    planned, problems = _plan(inputs, _nowhere(inputs), STREAM_SUFFIX, {STREAM_SUFFIX})
    codec = _codec(model, "onnxruntime")
    codec.max_pixels = max_pixels
    for job in planned:
        try:
            report = codec.verify(files.read(job.source))
        except (OSError, MemoryError) as error:
            report = Report(False, False, 0, files.one_line(error))
            problems.append(Problem(job.source, report.problem or ""))
        else:
            if not report.ok:
                what = "damaged, but there is a picture" if report.decodable else "no picture"
                problems.append(Problem(job.source, f"{what}: {files.one_line(report.problem or '')}"))
        if as_json:
            click.echo(json.dumps({"path": str(job.source), **report._asdict()}))
    _report(problems)


def _report(problems: Sequence[Problem]) -> None:
    """Say what is wrong, and end with exit code 2 if anything is."""
    for problem in problems:
        click.echo(f"rdc: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(2)


def _info_text(found: dict[str, Any]) -> str:
    fields = {key: value for key, value in found.items() if key != "chunks"}
    lines = [f"{key:<16}{value}" for key, value in fields.items()]
    lines.append(f"{'chunk':<16}{'offset':>10}{'length':>10}  state")
    lines += [f"{c['type']:<16}{c['offset']:>10}{c['length']:>10}  {c['state']}" for c in found["chunks"]]
    return "\n".join(lines)


def dials_of(
    *,
    quality: float | None,
    base_quality: float | None,
    aux_quality: float | None,
    share: float | None,
    layers: Layers,
    min_psnr: float | None,
    target_bytes: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
) -> dict[str, Any]:
    """Return these arguments of `Codec.encode`, checked once and not for each picture. Raises BadInput."""
    apart = {"base_quality": base_quality, "aux_quality": aux_quality}
    asked = {"quality": quality, **apart, "min_psnr": min_psnr}
    targets = {"target_bytes": target_bytes, "target_bpp": target_bpp, "target_psnr": target_psnr}
    try:
        aim_of(target_bytes, target_bpp, target_psnr, asked)
        number_within(min_psnr or 0, MAX_PSNR, "min_psnr")
        others = {**apart, "target_psnr": target_psnr, "min_psnr": min_psnr}
        share_of(share, others, base_only=layers in ("base", 0))
    except InputError as error:
        raise BadInput(str(error).replace("_", "-")) from None
    return asked | targets | {"share": share, "layers": layers}


def _codec(
    model: Path | None, backend: str = "auto", threads: int | None = None, precision: Precision | None = None
) -> Codec:
    try:
        return Codec(model, backend=backend, threads=threads, precision=precision)
    except (CodecError, OSError) as error:
        raise BadInput(files.one_line(error)) from None


def _threads(asked: int | None) -> int:
    """Return how many threads the networks have, which is how many files are done at once (docs/command_line.md)."""
    return asked or cores.limit() or os.cpu_count() or 1


def _facts(codec: Codec, data: bytes) -> dict[str, Any]:
    """Return what a line of JSON says of a stream."""
    found = codec.info(data)
    facts = {name: found[name] for name in ("width", "height", "quality")}
    return facts | {"bpp": round(8 * len(data) / (found["width"] * found["height"]), 4)}


def _nowhere(inputs: Sequence[Path]) -> Path:
    """Return an output for inputs of which nothing is written."""
    return STDIO if list(inputs) == [STDIO] else Path()


def _plan(
    inputs: Sequence[Path],
    output: Path,
    suffix: str,
    accepted: Collection[str],
    keep_suffix: bool = False,
    as_json: bool = False,
) -> tuple[list[Job], list[Problem]]:
    """Return the jobs, and what is left out (jobs.plan). Raises BadInput where nothing can be planned."""
    if as_json and output == STDIO:
        raise BadInput("--json and a picture cannot both go to the standard output")
    into_folder = click.get_current_context().meta.get(_FOLDER, False)
    try:
        planned, problems = jobs.plan(inputs, output, suffix, accepted, into_folder, keep_suffix)
    except InputError as error:
        raise BadInput(str(error)) from None
    return planned, problems


def _run(
    planned: Sequence[Job],
    work: Callable[[Job], Made],
    problems: Sequence[Problem],
    rules: jobs.Rules,
    at_once: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Do every job, and exit with code 2 at the end if one failed or anything was left out."""
    if rules.overwrite and rules.skip:
        raise BadInput("--overwrite and --skip-existing contradict each other")
    if not jobs.run(planned, work, problems, rules, at_once, quiet, as_json):
        raise click.exceptions.Exit(2)


def _load_image(path: Path, max_pixels: int, rules: Rules) -> Image.Image:
    """Open an image upright and fully decoded, its size checked before its pixels are."""
    with io.BytesIO(files.read(path)) if files.is_stream(path) else path.open("rb") as file:
        return picture_files.load(file, max_pixels, rules)


from .corpus.command import corpus  # noqa: E402 (its commands have options of those above)

main.add_command(corpus)
