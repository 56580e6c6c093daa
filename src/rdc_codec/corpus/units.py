"""What passes between the plan, the workers and the report: pieces of work and what came of them, all of it JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, NamedTuple

from ..errors import CodecError

Task = Literal["encode", "decode", "verify"]
Kind = Literal["files", "webdataset", "parquet"]
PICTURE, STREAM = "picture", "stream"


class Note(NamedTuple):
    """Says of a picture, a stream or a shard what is wrong with it.

    error: name of the error's class. text: what it says, in one line. warning: it was coded all the same.
    """

    name: str
    error: str
    text: str
    warning: bool = False

    def line(self) -> dict[str, str]:
        """Return what stands in the report."""
        return {"name": self.name, "warning" if self.warning else "error": self.error, "text": self.text}


class WorkerDiedError(CodecError):
    """The process that did this ended, more than once: nothing is known of what it did."""


class DamagedShardError(CodecError):
    """A shard ends early or is damaged; what could be read before that was done."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """Is what one worker does at a time: files, or one shard.

    kind: what it reads. sources: names below the source, one if it is a shard. output: what it writes. targets: for
    files to files the name of each, else one shard, or the folder for what is in one. stamp: size and time of a shard.
    receipt: name of the file that says this is done; None where the targets say it.
    """

    number: int
    kind: Kind
    sources: tuple[str, ...]
    output: Kind | None
    targets: tuple[str, ...]
    stamp: tuple[int, int | None] | None = None
    receipt: str | None = None

    def dump(self) -> str:
        """Return the unit as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> Unit:
        """Make a unit of its JSON."""
        found: dict[str, Any] = json.loads(text)
        stamp = found["stamp"]
        return cls(
            **found
            | {
                "sources": tuple(found["sources"]),
                "targets": tuple(found["targets"]),
                "stamp": None if stamp is None else (stamp[0], stamp[1]),
            }
        )


@dataclasses.dataclass
class Outcome:
    """Says what came of a unit. done: pictures that were coded or found whole. size: bytes written. pixels: of them.

    names: sources that were done, where a receipt has to tell them (files that went into a shard). notes: what is
    wrong. stamp: that of the unit.
    """

    number: int = -1
    done: int = 0
    size: int = 0
    pixels: int = 0
    names: list[str] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    stamp: tuple[int, int | None] | None = None

    @property
    def bad(self) -> int:
        """Count what was not done."""
        return sum(not note.warning for note in self.notes)

    def dump(self) -> str:
        """Return the outcome as JSON."""
        return json.dumps(dataclasses.asdict(self) | {"notes": [list(note) for note in self.notes]})

    @classmethod
    def load(cls, text: str | bytes) -> Outcome:
        """Make an outcome of its JSON. Raises ValueError, TypeError or KeyError for what is none."""
        found: dict[str, Any] = json.loads(text)
        stamp = found["stamp"]
        return cls(
            **found
            | {
                "notes": [Note(*note) for note in found["notes"]],
                "stamp": None if stamp is None else (stamp[0], stamp[1]),
            }
        )
