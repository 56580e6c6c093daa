"""Makes the conformance kit: `python tests/make_conformance.py`.

Run it only to add cases: every file that it writes is a promise (docs/conformance.md). It replaces the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

sys.path[0] = str(Path(__file__).resolve().parents[1])

from rdc_codec import Codec, container, entropy_coding
from rdc_codec.conformance import FORMAT, KIT
from rdc_codec.container import ChunkType, Header
from rdc_codec.entropy_coding import Symbols
from rdc_codec.metadata import Metadata
from rdc_codec.native import crc32c

DATA = Path(__file__).parent / "data"
KIT_FOLDER = Path(__file__).parent / "conformance"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
ICC = b"\0\0\0\x90lcms\x04\x40\0\0mntrRGB XYZ " + bytes(
    120
)  # a header and an empty table, which nobody reads
NOTE = b"a chunk that no reader knows"
UNKNOWN, EARLY = 99, 3
Edit = Callable[[bytearray], None]


def resealed(stream: bytes, edit: Edit) -> bytes:
    """Return a stream whose header was edited and has the right CRC, so that the value itself is what is wrong."""
    size = container.read_head(stream, max_pixels=1 << 48).size
    head = bytearray(stream[: size - 4])
    edit(head)
    return bytes(head) + crc32c(bytes(head)).to_bytes(4, "little") + stream[size:]


def put(offset: int, *values: int) -> Edit:
    def edit(head: bytearray) -> None:
        head[offset : offset + len(values)] = bytes(values)

    return edit


def flipped(stream: bytes, offset: int) -> bytes:
    changed = bytearray(stream)
    changed[offset] ^= 0x10
    return bytes(changed)


def contents(stream: bytes) -> tuple[Header, list[tuple[int, bytes]]]:
    parsed = container.read(stream, max_pixels=1 << 30)
    return parsed.header, [(chunk.type, bytes(chunk.payload or b"")) for chunk in parsed.chunks]


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


class Kit:
    """Writes cases into a folder, whose codec's symbols and pictures are what others have to make."""

    def __init__(self, folder: Path, codec: Codec) -> None:
        self.folder, self.codec = folder, codec
        self.cases: list[dict[str, Any]] = []

    def error(self, name: str, says: str, stream: bytes, result: str, **more: object) -> None:
        (self.folder / f"{name}.rdc").write_bytes(stream)
        self.cases.append({"name": name, "says": says, "stream": f"{name}.rdc", "result": result, **more})

    def picture(
        self,
        name: str,
        says: str,
        stream: bytes,
        result: str = "whole",
        pictures: tuple[tuple[float, int | None], ...] = ((0.0, None),),
        image: bool = False,
        rewritable: bool = False,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            symbols = self.codec.symbols(stream)
            exact = {int(c["type"] == "lossless") for c in self.codec.info(stream)["chunks"]} == {0, 1}
            case: dict[str, Any] = {
                "slices": self.codec.verify(stream).slices,
                "symbols": f"{name}.npz",
                "pictures": [],
            }
            if rewritable:
                case["rewritable"] = True
            for k, (beta, layers) in enumerate(pictures):
                file = f"{name}.{k}.png"
                Image.fromarray(self.codec.decode(stream, beta=beta, layers=layers)).save(self.folder / file)
                asked: dict[str, Any] = {"beta": beta, "layers": layers, "file": file}
                if exact and result == "whole" and beta == 0 and layers != 0:
                    asked["exact"] = True
                case["pictures"].append(asked)
            if image:
                made = self.codec.decode_image(stream)
                case["image"] = {
                    "mode": made.mode,
                    "metadata": {
                        field: None
                        if (value := made.info.get(field)) is None
                        else hashlib.sha256(value).hexdigest()
                        for field in ("icc_profile", "exif", "xmp")
                    },
                }
                if "A" in made.mode:
                    made.getchannel("A").save(self.folder / f"{name}.alpha.png")
                    case["image"]["alpha"] = f"{name}.alpha.png"
        np.savez_compressed(self.folder / f"{name}.npz", **symbols)  # type: ignore[arg-type]
        self.error(name, says, stream, result, **case)

    def close(self) -> None:
        kit = {
            "format": FORMAT,
            "bundle": "../data/tiny",
            "tolerance": {"largest": 1, "share": 0.001},
            "cases": self.cases,
        }
        (self.folder / KIT).write_text(json.dumps(kit, indent=1) + "\n", encoding="utf-8")


def add_whole(kit: Kit, photo: np.ndarray) -> None:
    codec = kit.codec
    crop = photo[20:97, 150:261]
    for slices in range(5):
        kit.picture(
            f"slices_{slices}",
            f"a base with {slices} auxiliary slices",
            codec.encode(crop, 80, layers=slices),
            pictures=((0.0, None), (0.5, None), (1.0, None), (0.0, 1)),
            rewritable=True,
        )
    for name, height, width in (
        ("one_pixel", 1, 1),
        ("one_row", 1, 200),
        ("odd", 65, 33),
        ("aligned", 64, 128),
    ):
        stream = codec.encode(photo[100 : 100 + height, 100 : 100 + width], 60)
        kit.picture(name, f"a picture of {width}x{height}", stream, rewritable=True)
    for base, auxiliary in ((0, 0), (100, 100), (0, 100), (33.25, 66.75)):
        name = f"quality_{base:g}_{auxiliary:g}".replace(".", "_")
        stream = codec.encode(crop[:64, :96], 50, base_quality=base, aux_quality=auxiliary)
        says = f"the base at quality {base:g}, the auxiliary branch at {auxiliary:g}"
        kit.picture(name, says, stream, pictures=((0.0, None), (1.0, None)), rewritable=True)
    noise = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    kit.picture("noise", "many large symbols", codec.encode(noise, 100), rewritable=True)

    header, _ = contents(codec.encode(crop[:1, :1], 50))
    z = np.where(np.arange(64).reshape(-1, 1, 1) % 2, 127, -127)[: codec.bundle.primary.hyper].astype(
        np.int16
    )
    y = np.zeros((codec.bundle.primary.latent, 4, 4), np.int16)
    y[::3], y[1::3] = 2047, -2047
    planes = Symbols(z, y, z.copy(), y.copy(), 4)
    stream = container.write(header, entropy_coding.write(planes, codec.bundle))
    kit.picture("largest_symbols", "symbols at both ends of what there is", stream, rewritable=True)
    planes = Symbols(z * 0, y * 0, z * 0, y * 0, 4)
    stream = container.write(header, entropy_coding.write(planes, codec.bundle))
    kit.picture("no_symbols", "all symbols are 0", stream, rewritable=True)


def add_beside(kit: Kit, photo: np.ndarray) -> None:
    codec = kit.codec
    crop = photo[40:110, 160:250]
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    stream = codec.encode(crop, 40, metadata=Metadata(ICC, exif.tobytes(), XMP))
    kit.picture("metadata", "an ICC profile, Exif and XMP data", stream, image=True)

    plane = Image.new("L", crop.shape[1::-1])
    ImageDraw.Draw(plane).ellipse((10, 10, 80, 60), fill=200)
    header, chunks = contents(codec.encode(np.dstack([crop, np.asarray(plane)]), 40))
    beside = [c for c in chunks if c[0] != ChunkType.ALPHA]
    for kind, content in (
        ("webp", file_of(plane, "WEBP", lossless=True)),
        ("png", file_of(plane, "PNG")),
    ):
        stream = container.write(header, [*beside, (ChunkType.ALPHA, content)])
        kit.picture(f"alpha_{kind}", f"transparency in a {kind} file", stream, image=True)
    wrong = file_of(plane.crop((0, 0, 5, 5)), "PNG")
    stream = container.write(header, [*beside, (ChunkType.ALPHA, wrong)])
    kit.picture("alpha_of_another_size", "transparency of 5x5 beside 90x70", stream, "damaged", image=True)

    kit.picture("grey", "a grey picture", codec.encode(crop[..., 1], 40), image=True)

    page = np.where(np.indices((70, 90)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    exact = Image.fromarray(np.repeat(page[..., None], 3, axis=2))
    header, chunks = contents(codec.encode(np.asarray(exact), 10, layers="base"))
    asked = ((0.0, None), (0.5, None), (1.0, None), (0.0, 0))
    for kind, content in (("webp", file_of(exact, "WEBP", lossless=True)), ("png", file_of(exact, "PNG"))):
        stream = container.write(header, [*chunks, (ChunkType.LOSSLESS, content)])
        kit.picture(f"lossless_{kind}", f"a checkerboard in a {kind} file", stream, pictures=asked)
    lossy = file_of(exact, "WEBP", quality=50)
    stream = container.write(header, [*chunks, (ChunkType.LOSSLESS, lossy)])
    kit.picture("lossless_that_is_not", "LOSSLESS with a file that lost something", stream, "damaged")

    add_files_of_another_kind(kit, photo)
    header, chunks = contents(codec.encode(crop, 40, layers=2))
    stream = container.write(header, [(EARLY, NOTE), *chunks, (UNKNOWN, NOTE), (UNKNOWN, b"")])
    kit.picture("unknown_chunks", "chunks of types that no reader knows, one without content", stream)


def add_files_of_another_kind(kit: Kit, photo: np.ndarray) -> None:
    """Add pictures of a pixel with files that any other reader of PNG and WebP takes."""
    pixel = photo[:1, :1]
    header, base = contents(kit.codec.encode(pixel, 40, layers="base"))
    for kind, name, image in (
        (ChunkType.ALPHA, "alpha", Image.new("L", (1, 1), 99)),
        (ChunkType.LOSSLESS, "lossless", Image.fromarray(pixel)),
    ):
        stream = container.write(header, [*base, (kind, interlaced(file_of(image, "PNG")))])
        kit.picture(f"{name}_interlaced", "an interlaced PNG file", stream, "damaged", image=True)
    webp = bytearray(file_of(Image.fromarray(pixel), "WEBP", lossless=True))
    webp[24] |= 0x10
    stream = container.write(header, [*base, (ChunkType.LOSSLESS, bytes(webp))])
    kit.picture("lossless_with_alpha", "a WebP file that has transparency", stream, "damaged")


def interlaced(png: bytes) -> bytes:
    """Return a PNG file of one pixel that says it is interlaced, which changes nothing else in it."""
    head = png[12:28] + b"\1"
    return png[:12] + head + zlib.crc32(head).to_bytes(4, "big") + png[33:]


def add_damaged(kit: Kit, photo: np.ndarray) -> None:
    codec = kit.codec
    stream = codec.encode(photo[40:110, 160:250], 90)
    chunks = codec.info(stream)["chunks"]
    for k, chunk in enumerate(chunks[1:]):
        middle = chunk["offset"] + chunk["length"] // 2
        kit.picture(f"flip_in_slice_{k}", f"a bit of slice {k} is wrong", flipped(stream, middle), "damaged")
        kit.picture(f"cut_in_slice_{k}", f"the stream ends within slice {k}", stream[:middle], "damaged")
        kit.picture(
            f"cut_before_slice_{k}", f"the stream ends before slice {k}", stream[: chunk["offset"]], "damaged"
        )
        header, payloads = contents(stream)
        content = bytearray(payloads[k + 1][1])
        content[len(content) // 3] ^= 0xFF
        payloads[k + 1] = (payloads[k + 1][0], bytes(content[: len(content) // 2]))
        says = f"slice {k} has the right CRC and is no segment"
        kit.picture(f"broken_slice_{k}", says, container.write(header, payloads), "damaged")

    primary = chunks[0]
    middle = primary["offset"] + primary["length"] // 2
    kit.error("flip_in_primary", "a bit of PRIMARY is wrong", flipped(stream, middle), "corrupt")
    kit.error("cut_in_primary", "the stream ends within PRIMARY", stream[:middle], "truncated")
    kit.error("cut_before_primary", "nothing follows the header", stream[: primary["offset"]], "truncated")
    header, payloads = contents(stream)
    broken = [(payloads[0][0], payloads[0][1][:-3]), *payloads[1:]]
    kit.error(
        "broken_primary",
        "PRIMARY has the right CRC and is no segment",
        container.write(header, broken),
        "corrupt",
    )
    longer = [(payloads[0][0], payloads[0][1] + b"\0\0"), *payloads[1:]]
    kit.error(
        "longer_primary", "PRIMARY goes on after its segment", container.write(header, longer), "corrupt"
    )


def add_headers(kit: Kit, photo: np.ndarray) -> None:
    """Add what is wrong with a header: 13 bytes to the identities' end, then width and height (docs/bitstream.md)."""
    stream = kit.codec.encode(photo[:40, :50], 50)
    size = container.read_head(stream, max_pixels=1 << 30).size
    add = kit.error
    add("empty", "no byte at all", b"", "truncated")
    add("magic_alone", "three bytes", stream[:3], "truncated")
    add("half_a_header", "the stream ends within its header", stream[: size // 2], "truncated")
    add("a_png", "a PNG file", file_of(Image.new("RGB", (3, 3)), "PNG"), "corrupt")
    add("header_crc", "a bit of the header's CRC is wrong", flipped(stream, size - 1), "corrupt")
    add("flip_in_header", "a bit of the header is wrong", flipped(stream, 18), "corrupt")
    add("version_2", "a version to come", resealed(stream, put(3, 2)), "unsupported")
    add("flags", "a flag to come", resealed(stream, put(4, 0x80)), "unsupported")
    add("parse_id", "another model's tables", resealed(stream, put(5, 0, 0, 0, 0)), "wrong model")
    add("picture_id", "another model's weights", resealed(stream, put(9, 0, 0, 0, 0)), "wrong model")
    add("width_0", "a width of 0", resealed(stream, put(13, 0)), "corrupt")
    add("height_0", "a height of 0", resealed(stream, put(14, 0)), "corrupt")
    add(
        "varint_too_long",
        "a width of two bytes that one would do for",
        resealed(stream, longer_width),
        "corrupt",
    )
    add("quality", "a quality above 100", resealed(stream, put(15, 1, 100)), "corrupt")
    add("base_quality", "a base quality above 100", resealed(stream, put(17, 1, 100)), "corrupt")
    add("aux_quality", "an auxiliary quality above 100", resealed(stream, put(19, 1, 100)), "corrupt")
    says = "2000 pixels where 1999 are allowed"
    add("pixels", says, stream, "limit exceeded", max_pixels=1999)
    header, chunks = contents(stream)
    wide = Header(1 << 24, 1 << 24, 50, 50, 50, header.parse_id, header.picture_id)
    add("largest_header", "a picture of 2^24 x 2^24", container.write(wide, chunks), "limit exceeded")
    add("bytes_after", "a byte after the last chunk", stream + b"\0", "corrupt")
    for name, says, types in (
        ("no_primary", "only auxiliary slices", (2, 2)),
        ("two_primaries", "PRIMARY twice", (1, 1, 2)),
        ("order", "a slice before PRIMARY", (2, 1)),
        ("order_beside", "ALPHA before a slice", (1, 35, 2)),
        ("no_chunks", "a directory without entries", ()),
    ):
        add(name, says, of_types(header, types), "corrupt")


def longer_width(head: bytearray) -> None:
    head[13:14] = bytes((head[13] | 0x80, 0))


def of_types(header: Header, types: tuple[int, ...]) -> bytes:
    """Return a stream with empty chunks of these types, which a writer refuses to write in this order."""
    made = container.write(header, [(ChunkType.PRIMARY, b"")])
    size = container.read_head(made, max_pixels=1 << 48).size
    head = bytearray(made[: size - 4 - 5 - 1])  # without its CRC, the one entry and their count
    head.append(len(types))
    for kind in types:
        head += bytes([kind] if kind <= EARLY else [0, kind]) + crc32c(b"").to_bytes(4, "little")
    return bytes(head) + crc32c(bytes(head)).to_bytes(4, "little")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    shutil.rmtree(KIT_FOLDER, ignore_errors=True)
    KIT_FOLDER.mkdir()
    kit = Kit(KIT_FOLDER, Codec(DATA / "tiny", backend="onnxruntime", threads=1))
    photo = data.chelsea()
    for add in (add_whole, add_beside, add_damaged, add_headers):
        add(kit, photo)
    kit.close()
    print(f"{len(kit.cases)} cases, {sum(p.stat().st_size for p in KIT_FOLDER.iterdir()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
