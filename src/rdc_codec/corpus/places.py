"""Folders on this machine, or at any URL that pyarrow or fsspec opens; what is written there appears whole."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
from pyarrow import fs

from ..errors import InputError
from ..files import one_line, settle

STATE = (
    ".rdc-corpus"  # folder of an output that keeps what was done; hidden, so that no reader takes it for data
)
_PARTS = f"{STATE}/parts"


class Entry(NamedTuple):
    """Names a file below a place, with slashes; size in bytes, modified in nanoseconds where the place knows it."""

    name: str
    size: int
    modified: int | None


class Place:
    """Is a folder, given as a path or a URL; it can be pickled. Raises InputError for what names none.

    A URL is opened by pyarrow (file, s3, gs, hdfs, ...) or, where that does not know its scheme, by fsspec.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self.root = _opened(url)
        self._made: set[str] = set()

    def __reduce__(self) -> tuple[type[Place], tuple[str]]:
        """Pickle a place by its URL: another machine opens it with its own means."""
        return Place, (self.url,)

    def path(self, name: str) -> str:
        """Return the path of a file within the filesystem."""
        return posixpath.join(self.root, name) if name else self.root

    def parent(self) -> tuple[Place, str]:
        """Return the place that this one lies in, and its name there."""
        url = self.url.rstrip("/")
        head, _, tail = url.rpartition("/")
        return (Place(head or "/") if "/" in url else Place(".")), tail

    def is_file(self, name: str = "") -> bool:
        """Tell whether there is a file of this name; without one, whether the place itself is one."""
        return self._info(name).type == fs.FileType.File

    def is_folder(self, name: str = "") -> bool:
        """Tell whether there is a folder of this name; without one, whether the place itself is there and a folder."""
        return self._info(name).type == fs.FileType.Directory

    def same(self, other: Place) -> bool:
        """Tell whether this place is the other one."""
        return self.within(other) and other.within(self)

    def within(self, other: Place) -> bool:
        """Tell whether this place is the other one or lies below it."""
        if self._files.type_name != other._files.type_name:
            return False
        return (self.root + "/").startswith(other.root.rstrip("/") + "/")

    def entry(self, name: str) -> Entry:
        """Return what is known of one file. Raises OSError where there is none."""
        info = self._info(name)
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.path(name)}: no such file")
        return Entry(name, info.size or 0, info.mtime_ns)

    def files(self, problems: list[tuple[str, str]], hidden: str | None = None) -> Iterator[Entry]:
        """Yield the files below, sorted within each folder; hidden files and folders are passed over.

        problems: takes the name and the reason of each folder that cannot be entered or is a link. hidden: a hidden
        folder to list instead of the place.
        """
        waiting = [hidden or ""]
        while waiting:
            under = waiting.pop()
            try:
                found = self._files.get_file_info(fs.FileSelector(self.path(under)))
            except (OSError, pa.ArrowException) as error:
                problems.append((under or self.url, one_line(error)))
                continue
            folders = []
            for info in sorted(found, key=lambda info: info.base_name):
                if info.base_name.startswith("."):
                    continue
                name = posixpath.join(under, info.base_name)
                if info.type == fs.FileType.File:
                    yield Entry(name, info.size or 0, info.mtime_ns)
                elif info.type == fs.FileType.Directory and self._is_link(name):
                    problems.append((name, "a link to a folder, which is not followed"))
                elif info.type == fs.FileType.Directory:
                    folders.append(name)
            waiting += reversed(folders)

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read, from any position. Raises OSError."""
        return io.BufferedReader(self._files.open_input_file(self.path(name)), 1 << 20)

    def read(self, name: str) -> bytes:
        """Return all bytes of a file. Raises OSError."""
        with self._files.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def write(self, name: str, data: bytes, lasting: bool = False) -> None:
        """Write a file whole or not at all, in place of one of that name. Raises OSError. lasting: see `writing`."""
        with self.writing(name, lasting) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str, lasting: bool = False) -> Iterator[IO[bytes]]:
        """Open a file that has its name when the block ends well, and is gone when it raises. Raises OSError.

        lasting: it is on the disk before it has its name, so that not even the end of the machine leaves a part of it.
        """
        part = self.path(f"{_PARTS}/{secrets.token_hex(12)}")
        self._make_folder(posixpath.dirname(part))
        try:
            with self._files.open_output_stream(part, compression=None) as file:
                yield file
            if lasting and isinstance(self._files, fs.LocalFileSystem):
                settle(Path(part))
            self._make_folder(posixpath.dirname(self.path(name)))
            self._files.move(part, self.path(name))
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.delete_file(part)
            raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(self.path(name))

    def remove_parts(self) -> None:
        """Remove what was left half written by workers that died."""
        with contextlib.suppress(OSError):
            self._files.delete_dir(self.path(_PARTS))
        self._made.clear()

    def _info(self, name: str) -> fs.FileInfo:
        try:
            return self._files.get_file_info(self.path(name))
        except pa.ArrowException as error:
            raise OSError(one_line(error)) from None

    def _make_folder(self, path: str) -> None:
        if path not in self._made:
            self._files.create_dir(path, recursive=True)
            self._made.add(path)

    def _is_link(self, name: str) -> bool:
        return isinstance(self._files, fs.LocalFileSystem) and os.path.islink(self.path(name))


def _opened(url: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a path or a URL, and the path within it."""
    if not url:
        raise InputError("the path is empty")
    if "://" not in url and "::" not in url:
        return fs.LocalFileSystem(), os.path.realpath(url).replace(os.sep, "/")
    try:
        found, path = fs.FileSystem.from_uri(url)
        if isinstance(found, fs.LocalFileSystem):
            path = os.path.realpath(path).replace(os.sep, "/")
        return found, path.rstrip("/") or path
    except pa.ArrowInvalid:
        pass  # fsspec knows more schemes
    except OSError as error:
        raise InputError(f"{url}: {one_line(error)}") from None
    import fsspec

    try:
        other, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise InputError(f"{url}: {one_line(error)}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(other)), path.rstrip("/") or path
