"""These are all errors and warnings that the runtime raises on purpose."""

from __future__ import annotations

import sys
import warnings


class CodecError(Exception):
    """All errors of this package derive from this one. In a batch, `index` tells which item it is about, from 0."""

    index: int | None = None


class TruncatedError(CodecError):
    """The stream ends before the part that a picture needs.

    `missing`: bytes that its header lacks at least, where it ends within that.
    """

    missing: int | None = None


class CorruptError(CodecError):
    """The bytes are not an RDC stream, or a needed part of the stream is damaged."""


class UnsupportedError(CodecError):
    """The stream is well formed but uses a feature that this version cannot read."""


class WrongModelError(CodecError):
    """The stream was written with another model than the one that is loaded."""


class LimitError(CodecError):
    """The picture or stream is larger than a limit that the caller, the format or memory sets."""


class BackendError(CodecError):
    """The backend asked for is missing or cannot run here."""


class DeadlineError(CodecError, TimeoutError):
    """The time that the caller gave is over; what was begun is stopped."""


class InputError(CodecError, ValueError):
    """An argument or an image is not one that can be coded."""


class TargetError(InputError):
    """No quality gives the bytes or the PSNR that was asked for. `best` is the figure that comes nearest, in its unit.

    The unit is that of the target: bytes, bits a pixel, or dB.
    """

    def __init__(self, message: str, best: float = float("nan")) -> None:
        super().__init__(message)
        self.best = best


class CodecWarning(UserWarning):
    """All warnings of this package derive from this one."""


class DamagedAuxiliaryWarning(CodecWarning):
    """Auxiliary data is damaged or cut off; the picture is decoded without that part."""


class DamagedMetadataWarning(CodecWarning):
    """Metadata, alpha or the mark of grey pictures is damaged or cut off; the picture is given without it."""


class DroppedMetadataWarning(CodecWarning):
    """A colour profile or other metadata does not fit what is written, or cannot be read; it is left out."""


def warn_of_damage(text: str, category: type[CodecWarning] = DamagedAuxiliaryWarning) -> None:
    """Give a warning at the line of the application that called the package, however deep this is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def _text_of(error: BaseException) -> str:
    """Return what an error of another library says, or the name of its type where it says nothing."""
    return str(error) or type(error).__name__


# Every damaged stream is reported, not only the first at a line of code; appended, so that filters which
# the application has set come first.
warnings.simplefilter("always", CodecWarning, append=True)
