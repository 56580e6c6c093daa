"""Measures the service with a real client on the loopback: what it answers in which time, under load and misuse.

    python -m benchmarks.service [PART ...] [--model BUNDLE] [--clients 1 4 16] [--requests N] [--many N] [--json]

PART is one or more of these (default: all but sizes):

* load: p50 and p95 of a request, what it takes of all cores, requests a second, and errors, for so many clients that
  each send one request after the other: encode and decode of a photo of 768x512. `codec` stands beside it: the same
  work (opening a PNG and coding it; decoding and writing a PNG) in a loop in this process, without HTTP.
* memory: --many requests with pictures of --size; MB of the process on the way.
* slow: 8 clients that send a byte now and then, and what that costs another client; each of the 8 gets a 408.
* malformed: files that are cut or changed at random; anything but a picture or a 4xx counts as an error.
* stop: SIGTERM while 16 clients send requests, without a drain, and with one to clients that ask whether the service
  is ready. What was accepted is answered; later connections are refused, or closed before they are accepted.
* sizes: the same of 8 clients with 1, 2 and 4 pictures at once, by threads of the networks; MB of the process.

Every part starts `rdc serve` in a process of its own. Figures depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import urllib3
from PIL import Image

from benchmarks.common import table
from benchmarks.sizing import photo
from rdc_codec import Codec

SIZE = (768, 512)
SMALL = (64, 64)
MEGA = 1e6
SLOW_CLIENTS = 8
STOP_CLIENTS = 16
READY = re.compile(r"rdc: serving at (http://\S+)")


class Served(NamedTuple):
    """Holds a running service: its address and its process."""

    url: str
    process: subprocess.Popen[str]

    def cpu(self) -> float:
        """Return the seconds of cores that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the MB that the process has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) * 1024 / MEGA


@contextmanager
def served(model: str | None, *options: str) -> Iterator[Served]:
    """Run `rdc serve` at a port that is free, as long as this lasts."""
    chosen = [] if model is None else ["--model", model]
    process = subprocess.Popen(
        [sys.executable, "-m", "rdc_codec", "serve", "--port", "0", *chosen, *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = READY.match(line)
        if found is None:
            raise SystemExit(line + process.stderr.read())
        yield Served(found[1], process)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def png(width: int, height: int) -> bytes:
    """Return the file of a photo."""
    file = io.BytesIO()
    Image.fromarray(photo(width, height)).save(file, "PNG")
    return file.getvalue()


def client() -> urllib3.PoolManager:
    """Return a client with one connection, which tries nothing again."""
    return urllib3.PoolManager(maxsize=1, retries=False, timeout=120)


class Loaded(NamedTuple):
    """Says what a number of clients met: seconds of each request that was answered, of all, and the errors.

    cpu: core-seconds that the service used for all.
    """

    times: list[float]
    seconds: float
    errors: int
    cpu: float

    def row(self, *names: Any) -> list[Any]:
        """Return a row of a table."""
        p50, p95 = (f"{1000 * float(np.quantile(self.times, q)):.0f}" for q in (0.5, 0.95))
        each = f"{1000 * self.cpu / (len(self.times) + self.errors):.0f}"
        return [*names, p50, p95, each, f"{len(self.times) / self.seconds:.2f}", self.errors]


def load(service: Served, name: str, body: bytes, clients: int, requests: int) -> Loaded:
    """Send so many requests in all, by so many clients that each wait for one answer before the next request."""
    left = iter(range(requests))
    times: list[float] = []
    errors: list[int] = []

    def one() -> None:
        with client() as connection:
            for _ in left:  # next() of an iterator of a range is one step of the interpreter
                begun = time.perf_counter()
                status = connection.request("POST", f"{service.url}/{name}", body=body).status
                (times if status == 200 else errors).append(time.perf_counter() - begun)  # type: ignore[arg-type]

    begun, used = time.perf_counter(), service.cpu()
    with ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(one) for _ in range(clients)]:
            done.result()
    return Loaded(times, time.perf_counter() - begun, len(errors), service.cpu() - used)


def alone(work: Callable[[], Any], requests: int) -> Loaded:
    """Do the same without a service."""
    times, used = [], time.process_time()
    for _ in range(requests):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return Loaded(times, sum(times), 0, time.process_time() - used)


def measure_load(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*SIZE)
    codec = Codec(args.model)
    stream = codec.encode(Image.open(io.BytesIO(picture)))

    def encode() -> None:
        codec.encode(Image.open(io.BytesIO(picture)))

    def decode() -> None:
        codec.decode_image(stream).save(io.BytesIO(), "PNG", compress_level=1)  # as the service does

    rows = []
    for name, body, work in (("encode", picture, encode), ("decode", stream, decode)):
        work()
        rows.append(alone(work, args.requests).row(name, "codec"))
        with served(args.model) as service:
            load(service, name, body, 2, 4)
            for clients in args.clients:
                found = load(service, name, body, clients, max(args.requests, 2 * clients))
                rows.append(found.row(name, clients))
    return rows


def measure_sizes(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*SIZE)
    stream = Codec(args.model).encode(Image.open(io.BytesIO(picture)))
    rows = []
    for threads, workers in itertools.product((1, 2), (1, 2, 4)):
        with served(args.model, "--workers", str(workers), "--threads", str(threads)) as service:
            for name, body in (("encode", picture), ("decode", stream)):
                load(service, name, body, workers, 2 * workers)
                found = load(service, name, body, 8, args.requests)
                rows.append([*found.row(name, threads, workers), f"{service.memory():.0f}"])
    return rows


def measure_memory(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*args.size)
    stream = Codec(args.model).encode(Image.open(io.BytesIO(picture)))
    rows = []
    with served(args.model) as service:
        done = errors = 0
        for share in (0.02, 0.1, 0.25, 0.5, 0.75, 1):
            count = int(args.many * share) - done
            for name, body, part in (("encode", picture, count // 2), ("decode", stream, count - count // 2)):
                errors += load(service, name, body, 4, part).errors
            done += count
            rows.append([done, f"{service.memory():.1f}", errors])
    return rows


def measure_slow(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*SIZE)
    rows = []
    with served(args.model, "--transfer-timeout", str(args.transfer_timeout)) as service:
        load(service, "encode", picture, 1, 2)
        rows.append(load(service, "encode", picture, 1, args.requests).row("nobody"))
        ends: list[int] = []
        threads = [
            threading.Thread(target=lambda: ends.append(_trickle(service.url, len(picture))))
            for _ in range(SLOW_CLIENTS)
        ]
        for thread in threads:
            thread.start()
        rows.append(load(service, "encode", picture, 1, args.requests).row(f"{SLOW_CLIENTS} slow clients"))
        for thread in threads:
            thread.join()
        rows.append([f"those: {dict(Counter(ends))}", "", "", "", "", sum(status != 408 for status in ends)])
    return rows


def _trickle(url: str, length: int) -> int:
    """Send a byte every tenth of a second until there is an answer, and return its status."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        connection.settimeout(0.1)
        while True:
            connection.sendall(b"\x89")
            try:
                return int(connection.recv(1000).split()[1])
            except TimeoutError:
                continue


def measure_malformed(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*SMALL)
    stream = Codec(args.model).encode(Image.open(io.BytesIO(picture)))
    rows = []
    draw = random.Random(0)
    with served(args.model) as service, client() as connection:
        for name, whole in (("encode", picture), ("decode", stream), ("verify", stream), ("info", stream)):
            statuses: Counter[int] = Counter()
            for _ in range(args.many // 20):
                body = bytearray(whole)
                for _ in range(draw.randint(0, 3)):
                    body[draw.randrange(len(body))] = draw.randrange(256)
                sent = bytes(body[: draw.randint(0, len(body))] if draw.random() < 0.5 else body)
                if draw.random() < 0.3:
                    given = connection.request("POST", f"{service.url}/{name}", fields={"file": ("a", sent)})
                else:
                    given = connection.request("POST", f"{service.url}/{name}", body=sent)
                statuses[given.status] += 1
            bad = sum(n for status, n in statuses.items() if status not in (200, 413, 415, 422))
            rows.append([name, statuses.total(), json.dumps(dict(sorted(statuses.items()))), bad])
        healthy = connection.request("GET", f"{service.url}/ready").status
        rows.append(["ready afterwards", 1, json.dumps({str(healthy): 1}), int(healthy != 200)])
    return rows


def measure_stop(args: argparse.Namespace) -> list[list[Any]]:
    picture = png(*SMALL)
    rows = []
    for drain in (0.0, 1.0):
        answered: Counter[str] = Counter()
        with served(args.model, "--drain", str(drain)) as service:

            def one(url: str, answered: Counter[str], polite: bool) -> None:
                with client() as connection:
                    while True:
                        try:
                            if polite and connection.request("GET", f"{url}/ready").status != 200:
                                return
                            given = connection.request("POST", f"{url}/encode", body=picture)
                        except urllib3.exceptions.NewConnectionError:
                            answered["refused"] += 1
                            return
                        except urllib3.exceptions.ProtocolError:
                            answered["closed before an answer"] += 1
                            return
                        answered["complete" if given.status == 200 else f"status {given.status}"] += 1

            threads = [
                threading.Thread(target=one, args=(service.url, answered, drain > 0))
                for _ in range(STOP_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(args.seconds)
            service.process.send_signal(signal.SIGTERM)
            code = service.process.wait(60)
            for thread in threads:
                thread.join()
        rows.append([drain, answered["complete"], json.dumps(dict(answered)), code])
    return rows


_TIMES = ("p50, ms", "p95, ms", "CPU, ms", "requests/s", "errors")
PARTS: dict[str, tuple[Callable[[argparse.Namespace], list[list[Any]]], Sequence[str]]] = {
    "load": (measure_load, ("", "clients", *_TIMES)),
    "memory": (measure_memory, ("requests", "MB", "errors")),
    "slow": (measure_slow, ("beside", *_TIMES)),
    "malformed": (measure_malformed, ("route", "requests", "statuses", "errors")),
    "stop": (measure_stop, ("drain, s", "answered", "all", "exit code")),
    "sizes": (measure_sizes, ("", "threads", "at once", *_TIMES, "MB")),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--model", metavar="BUNDLE", help="default: the shipped one")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--requests", type=int, default=60, help="of a measurement of time")
    parser.add_argument("--many", type=int, default=10_000, help="requests for the memory")
    parser.add_argument(
        "--size", type=int, nargs=2, default=SMALL, metavar=("WIDTH", "HEIGHT"), help="for them"
    )
    parser.add_argument("--transfer-timeout", type=float, default=10, help="seconds, for the slow clients")
    parser.add_argument("--seconds", type=float, default=3, help="of load before the stop")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    for name in args.parts or [part for part in PARTS if part != "sizes"]:
        measure, head = PARTS[name]
        rows = measure(args)
        print(json.dumps({name: rows}) if args.json else f"\n{name}\n\n{table(head, rows)}", flush=True)


if __name__ == "__main__":
    main()
