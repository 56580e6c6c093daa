"""The command `rdc serve`. FastAPI and uvicorn are loaded when it runs."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from .. import files
from ..codec import Codec
from ..errors import CodecError
from ..options import BACKEND, PRECISION
from .settings import MAX_BYTES, MAX_PIXELS, QUEUE, SECONDS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from ..backends.precision import Precision

_EXTRA = 'rdc serve needs the extra serve: pip install "rdc-codec[serve]"'
_BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has it
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free."
)
@click.option(
    "--model", metavar="DIR", type=click.Path(path_type=Path), help="Bundle to use, not the shipped one."
)
@BACKEND
@PRECISION
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of the networks (default: all cores)."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Pictures that are coded at once (default: one a core)."
)
@click.option(
    "--queue",
    type=click.IntRange(min=0),
    default=QUEUE,
    show_default=True,
    help="Requests accepted beyond those; more are answered 429.",
)
@click.option(
    "--max-bytes", type=click.IntRange(min=1), default=MAX_BYTES, show_default=True, help="Of a body (413)."
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Of a picture, counted with its padding (413).",
)
@click.option(
    "--timeout",
    type=_SECONDS,
    default=SECONDS,
    show_default=True,
    help="Seconds for coding one picture (503).",
)
@click.option(
    "--transfer-timeout",
    type=_SECONDS,
    default=SECONDS,
    show_default=True,
    help="Seconds in which a body must arrive (408), and an answer be taken.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds from SIGTERM, when /ready turns to 503, until no connection is accepted any more.",
)
@click.option("--access-log", is_flag=True, help="Print a line for every request.")
def serve(
    host: str,
    port: int,
    model: Path | None,
    backend: str,
    precision: Precision | None,
    threads: int | None,
    workers: int | None,
    queue: int,
    max_bytes: int,
    max_pixels: int,
    timeout: float,
    transfer_timeout: float,
    drain: float,
    access_log: bool,
) -> None:
    """Serve the codec over HTTP: POST /encode, /decode, /info, /verify; GET /health, /ready, /metrics, /docs.

    SIGTERM ends it when all requests that it has accepted are answered. It has neither passwords nor encryption, which
    are the business of a proxy before it.
    """
    try:
        import uvicorn

        from .app import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rdc_codec":
            raise
        _end(_EXTRA)
    try:
        settings = Settings(
            None if model is None else str(model),
            backend,
            threads,
            workers,
            queue,
            max_bytes,
            max_pixels,
            timeout,
            transfer_timeout,
            precision,
        )
        codec = Codec(settings.model, settings.backend, settings.threads, precision=settings.precision)
    except (CodecError, OSError) as error:
        _end(files.one_line(error))
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        _end(f"cannot listen at {host} port {port}: {files.one_line(error)}")
    app = create_app(settings, codec)
    config = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        timeout_graceful_shutdown=round(settings.longest) + 1,
    )

    def stop() -> None:
        app.state.engine.stopping = True

    name = f"[{host}]" if ":" in host else host
    click.echo(f"rdc: serving at http://{name}:{listener.getsockname()[1]} ({codec.backend})", err=True)
    with listener:
        received = _run(config, listener, stop, drain)
    if received == signal.SIGINT:
        raise KeyboardInterrupt


def _run(
    config: uvicorn.Config, listener: socket.socket, stop: Callable[[], None], drain: float
) -> int | None:
    """Serve until a signal comes and what was accepted is answered; return the signal."""
    import uvicorn

    class Server(uvicorn.Server):
        received: int | None = None

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Stop after the drain, at once at a second signal; a third one, Ctrl-C, does not wait for requests."""
            first, self.received = self.received is None, self.received or sig
            with contextlib.suppress(AttributeError):  # before the application has started
                stop()
            if first and drain and self.started:
                timer = threading.Timer(drain, self._close)
                timer.daemon = True
                timer.start()
            elif self.should_exit and sig == signal.SIGINT:
                self.force_exit = True
            else:
                self._close()

        def _close(self) -> None:
            self.should_exit = True

    server = Server(config)
    server.run(sockets=[listener])
    return server.received


def _end(text: str) -> NoReturn:
    from ..cli import BadInput

    raise BadInput(text)
