"""These are all errors and warnings that the runtime raises on purpose."""

from __future__ import annotations

import warnings


class CodecError(Exception):
    """All errors of this package derive from this one. In a batch, `index` tells which item it is about, from 0."""

    index: int | None = None


class TruncatedError(CodecError):
    """The stream ends before the part that a picture needs."""


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


class CodecWarning(UserWarning):
    """All warnings of this package derive from this one."""


class DamagedAuxiliaryWarning(CodecWarning):
    """Auxiliary data is damaged or cut off; the picture is decoded without that part."""


def _text_of(error: BaseException) -> str:
    """Return what an error of another library says, or the name of its type where it says nothing."""
    return str(error) or type(error).__name__


# Every damaged stream is reported, not only the first at a line of code; appended, so that filters which
# the application has set come first.
warnings.simplefilter("always", CodecWarning, append=True)
