"""Names the bundles that were released, so that a stream which needs another one than the loaded can say which."""

from __future__ import annotations

from typing import NamedTuple


class Released(NamedTuple):
    """Describes a bundle: its name, its version, and where it is to be had."""

    name: str
    version: str
    where: str


# By what stands in a stream: the first bytes of parse_id and picture_id, in hexadecimal. An entry is never taken away.
RELEASED = {
    ("4f1cff7f", "b42c2f85"): Released(
        "light", "1", "the default of rdc-codec 0.1, in bundles/light-1 of the repository of rdc-codec"
    ),
    ("a781bd5e", "b80927bc"): Released(
        "light", "2", "a default before rdc-codec 0.2, in bundles/light-2 of the repository of rdc-codec"
    ),
    ("22b530df", "6bf56ab5"): Released(
        "light",
        "3",
        "a default before rdc-codec 0.2, src/rdc_codec/bundle of its repository at commit 0e34bde",
    ),
    ("61aee295", "b67f905b"): Released(
        "light", "4", "the default of rdc-codec 0.2, in the folder bundle of the installed package"
    ),
    ("d21ca9ea", "38d05597"): Released("twin", "1", "in benchmarks/twin of the repository of rdc-codec"),
}


def described(parse_id: bytes, picture_id: bytes) -> str:
    """Return a model's identities as a stream has them, "parsing/picture" in hexadecimal, and its name where known."""
    key = parse_id.hex(), picture_id.hex()
    known = RELEASED.get(key)
    return "/".join(key) + (f" (bundle {known.name} {known.version}: {known.where})" if known else "")
