"""Files of pictures as Pillow reads and writes them: which types there are, upright and checked before decoding.

The command line, the service and jobs over whole corpora share this. Pillow is loaded when it is needed.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .errors import CodecError, CodecWarning, InputError, LimitError
from .files import one_line
from .pixels import Background, Rules

if TYPE_CHECKING:
    from PIL import Image

HAVE_QUALITY = ("AVIF", "JPEG", "MPO", "WEBP")
_ALPHA_FORMATS = frozenset({"PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "SGI", "QOI"})


class UnknownFormatError(InputError):
    """The bytes are no picture of a type that is read."""


def readable_formats() -> list[str]:
    """Return the types of files that Pillow decodes by itself: for EPS it runs Ghostscript on what anyone sent."""
    from PIL import Image

    Image.init()
    return sorted(set(Image.OPEN) - {"EPS", "RDC"})  # streams are no pictures to code again


def readable_suffixes() -> set[str]:
    """Return the suffixes of those files, with their dots."""
    from PIL import Image

    formats = readable_formats()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats}


def writable_format(target: Path) -> str:
    """Return Pillow's name of the type that a suffix stands for. Raises InputError where it writes none."""
    from PIL import Image

    picture_format = Image.registered_extensions().get(target.suffix.lower())
    if picture_format not in Image.SAVE or picture_format == "RDC":
        raise InputError(f"cannot write pictures of type '{target.suffix}' ({target.name}), see --format")
    return picture_format


def load(file: IO[bytes], max_pixels: int, rules: Rules) -> Image.Image:
    """Open an image upright and fully decoded, its size checked before its pixels are.

    Gives a CodecWarning where there are more frames than the first. Raises UnknownFormatError, LimitError, InputError.
    """
    from PIL import Image

    from .metadata import upright
    from .pixels import size_of

    try:
        Image.MAX_IMAGE_PIXELS = None  # max_pixels says how many, before any is decoded
        image = Image.open(file, formats=readable_formats())
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
        raise UnknownFormatError("not an image that can be read") from None
    except Image.DecompressionBombError as error:
        raise LimitError(one_line(error)) from None
    except Exception as error:
        # Pillow's readers raise almost anything on damaged files: OSError, SyntaxError,
        # struct.error, IndexError, ...
        raise InputError(f"damaged image: {one_line(error)}") from None


def to_bytes(
    image: Image.Image,
    picture_format: str,
    background: Background | None = None,
    quality: int | None = None,
    quick: bool = False,
) -> bytes:
    """Return the bytes of the image file that a decoded picture becomes, with what it has besides pixels.

    picture_format: Pillow's name of the type. background: to blend transparency with. quality: 0 to 100, for the types
    of HAVE_QUALITY (None: Pillow's). quick: write PNG files in a quarter of the time, 8 % larger. Raises InputError for
    what the type cannot hold.
    """
    from .metadata import save_arguments, without_alpha

    if background is not None:
        image = without_alpha(image, background)
    if "A" in image.mode and picture_format not in _ALPHA_FORMATS:
        raise InputError(
            f"{picture_format} files do not keep transparency: --background blends it with a colour"
        )
    file = io.BytesIO()
    options = {} if quality is None else {"quality": quality}
    if quick and picture_format == "PNG":
        options["compress_level"] = 1
    try:
        image.save(file, picture_format, **save_arguments(image, picture_format), **options)
    except (
        Exception
    ) as error:  # Pillow's writers raise what their formats run into: OverflowError, struct.error
        raise InputError(f"cannot write as {picture_format}: {one_line(error)}") from None
    return file.getvalue()
