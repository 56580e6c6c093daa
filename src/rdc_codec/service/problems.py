"""What a request is answered with where it is not done: a status, and JSON with the name and the text of the error."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ..errors import (
    BackendError,
    CodecError,
    DeadlineError,
    InputError,
    LimitError,
    TargetError,
    UnsupportedError,
)
from ..files import one_line
from ..picture_files import UnknownFormatError

_BUG = {"error": "InternalError", "detail": "an error of the service, see its log"}
RETRY_AFTER = 1  # seconds, about what the pictures at work take
CLIENT_LEFT = 499  # as proxies count it; nobody reads it


class BusyError(CodecError):
    """So many requests are accepted already that this one is not."""


class SlowTransferError(CodecError):
    """The body of a request did not arrive in the time that there is for it."""


class MediaTypeError(InputError):
    """The body has an encoding, or is a form, that is not read."""


class NotAcceptableError(InputError):
    """The picture cannot be answered as any type that the request accepts."""


_STATUS: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (SlowTransferError, 408),
    (NotAcceptableError, 406),
    (MediaTypeError, 415),
    (UnknownFormatError, 415),
    (UnsupportedError, 415),
    (LimitError, 413),
    (BusyError, 429),
    (DeadlineError, 503),
    (MemoryError, 503),
    (BackendError, 500),
    (CodecError, 422),
)


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def content_of(error: Exception) -> dict[str, Any]:
    """Return what the JSON of an answer says of an error; one that should not happen goes to the log instead."""
    if not isinstance(error, CodecError | MemoryError):
        logging.getLogger(__name__).error("an error of the service", exc_info=error)
        return _BUG
    content: dict[str, Any] = {"error": type(error).__name__, "detail": one_line(error)}
    if isinstance(error, TargetError):
        content["best"] = error.best
    return content


def answer(error: Exception) -> JSONResponse:
    """Return the answer to a request that an error ended."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) else None
    return JSONResponse(content_of(error), status, headers)


async def on_error(_: Request, error: Exception) -> Response:
    """Answer an error of the codec or of a limit."""
    return answer(error)


async def on_invalid(_: Request, error: Exception) -> Response:
    """Answer query parameters that are not as they should be: all of them, in one line."""
    assert isinstance(error, RequestValidationError)
    found = (f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return answer(InputError("; ".join(found)))


async def on_http(_: Request, error: Exception) -> Response:
    """Answer what has no route: 404, 405."""
    assert isinstance(error, HTTPException)
    name = HTTPStatus(error.status_code).phrase.replace(" ", "")
    content = {"error": name, "detail": f"there is no such address or method: {error.detail}"}
    return JSONResponse(content, error.status_code, error.headers)


async def on_left(_: Request, error: Exception) -> Response:
    """End a request whose client is gone."""
    return Response(status_code=CLIENT_LEFT)


async def on_bug(_: Request, error: Exception) -> Response:
    """Answer what should not happen; the server logs it with its traceback."""
    return JSONResponse(_BUG, 500)
