"""The service: what it answers, which limits it keeps, and that it loses no request that it has accepted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from click.testing import CliRunner
from conftest import TINY
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from surroundings import child_environment

import rdc_codec
from export.to_half import copy_bundle
from rdc_codec import Codec
from rdc_codec.backends import BackendInfo
from rdc_codec.cli import main
from rdc_codec.service.app import create_app
from rdc_codec.service.engine import Engine
from rdc_codec.service.settings import Settings

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
    pytest.mark.filterwarnings("ignore:.*httpx"),
]

COMMAND = [sys.executable, "-m", "rdc_codec", "serve", "--port", "0"]
MODEL = ["--model", str(TINY), "--backend", "onnxruntime", "--threads", "1"]
PATIENCE = 60  # seconds until something that should happen counts as missing


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Return uint8 [96, 128, 3], a part of a photo."""
    return data.chelsea()[100:196, 100:228]


@pytest.fixture(scope="module")
def png(picture: np.ndarray) -> bytes:
    return file_of(Image.fromarray(picture))


@pytest.fixture(scope="module")
def stream(tiny: Codec, picture: np.ndarray) -> bytes:
    return tiny.encode(picture)


@pytest.fixture(scope="module")
def own() -> Codec:
    """A codec for services, which set its limit."""
    return Codec(TINY, backend="onnxruntime", threads=1)


@pytest.fixture
def client(own: Codec) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(workers=2), own)) as client:
        yield client


def refused(response: Any) -> tuple[int, str]:
    """Return the status and the name of the error of an answer, which says more in its detail."""
    content = response.json()
    assert content["detail"] and "\n" not in content["detail"]
    return response.status_code, content["error"]


# --- encode -----------------------------------------------------------------------------------


def test_a_picture_is_answered_as_the_stream_that_the_codec_makes(
    client: TestClient, tiny: Codec, picture: np.ndarray, png: bytes
) -> None:
    made = client.post("/encode?quality=60&layers=2", content=png)
    assert made.status_code == 200 and made.headers["content-type"] == "image/x-rdc"
    assert made.content == tiny.encode(picture, quality=60, layers=2)
    told = {name: float(made.headers[f"rdc-{name}"]) for name in ("width", "height", "quality", "bpp")}
    bpp = round(8 * len(made.content) / (128 * 96), 4)
    assert told == {"width": 128, "height": 96, "quality": 60, "bpp": bpp}
    assert "rdc-warning" not in made.headers


def test_a_form_is_taken_like_the_file_in_it(client: TestClient, png: bytes) -> None:
    form = client.post("/encode", files={"file": ("cat.png", png, "image/png")})
    assert form.status_code == 200 and form.content == client.post("/encode", content=png).content


def test_all_dials_reach_the_codec(client: TestClient, tiny: Codec, picture: np.ndarray, png: bytes) -> None:
    apart = client.post("/encode?base_quality=20&aux_quality=80&layers=base", content=png).content
    assert apart == tiny.encode(picture, base_quality=20, aux_quality=80, layers="base")
    assert len(client.post("/encode?target_bytes=450", content=png).content) <= 450
    assert client.post("/encode?share=0.3", content=png).content == tiny.encode(picture, share=0.3)
    least = client.post("/encode?target_psnr=26", content=png).content
    error = tiny.decode(least).astype(float) - picture
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= 26
    exact = client.post("/encode?min_psnr=90", content=png).content
    assert np.array_equal(tiny.decode(exact), picture)


def test_pictures_are_opened_as_the_command_opens_them(client: TestClient, picture: np.ndarray) -> None:
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x013B] = "An artist"
    turned = client.post("/encode", content=file_of(image, "JPEG", exif=exif))
    assert (turned.headers["rdc-width"], turned.headers["rdc-height"]) == ("96", "128")
    restored = opened(client.post("/decode", content=turned.content).content)
    assert restored.getexif()[0x013B] == "An artist" and 0x0112 not in restored.getexif()
    bare = client.post("/encode?strip=true", content=file_of(image, "JPEG", exif=exif))
    assert not opened(client.post("/decode", content=bare.content).content).getexif()


def test_what_needs_a_word_of_the_client_is_refused_without_it(
    client: TestClient, picture: np.ndarray
) -> None:
    cmyk = file_of(Image.fromarray(picture).convert("CMYK"), "TIFF")
    assert refused(client.post("/encode", content=cmyk)) == (422, "InputError")
    assert client.post("/encode?convert=true", content=cmyk).status_code == 200
    deep = file_of(Image.fromarray(picture[..., 0].astype(np.uint16) * 257))
    assert refused(client.post("/encode", content=deep)) == (422, "InputError")
    assert client.post("/encode?to_8bit=true", content=deep).status_code == 200


def test_the_first_of_several_frames_is_coded_with_a_warning(client: TestClient, picture: np.ndarray) -> None:
    frames = [Image.fromarray(p) for p in (picture, picture[::-1])]
    made = client.post("/encode", content=file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert made.status_code == 200 and made.headers["rdc-warning"] == "only the first frame is coded"


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ("quality=101", "InputError"),
        ("quality=nan", "InputError"),
        ("quality=high", "InputError"),
        ("qualty=50", "InputError"),
        ("layers=some", "InputError"),
        ("layers=9", "InputError"),
        ("target_bytes=5000&quality=50", "InputError"),
        ("target_bytes=0", "InputError"),
        ("target_bytes=20", "TargetError"),
        ("background=nocolour", "InputError"),
        ("strip=perhaps", "InputError"),
    ],
)
def test_a_bad_parameter_is_one_typed_error(
    client: TestClient, png: bytes, parameters: str, error: str
) -> None:
    assert refused(client.post(f"/encode?{parameters}", content=png)) == (422, error)


def test_a_target_that_cannot_be_reached_comes_with_the_best_there_is(client: TestClient, png: bytes) -> None:
    content = client.post("/encode?target_bytes=20", content=png).json()
    assert content["best"] == len(client.post("/encode?quality=0", content=png).content)


# --- decode -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "PNG"),
        ("*/*", "PNG"),
        ("image/*", "PNG"),
        ("image/png", "PNG"),
        ("image/jpeg", "JPEG"),
        ("image/webp, image/png;q=0.5", "WEBP"),
        ("text/html, image/jpeg;q=0.2", "JPEG"),
        ("image/png;q=0, image/webp;q=0, image/*;q=0.1", "JPEG"),
    ],
)
def test_a_picture_is_of_the_type_that_is_accepted(
    client: TestClient, stream: bytes, accept: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"accept": accept}
    made = client.post("/decode", content=stream, headers=headers)
    assert made.status_code == 200 and made.headers["vary"] == "Accept"
    assert made.headers["content-type"] == f"image/{kind.lower()}"
    assert (opened(made.content).format, opened(made.content).size) == (kind, (128, 96))


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "nonsense"])
def test_another_type_is_not_acceptable(client: TestClient, stream: bytes, accept: str) -> None:
    made = client.post("/decode", content=stream, headers={"accept": accept})
    assert refused(made) == (406, "NotAcceptableError")


def test_the_picture_is_that_of_the_codec(client: TestClient, tiny: Codec, stream: bytes) -> None:
    def made(parameters: str) -> np.ndarray:
        answer = client.post(f"/decode?{parameters}", content=stream)
        assert answer.status_code == 200, answer.text
        return np.asarray(opened(answer.content))

    assert np.array_equal(made(""), tiny.decode(stream))
    assert np.array_equal(made("beta=1"), tiny.decode(stream, beta=1))
    assert np.array_equal(made("beta=0.5&layers=1"), tiny.decode(stream, beta=0.5, layers=1))
    part = made("region=10,20,40,30&scale=1/2")
    assert np.array_equal(part, tiny.decode(stream, region=(10, 20, 40, 30), scale=1 / 2))


def test_transparency_stays_where_there_is_room_for_it(client: TestClient, picture: np.ndarray) -> None:
    alpha = np.zeros((96, 128, 1), np.uint8)
    alpha[20:60] = 200
    coded = client.post("/encode", content=file_of(Image.fromarray(np.concatenate([picture, alpha], 2))))
    for accept in ("image/png", "image/webp"):
        made = opened(client.post("/decode", content=coded.content, headers={"accept": accept}).content)
        assert np.array_equal(np.asarray(made)[..., 3:], alpha)
    jpeg = {"accept": "image/jpeg"}
    assert refused(client.post("/decode", content=coded.content, headers=jpeg)) == (422, "InputError")
    blended = client.post("/decode?background=red", content=coded.content, headers=jpeg)
    assert np.asarray(opened(blended.content))[2, 2, 0] > 240


def test_damage_is_a_header_and_with_strict_an_error(client: TestClient, tiny: Codec, stream: bytes) -> None:
    cut = stream[:-20]
    made = client.post("/decode", content=cut)
    assert made.status_code == 200
    assert made.headers["rdc-warning"] == "decoded without it: auxiliary slice 3 is truncated"
    assert np.array_equal(np.asarray(opened(made.content)), tiny.decode(stream, layers=3))
    assert refused(client.post("/decode?strict=true", content=cut)) == (422, "CorruptError")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        (lambda s: b"", 422, "TruncatedError"),
        (lambda s: b"GIF89a" + s, 422, "CorruptError"),
        (lambda s: s[:100], 422, "TruncatedError"),
        (lambda s: s + b"more", 422, "CorruptError"),
    ],
)
def test_what_is_no_picture_is_one_typed_error(
    client: TestClient, stream: bytes, change: Any, status: int, error: str
) -> None:
    assert refused(client.post("/decode", content=change(stream))) == (status, error)


def test_a_stream_of_another_model_is_named_as_such(
    client: TestClient, stream: bytes, shipped: Codec
) -> None:
    other = shipped.encode(np.zeros((8, 8, 3), np.uint8))
    assert refused(client.post("/decode", content=other)) == (422, "WrongModelError")
    assert client.post("/info", content=other).json() == shipped.info(other)


def test_warnings_go_to_the_request_that_they_belong_to(client: TestClient, stream: bytes) -> None:
    def decode(cut: int) -> str | None:
        return client.post("/decode", content=stream[: len(stream) - cut]).headers.get("rdc-warning")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(decode, [0, 20] * 8))
    assert found == [None, "decoded without it: auxiliary slice 3 is truncated"] * 8


# --- the base first ---------------------------------------------------------------------------


def parts_of(headers: Any, body: bytes) -> list[Message]:
    """Return the parts of an answer, read by another parser."""
    whole = message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    return whole.get_payload()  # type: ignore[return-value]


def payload(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes) and len(found) == int(part["Content-Length"])
    return found


def test_a_progressive_answer_has_the_base_and_then_the_picture(
    client: TestClient, tiny: Codec, stream: bytes
) -> None:
    made = client.post("/decode?progressive=true", content=stream)
    assert made.headers["content-type"].startswith("multipart/mixed;")
    base, full = parts_of(made.headers, made.content)
    assert (base["Rdc-Part"], full["Rdc-Part"], full["Rdc-Width"]) == ("base", "picture", "128")
    assert np.array_equal(np.asarray(opened(payload(base))), tiny.decode(stream, layers=0))
    assert np.array_equal(np.asarray(opened(payload(full))), tiny.decode(stream))


def test_its_parts_are_of_the_region_and_replace_each_other_where_a_browser_asks(
    client: TestClient, tiny: Codec, stream: bytes
) -> None:
    accept = {"accept": "multipart/x-mixed-replace"}
    query = "/decode?progressive=true&region=3,5,40,30&scale=1/4"
    made = client.post(query, content=stream, headers=accept)
    assert made.headers["content-type"].startswith("multipart/x-mixed-replace;")
    sizes = [opened(payload(part)).size for part in parts_of(made.headers, made.content)]
    assert sizes == [(10, 8), (10, 8)]


@pytest.mark.parametrize("parameters", ["beta=1", "layers=0"])
def test_one_part_is_enough_for_the_base(client: TestClient, stream: bytes, parameters: str) -> None:
    made = client.post(f"/decode?progressive=true&{parameters}", content=stream)
    (only,) = parts_of(made.headers, made.content)
    assert only["Rdc-Part"] == "picture"


def test_an_error_after_the_base_is_a_part(client: TestClient, stream: bytes) -> None:
    made = client.post("/decode?progressive=true&strict=true", content=stream[:-20])
    base, error = parts_of(made.headers, made.content)
    assert opened(payload(base)).size == (128, 96)
    assert error.get_content_type() == "application/json"
    assert json.loads(payload(error))["error"] == "CorruptError"


@pytest.mark.parametrize("parameters", ["", "&region=120,0,20,20"])
def test_an_error_before_it_has_a_status(client: TestClient, stream: bytes, parameters: str) -> None:
    body = stream if parameters else stream[:100]
    made = client.post(f"/decode?progressive=true{parameters}", content=body)
    assert refused(made) == (422, "InputError" if parameters else "TruncatedError")


# --- info, verify, state ----------------------------------------------------------------------


def test_info_and_verify_say_what_the_command_says(client: TestClient, tiny: Codec, stream: bytes) -> None:
    assert client.post("/info", content=stream).json() == tiny.info(stream)
    assert client.post("/verify", content=stream).json() == tiny.verify(stream)._asdict()
    damaged = bytearray(stream)
    damaged[-1] ^= 1
    report = client.post("/verify", files={"file": ("a.rdc", bytes(damaged))}).json()
    assert report == tiny.verify(bytes(damaged))._asdict() and not report["ok"]


def metric(client: Any, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def test_requests_bytes_and_pixels_are_counted(client: TestClient, png: bytes) -> None:
    made = client.post("/encode", content=png)
    client.post("/encode", content=b"no picture")
    client.get("/nowhere/at/all")
    assert metric(client, 'rdc_requests_total{route="/encode",status="200"}') == 1
    assert metric(client, 'rdc_requests_total{route="/encode",status="415"}') == 1
    assert metric(client, 'rdc_requests_total{route="other",status="404"}') == 1
    assert metric(client, 'rdc_received_bytes_total{route="/encode"}') == len(png) + len(b"no picture")
    assert metric(client, 'rdc_sent_bytes_total{route="/encode"}') >= len(made.content)
    assert metric(client, 'rdc_pixels_total{route="/encode"}') == 128 * 96
    assert metric(client, 'rdc_request_seconds_count{route="/encode"}') == 2
    assert metric(client, 'rdc_codec_seconds_count{route="/encode"}') == 2


def test_an_address_or_method_that_is_not_there_is_named(client: TestClient) -> None:
    assert refused(client.get("/nowhere")) == (404, "NotFound")
    assert refused(client.get("/encode")) == (405, "MethodNotAllowed")


def test_the_description_names_every_route_and_its_bodies(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/encode", "/decode", "/info", "/verify", "/health", "/ready", "/metrics"}
    assert "multipart/form-data" in paths["/encode"]["post"]["requestBody"]["content"]
    assert set(paths["/decode"]["post"]["responses"]["200"]["content"]) == {
        "image/png",
        "image/jpeg",
        "image/webp",
    }
    example = paths["/info"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert set(example) == {"width", "height", "quality", "base_quality", "aux_quality", "model", "chunks"}


# --- limits -----------------------------------------------------------------------------------


def test_too_many_bytes_or_pixels_and_other_encodings_are_refused(own: Codec, png: bytes) -> None:
    with TestClient(create_app(Settings(max_bytes=len(png) - 1), own)) as small:
        assert refused(small.post("/encode", content=png)) == (413, "LimitError")
        unknown_length = iter([png[:1000], png[1000:]])
        assert refused(small.post("/encode", content=unknown_length)) == (413, "LimitError")
        assert refused(small.post("/encode", files={"file": ("a", png)})) == (413, "LimitError")
    with TestClient(create_app(Settings(max_pixels=128 * 96 - 1), own)) as small:
        assert refused(small.post("/encode", content=png)) == (413, "LimitError")
    with TestClient(create_app(Settings(), own)) as plain:
        packed = plain.post("/encode", content=zlib.compress(png), headers={"content-encoding": "deflate"})
        assert refused(packed) == (415, "MediaTypeError")


def test_a_stream_over_the_limit_is_refused_by_its_header(own: Codec, shipped: Codec) -> None:
    large = own.encode(np.zeros((500, 500, 3), np.uint8), layers="base")
    with TestClient(create_app(Settings(max_pixels=64 * 64), own)) as small:
        assert refused(small.post("/decode", content=large)) == (413, "LimitError")
        early = small.post("/decode?progressive=true", content=large)
        assert refused(early) == (413, "LimitError")


def test_coding_that_takes_too_long_is_ended(own: Codec) -> None:
    photo = file_of(Image.fromarray(data.astronaut()))
    with TestClient(create_app(Settings(timeout=0.001), own)) as hasty:
        late = hasty.post("/encode", content=photo)
        assert refused(late) == (503, "DeadlineError") and int(late.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--b\r\n\r\nno name\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--b--\r\n',
        b"--c\r\n\r\n--c--",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nnever ends',
    ],
)
def test_a_form_that_is_not_whole_is_refused(client: TestClient, form: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    status, error = refused(client.post("/encode", content=form, headers=headers))
    assert (status, error) in ((415, "MediaTypeError"), (415, "UnknownFormatError"))
    assert refused(client.post("/encode", content=form, headers={"content-type": "multipart/form-data"})) == (
        415,
        "MediaTypeError",
    )


@pytest.mark.parametrize(
    ("name", "value"), [("workers", 0), ("queue", -1), ("timeout", 0), ("max_bytes", 1.5)]
)
def test_a_setting_out_of_its_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(rdc_codec.errors.InputError, match=name):
        Settings(**{name: value})


# --- a server on a port -----------------------------------------------------------------------


class Gate:
    """A backend whose networks wait until they are let through, so that a request is under way for as long."""

    def __init__(self, inner: Any) -> None:
        self.info = BackendInfo("gate", "CPU", "a test")
        self.parallel = True
        self._inner = inner
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Semaphore(0)

    def run(self, graph: str, inputs: Any, cuda_stream: int | None = None) -> list[np.ndarray]:
        self.waiting.release()
        assert self.open.wait(PATIENCE)
        return self._inner.run(graph, inputs, cuda_stream)


class Wire:
    """One HTTP connection whose bytes are sent when a test says so."""

    def __init__(self, port: int, buffer: int | None = None) -> None:
        """Connect. buffer: bytes that the system takes of an answer before it is read."""
        self.socket = socket.socket()
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")

    def post(self, path: str, length: int, body: bytes = b"", *headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *headers]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def send(self, body: bytes) -> None:
        self.socket.sendall(body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers of the answer."""
        line = self._file.readline().split()
        assert line, "the connection was closed without an answer"
        headers = {}
        while field := self._file.readline().strip():
            name, _, value = field.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(line[1]), headers

    def body(self, headers: dict[str, str]) -> bytes:
        return self._file.read(int(headers["content-length"]))

    def answer(self) -> tuple[int, bytes]:
        status, headers = self.head()
        return status, self.body(headers)

    def chunk(self) -> bytes:
        """Return the next chunk of an answer of unknown length; empty at its end."""
        size = int(self._file.readline(), 16)
        found = self._file.read(size)
        self._file.readline()
        return found

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    with contextlib.closing(Wire(port)) as wire:
        wire.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, body = wire.answer()
        return status, json.loads(body)


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    """Name each of the two that uvicorn reads HTTP with; the second one is there with `uvicorn[standard]`."""
    return str(request.param)


def eventually(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def serving(
    limits: Settings, codec: Codec, buffer: int | None = None, parser: str = "auto"
) -> Iterator[tuple[int, Any, Any]]:
    """Run a real server in a thread; give its port, the application and the server.

    buffer: bytes that the system takes of an answer before they are sent. parser: what uvicorn reads HTTP with.
    """
    app = create_app(limits, codec)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http=parser))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started)
            yield port, app, server
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def gate() -> Iterator[tuple[Gate, Codec]]:
    from rdc_codec import backends
    from rdc_codec.bundle import Bundle

    bundle = Bundle(TINY)
    backend = Gate(backends.create("onnxruntime", bundle, backends.BackendOptions(threads=1)))
    yield backend, Codec(bundle, backend=backend)
    backend.open.set()


def test_the_queue_has_an_end_and_requests_beyond_it_are_told_to_come_again(
    gate: tuple[Gate, Codec], png: bytes, stream: bytes
) -> None:
    backend, codec = gate
    with serving(Settings(workers=1, queue=1), codec) as (port, app, _):
        backend.waiting = threading.Semaphore(0)
        backend.open.clear()
        first, second, third = Wire(port), Wire(port), Wire(port)
        first.post("/encode", len(png), png)
        assert backend.waiting.acquire(timeout=PATIENCE)
        second.post("/decode", len(stream), stream)
        eventually(lambda: app.state.engine.is_full)
        third.post("/encode", len(png), png)
        status, headers = third.head()
        assert status == 429 and int(headers["retry-after"]) >= 1
        assert json.loads(third.body(headers))["error"] == "BusyError"
        assert get(port, "/ready") == (503, {"ready": False, "reason": "the queue is full"})
        assert get(port, "/health") == (200, {"ok": True})  # the event loop is free
        backend.open.set()
        assert first.answer()[0] == 200 and second.answer()[0] == 200
        eventually(lambda: get(port, "/ready")[0] == 200)
        third.post("/encode", len(png), png)  # on the same connection
        assert third.answer()[0] == 200
        for wire in (first, second, third):
            wire.close()


def test_a_client_that_leaves_gives_its_place_back(gate: tuple[Gate, Codec], png: bytes) -> None:
    backend, codec = gate
    with serving(Settings(workers=1, queue=1), codec) as (port, app, _):
        backend.waiting = threading.Semaphore(0)
        backend.open.clear()
        working, waits = Wire(port), Wire(port)
        working.post("/encode", len(png), png)
        assert backend.waiting.acquire(timeout=PATIENCE)
        waits.post("/encode", len(png), png)
        eventually(lambda: app.state.engine.is_full)
        waits.close()
        eventually(lambda: not app.state.engine.is_full)
        backend.open.set()
        assert working.answer()[0] == 200
        assert not backend.waiting.acquire(blocking=False)  # nothing was coded for the one that left
        working.close()


def test_a_slow_body_is_ended_and_others_are_served_meanwhile(own: Codec, png: bytes, parser: str) -> None:
    with serving(Settings(workers=1, queue=1, transfer_timeout=3), own, parser=parser) as (port, _, _):
        slow, quick = Wire(port), Wire(port)
        slow.post("/encode", len(png), png[:100])
        quick.post("/encode", len(png), png)
        assert quick.answer()[0] == 200
        status, body = slow.answer()
        assert status == 408 and json.loads(body)["error"] == "SlowTransferError"
        slow.close(), quick.close()


def test_an_answer_that_nobody_takes_is_ended(own: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    stream = own.encode(noise, min_psnr=90)  # whose picture is a large file
    with serving(Settings(workers=1, queue=0, transfer_timeout=2), own, buffer=8192) as (port, app, _):
        lazy = Wire(port, buffer=8192)
        lazy.post("/decode", len(stream), stream)
        status, headers = lazy.head()
        assert status == 200
        eventually(lambda: not app.state.engine.is_full)  # though nothing more of it is read
        assert get(port, "/ready")[0] == 200
        with contextlib.suppress(ConnectionError):
            assert len(lazy.body(headers)) < int(headers["content-length"])
        lazy.close()


def test_a_body_that_is_refused_early_leaves_the_connection_usable(
    own: Codec, png: bytes, parser: str
) -> None:
    with serving(Settings(max_bytes=200_000), own, parser=parser) as (port, _, _):
        wire = Wire(port)
        wire.post("/encode", 5_000_000, b"x" * 5_000_000)  # all of it before the answer is read
        status, body = wire.answer()
        assert status == 413 and json.loads(body)["error"] == "LimitError"
        wire.post("/encode", len(png), png)
        assert wire.answer()[0] == 200
        wire.close()


def test_the_base_is_answered_before_the_rest_of_the_stream_has_arrived(
    own: Codec, tiny: Codec, stream: bytes, parser: str
) -> None:
    base = tiny.info(stream)["chunks"][0]
    end = base["offset"] + base["length"]
    with serving(Settings(), own, parser=parser) as (port, _, _):
        wire = Wire(port)
        wire.post("/decode?progressive=true", len(stream), stream[:end])
        status, headers = wire.head()
        assert status == 200
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        found = b""
        while found.count(boundary) < 2:
            found += wire.chunk()
        first = found.partition(b"\r\n\r\n")[2].partition(b"\r\n--" + boundary)[0]
        assert np.array_equal(np.asarray(opened(first)), tiny.decode(stream, layers=0))
        wire.send(stream[end:])
        while piece := wire.chunk():
            found += piece
        (_, full) = parts_of(headers, found)
        assert np.array_equal(np.asarray(opened(payload(full))), tiny.decode(stream))
        wire.close()


def test_a_server_that_stops_answers_what_it_has_accepted(
    gate: tuple[Gate, Codec], png: bytes, parser: str
) -> None:
    backend, codec = gate
    with serving(Settings(workers=1, queue=4), codec, parser=parser) as (port, _, server):
        backend.waiting = threading.Semaphore(0)
        backend.open.clear()
        wires = [Wire(port) for _ in range(4)]
        for wire in wires[:3]:
            wire.post("/encode", len(png), png)
        wires[3].post("/encode", len(png), png[:100])  # which still arrives
        assert backend.waiting.acquire(timeout=PATIENCE)
        eventually(lambda: get_metrics(port, "rdc_waiting_requests") == (2,))
        server.should_exit = True
        eventually(lambda: not listens(port))
        backend.open.set()
        wires[3].send(png[100:])
        bodies = {wire.answer() for wire in wires}
        assert len(bodies) == 1 and next(iter(bodies))[0] == 200
        for wire in wires:
            wire.close()


def get_metrics(port: int, *names: str) -> tuple[float, ...]:
    """Return the values of some metrics at one moment."""
    with contextlib.closing(Wire(port)) as wire:
        wire.socket.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = wire.answer()[1].decode()
    found = [re.search(rf"^{re.escape(name)} (\S+)$", text, re.M) for name in names]
    return tuple(float(match[1]) if match else 0.0 for match in found)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


# --- the command ------------------------------------------------------------------------------


class Process:
    """`rdc serve` in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *MODEL, *options],
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.match(r"rdc: serving at http://127\.0\.0\.1:(\d+) \(onnxruntime", line)
        assert found is not None, line
        self.port = int(found[1])

    def end(self, sig: int) -> int:
        self.process.send_signal(sig)
        code = self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        assert "Traceback" not in rest and "ERROR" not in rest, rest
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def command(*options: str) -> Iterator[Process]:
    running = Process(*options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def test_sigterm_under_load_loses_no_request_of_clients_that_ask_whether_it_is_ready(png: bytes) -> None:
    """Four clients send one request after the other, as long as /ready says so; every one of them is answered."""
    with command("--workers", "2", "--drain", "1.5") as running:
        answers: list[int] = []

        def client() -> None:
            while True:
                try:
                    if get(running.port, "/ready")[0] != 200:
                        return
                except OSError:
                    return
                with contextlib.closing(Wire(running.port)) as wire:
                    wire.post("/encode", len(png), png)
                    answers.append(wire.answer()[0])

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answers) > 20)
        assert running.end(signal.SIGTERM) == 0
        for thread in threads:
            thread.join(PATIENCE)
        assert len(answers) > 20 and set(answers) == {200}


def test_ctrl_c_ends_the_command_as_it_ends_the_others() -> None:
    with command() as running:
        assert get(running.port, "/ready")[0] == 200
        assert running.end(signal.SIGINT) == 130


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    def said(*options: str) -> str:
        result = CliRunner().invoke(main, ["serve", *options])
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        return line

    assert str(tmp_path) in said("--model", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen at 127.0.0.1 port {port}: Address already in use" in said(
            *MODEL[:4], "--port", port
        )


def test_without_its_extra_the_command_names_it_and_the_others_do_not_need_it() -> None:
    script = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'prometheus_client', 'starlette', 'pydantic'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = ['rdc', *sys.argv[1:]]\n"
        "from rdc_codec.cli import main\n"
        "main()\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", script, *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, env=child_environment())

    missing = run("serve")
    assert missing.returncode == 2
    assert missing.stderr == 'rdc: rdc serve needs the extra serve: pip install "rdc-codec[serve]"\n'
    assert run("--help").returncode == 0


# --- malformed uploads ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steady(own: Codec) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), own)) as client:
        yield client


@pytest.mark.filterwarnings("ignore::rdc_codec.errors.CodecWarning")  # the server outlives a test here
@given(body=st.binary(max_size=200), path=st.sampled_from(["/encode", "/decode", "/info", "/verify"]))
@settings(max_examples=40)
def test_no_bytes_are_an_error_of_the_service(steady: TestClient, body: bytes, path: str) -> None:
    assert steady.post(path, content=body).status_code in (200, 413, 415, 422)


@pytest.mark.filterwarnings("ignore::rdc_codec.errors.CodecWarning")  # the server outlives a test here
@given(at=st.floats(0, 1), value=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=40)
def test_no_damaged_file_is_an_error_of_the_service(
    steady: TestClient, png: bytes, stream: bytes, at: float, value: int, cut: bool
) -> None:
    for path, whole in (("/encode", png), ("/decode", stream), ("/decode?progressive=true", stream)):
        damaged = bytearray(whole)
        place = min(int(at * len(whole)), len(whole) - 1)
        damaged[place] ^= value
        answer = steady.post(path, content=bytes(damaged[:place] if cut else damaged))
        assert answer.status_code in (200, 413, 415, 422), answer.text


# --- the measurement, and Ray Serve -----------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_of_the_service_runs_and_meets_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import service as benchmark

    few = [
        "--requests",
        "4",
        "--clients",
        "1",
        "2",
        "--many",
        "200",
        "--transfer-timeout",
        "1",
        "--seconds",
        "1",
    ]
    benchmark.main(["--model", str(TINY), "--json", *few])
    found: dict[str, list[list[Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        found |= json.loads(line)
    for part, rows in found.items():
        assert all(len(row) == len(benchmark.PARTS[part][1]) for row in rows), part
    assert [row[:2] for row in found["load"]] == [
        [name, clients] for name in ("encode", "decode") for clients in ("codec", 1, 2)
    ]
    for part in ("load", "memory", "slow", "malformed"):
        assert all(row[-1] == 0 for row in found[part]), found[part]
    assert found["memory"][-1][0] == 200
    polite = found["stop"][-1]
    assert polite[0] == 1 and polite[1] > 0 and json.loads(polite[2]) == {"complete": polite[1]}


@pytest.mark.slow
def test_two_replicas_on_ray_share_the_requests(
    tiny: Codec, picture: np.ndarray, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    from rdc_codec.service import ray_deployment

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"env_vars": {"PYTHONPATH": child_environment()["PYTHONPATH"]}}
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        asked = {
            "model": str(TINY),
            "backend": "onnxruntime",
            "threads": "1",
            "workers": "1",
            "replicas": "2",
        }
        serve.run(ray_deployment.build(asked))
        eventually(lambda: get(port, "/ready")[0] == 200)

        def encode(_: int) -> tuple[int, bytes]:
            with contextlib.closing(Wire(port)) as wire:
                wire.post("/encode?quality=60", len(png), png)
                return wire.answer()

        with ThreadPoolExecutor(4) as threads:
            answers = set(threads.map(encode, range(40)))
        assert answers == {(200, tiny.encode(picture, quality=60))}
        done = 'rdc_requests_total{route="/encode",status="200"}'
        seen = {get_metrics(port, "process_start_time_seconds", done) for _ in range(60)}
        assert len(seen) == 2 and sum(count for _, count in seen) == 40  # of the one replica and of the other
    finally:
        serve.shutdown()
        ray.shutdown()


def test_settings_of_a_deployment_come_as_texts() -> None:
    from rdc_codec.service import ray_deployment

    with pytest.raises(rdc_codec.errors.InputError, match="no setting colour"):
        ray_deployment.build({"colour": "red"})
    with pytest.raises(rdc_codec.errors.InputError, match="queue must be a number"):
        ray_deployment.build({"queue": "long"})
    with pytest.raises(rdc_codec.errors.InputError, match="precision must be"):
        ray_deployment.build({"precision": "half"})


def test_precision_is_the_codecs(tmp_path: Path) -> None:
    copy_bundle(TINY, tmp_path / "half", "fp16")
    with pytest.raises(rdc_codec.errors.InputError, match="precision='exact' needs fp32"):
        Engine(Settings(str(tmp_path / "half"), precision="exact"))
    options = ["serve", "--model", str(tmp_path / "half"), "--precision", "exact"]
    said = CliRunner().invoke(main, options)
    assert said.exit_code == 2 and "precision='exact' needs fp32" in said.output
