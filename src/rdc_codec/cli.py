"""The command `rdc` turns files and folders into files. Pictures and streams are `Codec`'s business.

Pillow and ONNX Runtime are loaded by the commands that use them, so that `rdc --help` and a mistyped
option answer at once.
"""

from __future__ import annotations

import errno
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

from . import __version__, trimming
from .codec import MAX_PIXELS, Codec, Layers, Report
from .container import MAX_SIDE, number_within, to_fixed
from .errors import CodecError, CodecWarning, InputError, LimitError
from .pixels import Background, Rules
from .rates import MAX_PSNR, aim_of

if TYPE_CHECKING:
    from PIL import Image

STREAM_SUFFIX = ".rdc"
_ALPHA_FORMATS = frozenset({"PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "SGI", "QOI"})
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


class _Path(click.Path):
    """A path that may be missing or unreadable, which is said of it alone when it is its turn.

    An empty one is what an unset variable leaves behind, and not the current folder.
    """

    def __init__(self, output: bool = False) -> None:
        super().__init__(readable=False, path_type=Path)
        self._output = output

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
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
        except OSError as error:  # stdout is full, the current folder is gone: no file's own trouble
            if error.errno == errno.EPIPE:
                raise  # click ends the command without a word
            raise BadInput(error.strerror or str(error)) from None


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


_INPUTS = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_Path())
_QUIET = click.option("--quiet", is_flag=True, help="No progress bar.")
_MODEL = click.option(
    "--model",
    metavar="DIR",
    type=_Path(),
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

    A bad file is reported in one line, the other files are still done, and the exit code is 2. So are files of a
    folder that are left out because of their suffix, and folders that cannot be read.
    """
    if sys.stderr is None:  # closed by the caller (2>&-)
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=_Path(output=True),
    help="Stream to write; a folder where it ends in / or the input is a folder or more than one file.",
)
@click.option(
    "-q", "--quality", type=float, callback=_quality, help="0 to 100 (default: 50, unless there is a target)."
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
@_BACKEND
@_THREADS
@_MAX_PIXELS
@_QUIET
def encode(
    inputs: tuple[Path, ...],
    output: Path,
    quality: float | None,
    base_quality: float | None,
    aux_quality: float | None,
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
    threads: int | None,
    max_pixels: int,
    quiet: bool,
) -> None:
    """Compress pictures to .rdc streams (folders recursively), with transparency, ICC profile, Exif and XMP data.

    8-bit RGB, grey and palette pictures of every type of file that Pillow reads by itself; what needs --convert or
    --to-8bit, or has no rule, is refused in one line.

    Pixels are coded upright: an Exif orientation is applied first and its tag removed.
    """
    asked = {
        "quality": quality,
        "base_quality": base_quality,
        "aux_quality": aux_quality,
        "min_psnr": min_psnr,
    }
    try:
        aim_of(target_bytes, target_bpp, target_psnr, asked)
        number_within(min_psnr or 0, MAX_PSNR, "min_psnr")
    except InputError as error:  # once, and not for each picture
        raise BadInput(str(error).replace("_", "-")) from None
    jobs, problems = _plan(inputs, output, STREAM_SUFFIX, _readable_suffixes())
    codec = _codec(model, backend, threads)
    codec.max_pixels = max_pixels
    rules = Rules(background, convert, to_8bit)

    def work(job: Job) -> bytes:
        return codec.encode(
            _load_image(job.source, codec.max_pixels, rules),
            quality=quality,
            layers=layers,
            base_quality=base_quality,
            aux_quality=aux_quality,
            metadata=not strip,
            background=background,
            convert=convert,
            to_8bit=to_8bit,
            target_bytes=target_bytes,
            target_bpp=target_bpp,
            target_psnr=target_psnr,
            min_psnr=min_psnr,
        )

    _run(jobs, work, problems, quiet)


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=_Path(output=True),
    help="Picture to write, of a type that its suffix says; a folder (of .png) where it ends in / or the input "
    "is a folder or more than one file.",
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
@_BACKGROUND
@_MODEL
@_BACKEND
@_THREADS
@_MAX_PIXELS
@_QUIET
def decode(
    inputs: tuple[Path, ...],
    output: Path,
    beta: float,
    layers: int | None,
    background: Background | None,
    model: Path | None,
    backend: str,
    threads: int | None,
    max_pixels: int,
    quiet: bool,
) -> None:
    """Restore pictures from .rdc streams (folders recursively), with what the type of file has room for.

    That is transparency (which must have room, or --background), ICC profile, Exif and XMP data.

    Where auxiliary data is damaged or cut off, the picture is decoded without it, with a warning.
    """
    jobs, problems = _plan(inputs, output, PICTURE_SUFFIX, {STREAM_SUFFIX})
    codec = _codec(model, backend, threads)
    codec.max_pixels = max_pixels

    def work(job: Job) -> bytes:
        picture_format = _writable_format(job.target)
        image = codec.decode_image(job.source.read_bytes(), beta=beta, layers=layers)
        return _image_file(image, picture_format, background)

    _run(jobs, work, problems, quiet)


@main.command()
@_INPUTS
@click.option(
    "-o",
    "output",
    metavar="OUT",
    required=True,
    type=_Path(output=True),
    help="Stream to write; a folder where it ends in / or the input is a folder or more than one file.",
)
@click.option(
    "--layers",
    default="all",
    show_default=True,
    callback=_layers,
    help="Keep all, base (no auxiliary data), or at most a number of auxiliary slices.",
)
@click.option("--max-bytes", type=click.IntRange(min=1), help="Keep as many of them as fit so many bytes.")
@_QUIET
def trim(inputs: tuple[Path, ...], output: Path, layers: Layers, max_bytes: int | None, quiet: bool) -> None:
    """Leave auxiliary slices of .rdc streams out (folders recursively), without coding anything again.

    What is written is a whole stream: damaged or missing auxiliary data is left out, with a warning.
    """
    jobs, problems = _plan(inputs, output, STREAM_SUFFIX, {STREAM_SUFFIX})

    def work(job: Job) -> bytes:
        return trimming.trim(job.source.read_bytes(), layers, max_bytes)

    _run(jobs, work, problems, quiet)


@main.command()
@click.argument("source", metavar="IN", type=_Path())
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


@main.command()
@_INPUTS
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for every stream.")
@_MODEL
def verify(inputs: tuple[Path, ...], as_json: bool, model: Path | None) -> None:
    """Check .rdc streams (folders recursively), every chunk by checksum and symbols. Nothing is decoded.

    A line on stderr for each stream that is not whole; the exit code is 2 then. Objects of --json have path, ok,
    decodable (there is a picture), slices (that it can be made of) and problem (a text, or null).
    """
    jobs, problems = _plan(inputs, Path(), STREAM_SUFFIX, {STREAM_SUFFIX})
    codec = _codec(model, "onnxruntime")
    for job in jobs:
        try:
            report = codec.verify(job.source.read_bytes())
        except (OSError, MemoryError) as error:
            report = Report(False, False, 0, _one_line(error))
            problems.append(f"{job.source}: {report.problem}")
        else:
            if not report.ok:
                what = "damaged, but there is a picture" if report.decodable else "no picture"
                problems.append(f"{job.source}: {what}: {_one_line(report.problem or '')}")
        if as_json:
            click.echo(json.dumps({"path": str(job.source), **report._asdict()}))
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


def _codec(model: Path | None, backend: str = "auto", threads: int | None = None) -> Codec:
    try:
        return Codec(model, backend=backend, threads=threads)
    except (CodecError, OSError) as error:
        raise BadInput(_one_line(error)) from None


def _plan(
    inputs: Sequence[Path], output: Path, suffix: str, accepted: Collection[str]
) -> tuple[list[Job], list[str]]:
    """Decide which file becomes which: folders keep their inner structure under the output folder.

    Returns the jobs, and a line for whatever in the folders is left out. A named file is taken whatever its suffix,
    and need not exist (reading it will say so). Raises BadInput for a folder with nothing in it, or an output that is
    a file where a folder is needed.
    """
    folder = click.get_current_context().meta.get(_FOLDER, False)
    if len(inputs) == 1 and not _is_folder(inputs[0]):
        source = inputs[0]
        inside = folder or _is_folder(output)
        return [Job(source, output / f"{source.stem}{suffix}" if inside else output)], []
    try:
        is_file = output.exists() and not output.is_dir()
    except OSError as error:
        raise BadInput(f"{output}: {_one_line(error)}") from None
    if is_file:
        raise BadInput(f"{output}: must be a folder for these inputs")
    jobs, problems = [], []
    for source in inputs:
        if not _is_folder(source):
            jobs.append(Job(source, output / f"{source.stem}{suffix}"))
            continue
        files, left_out = _files_of(source, accepted)
        problems += left_out
        if not files and not left_out:
            raise BadInput(f"{source}: no file in this folder has a suffix that can be read")
        jobs += [Job(file, output / file.relative_to(source).with_suffix(suffix)) for file in files]
    return jobs, problems


def _real(path: Path) -> Path:
    """Follow links, also where they lead nowhere or round and round, which `Path.resolve` does not survive."""
    return Path(os.path.realpath(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder on the way that may not be entered
        return False


def _files_of(folder: Path, accepted: Collection[str]) -> tuple[list[Path], list[str]]:
    """Return the files below a folder with one of these suffixes, sorted, and a line for whatever else is there.

    Hidden files and folders, which systems put there themselves, are passed over.
    """
    files: list[Path] = []
    problems: list[str] = []
    others: dict[str, int] = {}
    walk = os.walk(
        folder, onerror=lambda e: problems.append(f"{e.filename}: {_one_line(e)}"), followlinks=False
    )
    for place, folders, names in walk:
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(place) / name).is_symlink():
                problems.append(f"{Path(place) / name}: a link to a folder, which is not followed")
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(place) / name
            if path.suffix.lower() in accepted:
                files.append(path)
            else:
                kind = path.suffix.lower() or "no suffix"
                others[kind] = others.get(kind, 0) + 1
    if others:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(others.items()))
        problems.append(f"{folder}: left out what is not read by its suffix: {kinds}")
    return sorted(files), problems


def _run(jobs: Sequence[Job], work: Callable[[Job], bytes], problems: Sequence[str], quiet: bool) -> None:
    """Do every job; report bad ones and what was left out, and exit with code 2 at the end if there were any."""
    from tqdm import tqdm

    taken = {_real(job.source) for job in jobs}
    for problem in problems:
        click.echo(f"rdc: {problem}", err=True)
    failed = bool(problems)
    hidden = quiet or len(jobs) < 2 or not sys.stderr.isatty()
    for job in tqdm(jobs, disable=hidden, unit="file", file=sys.stderr):

        def say(message: str, source: Path = job.source) -> None:
            tqdm.write(f"rdc: {source}: {message}", file=sys.stderr)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                target = _real(job.target)
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


def _readable_formats() -> list[str]:
    """Return the types of files that Pillow decodes by itself: for EPS it runs Ghostscript on what anyone sent."""
    from PIL import Image

    Image.init()
    return sorted(set(Image.OPEN) - {"EPS", "RDC"})  # streams are no pictures to code again


def _readable_suffixes() -> set[str]:
    from PIL import Image

    formats = _readable_formats()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats}


def _writable_format(target: Path) -> str:
    from PIL import Image

    picture_format = Image.registered_extensions().get(target.suffix.lower())
    if picture_format not in Image.SAVE or picture_format == "RDC":
        raise InputError(f"cannot write pictures of type '{target.suffix}' ({target.name})")
    return picture_format


def _image_file(image: Image.Image, picture_format: str, background: Background | None = None) -> bytes:
    """Return the bytes of the image file that a decoded picture becomes, with what it has besides pixels."""
    from .metadata import save_arguments, without_alpha

    if background is not None:
        image = without_alpha(image, background)
    if "A" in image.mode and picture_format not in _ALPHA_FORMATS:
        raise InputError(
            f"{picture_format} files do not keep transparency: --background blends it with a colour"
        )
    file = io.BytesIO()
    try:
        image.save(file, picture_format, **save_arguments(image, picture_format))
    except (
        Exception
    ) as error:  # Pillow's writers raise what their formats run into: OverflowError, struct.error
        raise InputError(f"cannot write as {picture_format}: {_one_line(error)}") from None
    return file.getvalue()


def _load_image(path: Path, max_pixels: int, rules: Rules) -> Image.Image:
    """Open an image upright and fully decoded, its size checked before its pixels are."""
    from PIL import Image

    from .metadata import upright
    from .pixels import size_of

    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=_readable_formats())
            if image.width * image.height > max_pixels:
                raise LimitError(f"image of {image.width}x{image.height} is over {max_pixels} pixels")
            size_of(image, rules)  # before Pillow decodes it and reduces what it holds
            # A camera's MPO holds previews and other views besides the photo.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                warnings.warn("only the first frame is coded", CodecWarning, stacklevel=2)
            return upright(image)
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
