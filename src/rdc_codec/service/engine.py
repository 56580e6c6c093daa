"""One codec, a few threads that work with it, and a bounded number of requests before them."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from fastapi import Request
from starlette.requests import ClientDisconnect

from .. import interrupts
from ..codec import Codec
from ..errors import CodecWarning
from ..files import one_line
from .metrics import Metrics
from .problems import BusyError
from .settings import Settings

Result = TypeVar("Result")

_CAUGHT: ContextVar[list[str] | None] = ContextVar("rdc_service_warnings", default=None)
_WARM = 64  # pixels a side


class Done(NamedTuple):
    """Holds what work returned, and the warnings that it gave."""

    result: Any
    warnings: list[str]


class Engine:
    """Does the work of requests in threads, one codec for all, and says whether more of them are taken.

    codec: one that is loaded already, whose `max_pixels` is set to that of the settings (None: it is loaded).
    """

    def __init__(self, settings: Settings, codec: Codec | None = None) -> None:
        self.settings = settings
        self.codec = codec or Codec(
            settings.model, settings.backend, settings.threads, precision=settings.precision
        )
        self.codec.max_pixels = settings.max_pixels
        self.stopping = False
        self._accepted = 0
        self._turns = anyio.CapacityLimiter(settings.at_once)
        self.metrics = Metrics(
            waiting=lambda: self._turns.statistics().tasks_waiting,
            working=lambda: self._turns.borrowed_tokens,
        )

    def warm_up(self) -> None:
        """Code one small picture, so that the first request finds everything loaded."""
        self.codec.decode(self.codec.encode(np.zeros((_WARM, _WARM, 3), np.uint8)))

    @property
    def is_full(self) -> bool:
        """Tells whether the next request would be refused."""
        return self._accepted >= self.settings.places

    @property
    def not_ready(self) -> str | None:
        """Says why no more requests should come here; None where they may."""
        return "stopping" if self.stopping else "the queue is full" if self.is_full else None

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a request, from its headers to the last byte of its answer. Raises BusyError."""
        if self.is_full:
            raise BusyError(f"{self._accepted} requests are being worked on or wait, try again")
        self._accepted += 1
        try:
            yield
        finally:
            self._accepted -= 1

    async def run(self, request: Request, work: Callable[[], Result], arriving: bool = False) -> Done:
        """Do work in a thread when it is its turn.

        Where the client leaves, the work ends and ClientDisconnect is raised; while its body is still `arriving`, that
        is noticed by whoever reads it. Raises what the work raises.
        """
        stop = interrupts.Stop()
        caught: list[str] = []
        failures: list[Exception] = []
        results: list[Result] = []

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            stop.set()
            group.cancel_scope.cancel()

        _CAUGHT.set(caught)  # the thread has a copy of this context, with the same list in it
        async with anyio.create_task_group() as group:
            if not arriving:
                group.start_soon(watch)
            do = functools.partial(self._do, work, stop, request.scope["route"].path)
            try:
                results.append(await anyio.to_thread.run_sync(do, limiter=self._turns))
            except Exception as error:  # not in a group of exceptions
                failures.append(error)
            group.cancel_scope.cancel()
        if stop.is_set:
            raise ClientDisconnect
        if failures:
            raise failures.pop()
        return Done(results.pop(), caught)

    def _do(self, work: Callable[[], Result], stop: interrupts.Stop, route: str) -> Result:
        interrupts.work_under(stop)  # in the context of this call alone
        interrupts.check()
        begun = time.perf_counter()
        try:
            # Here and not by the codec, which may leave work that cannot be stopped to a thread that nobody counts.
            with interrupts.within(self.settings.timeout):
                return work()
        finally:
            self.metrics.codec_seconds.labels(route).observe(time.perf_counter() - begun)


@contextlib.contextmanager
def noting_warnings() -> Iterator[None]:
    """Give every warning of the codec to the request whose work it comes from, as long as this lasts.

    `warnings.catch_warnings` does not tell threads apart, so there is one for the whole process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", CodecWarning)
        show = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *args: Any, **named: Any) -> None:
            caught = _CAUGHT.get()
            if caught is not None and issubclass(category, CodecWarning):
                caught.append(one_line(str(message)))
            else:
                show(message, category, *args, **named)

        warnings.showwarning = note
        yield
