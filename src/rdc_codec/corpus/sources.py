"""Reads what a unit names: files, the samples of a WebDataset shard, or the rows of a Parquet file."""

from __future__ import annotations

import gzip
import io
import itertools
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, LimitError
from ..files import one_line
from .places import Place
from .units import PICTURE, STREAM, DamagedShardError, Kind, Note, Task, Unit

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet", ".pq")
FACTS = ("name", "width", "height", "quality", "bytes")  # columns of ours, beside that of the data
MAX_MEMBER_BYTES = 1 << 30  # of a tar archive: no chunk of a stream is larger
_AT_ONCE = 16  # rows
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, OSError)


class Item(NamedTuple):
    """Holds one picture or stream as it was read. suffix: what follows the key of its sample, without a dot."""

    name: str
    suffix: str
    data: bytes


class Sample(NamedTuple):
    """Holds what belongs together: pictures or streams, and what is beside them.

    key: path without suffix. beside: by suffix what is to be copied as it is, or by column a value of Parquet.
    """

    key: str
    items: list[Item]
    beside: dict[str, Any]


def kind_of(name: str) -> Kind:
    """Tell by its suffix whether a file is a shard, and of which kind."""
    lower = name.lower()
    if lower.endswith(TAR_SUFFIXES):
        return "webdataset"
    return "parquet" if lower.endswith(PARQUET_SUFFIXES) else "files"


def without_suffix(name: str) -> str:
    """Return the name of a shard without what says its kind, that of another file without its last suffix."""
    for suffix in (*TAR_SUFFIXES, *PARQUET_SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return posixpath.splitext(name)[0]


def split(name: str) -> tuple[str, str]:
    """Split the name of a member as WebDataset does: at the first dot of its last part, which is dropped."""
    folder, _, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix


class Reader:
    """Yields the samples of units of a place.

    accepted: suffixes, in lower case and with their dot, of what is coded. column: of Parquet, the one with the
    pictures or streams (None: it is looked for).
    """

    def __init__(self, place: Place, task: Task, accepted: Collection[str], column: str | None) -> None:
        self.place = place
        self.types: dict[str, pa.DataType] = {}  # of the columns beside, of the last Parquet file
        self._task = task
        self._accepted = accepted
        self._column = column

    def samples(self, unit: Unit) -> Iterator[Sample | Note]:
        """Yield the samples of a unit, and a note in the place of what cannot be read.

        Raises OSError or InputError for a shard of which nothing can be read.
        """
        self.types = {}
        readers: dict[Kind, Callable[[str], Iterator[Sample | Note]]] = {
            "files": self._file,
            "webdataset": self._shard,
            "parquet": self._table,
        }
        for name in unit.sources:
            yield from readers[unit.kind](name)

    def _file(self, name: str) -> Iterator[Sample | Note]:
        try:
            data = self.place.read(name)
        except OSError as error:
            yield Note(name, type(error).__name__, one_line(error))
            return
        key, suffix = posixpath.splitext(name)
        yield Sample(key, [Item(name, suffix[1:], data)], {})

    def _shard(self, name: str) -> Iterator[Sample | Note]:
        """Group members of a name that follow each other; where the shard ends early, yield what was read before."""
        count = 0
        damage: list[str] = []
        with self.place.open(name) as file:
            members = _members(file, damage)
            for key, group in itertools.groupby(members, key=lambda member: split(member[0])[0]):
                items: list[Item] = []
                beside: dict[str, Any] = {}
                for member, data in group:
                    suffix = split(member)[1]
                    if isinstance(data, LimitError):
                        yield Note(f"{name}: {member}", LimitError.__name__, one_line(data))
                        continue
                    if posixpath.splitext(member)[1].lower() in self._accepted:
                        items.append(Item(member, suffix, data))
                    else:
                        beside[suffix] = data
                count += len(items)
                yield Sample(key, items, beside)
        if damage:
            yield Note(name, DamagedShardError.__name__, f"{damage[0]}, after {count} that could be read")

    def _table(self, name: str) -> Iterator[Sample | Note]:
        count = 0
        damage = ""
        with self.place.open(name) as file:
            try:
                table = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            except (pa.ArrowException, OSError) as error:
                yield Note(name, DamagedShardError.__name__, f"{one_line(error)}, after 0 that could be read")
                return
            schema = table.schema_arrow
            column = self._column_of(schema)
            made = STREAM if self._task == "encode" else PICTURE
            passed = [x for x in schema.names if x not in (column, made, *FACTS)]
            self.types = {x: schema.field(x).type for x in passed}
            names = ["name"] if "name" in schema.names else []
            rows = _rows(table, [*names, column, *passed])
            while True:
                try:
                    row = next(rows, None)
                except (pa.ArrowException, OSError) as error:
                    damage = one_line(error)
                    break
                if row is None:
                    break
                yield self._row(name, count, row, column, passed)
                count += 1
        if damage:
            yield Note(name, DamagedShardError.__name__, f"{damage}, after {count} that could be read")

    def _row(
        self, shard: str, number: int, row: dict[str, Any], column: str, passed: list[str]
    ) -> Sample | Note:
        value = row[column]
        inner = value if isinstance(value, dict) else {"bytes": value}
        name = str(row.get("name") or inner.get("path") or f"{number:08d}")
        if inner.get("bytes") is None:
            return Note(f"{shard}: {name}", InputError.__name__, f"column {column} is empty here")
        key, suffix = posixpath.splitext(name)
        if suffix.lower() not in self._accepted and self._task == "encode":
            key, suffix = name, ""  # a dot that is no suffix
        return Sample(
            key, [Item(name, suffix[1:], inner["bytes"])], {x: row[x] for x in passed if row[x] is not None}
        )

    def _column_of(self, schema: pa.Schema) -> str:
        """Return the column that is coded. Raises InputError where there is none."""
        fitting = [field.name for field in schema if _holds_bytes(field.type)]
        wanted = (
            [self._column] if self._column else [STREAM] if self._task != "encode" else [PICTURE, "image"]
        )
        for name in wanted:
            if name in fitting:
                return str(name)
        if self._column is None and fitting:
            return str(fitting[0])
        what = f"no column {self._column} of bytes" if self._column else "no column of bytes"
        raise InputError(f"{what}, the columns are {', '.join(schema.names)} (--column)")


def _holds_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column has files: as bytes, or as `datasets` stores pictures, a struct of bytes and path."""
    if pa.types.is_struct(kind):
        return "bytes" in [field.name for field in kind] and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(table: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=_AT_ONCE, columns=columns):
        yield from batch.to_pylist()


class _Unpacked(io.RawIOBase):
    """Reads what gzip packed, all of it that there is before an end that comes too early."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        data = self._file.read1(len(into))
        into[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _members(file: IO[bytes], damage: list[str]) -> Iterator[tuple[str, bytes | LimitError]]:
    """Yield names and bytes of the files of a tar archive, and say in `damage` where it is not whole.

    In the place of the bytes of a member that is too large stands an error: a few bytes of tar may claim any size.
    """
    try:
        if file.read(2) == b"\x1f\x8b":
            file.seek(0)
            # Its buffer is what lets the end be looked at again without unpacking all of it.
            file = io.BufferedReader(_Unpacked(file), 1 << 20)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if not member.isfile() or posixpath.basename(name).startswith("."):
                    continue
                if member.issparse() or member.size > MAX_MEMBER_BYTES:
                    what = "with holes" if member.issparse() else f"of {member.size} bytes"
                    yield name, LimitError(f"a member {what}, at most {MAX_MEMBER_BYTES} bytes are read")
                    continue
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                yield name, content.read()
            # tarfile takes an end, and a header that is damaged, as the end of the archive.
            file.seek(archive.offset)
            end = file.read(tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE:
            damage.append("the shard ends early")
        elif any(end):
            damage.append("the shard is damaged")
    except _DAMAGE as error:
        damage.append(one_line(error))
