"""The bodies of requests, raw or in a form, within limits of bytes and seconds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import LimitError
from .problems import MediaTypeError, SlowTransferError
from .settings import Settings

FIELD = "file"
_FORM = "multipart/form-data"
_MOST_FIELDS = 16


async def pieces(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a body as they arrive.

    Raises LimitError for more than `max_bytes`, where the length is given before any is read, and SlowTransferError
    when `transfer_timeout` seconds are over.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise MediaTypeError(f"bodies with Content-Encoding {encoding} are not read")
    most, count = settings.max_bytes, 0
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
        raise LimitError(f"a body of {int(declared)} bytes is over the limit of {most}")
    deadline = anyio.current_time() + settings.transfer_timeout
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    piece = await anext(stream, None)
            except TimeoutError:
                seconds = settings.transfer_timeout
                raise SlowTransferError(f"the body was not there within {seconds:g} s") from None
            if piece is None:
                return
            count += len(piece)
            if count > most:
                raise LimitError(f"the body is over the limit of {most} bytes")
            if piece:
                yield piece


async def read(request: Request, settings: Settings) -> bytes:
    """Return all of a body, or of the file in it if it is a form.

    Raises MediaTypeError for a form without one file, and what `pieces` raises.
    """
    async with aclosing(pieces(request, settings)) as arriving:
        if not is_form(request):
            return b"".join([piece async for piece in arriving])
        parser = MultiPartParser(request.headers, arriving, max_files=1, max_fields=_MOST_FIELDS)
        parser.spool_max_size = settings.max_bytes + 1  # nothing goes to a disk
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise MediaTypeError(f"the form cannot be read: {error.message}") from None
        try:
            found = form.get(FIELD)
            if not isinstance(found, UploadFile):
                raise MediaTypeError(f"the form has no file in its field '{FIELD}'")
            return await found.read()
        finally:
            await form.close()


def is_form(request: Request) -> bool:
    """Tell whether the body is a form with a file."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
