"""Batches: the results of one by one, in order, with bounded memory, errors where they belong."""

from __future__ import annotations

import itertools
import threading
import time
import warnings

import numpy as np
import pytest

from rdc_codec import Codec
from rdc_codec.backends import BackendInfo
from rdc_codec.backends.ort_cpu import BESIDE_BYTES, OnnxRuntimeBackend
from rdc_codec.errors import CodecError, DamagedAuxiliaryWarning, InputError
from rdc_codec.ordered import in_order


@pytest.fixture
def pictures(photos: list[np.ndarray]) -> list[np.ndarray]:
    sizes = [(70, 90), (64, 64), (1, 1), (130, 65), (33, 200), (64, 64), (90, 70)]
    return [photos[k % 3][:h, :w] for k, (h, w) in enumerate(sizes)]


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_batches_are_what_one_by_one_gives(tiny, pictures, workers) -> None:
    streams = list(tiny.encode_batch(iter(pictures), 70, layers=2, workers=workers))
    assert streams == [tiny.encode(p, 70, layers=2) for p in pictures]
    for beta in (0.0, 0.5, 1.0):
        for found, stream in zip(tiny.decode_batch(streams, beta, workers=workers), streams, strict=True):
            np.testing.assert_array_equal(found, tiny.decode(stream, beta))


def test_results_keep_their_order_however_long_each_takes() -> None:
    def work(item: int) -> int:
        time.sleep(0.02 * (item % 3 == 0))
        return item

    assert list(in_order(int, work, range(20), 4)) == list(range(20))
    assert list(in_order(int, work, [], 4)) == []


def test_items_are_read_only_when_there_is_room() -> None:
    read: list[int] = []

    def items():
        for k in itertools.count():
            read.append(k)
            yield k

    results = in_order(int, lambda k: k, items(), 3)
    for k in range(10):
        assert next(results) == k and len(read) == k + 4
    results.close()
    assert len(read) == 13


def test_a_batch_that_keeps_all_threads_busy_gives_the_same_bytes(tiny, photos, pictures) -> None:
    """Small pictures run one on each thread then, large ones (here the last) one after the other."""
    codec = Codec(tiny.bundle.path, backend="onnxruntime", threads=2)
    large = np.tile(photos[1], (3, 3, 1))
    assert large.nbytes > BESIDE_BYTES > photos[1].nbytes
    for workers in (2, 4):
        streams = list(codec.encode_batch([*pictures, *photos, large], workers=workers))
        assert streams == [tiny.encode(p) for p in (*pictures, *photos, large)]
        for found, stream in zip(codec.decode_batch(streams, workers=workers), streams, strict=True):
            np.testing.assert_array_equal(found, tiny.decode(stream))


def test_networks_run_one_at_a_time(tiny, pictures) -> None:
    class Watched:
        """Is a backend that knows how many calls were under way in it at once."""

        info, parallel = BackendInfo("watched", "CPU", "a test"), False

        def __init__(self) -> None:
            self.plain = OnnxRuntimeBackend(tiny.bundle, 1, None)
            self.running, self.most, self.count = 0, 0, threading.Lock()

        def run(self, graph, inputs, cuda_stream=None):
            with self.count:
                self.running += 1
                self.most = max(self.most, self.running)
            try:
                return self.plain.run(graph, inputs)
            finally:
                with self.count:
                    self.running -= 1

    backend = Watched()
    codec = Codec(tiny.bundle, backend=backend)
    assert len(list(codec.encode_batch(pictures * 3, workers=4))) == 3 * len(pictures)
    assert backend.most == 1
    backend.parallel = True
    assert len(list(codec.encode_batch(pictures * 3, workers=4))) == 3 * len(pictures)
    assert backend.most > 1, "the watch does notice"


def test_an_error_is_raised_in_place_of_its_result(tiny, pictures) -> None:
    streams = [tiny.encode(p) for p in pictures[:4]]
    streams[2] = b"nothing"
    results = tiny.decode_batch(streams, workers=2)
    assert [next(results).shape for _ in range(2)] == [p.shape for p in pictures[:2]]
    with pytest.raises(CodecError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert all(not t.name.startswith("rdc") for t in threading.enumerate())


def test_an_error_of_the_pictures_ends_the_batch(tiny, pictures) -> None:
    def broken():
        yield pictures[0]
        raise OSError("the disk is gone")

    results = tiny.encode_batch(broken(), workers=4)
    assert next(results) == tiny.encode(pictures[0])
    with pytest.raises(OSError, match="the disk"):
        next(results)


def test_an_earlier_error_of_the_work_comes_before_one_of_the_items() -> None:
    def items():
        yield 0
        raise OSError("later")

    with pytest.raises(ZeroDivisionError):
        list(in_order(int, lambda k: 1 // k, items(), 4))


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "two"])
def test_bad_arguments_are_refused_at_once(tiny, workers) -> None:
    with pytest.raises(InputError, match="workers"):
        tiny.encode_batch([], workers=workers)


def test_a_damaged_stream_warns_when_its_picture_is_taken(tiny, photo) -> None:
    streams = [tiny.encode(photo), tiny.encode(photo)[:-5]]
    results = tiny.decode_batch(streams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(results)
    with pytest.warns(DamagedAuxiliaryWarning, match="decoded without it"):
        assert next(results).shape == photo.shape
    assert next(results, None) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DamagedAuxiliaryWarning) as caught:
            list(tiny.decode_batch([streams[1], *streams * 3]))
    assert caught.tb is not None and all(not t.name.startswith("rdc") for t in threading.enumerate())


def test_a_batch_may_be_coded_while_another_one_starts_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may be handled at any moment, and its handler may code a batch: nothing may be held then."""
    start, inner = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if not inner:
            inner.append(None)
            inner[:] = list(in_order(int, lambda k: -k, range(3), 2))

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    assert list(in_order(int, lambda k: k, range(5), 2)) == list(range(5))
    assert inner == [0, -1, -2]


def test_work_is_done_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that is so for the second thread alone."""
    start = threading.Thread.start
    for allowed in (0, 1):
        left = [allowed]

        def refuse(thread: threading.Thread, left: list[int] = left) -> None:
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert list(in_order(int, lambda k: k, range(6), 3)) == list(range(6))
