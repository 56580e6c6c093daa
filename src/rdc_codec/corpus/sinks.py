"""Writes what a unit makes: files, a WebDataset shard or a Parquet file. Shards appear whole, when they are closed."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from .places import Place
from .sources import FACTS
from .units import PICTURE, STREAM, Note, Task

_BUFFERED = 64_000_000  # bytes of a row group of Parquet


class Made(NamedTuple):
    """Holds what one picture or stream became. name: where it came from. target: its key and new suffix.

    facts: width and height in pixels, quality of the stream.
    """

    name: str
    target: str
    data: bytes
    facts: dict[str, Any]


class Sink(Protocol):
    """Takes samples. A shard that is not closed well is as if it had never been begun."""

    notes: list[Note]

    def add(self, key: str, made: list[Made], beside: dict[str, Any]) -> None:
        """Write what the items of one sample became, and what is beside them."""

    def close(self) -> None:
        """Let the shard appear under its name."""

    def abandon(self) -> None:
        """Leave nothing of the shard."""


class Files:
    """Writes each picture or stream as a file of its own. folder: of what came out of a shard."""

    def __init__(self, place: Place, folder: str) -> None:
        self.notes: list[Note] = []
        self._place = place
        self._folder = folder

    def add(self, key: str, made: list[Made], beside: dict[str, Any]) -> None:
        for name, data in _members(key, made, beside, facts=False):
            self._place.write(f"{self._folder}/{name}" if self._folder else name, data)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class Shard:
    """Writes a WebDataset shard: members of a key, with a JSON of width, height, quality, bytes and name for each."""

    def __init__(self, place: Place, target: str) -> None:
        self.notes: list[Note] = []
        self._stack = contextlib.ExitStack()
        file = self._stack.enter_context(place.writing(target, lasting=True))
        archive = tarfile.open(fileobj=file, mode="w|")  # noqa: SIM115 (the stack closes it)
        self._archive = self._stack.enter_context(archive)

    def add(self, key: str, made: list[Made], beside: dict[str, Any]) -> None:
        for name, data in _members(key, made, beside, facts=True):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            self._archive.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        self._stack.close()

    def abandon(self) -> None:
        _raise_within(self._stack)


class Table:
    """Writes a Parquet file: name, width, height, quality, bytes, the picture or stream, and what was beside it.

    types: of the columns beside, as they were read. What was beside members of a shard becomes a column of bytes by
    its suffix. Columns are those of the first 64 MB: a note says what comes later and has none.
    """

    def __init__(self, place: Place, target: str, task: Task, types: dict[str, pa.DataType]) -> None:
        self.notes: list[Note] = []
        self._data = STREAM if task == "encode" else PICTURE
        self._types = types
        self._rows: list[dict[str, Any]] = []
        self._waiting = 0
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes] = self._stack.enter_context(place.writing(target, lasting=True))
        self._writer: pq.ParquetWriter | None = None
        self._schema = pa.schema([])

    def add(self, key: str, made: list[Made], beside: dict[str, Any]) -> None:
        if not made:
            self.notes.append(Note(key, "CodecWarning", "left out, for there is no picture with it", True))
        for one in made:
            ours = {"name": one.name, **one.facts, "bytes": len(one.data), self._data: one.data}
            self._rows.append({**beside, **ours})
            self._waiting += len(one.data) + sum(len(x) for x in beside.values() if isinstance(x, bytes))
        if self._waiting > _BUFFERED:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
        self._stack.close()

    def abandon(self) -> None:
        _raise_within(self._stack)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._schema = self._schema_of(self._rows)
            # Streams and pictures are compressed already.
            self._writer = pq.ParquetWriter(self._file, self._schema, compression="none")
        known = set(self._schema.names)
        for row in self._rows:
            self.notes += [
                Note(row["name"], "CodecWarning", f"left out what no earlier one has: {x}", True)
                for x in row
                if x not in known
            ]
        columns = [
            pa.array([row.get(field.name) for row in self._rows], field.type) for field in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._waiting = [], 0

    def _schema_of(self, rows: list[dict[str, Any]]) -> pa.Schema:
        kinds = (pa.string(), pa.int32(), pa.int32(), pa.float32(), pa.int64())
        ours = dict(zip(FACTS, kinds, strict=True)) | {self._data: pa.binary()}
        others = {name: pa.binary() for row in rows for name in row if name not in ours}
        return pa.schema(list((ours | others | self._types).items()))


def name_beside(key: str, suffix: str) -> str:
    """Return the name of what is beside the pictures of a sample."""
    return f"{key}.{suffix}" if suffix else key


def _members(key: str, made: list[Made], beside: dict[str, Any], facts: bool) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the files of a sample. facts: with a JSON file of what is known of each picture."""
    for one in made:
        yield one.target, one.data
        if facts:
            about = {"name": one.name, **one.facts, "bytes": len(one.data)}
            yield f"{one.target}.json", json.dumps(about).encode()
    columns = {}
    for suffix, value in beside.items():
        if isinstance(value, bytes):
            yield name_beside(key, suffix), value
        else:
            columns[suffix] = value
    if columns:
        yield f"{key}.json", json.dumps(columns, default=str).encode()


class _Abandoned(Exception):
    """Tells the file of a shard that it is not to appear."""


def _raise_within(stack: contextlib.ExitStack) -> None:
    """Leave what a stack holds as if its block had raised."""
    with contextlib.suppress(_Abandoned, OSError), stack:
        raise _Abandoned
