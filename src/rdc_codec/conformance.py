"""This module holds a codec against a conformance kit: `python -m rdc_codec.conformance DIR`.

A kit is a folder with streams and what a reader has to make of them; `kit.json` lists them, docs/conformance.md says
what its fields mean. Any implementation can be judged by one; this module judges this package on a backend.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import container, entropy_coding
from .codec import Codec
from .container import ChunkType
from .entropy_coding import Symbols
from .errors import (
    CodecError,
    CodecWarning,
    CorruptError,
    InputError,
    LimitError,
    TruncatedError,
    UnsupportedError,
    WrongModelError,
)

KIT = "kit.json"
FORMAT = 1
WHOLE, DAMAGED = "whole", "damaged"
ERRORS: dict[str, type[CodecError]] = {  # as docs/bitstream.md calls them
    "corrupt": CorruptError,
    "truncated": TruncatedError,
    "unsupported": UnsupportedError,
    "wrong model": WrongModelError,
    "limit exceeded": LimitError,
}


class Failure(Exception):
    """Says in which way a reader does not do what a kit asks for."""


class Outcome(NamedTuple):
    """Says whether a case was passed; problem: why not, in one line."""

    name: str
    problem: str | None


def check(folder: Path, codec: Codec) -> Iterator[Outcome]:
    """Yield the outcome of each case of a kit. The codec is for nothing else meanwhile.

    Raises InputError where the folder has no kit of this format.
    """
    kit = read(folder)
    limit = codec.max_pixels
    for case in kit["cases"]:
        codec.max_pixels = case.get("max_pixels", limit)
        problem = None
        try:
            _check_case(folder, case, codec, kit["tolerance"])
        except Failure as failure:
            problem = str(failure)
        except Exception as error:  # whatever it is, it is this case that was not passed
            problem = f"{type(error).__name__}: {error}"
        finally:
            codec.max_pixels = limit
        yield Outcome(case["name"], problem)


def read(folder: Path) -> dict[str, Any]:
    """Return what a kit's list says. Raises InputError where there is none, or one of another format."""
    try:
        kit: dict[str, Any] = json.loads((folder / KIT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is no conformance kit: {error}") from None
    if kit.get("format") != FORMAT:
        raise InputError(f"{folder} is a kit of format {kit.get('format')}, this version has {FORMAT}")
    return kit


def _check_case(folder: Path, case: dict[str, Any], codec: Codec, tolerance: dict[str, float]) -> None:
    stream = (folder / case["stream"]).read_bytes()
    _check_verdict(stream, case["result"], case.get("slices", 0), codec)
    if "symbols" in case:
        _check_symbols(stream, folder / case["symbols"], case.get("rewritable", False), codec)
    for picture in case.get("pictures", ()):
        _check_picture(stream, folder, picture, codec, tolerance)
    if "image" in case:
        _check_image(stream, folder, case["image"], codec)


def _check_verdict(stream: bytes, result: str, slices: int, codec: Codec) -> None:
    """Compare what is said of the stream as a whole, by decoding it and without."""
    report = codec.verify(stream)
    warned, error = False, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CodecWarning)
        try:
            codec.decode_image(stream)
        except CodecError as found:
            error = found
        warned = any(issubclass(w.category, CodecWarning) for w in caught)
    if result in ERRORS:
        # By the class itself: one that derives from it says something else.
        if type(error) is not ERRORS[result]:
            raise Failure(f"decoding it is {_named(error)}, not {result}")
        if report.decodable:
            raise Failure("verify finds a picture in it")
        return
    if error is not None:
        raise Failure(f"decoding it is {_named(error)}, not a picture")
    if warned != (result == DAMAGED):
        raise Failure(f"decoding it {'gives a' if warned else 'gives no'} warning, and it is {result}")
    if (report.ok, report.decodable, report.slices) != (result == WHOLE, True, slices):
        raise Failure(f"verify says {report}")
    if result == DAMAGED:
        try:
            codec.decode_image(stream, strict=True)
        except CorruptError:
            return
        raise Failure("strict decoding takes it")


def _named(error: CodecError | None) -> str:
    if error is None:
        return "a picture"
    return next((name for name, kind in ERRORS.items() if type(error) is kind), type(error).__name__)


def _check_symbols(stream: bytes, file: Path, rewritable: bool, codec: Codec) -> None:
    with np.load(file) as stored:
        expected = {name: stored[name] for name in stored.files}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CodecWarning)
        found = codec.symbols(stream)
    if found.keys() != expected.keys():
        raise Failure(f"it has the symbols {sorted(found)}, not {sorted(expected)}")
    for name, plane in expected.items():
        if found[name].shape != plane.shape:
            raise Failure(f"{name} is {found[name].shape}, not {plane.shape}")
        if different := int(np.count_nonzero(found[name] != plane)):
            raise Failure(f"{different} of {plane.size} {name} differ")
    if rewritable and _rewritten(stream, expected, codec) != stream:
        raise Failure("its symbols are written to other bytes")


def _rewritten(stream: bytes, planes: dict[str, np.ndarray], codec: Codec) -> bytes:
    parsed = container.read(stream, max_pixels=codec.max_pixels)
    coded = Symbols(planes["primary_hyper"], planes["primary_latents"])
    if "auxiliary_latents" in planes:
        coded.z2, coded.y2 = planes["auxiliary_hyper"], planes["auxiliary_latents"]
        coded.slices = sum(chunk.type == ChunkType.AUX_SLICE for chunk in parsed.chunks)
    return container.write(parsed.header, entropy_coding.write(coded, codec.bundle))


def _check_picture(
    stream: bytes, folder: Path, asked: dict[str, Any], codec: Codec, tolerance: dict[str, float]
) -> None:
    expected = _pixels(folder / asked["file"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CodecWarning)
        found = codec.decode(stream, beta=asked["beta"], layers=asked["layers"])
    what = f"at beta {asked['beta']:g}, layers {asked['layers']}, the picture"
    if found.shape != expected.shape:
        raise Failure(f"{what} is {found.shape}, not {expected.shape}")
    difference = np.abs(found.astype(np.int16) - expected)
    largest, share = int(difference.max()), float((difference > 0).mean())
    allowed = {"largest": 0, "share": 0.0} if asked.get("exact") else tolerance
    # In a picture of a few pixels a single sample is more than any share.
    if largest > allowed["largest"] or np.count_nonzero(difference) > max(
        allowed["share"] * found.size, allowed["largest"]
    ):
        raise Failure(f"{what} differs by up to {largest} levels, in {100 * share:.3g} % of its samples")


def _check_image(stream: bytes, folder: Path, asked: dict[str, Any], codec: Codec) -> None:
    """Compare what a stream has besides pixels: the mode, alpha, and the digests of metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CodecWarning)
        image = codec.decode_image(stream)
    if image.mode != asked["mode"]:
        raise Failure(f"it becomes a picture of mode {image.mode}, not {asked['mode']}")
    if "alpha" in asked and not np.array_equal(
        np.asarray(image.getchannel("A")), _pixels(folder / asked["alpha"])
    ):
        raise Failure("its alpha differs")
    for name, digest in asked.get("metadata", {}).items():
        value = image.info.get(name)
        found = None if value is None else hashlib.sha256(value).hexdigest()
        if found != digest:
            raise Failure(f"its {name} is {'missing' if value is None else 'another'}")


def _pixels(file: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        return np.asarray(image)


def main(argv: list[str] | None = None) -> int:
    """Hold this package against a kit; returns 1 where a case is not passed, 2 where there is no kit or no codec."""
    parser = argparse.ArgumentParser(prog="python -m rdc_codec.conformance", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the kit")
    parser.add_argument("--model", type=Path, help="its bundle (default: where the kit says it is)")
    parser.add_argument(
        "--backend", default="auto", help="where the networks run (default: the best that works)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON line for each case")
    args = parser.parse_args(argv)
    try:
        codec = Codec(args.model or args.folder / read(args.folder)["bundle"], backend=args.backend)
    except CodecError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    failed = total = 0
    for outcome in check(args.folder, codec):
        total, failed = total + 1, failed + (outcome.problem is not None)
        if args.json:
            passed = outcome.problem is None
            print(json.dumps({"case": outcome.name, "passed": passed, "problem": outcome.problem}))
        elif outcome.problem:
            print(f"FAILED {outcome.name}: {outcome.problem}")
    said = f"{total - failed} of {total} cases passed by {codec.backend.name} on {codec.backend.device}"
    print(said, file=sys.stderr if args.json else sys.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
