"""What happens to every request before and after its route: a place, time limits, and the counting."""

from __future__ import annotations

import contextlib
import time

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import problems
from .engine import Engine
from .problems import BusyError
from .routes import STATE, WORK

_PIECE = 1 << 16  # bytes that are sent at once: the server waits for the client between two of them
_UNSEEN = "other"  # a label for addresses without a route, of which there is no end


class Front:
    """Wraps the application: gives places to requests, ends answers that nobody takes, and counts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        engine: Engine = scope["app"].state.engine
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = path if path in WORK | STATE else _UNSEEN
        answer = _Answer(engine, route, receive, send)
        begun = time.perf_counter()
        try:
            with engine.place() if route in WORK else contextlib.nullcontext():
                await self._app(scope, answer.receive, answer.send)
        except BusyError as error:
            await problems.answer(error)(scope, answer.receive, answer.send)
        except _NotTakenError:
            pass  # the server closes the connection of an answer that is not complete
        finally:
            metrics = engine.metrics
            metrics.requests.labels(route, str(answer.status)).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - begun)


class _NotTakenError(Exception):
    """The client did not take the answer in the time that there is for it."""


class _Answer:
    """Passes the messages of one request on, counts their bytes, and sends no faster than the client reads."""

    def __init__(self, engine: Engine, route: str, receive: Receive, send: Send) -> None:
        self.status = 500  # where an error comes before any answer
        self._engine = engine
        self._received = engine.metrics.received.labels(route)
        self._sent = engine.metrics.sent.labels(route)
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Return the next message of the request."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received.inc(len(message.get("body", b"")))
        return message

    async def send(self, message: Message) -> None:
        """Send a message in pieces. Raises _NotTakenError."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._engine.stopping:  # so that a client's next request goes to another process
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await self._send(message)
            return
        body = message.get("body", b"")
        self._sent.inc(len(body))
        with anyio.move_on_after(self._engine.settings.transfer_timeout) as waiting:
            for start in range(0, max(1, len(body)), _PIECE):
                more = message.get("more_body", False) or start + _PIECE < len(body)
                await self._send(
                    {
                        "type": "http.response.body",
                        "body": body[start : start + _PIECE],
                        "more_body": more,
                    }
                )
        if waiting.cancelled_caught:
            raise _NotTakenError
