"""OpenVINO parses the same symbols and makes the same pictures as ONNX Runtime, within one grey level."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import openvino
import pytest
from conftest import TINY
from onnx import inliner

from benchmarks.common import psnr
from export.to_half import copy_bundle
from rdc_codec import Codec
from rdc_codec.backends.openvino import can_reduce
from rdc_codec.backends.openvino_ready import core
from rdc_codec.backends.precision import Precision
from rdc_codec.backends.typed_graphs import in_16_bits, load_graph
from rdc_codec.bundle import DEFAULT
from rdc_codec.errors import BackendError, CorruptError, DeadlineError, InputError


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(TINY, backend="openvino", threads=2)


@pytest.fixture(scope="module")
def reference() -> Codec:
    return Codec(TINY, backend="onnxruntime")


def differs(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """Return the largest difference of two pictures, and the share of samples that differ."""
    difference = np.abs(a.astype(int) - b.astype(int))
    return int(difference.max()), float((difference > 0).mean())


@pytest.mark.parametrize("model", [TINY, DEFAULT], ids=["tiny", "shipped"])
@pytest.mark.parametrize("quality", [0, 50, 100])
def test_streams_of_either_engine_are_read_by_the_other(
    model: Path, quality: float, photos: list[np.ndarray]
) -> None:
    engines = [Codec(model, backend=name) for name in ("openvino", "onnxruntime")]
    photo = photos[0][:192, :130]
    for writer in engines:
        stream = writer.encode(photo, quality)
        for layers in ("all", 2, "base"):
            for beta in (0.0, 0.5, 1.0):
                largest, share = differs(*(e.decode(stream, beta, layers) for e in engines))
                assert largest <= 1 and share < 1e-3
        ours, theirs = (e.symbols(stream) for e in engines)
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def test_symbols_of_the_encoders_are_nearly_the_same(codec, reference, photo) -> None:
    ours, theirs = (reference.symbols(e.encode(photo)) for e in (codec, reference))
    different = sum(int((ours[k] != theirs[k]).sum()) for k in ours)
    assert different <= 1e-3 * sum(a.size for a in ours.values())


def test_info_names_the_device(codec) -> None:
    assert codec.backend.name == "openvino" and codec.backend.device.startswith("CPU")
    assert Codec(TINY).backend.name != "openvino", "taken by name alone"


def test_what_openvino_cannot_take_is_one_clear_error() -> None:
    import onnxruntime

    with pytest.raises(BackendError, match=r"no device 'NO_SUCH'.*has CPU"):
        Codec(TINY, backend="openvino", device="NO_SUCH")
    with pytest.raises(InputError, match="names its devices"):
        Codec(TINY, backend="openvino", device=0)
    with pytest.raises(InputError, match="session_options is for ONNX Runtime"):
        Codec(TINY, backend="openvino", session_options=onnxruntime.SessionOptions())


def test_a_bundle_that_changed_is_noticed(tmp_path: Path, photo: np.ndarray) -> None:
    model = tmp_path / "bundle"
    shutil.copytree(TINY, model)
    codec = Codec(model, backend="openvino")
    with open(model / "encode_full.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptError, match="changed"):
        codec.encode(photo)


def test_threads_share_a_codec(codec: Codec, photos: list[np.ndarray]) -> None:
    pictures = [np.ascontiguousarray(photos[0][: 64 + 32 * k, : 200 - 16 * k]) for k in range(6)]
    alone = [codec.encode(p) for p in pictures]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(codec.encode, pictures)) == alone
        for one, other in zip(pool.map(codec.decode, alone), map(codec.decode, alone), strict=True):
            assert differs(one, other)[0] == 0


def test_results_are_the_callers_own(codec: Codec, photo: np.ndarray) -> None:
    stream = codec.encode(photo)
    first = codec.decode(stream)
    kept = first.copy()
    codec.decode(codec.encode(255 - photo))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("precision", [None, "exact"])
def test_precision_is_always_said(
    precision: Precision | None, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO takes bf16 by itself where a processor has it; pictures would differ from machine to machine."""
    settings: list[dict] = []
    compile_model = openvino.Core.compile_model

    def spy(self, model, device, config):
        settings.append(config)
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    codec = Codec(TINY, backend="openvino", precision=precision)
    codec.encode(photo)
    assert [s["INFERENCE_PRECISION_HINT"] for s in settings] == ["f32"]
    assert codec.backend.precision == "fp32" and " in fp32 on CPU" in str(codec.backend)


@pytest.mark.parametrize("graph", ["encode_full", "decode_full", "decode_people", "decode_base"])
def test_only_residual_branches_of_synthesis_are_bf16(graph: str) -> None:
    """In the model that OpenVINO gets, whose types it keeps where the processor has bf16."""
    reduced = in_16_bits(load_graph(DEFAULT / f"{graph}.onnx"), "bf16")
    model = core().read_model(inliner.inline_local_functions(reduced).SerializeToString())
    branch = re.compile(r"\.synthesis\.(deep\.\d+|body\.[1-9]\d*)\.mix\.")
    convolutions = {}
    for node in model.get_ops():
        name = node.get_friendly_name()
        narrow = any(output.get_element_type() == openvino.Type.bf16 for output in node.outputs())
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            convolutions[name] = narrow
        if narrow:  # a cast before a branch has the name of what it casts
            assert branch.search(name) or node.get_type_name() in ("Constant", "Convert", "Reshape"), name
        if "Convert" not in node.get_type_name() and branch.search(name) and "WithoutBiases" in name:
            assert narrow, name
    assert {narrow for name, narrow in convolutions.items() if branch.search(name)} == {True}
    assert {narrow for name, narrow in convolutions.items() if not branch.search(name)} == {False}
    for port in (*model.inputs, *model.outputs):
        assert port.get_element_type() != openvino.Type.bf16


@pytest.mark.parametrize("quality", [0, 100])
def test_graphs_with_bf16_run_and_read_the_same_symbols(quality: float, photo: np.ndarray) -> None:
    """Where the processor has no bf16, OpenVINO computes them in fp32, with weights of 8 bits."""
    exact, reduced = (Codec(DEFAULT, backend="openvino") for _ in range(2))
    reduced._backend._reduced = True
    for writer in (exact, reduced):
        stream = writer.encode(photo, quality)
        ours, theirs = exact.symbols(stream), reduced.symbols(stream)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        pictures = exact.decode(stream), reduced.decode(stream)
        assert 0 < differs(*pictures)[0] <= 8
        assert abs(psnr(photo, pictures[0]) - psnr(photo, pictures[1])) < 0.05


HAS_BF16 = can_reduce(core(), "CPU")


@pytest.mark.skipif(HAS_BF16, reason="this processor has bf16")
def test_fast_is_fp32_where_the_processor_has_nothing_faster(photo: np.ndarray) -> None:
    fast, exact = (Codec(TINY, backend="openvino", precision=p) for p in ("fast", "exact"))
    assert fast.backend.precision == "fp32"
    assert np.array_equal(fast.decode(fast.encode(photo)), exact.decode(exact.encode(photo)))
    automatic = Codec(TINY, precision="fast").backend
    assert automatic.name == "onnxruntime" and re.search("no openvino: no bf16 on CPU", automatic.why)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16")
def test_fast_costs_next_to_nothing(photos: list[np.ndarray]) -> None:
    fast, exact = (Codec(DEFAULT, backend="openvino", precision=p) for p in ("fast", "exact"))
    assert fast.backend.precision == "bf16" and Codec(precision="fast").backend.name == "openvino"
    lost = []
    for photo in photos:
        for quality in (0, 25, 50, 75, 100):
            streams = [codec.encode(photo, quality) for codec in (exact, fast)]
            for stream in streams:
                ours, theirs = exact.symbols(stream), fast.symbols(stream)
                assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
            before, after = (psnr(photo, c.decode(s)) for c, s in zip((exact, fast), streams, strict=True))
            lost.append(before - after)
    assert np.mean(lost) <= 0.02 and max(lost) <= 0.05


def test_precision_is_exact_fast_or_left_to_the_bundle(tmp_path: Path, photo: np.ndarray) -> None:
    for precision in ("fp16", 1, np.array(["exact", "fast"])):
        with pytest.raises(InputError, match="precision must be"):
            Codec(TINY, precision=precision)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision are for backends that are made by name"):
        Codec(TINY, Codec(TINY)._backend, precision="exact")
    copy_bundle(TINY, tmp_path / "half", "fp16")
    with pytest.raises(InputError, match="are fp16, precision='exact' needs fp32"):
        Codec(tmp_path / "half", precision="exact")
    half = Codec(tmp_path / "half")
    assert half.backend.precision == "fp16" and pickle.loads(pickle.dumps(half)).backend == half.backend
    fast = Codec(TINY, backend="onnxruntime", precision="fast")
    assert fast.backend.precision == "fp32", "nothing faster on a CPU"
    assert pickle.loads(pickle.dumps(fast))._made_of["precision"] == "fast"


def test_what_was_compiled_is_kept_where_asked_for(tmp_path: Path, photo: np.ndarray) -> None:
    first = Codec(TINY, backend="openvino", cache_dir=tmp_path / "cache").encode(photo)
    kept = list((tmp_path / "cache").iterdir())
    assert kept
    assert Codec(TINY, backend="openvino", cache_dir=tmp_path / "cache").encode(photo) == first
    assert sorted((tmp_path / "cache").iterdir()) == sorted(kept)


def test_a_machine_without_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["openvino"] = None
from rdc_codec import Codec, errors
try:
    Codec(backend="openvino")
except errors.BackendError as error:
    assert "rdc-codec[openvino]" in str(error), error
    print("as it should")
Codec().decode(Codec().encode(__import__("numpy").zeros((8, 8, 3), "uint8")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "as it should\n", done.stderr


@pytest.mark.slow
def test_what_comes_after_a_deadline_is_right(codec: Codec, photos: list[np.ndarray]) -> None:
    """OpenVINO itself makes wrong pictures of other sizes after one that it cancelled, in about one of ten cases."""
    pictures = [
        photos[1][:height, :width] for height, width in ((64, 64), (128, 256), (320, 256), (448, 448))
    ]
    expected = [codec.encode(picture, 50) for picture in pictures]
    draw = random.Random(0)
    late = 0
    for number in range(40):
        try:
            codec.encode(pictures[number % 4], 50, timeout=draw.uniform(0.001, 0.006))
        except DeadlineError:
            late += 1
        while any(thread.name == "rdc-call" for thread in threading.enumerate()):
            time.sleep(0.001)
        for picture, stream in zip(pictures[number % 3 :], expected[number % 3 :], strict=True):
            assert codec.encode(picture, 50) == stream
    assert late > 10


def test_threads_may_be_cancelled_while_others_use_the_same_graph(
    codec: Codec, photos: list[np.ndarray]
) -> None:
    pictures = [photos[1][:height, :width] for height, width in ((64, 64), (128, 256), (320, 256))]
    expected = [codec.encode(picture, 50) for picture in pictures]

    def cancelled(number: int) -> None:
        with contextlib.suppress(DeadlineError):
            codec.encode(photos[0], 50, timeout=0.004)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        late = [pool.submit(cancelled, number) for number in range(3)]
        found = list(pool.map(lambda picture: codec.encode(picture, 50), pictures * 3))
    assert found == expected * 3 and all(future.result() is None for future in late)


FIRST_USED_BY_MANY = """
import sys, threading
import numpy as np
from rdc_codec import Codec

sys.setswitchinterval(0.5)  # a thread that gives Python's lock up has it back late, as on a busy machine
codec = Codec(sys.argv[1], backend="openvino", threads=1)
picture = np.zeros((64, 64, 3), np.uint8)
together = threading.Barrier(8)

def first() -> None:
    together.wait()
    codec.encode(picture)

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.timeout(100)
def test_several_threads_may_be_the_first_to_use_it() -> None:
    """In a process of its own: what OpenVINO makes at its first use is made once in a process, and may lock that up."""
    subprocess.run([sys.executable, "-c", FIRST_USED_BY_MANY, str(TINY)], check=True, timeout=60)


SIGNALS_AFTER_CODECS = """
import os, signal, sys
import numpy as np
from rdc_codec import Codec

handled = []
signal.signal(signal.SIGINT, lambda *_: handled.append(1))
picture = np.zeros((64, 64, 3), np.uint8)
codecs = [Codec(sys.argv[1], backend="openvino", threads=1) for _ in range(3)]
for codec in codecs:
    codec.encode(picture)
del codec
while codecs:
    del codecs[0]  # the first one first
    os.kill(os.getpid(), signal.SIGINT)
assert len(handled) == 3
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="sends itself a signal")
def test_signals_are_handled_after_codecs_have_ended_in_any_order() -> None:
    subprocess.run([sys.executable, "-c", SIGNALS_AFTER_CODECS, str(TINY)], check=True, timeout=60)


THREADS_OF_CODECS = """
import os, sys
import numpy as np
from rdc_codec import Codec

picture = np.zeros((64, 64, 3), np.uint8)

def threads_after(together):
    codecs = [Codec(sys.argv[1], backend="openvino", threads=2) for _ in range(together)]
    for codec in codecs:
        codec.decode(codec.encode(picture))
    del codec, codecs
    return len(os.listdir("/proc/self/task"))

one, four = threads_after(1), threads_after(4)
assert one < four, (one, four)
for together in (1, 4, 2, 4, 1, 3, 4):
    after = threads_after(together)
    assert after <= four + 2, (together, after, four)  # a worker of TBB may come later; each codec has at least four
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_threads_that_stay_are_those_of_the_most_codecs_that_there_were_at_once() -> None:
    """OpenVINO gives those of graphs that are gone to later ones: codecs that come and go make no more of them."""
    subprocess.run([sys.executable, "-c", THREADS_OF_CODECS, str(TINY)], check=True, timeout=60)
