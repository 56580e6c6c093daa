"""Engines: shapes, keys, trtexec's command lines, and real builds where TensorRT-RTX is installed (it needs no GPU)."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SHIPPED, TINY

from export import to_engine
from export.compare import compare_backends
from export.errors import ExportError
from export.to_engine import Options, Pictures, Range, engine_key, shapes_of, trtexec
from export.to_half import copy_bundle
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.bundle import Bundle, Size
from rdc_codec.errors import BackendError

# Of TensorRT 11.1's trtexec (samples/common/sampleOptions.cpp), those that command lines here may have.
FLAGS = {
    "onnx", "saveEngine", "skipInference", "minShapes", "optShapes", "maxShapes", "noTF32", "dynamicPlugins",
    "versionCompatible", "hardwareCompatibilityLevel", "timingCacheFile",
}  # fmt: skip
SIZES = Range(Pictures(1, 64, 64), Pictures(2, 500, 700), Pictures(4, 1080, 1920))


def test_shapes_are_those_of_padded_pictures() -> None:
    assert Size.of_pictures(2, 1080, 1920) == (2, 17, 30) and Size.of_pictures(1, 65, 64) == (1, 2, 1)
    shapes = shapes_of(Bundle(SHIPPED).inputs["decode_full"], SIZES)
    assert shapes["z1"] == [(1, 64, 1, 1), (2, 64, 8, 11), (4, 64, 17, 30)] and shapes["beta"] == [
        (1,),
        (2,),
        (4,),
    ]


@pytest.mark.parametrize(
    "sizes", [((1, 64, 64), (1, 32, 64), (1, 64, 64)), ((0, 1, 1), (1, 1, 1), (1, 1, 1))]
)
def test_ranges_that_do_not_rise_are_refused(sizes) -> None:
    with pytest.raises(ValueError, match=r"larger|below 1"):
        Range(*(Pictures(*size) for size in sizes))


def test_command_lines_are_those_of_trtexec(tmp_path, capsys) -> None:
    options = ["--hardware-compatibility", "ampere+", "--timing-cache", "t.bin"]
    arguments = [str(TINY), "-o", str(tmp_path / "e"), "--print-trtexec", "--batch", "1", "2", "4"]
    for precision, more in (("fp16", ["--version-compatible"]), ("fp32", ["--plugins", "lib.so"])):
        to_engine.main([*arguments, *options, *more, "--precision", precision])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 5 and str(tmp_path / "e") in shlex.split(lines[0]), (
            "first, how to make the folder"
        )
        for line in lines[1:]:
            program, *words = shlex.split(line)
            given = dict(word.removeprefix("--").partition("=")[::2] for word in words)
            assert program == "trtexec" and set(given) <= FLAGS
            assert Path(given["onnx"]).parent == tmp_path / "e" and (TINY / Path(given["onnx"]).name).exists()
            assert "noTF32" in given, "what an fp16 graph keeps in fp32 is fp32"
            assert given["maxShapes"].count(":") == given["minShapes"].count(":")
    plain = trtexec(Path("a.onnx"), Path("a.engine"), {"z": [(1, 2), (1, 3), (2, 4)]}, Options())
    assert plain.endswith("--minShapes=z:1x2 --optShapes=z:1x3 --maxShapes=z:2x4")


def tree(folder: Path) -> dict[Path, tuple[int, int] | None]:
    """List a folder: path of a file to its time and size; folders too, without Python's caches."""
    found = [p for p in (folder, *folder.rglob("*")) if "__pycache__" not in p.parts]
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) if p.is_file() else None for p in found}


def test_print_trtexec_writes_nothing(tmp_path, monkeypatch, capsys) -> None:
    parent, current = tmp_path / "parent", tmp_path / "current"
    shutil.copytree(TINY, parent / "bundle")
    current.mkdir()
    monkeypatch.chdir(current)
    before = tree(tmp_path)
    for arguments in ([], ["-o", str(parent / "out")], ["--precision", "fp32"]):
        assert to_engine.main([str(parent / "bundle"), "--print-trtexec", *arguments]) == 0
    assert tree(tmp_path) == before
    assert capsys.readouterr().out.count("--saveEngine=") == 12


def test_nothing_goes_into_the_installed_package(tmp_path, monkeypatch, capsys) -> None:
    """Without arguments the shipped bundle is meant, and the current folder."""
    monkeypatch.chdir(tmp_path)
    before = tree(SHIPPED.parent)
    assert to_engine.main(["--print-trtexec"]) == 0
    assert "--saveEngine=light.engines/encode_base.engine" in capsys.readouterr().out
    for folder in (SHIPPED / "half", SHIPPED.with_suffix(".engines")):
        with pytest.raises(ExportError, match="installed package"):
            copy_bundle(TINY, folder, "fp16")
    assert tree(SHIPPED.parent) == before and not list(tmp_path.iterdir())


BLOCKED = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "compressai", "safetensors", "onnxscript", "onnx_ir"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Finder())
from export import to_engine, to_half
to_half.main([sys.argv[1], "-o", sys.argv[2]])
to_engine.main([sys.argv[2], "--print-trtexec"])
"""


def test_engines_need_no_pytorch(tmp_path) -> None:
    """They are built on the machine that runs them, which has what `pip install ".[tensorrt]"` brings."""
    command = [sys.executable, "-c", BLOCKED, str(TINY), str(tmp_path / "half")]
    root = Path(to_engine.__file__).parents[1]
    path = os.pathsep.join([str(root), *sys.path])
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env=os.environ | {"PYTHONPATH": path}
    )
    assert found.returncode == 0, found.stderr
    assert Bundle(tmp_path / "half").manifest["precision"] == "fp16"


def test_a_key_depends_on_everything_that_an_engine_is_built_of(tmp_path, monkeypatch) -> None:
    graph, plugins = tmp_path / "graph", tmp_path / "plugins"
    graph.write_bytes(b"graph"), plugins.write_bytes(b"plugins")
    monkeypatch.setattr(to_engine, "device_name", lambda: "GPU 9.0")

    def key(version="11.4", builder="tensorrt", weights="w", shapes=((1, 2),), **options) -> str:
        trt = SimpleNamespace(__version__=version)
        facts = to_engine.facts_of(trt, builder, graph, weights, {"z": shapes}, Options(**options))
        return engine_key(facts)

    keys = [
        key(), key("11.5"), key(builder="rtx"), key(weights="v"), key(shapes=((1, 3),)), key(precision="fp32"),
        key(plugins=str(plugins)), key(version_compatible=True), key(hardware="ampere+"),
    ]  # fmt: skip
    graph.write_bytes(b"other graph")
    keys.append(key())
    plugins.write_bytes(b"other plugins")
    keys.append(key(plugins=str(plugins)))
    monkeypatch.setattr(to_engine, "device_name", lambda: "GPU 10.0")
    keys.append(key())
    assert len(set(keys)) == len(keys) and key() == keys[-1]


def test_a_source_that_changed_is_copied_anew(tmp_path) -> None:
    source, folder = tmp_path / "source", tmp_path / "engines"
    copy_bundle(TINY, source, "fp32")
    first = to_engine.prepare(source, folder, "fp16").manifest
    (folder / "decode_base.engine").write_bytes(b"of that graph")
    assert (
        to_engine.prepare(source, folder, "fp16").manifest == first
        and (folder / "decode_base.engine").exists()
    )
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["quality_map"]["base_quality"][-1] -= 1
    (source / "manifest.json").write_text(json.dumps(manifest))
    assert to_engine.prepare(source, folder, "fp16").manifest["quality_map"] == manifest["quality_map"]
    assert not (folder / "decode_base.engine").exists()


def test_a_builder_that_is_missing_is_a_clear_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="TensorRT is not installed"):
        to_engine.load_builder("tensorrt")


@pytest.mark.parametrize("bundle", [TINY, SHIPPED], ids=["tiny", "shipped"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_graph_becomes_an_engine_of_tensorrt_rtx(tmp_path, bundle, precision) -> None:
    """In a process of its own: where it cannot go on, it aborts."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed")
    command = [sys.executable, str(Path(to_engine.__file__)), str(bundle), "-o", str(tmp_path / "engines")]
    command += ["--builder", "rtx", "--precision", precision]
    first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
    assert first.returncode == 0, first.stderr
    record = json.loads((tmp_path / "engines" / "engines.json").read_text())
    assert set(record) == {"encode_base", "decode_base", "encode_full", "decode_full"}
    assert all((tmp_path / "engines" / e["file"]).stat().st_size > 10_000 for e in record.values())
    assert second.stdout.count(": kept") == 4


@pytest.mark.parametrize("graph", ["encode_base", "decode_base", "encode_full", "decode_full"])
def test_golden_inputs_tell_the_same_graph_from_another(tmp_path, graph) -> None:
    bundle, half = Bundle(TINY), tmp_path / "half"
    copy_bundle(TINY, half, "fp16")
    reference, size = OnnxRuntimeBackend(bundle, 1, None), Size(2, 2, 3)
    compare_backends(reference, OnnxRuntimeBackend(bundle, 2, None), bundle, graph, size, "fp32")
    compare_backends(reference, OnnxRuntimeBackend(Bundle(half), 1, None), bundle, graph, size, "fp16")

    class Broken(OnnxRuntimeBackend):
        """One of the inputs does not arrive."""

        def run(self, graph, inputs, cuda_stream=None):
            name = "pixels" if "pixels" in inputs else "y1"
            return super().run(graph, inputs | {name: np.zeros_like(inputs[name])})

    with pytest.raises(ExportError, match=f"{graph}: .* differ"):
        compare_backends(reference, Broken(bundle, 1, None), bundle, graph, size, "fp16")
