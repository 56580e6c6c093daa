"""The parameters of requests, as they stand in their addresses. One that is not named here is an error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..codec import Layers
from ..pixels import Background, Rules

Quality = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Decibels = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _checked_colour(value: str) -> str:
    _colour(value)
    return value


def _colour(value: str) -> Background:
    from PIL import ImageColor

    found = ImageColor.getrgb(value)  # a ValueError says what is wrong
    if len(found) != 3:
        raise ValueError("a transparent colour is none to blend with")
    return (found[0], found[1], found[2])


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    background: Annotated[str, AfterValidator(_checked_colour)] | None = Field(
        None,
        max_length=64,
        description="Blend transparency with this colour instead of keeping it.",
        examples=["white"],
    )

    @property
    def colour(self) -> Background | None:
        """Return the background as red, green and blue."""
        return None if self.background is None else _colour(self.background)


class EncodeQuery(_Query):
    """Says how a picture is coded: the dials of `Codec.encode`."""

    quality: Quality | None = Field(
        None, description="0 (smallest) to 100; 50 without a target.", examples=[60]
    )
    base_quality: Quality | None = Field(None, description="Sets the primary branch apart.")
    aux_quality: Quality | None = Field(None, description="Sets the auxiliary branch apart.")
    share: float | None = Field(
        None, ge=0.05, le=0.95, allow_inf_nan=False, description="Gives the base this share of the bytes."
    )
    layers: str = Field(
        "all",
        pattern="^(all|base|[0-9]{1,3})$",
        description="all, base (no auxiliary data), or a number of slices.",
    )
    target_bytes: int | None = Field(
        None, ge=1, description="Searches the quality for at most so many bytes."
    )
    target_bpp: float | None = Field(None, gt=0, allow_inf_nan=False, description="... bits a pixel.")
    target_psnr: Decibels | None = Field(None, description="Searches the quality for at least so many dB.")
    min_psnr: Decibels | None = Field(None, description="Stores without loss what would have fewer dB.")
    convert: bool = Field(False, description="Takes CMYK, YCbCr, HSV and LAB pictures, converted to RGB.")
    to_8bit: bool = Field(False, description="Takes 16-bit pictures, rounded to 8 bits.")
    strip: bool = Field(False, description="Leaves out ICC profile, Exif and XMP data.")

    @property
    def how_many(self) -> Layers:
        """Return the layers as `Codec.encode` takes them."""
        return "all" if self.layers == "all" else "base" if self.layers == "base" else int(self.layers)

    @property
    def rules(self) -> Rules:
        """Return which pictures are taken."""
        return Rules(self.colour, self.convert, self.to_8bit)


class DecodeQuery(_Query):
    """Says which picture is made of a stream: the dials of `Codec.decode_image`."""

    beta: float = Field(
        0, ge=0, le=1, allow_inf_nan=False, description="1: for machines, from the base alone; 0: for people."
    )
    layers: int | None = Field(None, ge=0, le=999, description="Uses at most so many auxiliary slices.")
    region: str | None = Field(
        None,
        pattern="^[0-9]{1,9},[0-9]{1,9},[0-9]{1,9},[0-9]{1,9}$",
        description="Decodes this part alone: x,y,width,height in pixels of the picture.",
        examples=["0,0,256,256"],
    )
    scale: Literal["1", "1/2", "1/4", "1/8"] = Field("1", description="Makes it smaller: means of pixels.")
    strict: bool = Field(False, description="Takes what is damaged or missing for an error.")
    picture_quality: int | None = Field(
        None, ge=0, le=100, description="Quality that JPEG and WebP are written with (Pillow's without it)."
    )
    progressive: bool = Field(
        False,
        description="Answers several parts: the picture of the base first, as soon as that has arrived.",
    )

    @property
    def part(self) -> tuple[int, int, int, int] | None:
        """Return the region as four numbers."""
        if self.region is None:
            return None
        x, y, width, height = map(int, self.region.split(","))
        return x, y, width, height

    @property
    def factor(self) -> int:
        """Return how many pixels of a side become one."""
        return int(self.scale.rpartition("/")[2])


class NoQuery(BaseModel):
    """Has no parameters."""

    model_config = ConfigDict(extra="forbid")
