"""The command `rdc` turns files and folders into files. Pictures and streams are `Codec`'s business.

Pillow and ONNX Runtime are loaded by the commands that use them, so that `rdc --help` and a mistyped
option answer at once.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from . import __version__
from .codec import MAX_PIXELS, Codec, Layers
from .container import MAX_SIDE, number_within, to_fixed
from .errors import CodecError, CodecWarning, InputError, LimitError

if TYPE_CHECKING:
    from PIL import Image

STREAM_SUFFIX = ".rdc"
PICTURE_SUFFIX = ".png"


class BadInput(click.ClickException):
    """Ends the command with exit code 2 and one line on stderr."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"rdc: {self.message}", err=True)


class Job(NamedTuple):
    """Names a file to read and the file to make of it."""

    source: Path
    target: Path


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


def _usage(error: click.UsageError) -> click.ClickException:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        return error
    help_name = error.ctx.command_path if error.ctx else "rdc"
    return BadInput(f"{_one_line(error.format_message())} ({help_name} --help)")


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


_INPUTS = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
_MODEL = click.option(
    "--model",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Bundle to use, not the shipped one.",
)
_BACKEND = click.option("--backend", default="auto", show_default=True, help="Where the networks run.")
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

    A bad file is reported in one line, the other files are still done, and the exit code is 2.
    """


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="Stream to write; a folder where the input is a folder or more than one file.",
)
@click.option(
    "-q", "--quality", type=float, default=50.0, show_default=True, callback=_quality, help="0 to 100."
)
@click.option("--base-quality", type=float, callback=_quality, help="Set the primary branch apart from -q.")
@click.option("--aux-quality", type=float, callback=_quality, help="Set the auxiliary branch apart from -q.")
@click.option(
    "--layers",
    default="all",
    show_default=True,
    callback=_layers,
    help="all, base (no auxiliary data), or a number of auxiliary slices.",
)
@_MODEL
@_BACKEND
@_THREADS
@_MAX_PIXELS
def encode(
    inputs: tuple[Path, ...],
    output: Path,
    quality: float,
    base_quality: float | None,
    aux_quality: float | None,
    layers: Layers,
    model: Path | None,
    backend: str,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Compress 8-bit pictures without transparency to .rdc streams (folders recursively).

    RGB, grey and palette pictures of every type of file that Pillow reads; others are refused in one line.

    Pixels are coded upright: an Exif orientation is applied first, as no metadata is kept.
    """
    jobs = _plan(inputs, output, STREAM_SUFFIX, _readable_suffixes())
    codec = _codec(model, backend, threads)
    codec.max_pixels = max_pixels

    def work(job: Job) -> bytes:
        return codec.encode(
            _load_image(job.source, codec.max_pixels),
            quality=quality,
            layers=layers,
            base_quality=base_quality,
            aux_quality=aux_quality,
        )

    _run(jobs, work)


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="Picture to write, of a type that its suffix says; a folder (of .png) where the input is a folder "
    "or more than one file.",
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
@_MODEL
@_BACKEND
@_THREADS
@_MAX_PIXELS
def decode(
    inputs: tuple[Path, ...],
    output: Path,
    beta: float,
    layers: int | None,
    model: Path | None,
    backend: str,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Restore pictures from .rdc streams (folders recursively).

    Where auxiliary data is damaged or cut off, the picture is decoded without it, with a warning.
    """
    jobs = _plan(inputs, output, PICTURE_SUFFIX, {STREAM_SUFFIX})
    codec = _codec(model, backend, threads)
    codec.max_pixels = max_pixels

    def work(job: Job) -> bytes:
        picture_format = _writable_format(job.target)
        pixels = codec.decode(job.source.read_bytes(), beta=beta, layers=layers)
        return _image_file(pixels, picture_format)

    _run(jobs, work)


@main.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_MODEL
def info(source: Path, as_json: bool, model: Path | None) -> None:
    """Print what a .rdc stream says of itself, and the state of its chunks."""
    codec = _codec(model)
    codec.max_pixels = MAX_SIDE * MAX_SIDE  # nothing is allocated for it
    try:
        found = codec.info(source.read_bytes())
    except (CodecError, OSError) as error:
        raise BadInput(f"{source}: {_one_line(error)}") from None
    click.echo(json.dumps(found, indent=2) if as_json else _info_text(found))


def _info_text(found: dict[str, Any]) -> str:
    fields = {key: value for key, value in found.items() if key != "chunks"}
    lines = [f"{key:<16}{value}" for key, value in fields.items()]
    lines.append(f"{'chunk':<16}{'offset':>10}{'length':>10}  state")
    lines += [f"{c['type']:<16}{c['offset']:>10}{c['length']:>10}  {c['state']}" for c in found["chunks"]]
    return "\n".join(lines)


def _codec(model: Path | None, backend: str = "auto", threads: int | None = None) -> Codec:
    try:
        return Codec(model, backend=backend, threads=threads)
    except (CodecError, OSError) as error:
        raise BadInput(_one_line(error)) from None


def _plan(inputs: Sequence[Path], output: Path, suffix: str, accepted: Collection[str]) -> list[Job]:
    """Decide which file becomes which: folders keep their inner structure under the output folder.

    A named file is taken whatever its suffix, and need not exist (reading it will say so). Raises
    BadInput for a folder with nothing in it, or an output that is a file where a folder is needed.
    """
    if len(inputs) == 1 and not inputs[0].is_dir():
        source = inputs[0]
        return [Job(source, output / f"{source.stem}{suffix}" if output.is_dir() else output)]
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output}: must be a folder for these inputs")
    jobs = []
    for source in inputs:
        if not source.is_dir():
            jobs.append(Job(source, output / f"{source.stem}{suffix}"))
            continue
        files = [f for f in sorted(source.rglob("*")) if f.suffix.lower() in accepted and f.is_file()]
        if not files:
            raise BadInput(f"{source}: no file in this folder has a suffix that can be read")
        jobs += [Job(file, output / file.relative_to(source).with_suffix(suffix)) for file in files]
    return jobs


def _run(jobs: Sequence[Job], work: Callable[[Job], bytes]) -> None:
    """Do every job; report bad ones and exit with code 2 at the end if there were any."""
    from tqdm import tqdm

    taken = {job.source.resolve() for job in jobs}
    failed = False
    for job in tqdm(jobs, disable=len(jobs) < 2, unit="file", file=sys.stderr):

        def say(message: str, source: Path = job.source) -> None:
            tqdm.write(f"rdc: {source}: {message}", file=sys.stderr)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                target = job.target.resolve()
                if target in taken:
                    raise InputError(f"not written to {job.target}: that is an input or output already")
                _write_whole(target, work(job))
                taken.add(target)
            except (CodecError, OSError, MemoryError) as error:
                say(_one_line(error))
                failed = True
        for warning in caught:
            if issubclass(warning.category, CodecWarning):
                say(f"warning: {warning.message}")
    if failed:
        raise click.exceptions.Exit(2)


def _one_line(error: BaseException | str) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _write_whole(target: Path, data: bytes) -> None:
    """Write all of a file or nothing. Its folder is made where it is missing."""
    try:
        if target.exists() and not target.is_file():
            # A device or pipe must not be replaced by a file; a directory fails here as it should.
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".rdc-{secrets.token_hex(8)}.part"
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {target}: {_one_line(error)}") from None


def _readable_suffixes() -> set[str]:
    from PIL import Image

    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def _writable_format(target: Path) -> str:
    from PIL import Image

    picture_format = Image.registered_extensions().get(target.suffix.lower())
    if picture_format not in Image.SAVE:
        raise InputError(f"cannot write pictures of type '{target.suffix}' ({target.name})")
    return picture_format


def _image_file(pixels: Any, picture_format: str) -> bytes:
    """Return the bytes of the image file that a picture, uint8 [H, W, 3], becomes."""
    from PIL import Image

    file = io.BytesIO()
    try:
        Image.fromarray(pixels).save(file, picture_format)
    except (
        Exception
    ) as error:  # Pillow's writers raise what their formats run into: OverflowError, struct.error
        raise InputError(f"cannot write as {picture_format}: {_one_line(error)}") from None
    return file.getvalue()


def _load_image(path: Path, max_pixels: int) -> Image.Image:
    """Open an image upright and fully decoded, its size checked before its pixels are."""
    from PIL import Image, ImageOps

    from .pixels import size_of

    with path.open("rb") as file:
        try:
            image = Image.open(file)
            if image.width * image.height > max_pixels:
                raise LimitError(f"image of {image.width}x{image.height} is over {max_pixels} pixels")
            size_of(image)  # before Pillow decodes it and reduces what it holds
            # A camera's MPO holds previews and other views besides the photo.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                warnings.warn("only the first frame is coded", CodecWarning, stacklevel=2)
            return ImageOps.exif_transpose(image)
        except (CodecError, MemoryError):
            raise
        except Image.UnidentifiedImageError:
            raise InputError("not an image that can be read") from None
        except Image.DecompressionBombError as error:
            raise LimitError(_one_line(error)) from None
        except Exception as error:
            # Pillow's readers raise almost anything on damaged files: OSError, SyntaxError,
            # struct.error, IndexError, ...
            raise InputError(f"damaged image: {_one_line(error)}") from None
