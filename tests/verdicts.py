"""What the package and the C API say of a stream, in one form, so that the two can be compared."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from c_library import STATES, CBundle, CError, CLibrary
from surroundings import recorded_warnings

from rdc_codec import Codec, container
from rdc_codec.errors import CodecError

PLANES = {"primary_hyper": "z1", "primary_latents": "y1", "auxiliary_hyper": "z2", "auxiliary_latents": "y2"}
MANY = 1 << 48


def class_of(error: CodecError) -> str:
    """Return the name of the status that stands for an error of the package."""
    words = re.findall("[A-Z][a-z]+", type(error).__name__)[:-1]
    return "_".join(words).upper()


def python_container(data: bytes, max_pixels: int = MANY) -> Any:
    """Return what the package says of a container: all that it accepts, or the class of its error."""
    try:
        stream = container.read(data, max_pixels=max_pixels)
    except CodecError as error:
        return class_of(error)
    h = stream.header
    fields = (h.width, h.height, h.quality, h.base_quality, h.aux_quality, h.parse_id, h.picture_id)
    return (
        fields,
        [(int(c.type), c.offset, c.length, c.state.value) for c in stream.chunks],
        bool(stream.damage()),
    )


def c_container(library: CLibrary, data: bytes, max_pixels: int = MANY) -> Any:
    """Return the same of the C API."""
    try:
        stream = library.stream(data, max_pixels)
    except CError as error:
        return error.status
    h = stream.header
    identities = bytes(h.parse_id), bytes(h.picture_id)
    fields = (h.width, h.height, h.quality, h.base_quality, h.aux_quality, *identities)
    return (
        fields,
        [(c.type, c.offset, c.length, STATES[c.state]) for c in stream.chunks],
        bool(stream.damage()),
    )


def python_symbols(codec: Codec, data: bytes) -> Any:
    """Return the package's symbols with how many slices there are and whether there was a warning, or an error."""
    with recorded_warnings() as caught:
        try:
            found = {PLANES[name]: plane for name, plane in codec.symbols(data).items()}
        except CodecError as error:
            return class_of(error)
    return found, codec.verify(data).slices, bool(caught)


def c_symbols(bundle: CBundle, data: bytes) -> Any:
    try:
        read = bundle.read(bundle.api.stream(data, 1 << 27))
    except CError as error:
        return error.status
    return read.planes, read.slices, read.problem is not None


def assert_same_container(library: CLibrary, data: bytes, max_pixels: int = MANY) -> None:
    assert c_container(library, data, max_pixels) == python_container(data, max_pixels), data.hex()


def assert_same_symbols(codec: Codec, bundle: CBundle, data: bytes) -> None:
    expected, found = python_symbols(codec, data), c_symbols(bundle, data)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected, data.hex()
        return
    assert found[1:] == expected[1:]
    for name, plane in found[0].items():
        np.testing.assert_array_equal(plane, expected[0].get(name, np.zeros_like(plane)))
