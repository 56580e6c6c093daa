"""Files as the command line reads and writes them: whole or not at all, pipes and standard streams included."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from pathlib import Path

from .container import MAGIC
from .errors import CodecError, InputError

STDIO = Path("-")  # the standard input or output; a file of that name is given with its folder (`./-`)

# A shell's own descriptors. Opening one that leads to a file would begin it anew, also after `>>`.
_DESCRIPTOR = re.compile(r"/dev/(?:fd/(\d+)|(stdin)|(stdout)|(stderr))|/proc/self/fd/(\d+)")
_NO_RENAME = (errno.EXDEV, errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of file systems that lack a call
_PARTS: set[Path] = set()


class ExistsError(CodecError):
    """There is a file already that was not asked to be replaced."""


def one_line(error: BaseException | str) -> str:
    """Return what an error says as one line, or the name of its type where it says nothing."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def real(path: Path) -> Path:
    """Follow links, also where they lead nowhere or round and round, which `Path.resolve` does not survive."""
    return Path(os.path.realpath(path))


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; one that cannot be looked at is not."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder on the way that may not be entered
        return False


def _descriptor(path: Path) -> int | None:
    """Return the number of the descriptor that a path names, if it names one."""
    if (found := _DESCRIPTOR.fullmatch(str(path))) is None:
        return None
    number, stdin, stdout, _, other = found.groups()
    if number or other:
        return int(number or other)
    return 0 if stdin else 1 if stdout else 2


def is_stream(path: Path) -> bool:
    """Tell whether a path is a standard stream, a pipe or a device: what has no content to keep, nor a type."""
    if path == STDIO or _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def identity(path: Path) -> Path | None:
    """Return what two paths of one file have in common; None for a stream, which no other path is."""
    return None if is_stream(path) else real(path)


def read(path: Path) -> bytes:
    """Return all bytes of a file, a pipe or the standard input. Raises OSError."""
    if path == STDIO:
        if sys.stdin is None:
            raise OSError("the standard input is closed")
        return sys.stdin.buffer.read()
    return path.read_bytes()


def check_free(path: Path, replace: bool) -> None:
    """Raise ExistsError where a file is in the way.

    replace: an .rdc stream may be replaced. An empty file, which `mktemp` makes, and a stream of the system never are
    in the way.
    """
    try:
        if is_stream(path) or not path.is_file() or path.stat().st_size == 0:
            return
        if replace:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) == MAGIC:
                    return
    except OSError as error:
        raise InputError(f"cannot write {path}: {one_line(error)}") from None
    what = "is there already and no RDC stream" if replace else "is there already"
    raise ExistsError(f"not written to {path}, which {what} (--overwrite)")


def write(path: Path, data: bytes) -> None:
    """Write all of a file or nothing; pipes, devices and standard streams are written to as they are.

    A folder is made where it is missing. A file that is replaced keeps its mode and, where that may be set, its owner.
    Where none can take its place, because of its folder or because it is a mount, it is written in place, once there
    is room for all of it.

    Whenever the process ends, there is the old file or the new one. Whenever the machine does, that holds for a file
    that is replaced; a new one may be lost or empty, for the system writes it when it likes.

    Raises InputError where that fails, BrokenPipeError where nobody reads a pipe.
    """
    try:
        if path == STDIO:
            _to_stdout(data)
        elif (number := _descriptor(path)) is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(data)
        elif path.exists() and not path.is_file():
            path.write_bytes(data)  # a folder fails here, as it should
        else:
            _replace(real(path), data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {one_line(error)}") from None


def settle(path: Path) -> None:
    """Have the system write a file to its disk now. Raises OSError where the disk has no room or fails."""
    with path.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _CANNOT:
                raise


def _to_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError("the standard output is closed")
    if sys.stdout.isatty():
        raise OSError("a terminal does not show pictures: redirect it")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    part = path.parent / f".rdc-{secrets.token_hex(8)}.part"
    _PARTS.add(part)
    try:
        part.write_bytes(data)
        if old is not None:
            settle(part)  # what is replaced could not be had again
            with contextlib.suppress(
                OSError, AttributeError
            ):  # another's file, or Windows, which has no owners
                os.chown(part, old.st_uid, old.st_gid)
            part.chmod(stat.S_IMODE(old.st_mode))
        os.replace(part, path)
    except OSError as error:
        if old is None or error.errno not in _NO_RENAME:
            raise
        _overwrite(path, data)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _PARTS.discard(part)


def _overwrite(path: Path, data: bytes) -> None:
    """Put other bytes into a file, which stays as it was where there is no room for them. Raises OSError."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if len(data) > size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), size, len(data) - size)
            except OSError as error:
                file.truncate(size)
                if error.errno not in _CANNOT:
                    raise
        file.seek(0)
        file.write(data)
        file.truncate()


def remove_parts() -> None:
    """Remove what is half written, because the process is about to end."""
    for part in list(_PARTS):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
