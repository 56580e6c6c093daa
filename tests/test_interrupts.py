"""Deadlines and Ctrl-C end a call soon, whatever the picture's size, and the work with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from rdc_codec import Codec, interrupts
from rdc_codec.backends import BackendInfo
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.errors import CodecError, DeadlineError, InputError


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    """Return a picture of 4 megapixels, whose networks take two seconds and more."""
    return np.random.default_rng(1).integers(0, 256, (2048, 2048, 3), np.uint8)


SOON = 3.0  # seconds: it takes a tenth of one, and more on a busy machine; the work itself takes longer


@pytest.fixture(scope="module")
def large_stream(shipped: Codec, large: np.ndarray) -> bytes:
    return shipped.encode(large, quality=0)


@pytest.fixture(autouse=True)
def no_work_is_left() -> Iterator[None]:
    """What a call began ends, too: at the next node of the network, which is no more than moments later."""
    yield
    begun = time.monotonic()
    while any(thread.name.startswith("rdc") for thread in threading.enumerate()):
        assert time.monotonic() - begun < 30
        time.sleep(0.01)


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_a_call_ends_at_its_deadline(
    what: str, shipped: Codec, large: np.ndarray, large_stream: bytes
) -> None:
    call = (lambda: shipped.encode(large, timeout=0.5)) if what == "encode" else (
        lambda: shipped.decode(large_stream, timeout=0.25)
    )  # fmt: skip
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="not done within 0") as caught:
        call()
    assert time.monotonic() - begun < SOON
    assert isinstance(caught.value, CodecError)


def test_in_a_batch_every_picture_has_its_own_deadline(
    shipped: Codec, large: np.ndarray, large_stream: bytes
) -> None:
    small = large[:64, :64]
    list(shipped.decode_batch(shipped.encode_batch([small], workers=1), workers=1))  # loads the networks
    found = list(shipped.encode_batch([small, large, small], timeout=1, on_error="return", workers=1))
    assert found[0] == found[2] == shipped.encode(small)
    assert isinstance(found[1], DeadlineError) and found[1].index == 1
    assert str(found[1]) == "not done within 1 s"
    with pytest.raises(DeadlineError) as caught:
        list(shipped.decode_batch([found[0], large_stream], timeout=0.5, workers=1))
    assert caught.value.index == 1
    with pytest.raises(InputError, match="timeout must be"):
        shipped.encode_batch([small], timeout=0)


def test_a_deadline_holds_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(DeadlineError), interrupts.within(0.05):
        time.sleep(0.06)
        interrupts.check()
    interrupts.check()  # what comes after it has no deadline


def test_a_codec_goes_on_after_a_deadline(shipped: Codec, large: np.ndarray, photo: np.ndarray) -> None:
    before = shipped.encode(photo)
    with pytest.raises(DeadlineError):
        shipped.encode(large, timeout=0.2)
    assert shipped.encode(photo, timeout=600) == before
    np.testing.assert_array_equal(shipped.decode(before, timeout=600), shipped.decode(before))


def test_errors_of_the_work_are_raised_as_they_are(tiny: Codec) -> None:
    with pytest.raises(InputError, match="must be uint8"):
        tiny.encode(np.zeros((600, 600, 3)), timeout=600)  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="not an RDC stream"):
        tiny.decode(bytes(5000), timeout=600)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_timeout_is_a_number_of_seconds(timeout: object, tiny: Codec, photo: np.ndarray) -> None:
    stream = tiny.encode(photo)
    for call in (lambda: tiny.encode(photo, timeout=timeout), lambda: tiny.decode(stream, timeout=timeout)):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="timeout must be"):
            call()


def interrupted(call: Callable[[], object], after: float) -> float:
    """Return how many seconds after a Ctrl-C a call of the main thread ended with it."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, send)
    # A process that was started in the background has to ignore Ctrl-C, and so do its children.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.monotonic() - sent[0]
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_arrives_while_a_network_runs(
    shipped: Codec, large: np.ndarray, large_stream: bytes
) -> None:
    assert interrupted(lambda: shipped.encode(large), 0.5) < SOON
    assert interrupted(lambda: shipped.decode(large_stream), 0.25) < SOON
    assert interrupted(lambda: list(shipped.encode_batch([large] * 3)), 0.5) < SOON


def test_a_batch_that_is_closed_stops_what_it_began(
    shipped: Codec, large: np.ndarray, photo: np.ndarray
) -> None:
    results = shipped.encode_batch([photo, large, large], workers=1)
    next(results)
    begun = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < SOON


def test_small_pictures_stay_in_the_thread_of_the_caller(tiny: Codec) -> None:
    """Another thread would take 5 % of the time of the smallest."""

    class Watched:
        info, parallel, stoppable = BackendInfo("watched", "CPU", "a test"), True, True
        plain, threads = OnnxRuntimeBackend(tiny.bundle, 1, None), []  # type: ignore[var-annotated]

        def run(self, graph, inputs, cuda_stream=None):  # type: ignore[no-untyped-def]
            self.threads.append(threading.current_thread())
            return self.plain.run(graph, inputs)

    backend = Watched()
    codec = Codec(tiny.bundle, backend=backend)
    codec.decode(codec.encode(np.zeros((64, 64, 3), np.uint8)))
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    stream = codec.encode(noise, 100)
    assert len(stream) > 1000  # it is the picture that counts, not its bytes
    codec.decode(stream)
    assert backend.threads == [threading.main_thread()] * 4
    codec.encode(np.zeros((512, 512, 3), np.uint8))
    assert backend.threads[4] is not threading.main_thread()
    codec.decode(codec.encode(np.zeros((512, 512, 3), np.uint8)))
    assert backend.threads[6] is not threading.main_thread()


def test_a_backend_that_cannot_be_stopped_is_called_by_the_caller_and_ends_first(tiny: Codec) -> None:
    class Slow:
        info, parallel = BackendInfo("slow", "CPU", "a test"), True
        plain, thread = OnnxRuntimeBackend(tiny.bundle, 1, None), None

        def run(self, graph, inputs, cuda_stream=None):  # type: ignore[no-untyped-def]
            self.thread = threading.current_thread()
            time.sleep(0.3)
            return self.plain.run(graph, inputs)

    backend = Slow()
    codec = Codec(tiny.bundle, backend=backend)
    begun = time.monotonic()
    with pytest.raises(DeadlineError):
        codec.encode(np.zeros((600, 600, 3), np.uint8), timeout=0.1)
    assert time.monotonic() - begun >= 0.3 and backend.thread is threading.main_thread()


def test_a_stop_follows_its_parent_and_ends_things_once() -> None:
    parent = interrupts.Stop()
    child = interrupts.Stop(parent=parent)
    ended: list[str] = []
    with child.ending(lambda: ended.append("within")):
        parent.set()
        child.set()
    with child.ending(lambda: ended.append("late")):
        pass
    assert child.is_set and sorted(set(ended)) == ["late", "within"]
    with pytest.raises(interrupts.Stopped):
        child.check()
    quiet = interrupts.Stop()
    with quiet.ending(lambda: ended.append("never")):
        pass
    quiet.set()
    assert "never" not in ended


def test_what_ends_work_is_not_called_once_the_work_is_over() -> None:
    """It may be somebody else's by then: OpenVINO's requests are used again."""
    stop = interrupts.Stop()
    began, goes_on = threading.Event(), threading.Event()
    called: list[str] = []

    def slow() -> None:
        began.set()
        goes_on.wait(60)
        called.append("slow")

    with stop.ending(slow):
        with stop.ending(lambda: called.append("over")):
            setting = threading.Thread(target=stop.set)
            setting.start()
            assert began.wait(60)  # both are to be called now, one after the other
        goes_on.set()
        setting.join()
    assert called == ["slow"]
