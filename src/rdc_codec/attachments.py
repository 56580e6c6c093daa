"""What a stream has besides the pixels of a picture: chunks of metadata, transparency, and the mark of grey."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import metadata, stored
from .container import Chunk, ChunkState, ChunkType, Stream
from .errors import CorruptError
from .metadata import MAX_BYTES, Metadata
from .pixels import Planes, loading_lock
from .types import HostImage, Picture, Plane

if TYPE_CHECKING:
    from PIL import Image

_GREY = b"\x01"
_METADATA = {ChunkType.ICC: "icc_profile", ChunkType.EXIF: "exif", ChunkType.XMP: "xmp"}
_NAMES = {
    ChunkType.ICC: "ICC profile",
    ChunkType.EXIF: "Exif data",
    ChunkType.XMP: "XMP data",
    ChunkType.ALPHA: "alpha",
    ChunkType.GREY: "mark of grey",
}
KINDS = frozenset(_NAMES)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Attachments:
    """Holds metadata, the plane of transparency, uint8 [H, W] (None: opaque), and whether the picture is grey.

    problems: what of them in a stream is damaged, missing or not as it should be, one line each.
    """

    metadata: Metadata = field(default_factory=Metadata)
    alpha: Plane | None = None
    grey: bool = False
    problems: tuple[str, ...] = ()

    def chunks(self) -> list[tuple[int, bytes]]:
        """Return the chunks that keep them, in stream order."""
        found: list[tuple[int, bytes]] = [
            (kind, value)
            for kind, name in _METADATA.items()
            if (value := getattr(self.metadata, name)) is not None
        ]
        if self.alpha is not None:
            found.append((ChunkType.ALPHA, stored.pack(self.alpha)))
        if self.grey:
            found.append((ChunkType.GREY, _GREY))
        return found

    def image(self, picture: Picture) -> Image.Image:
        """Put a decoded picture, uint8 [H, W, 3], together with them: a PIL image of mode RGB, RGBA, L or LA."""
        from PIL import Image

        image = Image.fromarray(mean_of_channels(picture) if self.grey else picture)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        image.info.update(self.metadata.to_info())
        return image


def of(image: HostImage, planes: Planes, kept: bool | Metadata) -> Attachments:
    """Return what to write beside a picture that was taken apart; warn of what does not fit its pixels.

    kept: True keeps the metadata of a PIL image, False none, and Metadata is kept instead of that.
    """
    if isinstance(kept, Metadata):
        found, info = kept, {}
    elif kept and not isinstance(image, np.ndarray):
        with loading_lock(image):
            found, info = metadata.of_image(image), dict(getattr(image, "info", {}))
    else:
        return Attachments(Metadata(), planes.alpha, planes.grey)
    return Attachments(
        metadata.check_colours(found, info, planes.grey, planes.converted), planes.alpha, planes.grey
    )


def mode_of(stream: Stream) -> str:
    """Return the mode of the PIL image that a stream becomes, by its directory alone: RGB, RGBA, L or LA."""
    there = {chunk.type for chunk in stream.chunks if chunk.state is ChunkState.OK}
    return ("L" if ChunkType.GREY in there else "RGB") + ("A" if ChunkType.ALPHA in there else "")


def read(stream: Stream, kinds: Collection[ChunkType] = KINDS) -> Attachments:
    """Read them from a stream. Never raises for what is damaged: it is missing then, and named in `problems`.

    kinds: those to look at.
    """
    problems: list[str] = []
    chunks = {chunk.type: chunk for chunk in stream.chunks if chunk.type in kinds}

    def take(kind: ChunkType, parse: Callable[[memoryview], Value]) -> Value | None:
        chunk = chunks.get(kind)
        if chunk is None:
            return None
        try:
            return parse(_payload(chunk))
        except CorruptError as error:
            problems.append(f"{_NAMES[kind]}: {error}")
            return None

    fields: dict[str, Any] = {name: take(kind, _bounded) for kind, name in _METADATA.items()}
    height, width = stream.header.height, stream.header.width
    plane = take(ChunkType.ALPHA, lambda payload: stored.unpack(payload, height, width, channels=1))
    grey = take(ChunkType.GREY, _mark)
    return Attachments(Metadata(**fields), plane, bool(grey), tuple(problems))


def _payload(chunk: Chunk) -> memoryview:
    if chunk.payload is None:
        raise CorruptError(chunk.state.value)
    return chunk.payload


def _bounded(payload: memoryview) -> bytes:
    if len(payload) > MAX_BYTES:
        raise CorruptError(f"{len(payload)} bytes, at most {MAX_BYTES} are allowed")
    return bytes(payload)


def _mark(payload: memoryview) -> bool:
    if payload != _GREY:
        raise CorruptError("a value that is not known")
    return True


def mean_of_channels(picture: Picture) -> Plane:
    """Return the grey picture, uint8 [H, W], of a decoded one: the mean of its channels, rounded.

    It is nearer to what was coded than a weighted sum, because the errors of all channels count the same.
    """
    total = picture.sum(axis=2, dtype=np.uint16)
    total += 1  # a third never lies half-way
    total //= 3
    return total.astype(np.uint8)
