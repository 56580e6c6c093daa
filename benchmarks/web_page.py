"""Measures the page that opens streams: its bytes, and how long it takes in a headless Chromium, beside Python.

python -m benchmarks.web_page [--rounds N] [--quality Q] [--chromium PATH]

`make web` builds the page first; the package playwright starts the browser. The picture is of 768x512 pixels, and each
figure the least time of all rounds. A row's Python is onnxruntime with as many threads in the same minute. Run it on
an idle machine.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import seconds_of, table
from benchmarks.sizing import photo
from rdc_codec import Codec
from web.serve import DIST, HOST, server

SIZE = (768, 512)
MEGA = 1e6
THREADS = (1, 2)
ORT_WASM = "ort/ort-wasm-simd-threaded"
PARTS = {
    "page: HTML, CSS, JavaScript": ("*.html", "*.css", "*.js", "*.svg"),
    "coder: the C API": ("coder/*",),
    "ONNX Runtime Web, WebAssembly": ("ort/ort.wasm*", f"{ORT_WASM}.mjs", f"{ORT_WASM}.wasm"),
    "ONNX Runtime Web, WebGPU (instead of it)": ("ort/ort.webgpu*", f"{ORT_WASM}.asyncify*"),
    "bundle: manifest, tables": ("bundle/manifest.json", "bundle/tables.npz"),
    "bundle: two graphs to decode": ("bundle/decode_base*", "bundle/decode_people*"),
    "bundle: weights": ("bundle/weights.bin",),
    "bundle: graph to encode": ("bundle/encode_full*",),
}
SCRIPT = """async ([stream, picture, threads, rounds]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const { Client } = await import("./client.js");
  const timed = async (work) => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };
  const client = new Client();
  const found = { first: 0, runsOn: "", open: [], base: [], full: [], encode: [] };
  const bundle = new URL("./bundle/", location.href).href;
  found.first = await timed(async () => {
    found.runsOn = (await client.call("start", { bundle, backend: "wasm", threads })).runsOn;
    await client.call("open", { data: bytes(stream) });
    await client.call("picture", { slices: 0 });
  });
  await client.call("original", { bitmap: await createImageBitmap(new Blob([bytes(picture)])) });
  for (let round = 0; round <= rounds; round++) {
    const times = {
      open: await timed(() => client.call("open", { data: bytes(stream) })),
      base: await timed(() => client.call("picture", { slices: 0 })),
      full: await timed(() => client.call("picture", { slices: 4 })),
      encode: await timed(() => client.call("encode", { quality: 50 })),
    };
    if (round) for (const name in times) found[name].push(times[name]); // the first round loads graphs
  }
  client.worker.terminate();
  return found;
}"""


def sizes() -> list[list[str]]:
    """Return rows of the page's parts: bytes of their files, and what is left of those with gzip."""
    rows = []
    for name, patterns in PARTS.items():
        files = [path for pattern in patterns for path in sorted(DIST.glob(pattern))]
        whole = sum(path.stat().st_size for path in files)
        sent = sum(len(gzip.compress(path.read_bytes(), 6)) for path in files)
        rows.append([name, f"{whole / MEGA:.2f}", f"{sent / MEGA:.2f}"])
    return rows


def in_python(picture: np.ndarray, stream: bytes, threads: int, rounds: int) -> dict[str, float]:
    """Return seconds by what is done."""
    codec = Codec(backend="onnxruntime", threads=threads)
    return {
        "open": min(seconds_of(lambda: codec.symbols(stream), rounds)),
        "base": min(seconds_of(lambda: codec.decode(stream, beta=1), rounds)),
        "full": min(seconds_of(lambda: codec.decode(stream), rounds)),
        "encode": min(seconds_of(lambda: codec.encode(picture, quality=50), rounds)),
    }


def in_chromium(
    chromium: str, picture: np.ndarray, stream: bytes, threads: int, rounds: int
) -> dict[str, Any]:
    """Return milliseconds of every round by what is done, and of all up to the first picture."""
    from playwright.sync_api import sync_playwright

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    texts = [base64.b64encode(data).decode() for data in (stream, file.getvalue())]
    serving = server(0)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://{HOST}:{serving.server_port}/")
        found: dict[str, Any] = page.evaluate(SCRIPT, [*texts, threads, rounds])
        browser.close()
    serving.shutdown()
    serving.server_close()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--chromium", type=Path, help="the browser (default: chromium)")
    args = parser.parse_args(arguments)
    chromium = args.chromium or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        parser.error("there is no chromium: name one with --chromium")
    if not (DIST / "index.html").is_file():
        parser.error("the page is not built: run make web first")
    print(table(["part", "MB", "MB with gzip"], sizes()))
    picture = photo(*SIZE)
    stream = Codec(backend="onnxruntime").encode(picture, quality=args.quality)
    rows = []
    for threads in THREADS:
        page = in_chromium(str(chromium), picture, stream, threads, args.rounds)
        python = in_python(picture, stream, threads, args.rounds)
        names = {
            "open": "read the symbols",
            "base": "decode the base",
            "full": "decode for people",
            "encode": "encode",
        }
        for key, name in names.items():
            here, there = min(page[key]) / 1000, python[key]
            # Python's figures of a picture contain those of reading its symbols, the page's do not.
            there -= python["open"] if key in ("base", "full") else 0
            rows.append([page["runsOn"], name, f"{here:.3f}", f"{there:.3f}", f"{here / there:.1f}"])
        rows.append(
            [
                page["runsOn"],
                "all up to the first picture, from this machine",
                f"{page['first'] / 1000:.2f}",
                "",
                "",
            ]
        )
    print(table(["runs on", "768x512", "page, s", "Python, s", "ratio"], rows))


if __name__ == "__main__":
    main()
