"""This module reads the arrays of an `.npz` file, whatever is in it; one that claims much takes no more memory."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import LimitError, _text_of

MAX_BYTES = 1 << 24  # of all arrays together, as in the C API; those of the shipped bundle have 1.2 million
_SUFFIX = ".npy"


def read(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file's content by name.

    Raises ValueError for what is no archive of arrays of numbers in C order, LimitError for more than 16 MiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # headers are parsed as Python, by NumPy, which has remarks on odd ones
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise LimitError(f"an archive of arrays that holds more than {MAX_BYTES} bytes")
            arrays = {m.filename.removesuffix(_SUFFIX): _array(archive.read(m)) for m in members}
    except (LimitError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise almost anything on damaged files
        raise ValueError(f"no archive of arrays: {_text_of(error)}") from error
    if len(arrays) != len(members):
        raise ValueError("an archive with two arrays of one name")
    return arrays


def _array(content: bytes) -> NDArray[Any]:
    """Make an array of the content of an `.npy` file. What its header says of the size is checked before."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, transposed, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, transposed, dtype = np.lib.format.read_array_header_2_0(file)
    start = file.tell()
    if transposed or dtype.hasobject:
        raise ValueError("an array that is not one of numbers in C order")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError("an array has too few or too many values")
    return np.ndarray(
        shape, dtype, content, start
    ).copy()  # the content may lie at any address, numbers may not
