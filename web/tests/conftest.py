"""The built page in a real Chromium, served as a static host would, and the streams that it is shown."""

from __future__ import annotations

import base64
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from skimage import data

from rdc_codec import Codec
from web.serve import DIST, HOST, server

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "data" / "tiny"
GOLDEN = ROOT / "tests" / "data" / "golden"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# Other bytes of a typed array than its own would come as a list of a million numbers.
# WebGPU on the CPU, which a page takes only where it is asked for by name.
EMULATED_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
)
AS_TEXT = """async (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const url = await new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(new Blob([bytes]));
  });
  return url.slice(url.indexOf(",") + 1);
}"""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page, with the tiny bundle in tiny/."""
    assert (DIST / "index.html").is_file(), "the page is not built: run make web"
    with serving(server(0, folders={"tiny": TINY})) as url:
        yield url


@pytest.fixture(scope="session")
def plain_address() -> Iterator[str]:
    """Serve the page without the headers that isolate it, as most static hosts do."""
    with serving(server(0, isolated=False)) as url:
        yield url


class serving:
    """Runs a server meanwhile, and gives its address."""

    def __init__(self, run: ThreadingHTTPServer) -> None:
        self._server = run
        self._thread = threading.Thread(target=run.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://{HOST}:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start Chromium with options of its command line."""
    assert CHROMIUM, "there is no chromium: install it, or name it in CHROMIUM"
    with sync_playwright() as playwright:
        yield lambda *options: playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *options]
        )


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    chromium = launch()
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> BrowserContext:
    """One for all pages without options of their own: what one has loaded, the next has at hand."""
    return browser.new_context(viewport={"width": 1280, "height": 800})


@pytest.fixture
def open_page(browser: Browser, context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Open pages; what they do not catch fails the test."""
    wrong: list[str] = []
    pages = []

    def opened(url: str, **options: Any) -> Page:
        page = browser.new_page(**options) if options else context.new_page()
        pages.append(page)
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not wrong, wrong


@pytest.fixture(scope="session")
def shipped() -> Codec:
    return Codec(backend="onnxruntime", threads=2)


@pytest.fixture(scope="session")
def tiny() -> Codec:
    return Codec(TINY, backend="onnxruntime", threads=1)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """Return uint8 [300, 451, 3], a cat."""
    return data.chelsea()


@pytest.fixture(scope="session")
def stream(shipped: Codec, photo: np.ndarray) -> bytes:
    return shipped.encode(photo, quality=50)


class Worker:
    """Calls the page's worker, in a page of its own, as the page does."""

    def __init__(self, page: Page, bundle: str = "") -> None:
        self._page = page
        page.evaluate(
            """async (bundle) => {
                const { Client, optionsOf } = await import("./client.js");
                globalThis.client = new Client();
                const address = new URL(location.href);
                if (bundle) address.searchParams.set("bundle", bundle);
                globalThis.model = await client.call("start", optionsOf(address));
            }""",
            bundle,
        )
        page.evaluate(f"() => {{ globalThis.asText = {AS_TEXT}; }}")

    def open(self, stream: bytes) -> dict[str, Any]:
        """Open a stream and return what the worker says of it."""
        return self._page.evaluate(
            """async (text) => {
                const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const opened = await client.call("open", { data });
                return { ...opened, alpha: opened.alpha !== null };
            }""",
            base64.b64encode(stream).decode(),
        )

    def symbols(self) -> dict[str, np.ndarray]:
        """Return the symbols of the open stream, int32, flat, and without those of slices that are not there."""
        found = self._page.evaluate(
            """async () => {
                const { slices, ...planes } = await client.call("symbols");
                const names = slices ? ["z1", "y1", "z2", "y2"] : ["z1", "y1"];
                return Object.fromEntries(await Promise.all(names.map(async (n) => [n, await asText(planes[n])])));
            }"""
        )
        return {name: np.frombuffer(base64.b64decode(text), np.int32) for name, text in found.items()}

    def pixels(self, slices: int, height: int, width: int) -> np.ndarray:
        """Return the picture of so many slices, uint8 [H, W, 3]."""
        text = self._page.evaluate(
            "async (slices) => asText(await client.call('pixels', { slices }))", slices
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]

    def encode(self, picture: bytes, quality: float, slices: int) -> bytes:
        """Code a picture file."""
        text = self._page.evaluate(
            """async ([text, quality, slices]) => {
                const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                await client.call("original", { bitmap: await createImageBitmap(new Blob([data])) });
                return asText(await client.call("encode", { quality, slices }));
            }""",
            [base64.b64encode(picture).decode(), quality, slices],
        )
        return base64.b64decode(text)


def python_symbols(codec: Codec, stream: bytes) -> dict[str, np.ndarray]:
    """Return the symbols that Python reads, by the names of the graphs' inputs, flat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = codec.symbols(stream)
    names = {
        "z1": "primary_hyper",
        "y1": "primary_latents",
        "z2": "auxiliary_hyper",
        "y2": "auxiliary_latents",
    }
    return {short: found[name].ravel() for short, name in names.items() if name in found}
