"""This plugin lets Pillow open and save `.rdc` files: `import rdc_codec.pillow` is enough.

`Image.open` reads the header alone; networks run when pixels are asked for. `image.save("a.rdc", quality=60)` takes the
arguments of `Codec.encode`, and `exif`, `icc_profile` and `xmp` as Pillow's other writers do. Errors are those that
users of Pillow expect (UnidentifiedImageError, OSError), with the codec's as their cause.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, replace
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from . import attachments, container, forking, metadata
from .codec import Codec, Layers
from .container import ChunkType
from .errors import CodecError, DamagedMetadataWarning, InputError
from .metadata import Metadata
from .pixels import Rules, size_of

FORMAT = "RDC"
MIME = "image/x-rdc"
SUFFIX = ".rdc"


@dataclass(frozen=True)
class _Dials:
    """Holds what files are opened with."""

    beta: float = 0.0
    layers: Layers | None = None


class _Shared:
    """Holds the codec of all images, made when the first one needs it, and the dials."""

    def __init__(self) -> None:
        self.dials = _Dials()
        self._codec: Codec | None = None
        self.after_fork()
        forking.register(self)

    def after_fork(self) -> None:
        """Make the lock anew, which another thread may have held when this process was forked."""
        self._lock = threading.Lock()

    def codec(self) -> Codec:
        with self._lock:
            if self._codec is None:
                self._codec = Codec()
            return self._codec

    def set(self, codec: Codec | None, dials: _Dials) -> None:
        with self._lock:
            if codec is not None:
                self._codec = codec
            self.dials = dials


_SHARED = _Shared()


class RdcImageFile(ImageFile.ImageFile):
    """Is an `.rdc` file as Pillow sees it: mode RGB, RGBA, L or LA, and ICC profile, Exif and XMP data in `info`."""

    format = FORMAT
    format_description = "RDC neural image codec"

    # Of an image that is still to be decoded; unpickled ones have their pixels.
    _data: bytes | None = None
    _dials = _Dials()
    _turn: threading.Lock

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        try:
            # The header is checked by Pillow's own limit here, and by the codec's before pixels are decoded.
            stream = container.read(data, max_pixels=container.MAX_SIDE**2)
        except CodecError as error:
            raise UnidentifiedImageError(f"cannot read this RDC file: {error}") from error
        self._size = (stream.header.width, stream.header.height)
        self._mode = attachments.mode_of(stream)
        found = attachments.read(stream, attachments.KINDS - {ChunkType.ALPHA})
        for problem in found.problems:
            warnings.warn(f"opened without it: {problem}", DamagedMetadataWarning, stacklevel=5)
        self.info.update(found.metadata.to_info())
        self.tile = []  # Pillow 10 takes None for an image that cannot be loaded
        self._data, self._dials, self._turn = data, _SHARED.dials, threading.Lock()

    def verify(self) -> None:
        """Check the checksums of all chunks, as `Image.Image.verify` has it. Raises OSError where one is wrong."""
        if self._data is not None:
            for chunk in container.read(self._data, max_pixels=container.MAX_SIDE**2).chunks:
                if chunk.state is not container.ChunkState.OK:
                    raise OSError(f"this RDC file is broken: {chunk.name} is {chunk.state.value}")
        super().verify()

    def load(self) -> Any:
        """Decode the pixels, once; several threads may ask for them. Raises OSError where that fails."""
        if self._data is not None:
            with self._turn:
                if self._data is not None:
                    self.im = self._decoded(self._data).im
                    if self.fp is not None and self._exclusive_fp:
                        self.fp.close()
                    self.fp = None
                    self._data = None
        return super().load()

    def _decoded(self, data: bytes) -> Image.Image:
        try:
            picture = _SHARED.codec().decode(data, self._dials.beta, self._dials.layers)
        except CodecError as error:
            raise OSError(f"cannot decode this RDC file: {error}") from error
        # The rest was read, and warned of, when the file was opened.
        stream = container.read(data, max_pixels=container.MAX_SIDE**2)
        found = attachments.read(stream, {ChunkType.ALPHA})
        for problem in found.problems:
            warnings.warn(f"decoded without it: {problem}", DamagedMetadataWarning, stacklevel=4)
        image = replace(found, grey=self.mode.startswith("L")).image(picture)
        # Damage within a chunk of the right checksum is found here; the mode was told already.
        return image if image.mode == self.mode else image.convert(self.mode)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC + bytes([container.VERSION]))


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options: dict[str, Any] = dict(getattr(image, "encoderinfo", {}))
    options.pop("save_all", None)
    given: dict[str, Any] = {
        name: options.pop(name) for name in ("icc_profile", "exif", "xmp") if name in options
    }
    rules = Rules(*(options.get(name, default) for name, default in Rules().__dict__.items()))
    try:
        size_of(image, rules)
    except InputError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    try:
        if given:
            kept = options.get("metadata", True)
            if not isinstance(kept, Metadata):
                kept = metadata.of_image(image) if kept else Metadata()
            options["metadata"] = _with(kept, given)
        data = _SHARED.codec().encode(image, **options)
    except InputError:
        raise  # a ValueError, as Pillow's writers raise for arguments
    except CodecError as error:
        raise OSError(f"cannot write as {FORMAT}: {error}") from error
    file.write(data)


def _with(found: Metadata, given: dict[str, Any]) -> Metadata:
    """Replace metadata by what `save` was given: bytes, texts, an Image.Exif, or None for nothing."""

    def plain(value: Any) -> Any:
        if isinstance(value, Image.Exif):
            return value.tobytes() if len(value) else None
        return value.encode() if isinstance(value, str) else value

    return replace(found, **{name: plain(value) for name, value in given.items()})


def register(codec: Codec | None = None, beta: float = 0.0, layers: Layers | None = None) -> None:
    """Register the plugin, which importing this module does already, or set what it works with.

    codec: used for all images from now on (None: the one in use, or the shipped model when it is first needed). beta
    and layers: as for `Codec.decode`, for images that are opened from now on; they are checked when one is decoded.
    """
    _SHARED.set(codec, _Dials(beta, layers))
    Image.register_open(FORMAT, RdcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


register()
