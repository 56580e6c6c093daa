"""Pictures as an answer: which type a client accepts, what an answer says of them, and several of them in one."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

import mimeparse
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .problems import NotAcceptableError

FORMATS = {"image/webp": "WEBP", "image/jpeg": "JPEG", "image/png": "PNG"}  # the last is that of "anything"
MIXED, REPLACE = "multipart/mixed", "multipart/x-mixed-replace"


class Part(NamedTuple):
    """Holds one body with its media type and headers."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]

    @classmethod
    def of_json(cls, content: Any) -> Part:
        """Return JSON as a part."""
        return cls(json.dumps(content).encode(), "application/json", {})


def accepted(header: str | None) -> str:
    """Return the media type of the picture that a client likes best. Raises NotAcceptableError.

    header: `Accept` (None or empty: anything).
    """
    try:
        found = mimeparse.best_match(list(FORMATS), header or "*/*")
    except ValueError:
        found = ""
    if not found:
        raise NotAcceptableError(f"pictures are answered as {', '.join(sorted(FORMATS))}")
    return str(found)


def container_of(header: str | None) -> str:
    """Return the type of several parts: that for browsers, whose parts replace each other, where it is asked for."""
    return REPLACE if REPLACE in (header or "") else MIXED


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """Return the header that says what of a stream or a picture was left out, if anything was."""
    if not warnings:
        return {}
    return {"Rdc-Warning": "; ".join(warnings).encode("ascii", "backslashreplace").decode()}


class PartsResponse(Response):
    """Sends parts as they are made.

    Unlike a StreamingResponse it leaves the body of the request, which may still arrive, to whoever makes the parts.
    """

    def __init__(self, parts: AsyncGenerator[Part, None], media_type: str) -> None:
        """Take the parts and the type of all together. No error but ClientDisconnect may come out of `parts`."""
        self._parts = parts
        self._boundary = secrets.token_hex(16)
        super().__init__(media_type=f"{media_type}; boundary={self._boundary}", headers={"Vary": "Accept"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every part at once with the line that ends it, which a reader may wait for."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        delimiter = f"\r\n--{self._boundary}"
        await self._send(send, delimiter.lstrip().encode())
        with suppress(ClientDisconnect):  # then nobody reads on
            async with aclosing(self._parts) as parts:
                async for part in parts:
                    fields = {
                        "Content-Type": part.media_type,
                        "Content-Length": str(len(part.body)),
                        **part.headers,
                    }
                    head = "".join(f"\r\n{name}: {value}" for name, value in fields.items())
                    await self._send(send, f"{head}\r\n\r\n".encode() + part.body + delimiter.encode())
            await self._send(send, b"--\r\n", more=False)

    @staticmethod
    async def _send(send: Send, body: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})
