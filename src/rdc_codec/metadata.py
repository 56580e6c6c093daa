"""A picture's ICC profile, Exif and XMP data: taken from PIL images and given back to them, never interpreted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DroppedMetadataWarning, InputError, _text_of
from .pixels import Background, composite

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 1 << 24  # of each kind
EXIF_START = b"Exif\0\0"  # as JPEG has it; streams leave it out

_SPACES = slice(16, 20)  # of an ICC profile: the colour space whose numbers it describes
_RGB_AND_GREY = (b"RGB ", b"GRAY")
_GREY = b"GRAY"
# Tags of a TIFF file that say how its own pixels are stored, or hold what travels in another chunk.
_STORAGE_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291}
    | {292, 293, 297, 301, 317, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 342}
    | {347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724}
)  # fmt: skip
_JPEG_MARKER = 65533  # bytes that one segment of a JPEG file has room for
_JPEG_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_SRGB_GAMMA = 1 / 2.2
_SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


@dataclass(frozen=True)
class Metadata:
    """Holds what a picture carries beside its pixels, as bytes; None where it has none.

    icc_profile: an ICC profile. exif: Exif data, with or without `Exif\\0\\0` before it. xmp: an XMP packet. Each is at
    most 16 MiB. Raises InputError for anything else.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("icc_profile", "exif", "xmp"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, bytes):
                raise InputError(f"{name} must be bytes or None, got {type(value).__name__}")
            object.__setattr__(self, name, value or None)
            if len(value) > MAX_BYTES:
                raise InputError(
                    f"{name} has {len(value)} bytes, at most {MAX_BYTES} are kept: "
                    "metadata=False (--strip) leaves it out"
                )
        if self.exif is not None:
            object.__setattr__(self, "exif", self.exif.removeprefix(EXIF_START) or None)

    def to_info(self) -> dict[str, Any]:
        """Return the entries of PIL.Image.Image.info that Pillow's own readers would make of it."""
        found = {
            "icc_profile": self.icc_profile,
            "exif": self.exif and EXIF_START + self.exif,
            "xmp": self.xmp,
        }
        return {name: value for name, value in found.items() if value}


def of_image(image: Any) -> Metadata:
    """Take the metadata of a PIL image, which must be loaded: PNG files may have some after their pixels.

    Raises InputError for more than 16 MiB of a kind.
    """
    info = getattr(image, "info", {})
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")  # PNG, before Pillow 11
    return Metadata(_as_bytes(info.get("icc_profile")), _exif_of(image, info), _as_bytes(xmp))


def _as_bytes(value: Any) -> bytes | None:
    """Return bytes of what readers put into `info`: bytes, texts, or nothing."""
    if isinstance(value, str):
        value = value.encode()
    return bytes(value) if isinstance(value, bytes | bytearray) and value else None


def _exif_of(image: Any, info: dict[str, Any]) -> bytes | None:
    raw = info.get("exif")
    if raw is not None and hasattr(raw, "tobytes"):  # an Image.Exif that somebody put there
        raw = raw.tobytes()
    if raw is not None:
        return _as_bytes(raw)
    if not hasattr(image, "tag_v2") and "Raw profile type exif" not in info:
        return None
    from PIL.Image import Exif

    try:  # TIFF files are what Exif data is made of
        exif = Exif()
        exif.load(image.getexif().tobytes())
        for tag in _STORAGE_TAGS & set(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else None
    except Exception as error:  # of many types, on what anyone wrote there
        _dropped(f"the Exif data cannot be read and are left out: {_text_of(error)}")
        return None


def upright(image: Image.Image) -> Image.Image:
    """Return a copy of a PIL image with its Exif orientation applied and reset, and all of its metadata in `info`.

    Exif data that cannot be read, in which nothing can be reset, are left out with a warning.
    """
    from PIL import ImageOps
    from PIL.Image import Exif

    image.load()
    found = of_image(image).to_info()
    try:
        Exif().load(found.get("exif", b""))
    except Exception as error:  # of many types, on what anyone wrote there
        _dropped(f"the Exif data cannot be read and are left out: {_text_of(error)}")
        for name in ("exif", "Raw profile type exif"):
            image.info.pop(name, None)
        del found["exif"]
        image = image.copy()  # which has not tried to read them
    image.info.update(found)  # a copy has no TIFF tags
    return ImageOps.exif_transpose(image)


def check_colours(found: Metadata, info: dict[str, Any], grey: bool, converted: bool) -> Metadata:
    """Return the metadata that fits the pixels that are coded; warn of what is left out.

    info: of the PIL image. grey: one channel is coded. converted: the pixels were of another colour space.
    """
    profile = found.icc_profile
    if profile is None:
        gamma, primaries = info.get("gamma"), info.get("chromaticity")
        odd = gamma is not None and abs(gamma - _SRGB_GAMMA) > 0.01
        if primaries is not None:
            pairs = zip(primaries, _SRGB_CHROMATICITY, strict=False)
            odd = odd or any(abs(a - b) > 0.005 for a, b in pairs)
        if odd and "srgb" not in info:
            _dropped("the file's gamma and chromaticities have no place in a stream and are left out")
        return found
    space = bytes(profile[_SPACES])
    if converted:
        _dropped("the ICC profile describes the colours before they were converted and is left out")
    elif space not in _RGB_AND_GREY or (space == _GREY and not grey):
        _dropped(
            f"the ICC profile is for colours of type {space.decode('ascii', 'replace').strip()!r} and is left out"
        )
    else:
        return found
    return Metadata(None, found.exif, found.xmp)


def _dropped(what: str) -> None:
    warnings.warn(what, DroppedMetadataWarning, stacklevel=2)


def without_alpha(image: Image.Image, background: Background) -> Image.Image:
    """Blend the transparency of an image of mode RGBA or LA with a colour; others are returned as they are."""
    from PIL import Image

    if "A" not in image.mode:
        return image
    grey = image.mode == "LA" and len(set(background)) == 1
    *_, plane = image.split()
    blended = composite(np.asarray(image.convert("RGB")), np.asarray(plane), background)
    result = Image.fromarray(blended).convert("L" if grey else "RGB")
    found = check_colours(of_image(image), {}, grey, False)
    result.info.update(found.to_info())
    return result


def save_arguments(image: Image.Image, picture_format: str) -> dict[str, Any]:
    """Return the arguments with which Pillow's writer of that format keeps the metadata in `image.info`.

    What has no room in a JPEG file is left out, with a warning.
    """
    found = of_image(image)
    given = found.to_info()
    if picture_format == "JPEG":
        for name, start in (("exif", b""), ("xmp", _JPEG_XMP_NAME)):
            if len(given.get(name, b"")) + len(start) > _JPEG_MARKER:
                del given[name]
                _dropped(f"JPEG files have no room for so much {name} data: it is left out")
    if picture_format == "PNG" and found.xmp is not None:
        from PIL.PngImagePlugin import PngInfo

        given["pnginfo"] = texts = PngInfo()
        try:
            texts.add_itxt("XML:com.adobe.xmp", found.xmp.decode())
        except UnicodeDecodeError:
            _dropped("the XMP data is no UTF-8, which PNG files need: it is left out")
    if picture_format == "TIFF" and found.xmp is not None:
        from PIL.Image import Exif

        given["exif"] = exif = Exif()
        if found.exif is not None:
            exif.load(EXIF_START + found.exif)
        exif[700] = found.xmp
    return given
