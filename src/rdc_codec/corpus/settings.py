"""What a job is asked for, as every worker of it has to know it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..codec import MAX_PIXELS
from ..pixels import Rules
from .units import Kind, Task

SETTINGS_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """Says what is done to each picture or stream, and where.

    source, destination: paths or URLs. coding: arguments of `Codec.encode` or `Codec.decode_image`, but for `rules`:
    what is taken besides 8-bit pictures. picture_type: suffix of decoded pictures, without a dot. output: what is
    written (None: what the source is). column: of Parquet. per_shard: files that go into one shard. keep_suffix: append
    suffixes instead of replacing them. sha256: of the model's bundle, which every worker has to have. threads: of one
    worker's codec.
    """

    task: Task
    source: str
    destination: str | None = None
    coding: dict[str, Any] = dataclasses.field(default_factory=dict)
    rules: Rules = dataclasses.field(default_factory=Rules)
    picture_type: str = "png"
    picture_quality: int | None = None
    output: Kind | None = None
    column: str | None = None
    per_shard: int = 1000
    keep_suffix: bool = False
    model: str | None = None
    sha256: str | None = None
    threads: int = 1
    max_pixels: int = MAX_PIXELS

    @property
    def made_suffix(self) -> str:
        """Return the suffix of what is made, without a dot."""
        return "rdc" if self.task == "encode" else self.picture_type

    def promise(self, model: str) -> dict[str, Any]:
        """Return all that decides the bytes of an output, for the next run to compare, as JSON has it.

        model: identity of the model in use.
        """
        mine: dict[str, Any] = {
            "version": SETTINGS_VERSION,
            "task": self.task,
            "model": model,
            "output": self.output or "like the source",
            "per shard": self.per_shard,
            "keep suffix": self.keep_suffix,
            "column": self.column,
        }
        if self.task == "decode":
            mine |= {"format": self.picture_type, "picture quality": self.picture_quality}
        rules = dataclasses.asdict(self.rules)
        rules["background"] = list(rules["background"]) if rules["background"] else None
        return mine | {name.replace("_", " "): value for name, value in (self.coding | rules).items()}
