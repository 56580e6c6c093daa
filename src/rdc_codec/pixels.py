"""This module turns pictures as users have them into the graphs' padded int8 tensors, and back."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from . import forking
from .alpha import fill
from .errors import InputError, _text_of
from .types import HostImage, Picture, Pixels, Plane

_PLAIN_MODES = ("RGB", "L", "1", "P")
_ALPHA_MODES = ("RGBA", "LA", "PA")
_GREY_MODES = ("L", "1", "LA")
_DEEP_MODES = (
    "I;16",
    "I;16L",
    "I;16B",
    "I;16N",
    "I",
)  # "I" has 32 bits, of which readers of 16-bit files use 16
_CONVERTED_MODES = ("CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "La")
_CHANNELS = (1, 3, 4)
_DEEP_MAX = 65535

Background = tuple[int, int, int]


@dataclass(frozen=True)
class Rules:
    """Says what becomes of pictures that are not 8-bit RGB, grey or palette; see `Codec.encode`.

    Raises InputError for a value of the wrong kind.
    """

    background: Background | None = None
    convert: bool = False
    to_8bit: bool = False

    def __post_init__(self) -> None:
        for name in ("convert", "to_8bit"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} must be True or False, got {getattr(self, name)!r}")
        colour = self.background
        if colour is None:
            return
        if not isinstance(colour, tuple | list) or len(colour) != 3:
            raise InputError(f"background must be (red, green, blue) or None, got {colour!r}")
        if not all(isinstance(v, int | np.integer) and 0 <= v <= 255 for v in colour):
            raise InputError(f"background must have three whole numbers from 0 to 255, got {colour!r}")


class Planes(NamedTuple):
    """Holds what is coded of a picture.

    rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], None where it is opaque. grey: it was grey, and its channels are the
    same. converted: its pixels were of another colour space.
    """

    rgb: Picture
    alpha: Plane | None
    grey: bool
    converted: bool


def size_of(image: HostImage, rules: Rules = Rules()) -> tuple[int, int]:
    """Return (height, width) of what `planes_of` would take, from its description alone: no pixel is decoded.

    Raises InputError for everything that is no picture with a rule: arrays must be uint8 [H, W], [H, W, 1], [H, W, 3]
    or [H, W, 4], PIL images of the modes RGB, L, 1 and P, or those with alpha. Other colour spaces need
    `rules.convert`, 16 bits `rules.to_8bit`, and floating-point numbers are always refused, because their range is the
    caller's to know. Files that Pillow itself reduces to 8 bits (16-bit RGB in PNG, PPM or TIFF) are refused as long as
    they are not loaded yet; afterwards nothing tells them apart. Nor does anything in AVIF and JPEG 2000 files: they
    are taken as Pillow gives them.
    """
    if isinstance(image, np.ndarray):
        height, width = _size_of_array(image, rules)
    else:
        mode = getattr(image, "mode", None)
        if mode is None or not hasattr(image, "convert"):
            raise InputError(f"image must be a uint8 array or a PIL image, got {type(image).__name__}")
        if mode in _CONVERTED_MODES and not rules.convert:
            raise InputError(
                f"images of mode {mode} are not coded unless convert=True (--convert) makes them RGB"
            )
        if mode in _DEEP_MODES and not rules.to_8bit:
            raise InputError(
                f"images of mode {mode} are not coded unless to_8bit=True (--to-8bit) rounds 16 bits to 8"
            )
        if mode not in _PLAIN_MODES + _ALPHA_MODES + _CONVERTED_MODES + _DEEP_MODES:
            raise InputError(
                f"images of mode {mode} are not coded: which 8-bit pixels they stand for is not said"
            )
        if not rules.to_8bit and _is_deep(image):
            raise InputError(
                "images of 16 bits a channel are not coded unless to_8bit=True (--to-8bit) reduces them to 8"
            )
        width, height = image.size
    if 0 in (height, width):
        raise InputError("image has no pixels")
    return height, width


def _size_of_array(image: Pixels, rules: Rules) -> tuple[int, int]:
    if isinstance(image, np.ma.MaskedArray):
        raise InputError("image array is masked, and masks are not coded")
    if image.dtype == np.uint16 and not rules.to_8bit:
        raise InputError("image array must be uint8, got uint16: to_8bit=True rounds 16 bits to 8")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"image array must be uint8, got {image.dtype}")
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in _CHANNELS):
        raise InputError(
            f"image array must have shape (height, width) or (height, width, 1, 3 or 4), got {image.shape}"
        )
    return image.shape[0], image.shape[1]


def _is_deep(image: Any) -> bool:
    """Tell whether a PIL image still to be decoded has more than 8 bits a sample, which Pillow would drop."""
    for codec, _, _, args in getattr(image, "tile", ()):
        values = args if isinstance(args, tuple) else (args,)
        if any(isinstance(v, str) and ";16" in v for v in values):
            return True
        if codec.startswith("ppm") and any(isinstance(v, int) and v > 255 for v in values):
            return True
    return False


class _Loading:
    """Holds the locks under which PIL images decode their files, which only one thread may do for an image.

    Which lock is an image's follows from where it lies in memory.
    """

    def __init__(self) -> None:
        self.after_fork()
        forking.register(self)

    def after_fork(self) -> None:
        """Make the locks anew, which others may have held when this process was forked."""
        self._locks = [threading.Lock() for _ in range(64)]

    def lock_of(self, image: object) -> threading.Lock:
        return self._locks[id(image) // 64 % len(self._locks)]


_LOADING = _Loading()


def loading_lock(image: object) -> threading.Lock:
    """Return the lock to hold while anything is read of a PIL image that comes from its file."""
    return _LOADING.lock_of(image)


def planes_of(image: HostImage, rules: Rules = Rules()) -> Planes:
    """Take the pixels of an array or a PIL image apart. Several threads may give the same image.

    Alpha is left out where it is opaque everywhere, and blended with `rules.background`. Where pixels cannot be seen,
    their colours are replaced by smooth ones, which cost fewer bytes. Raises InputError as `size_of` does, and for a
    PIL image whose file turns out to be damaged.
    """
    if isinstance(image, np.ndarray):
        size_of(image, rules)
        return _of_array(image, rules)
    try:
        with loading_lock(image):
            size_of(image, rules)
            if hasattr(image, "load"):
                image.load()
        return _of_image(image, rules)
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow decodes files here, and its readers raise almost anything
        raise InputError(f"damaged image: {_text_of(error)}") from None


def _of_array(image: Pixels, rules: Rules) -> Planes:
    pixels = cast("Picture", image) if image.dtype == np.uint8 else to_8bit(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return _planes(pixels[..., :3], alpha, pixels.shape[2] == 1, False, rules)


def _of_image(image: Any, rules: Rules) -> Planes:
    mode = image.mode
    if mode in _DEEP_MODES:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > _DEEP_MAX:
            raise InputError(f"image of mode {mode} has values outside 0 to {_DEEP_MAX}: they are not 16-bit")
        key = image.info.get("transparency")  # one value that is transparent
        alpha = None if key is None else np.where(values == key, 0, 255).astype(np.uint8)
        return _planes(to_8bit(values)[..., None], alpha, True, False, rules)
    converted = mode in _CONVERTED_MODES
    if mode in ("RGBa", "La"):
        image = image.convert(mode.upper())
    # The attribute knows of palettes with transparency too; objects that only look like images lack it.
    may_be = getattr(image, "has_transparency_data", "transparency" in image.info)
    colours = np.asarray(image.convert("RGBA" if may_be else "RGB"))
    alpha = colours[..., 3] if may_be else None
    return _planes(colours[..., :3], alpha, image.mode in _GREY_MODES, converted, rules)


def _planes(pixels: Picture, alpha: Plane | None, grey: bool, converted: bool, rules: Rules) -> Planes:
    """Return the planes to code of uint8 [H, W, 1 or 3] and its transparency."""
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if alpha is not None and rules.background is not None:
        pixels, alpha = composite(pixels, alpha, rules.background), None
        grey = grey and len(set(rules.background)) == 1
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if alpha is not None:
        # Copied, because a batch's caller may fill its buffer again before the plane is packed.
        pixels, alpha = fill(pixels, alpha), alpha.copy()
    return Planes(pixels, alpha, grey, converted)


def to_8bit(values: NDArray[Any]) -> Plane:
    """Return 16-bit values, 0 to 65535, as uint8: value * 255 / 65535, rounded (which is never half-way)."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def composite(pixels: Picture, alpha: Plane, background: Background) -> Picture:
    """Blend uint8 [H, W, C], as far as alpha, uint8 [H, W], lets it, with a colour: return uint8 [H, W, 3]."""
    share = alpha[..., None].astype(np.uint16)
    blended = pixels * share + np.array(background, np.uint16) * (255 - share)
    return ((blended + 127) // 255).astype(np.uint8)


def to_tensor(rgb: np.ndarray, stride: int) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3], as int8 [1, H', W', 3] of value - 128.

    Edges are repeated up to multiples of `stride`.
    """
    pad = [(0, -side % stride) for side in rgb.shape[:2]]
    padded = np.pad(rgb, (*pad, (0, 0)), mode="edge")
    return (padded ^ np.uint8(0x80)).view(np.int8)[None]


def from_tensor(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo `to_tensor` and leave out the padding: return uint8 [height, width, 3], a new array."""
    return pixels[0, :height, :width].view(np.uint8) ^ np.uint8(0x80)
