"""The application that any ASGI server runs: `create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from ..codec import Codec
from ..errors import CodecError
from . import problems
from .engine import Engine, noting_warnings
from .front import Front
from .routes import router
from .settings import Settings

_DESCRIPTION = "Compresses photographs to .rdc streams and restores them, for people and for machines."


def create_app(settings: Settings | None = None, codec: Codec | None = None) -> FastAPI:
    """Return the application, which loads its codec when the server starts it.

    settings: its model and limits (None: the defaults). codec: one that is loaded already; the service sets its
    `max_pixels`. While it runs, warnings of the codec go to its answers, in all of the process.
    """
    taken = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = await anyio.to_thread.run_sync(lambda: Engine(taken, codec))
        await anyio.to_thread.run_sync(engine.warm_up)
        app.state.engine = engine
        with noting_warnings():
            yield
        engine.stopping = True

    app = FastAPI(title="rdc", version=__version__, description=_DESCRIPTION, lifespan=lifespan)
    app.include_router(router)
    app.add_middleware(Front)
    app.add_exception_handler(CodecError, problems.on_error)
    app.add_exception_handler(MemoryError, problems.on_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(ClientDisconnect, problems.on_left)
    app.add_exception_handler(Exception, problems.on_bug)
    return app
