"""Serves the built page on this machine, with the headers that let a browser run networks in several threads."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DIST = Path(__file__).parent / "dist"
HOST = "127.0.0.1"
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class Handler(SimpleHTTPRequestHandler):
    """Answers with files of a folder."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".rdc": "image/x-rdc",
    }

    def __init__(
        self, *args: object, folders: Mapping[str, Path], headers: Mapping[str, str], **named: object
    ) -> None:
        """Take folders by the first part of an address ("" for all others), and headers to add to every answer."""
        self._folders = folders
        self._headers = headers
        super().__init__(*args, directory=str(folders[""]), **named)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """Return the file of an address."""
        first, _, rest = path.lstrip("/").partition("/")
        if first in self._folders:
            self.directory = str(self._folders[first])
            return super().translate_path(f"/{rest}")
        self.directory = str(self._folders[""])
        return super().translate_path(path)

    def end_headers(self) -> None:
        """Add the headers."""
        for name, value in self._headers.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file, to whoever still wants it."""
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)

    def log_message(self, *args: object) -> None:
        """Say nothing of requests."""


def server(
    port: int, isolated: bool = True, folders: Mapping[str, Path] | None = None
) -> ThreadingHTTPServer:
    """Return a server of the page that is not started yet; port 0 takes a free one.

    folders: more of them to serve, by the first part of their address.
    """
    handler = partial(Handler, folders={"": DIST, **(folders or {})}, headers=ISOLATION if isolated else {})
    return ThreadingHTTPServer((HOST, port), handler)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="of this machine (default: 8000)")
    parser.add_argument(
        "--plain", action="store_true", help="without the headers: networks run in one thread"
    )
    arguments = parser.parse_args()
    if not (DIST / "index.html").is_file():
        parser.error("the page is not built: run make web first")
    with server(arguments.port, not arguments.plain) as serving:
        print(f"http://{HOST}:{serving.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
