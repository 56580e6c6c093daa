"""Builds TensorRT engines of a bundle: `python export/to_engine.py [BUNDLE] [-o DIR]`.

DIR becomes a bundle with engines beside its graphs: `Codec(DIR, backend="tensorrt")`. Networks are strongly typed:
with --precision fp16 the graphs are those of export/to_half.py. An engine whose key (versions, GPU, graph, shapes,
flags, plugin library) is in DIR already is kept. A new one runs golden inputs, and is refused where ONNX Runtime's
results differ. --builder rtx uses TensorRT-RTX, which builds without a GPU, and whose engines are not run here. All of
it needs NumPy, onnx and TensorRT, not PyTorch.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):  # run as a script from a clone
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.bundle_writer import MANIFEST, sha256_of, write_whole
from export.compare import compare_backends
from export.errors import ExportError
from export.to_half import copy_bundle
from rdc_codec.backends.base import BackendOptions
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.backends.tensorrt import RECORD, load_plugins, open_backend
from rdc_codec.bundle import DEFAULT, WEIGHTS, Bundle, Size, Tensor
from rdc_codec.errors import BackendError

LIBRARY = "plugins.so"  # in the folder of the engines that need it
COMPATIBILITY = ("none", "ampere+", "sameComputeCapability")  # of --hardware-compatibility


class Pictures(NamedTuple):
    """Says how large a batch is: n pictures of height x width pixels."""

    n: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.n} of {self.height}x{self.width}"


@dataclass(frozen=True)
class Range:
    """Says what batches an engine takes: the smallest, the usual and the largest. Raises ValueError out of order."""

    smallest: Pictures
    usual: Pictures
    largest: Pictures

    def __post_init__(self) -> None:
        for a, b in ((self.smallest, self.usual), (self.usual, self.largest)):
            if any(x > y for x, y in zip(a, b, strict=True)):
                raise ValueError(f"{a} is larger than {b}")
        if min(self.smallest) < 1:
            raise ValueError(f"{self.smallest} has a side below 1")


def shapes_of(inputs: Sequence[Tensor], sizes: Range) -> dict[str, list[tuple[int, ...]]]:
    """Return, by the name of an input, its smallest, usual and largest shape."""
    at = [Size.of_pictures(*pictures) for pictures in (sizes.smallest, sizes.usual, sizes.largest)]
    return {tensor.name: [tensor.sizes(*size) for size in at] for tensor in inputs}


@dataclass(frozen=True)
class Options:
    """Says what an engine is built with, besides its graph and shapes."""

    precision: str = "fp16"
    plugins: str | None = None  # library
    version_compatible: bool = False
    hardware: str = "none"
    timing_cache: str | None = None


def trtexec(graph: Path, engine: Path, shapes: dict[str, list[tuple[int, ...]]], options: Options) -> str:
    """Return the command line of TensorRT's own tool that builds the same engine."""

    def one(position: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, of[position]))}" for name, of in shapes.items())

    words = ["trtexec", f"--onnx={graph}", f"--saveEngine={engine}", "--skipInference", "--noTF32"]
    words += [f"--{name}Shapes={one(k)}" for k, name in enumerate(("min", "opt", "max"))]
    if options.plugins:
        words.append(f"--dynamicPlugins={options.plugins}")
    if options.version_compatible:
        words.append("--versionCompatible")
    if options.hardware != "none":
        words.append(f"--hardwareCompatibilityLevel={options.hardware}")
    if options.timing_cache:
        words.append(f"--timingCacheFile={options.timing_cache}")
    return shlex.join(words)


def load_builder(name: str) -> Any:
    """Import the module of TensorRT or TensorRT-RTX. Raises BackendError, which names what is missing."""
    if name == "tensorrt":
        try:
            return importlib.import_module("tensorrt")
        except (ImportError, OSError) as error:
            raise BackendError(f"TensorRT is not installed or lacks its libraries: {error}") from error
    _load_rtx_libraries()
    try:
        return importlib.import_module("tensorrt_rtx")
    except (ImportError, OSError) as error:
        raise BackendError(f"TensorRT-RTX is not installed or lacks its libraries: {error}") from error


def _load_rtx_libraries() -> None:
    """Load the libraries, which the bindings come without and the execution provider's wheel has."""
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    for pattern in ("libtensorrt_rtx.so*", "libtensorrt_onnxparser_rtx.so*"):
        for library in sorted(folder.glob(pattern)):
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def device_name() -> str:
    """Return the name of the current GPU with its compute capability. Raises BackendError where none is found."""
    for name in ("cuda.core", "cuda.core.experimental"):  # the second until cuda-core 0.5
        try:
            device = importlib.import_module(name).Device()
            device.set_current()
            capability = device.compute_capability
            return f"{device.name} {capability.major}.{capability.minor}"
        except Exception as error:  # no module, driver or device: the reasons have many types
            reason = error
    raise BackendError(f"no GPU to build engines for: {reason}")


def build_engine(
    trt: Any, graph: Path, shapes: dict[str, list[tuple[int, ...]]], options: Options, log: Any
) -> bytes:
    """Return a serialized engine. Raises BackendError with what the parser or the builder said."""
    builder = trt.Builder(log)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # TensorRT 11 has nothing else
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        errors = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
        raise BackendError(f"{graph.name}: {errors}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(profile)
    config.clear_flag(trt.BuilderFlag.TF32)  # what is fp32 decides symbols, in fp16 graphs too
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware != "none":
        levels = trt.HardwareCompatibilityLevel
        config.hardware_compatibility_level = (
            levels.AMPERE_PLUS if options.hardware == "ampere+" else levels.SAME_COMPUTE_CAPABILITY
        )
    _use_timing_cache(config, options)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(f"{graph.name}: the builder made no engine; its log says why")
    if options.timing_cache and (cache := config.get_timing_cache()) is not None:
        write_whole(Path(options.timing_cache), bytes(cache.serialize()))
    return bytes(engine)


def _use_timing_cache(config: Any, options: Options) -> None:
    """Use the timing cache, or begin a new one where its timings are of another GPU or version."""
    if not options.timing_cache:
        return
    path = Path(options.timing_cache)
    for known in (path.read_bytes() if path.exists() else b"", b""):
        cache = config.create_timing_cache(known)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _record(path: Path, engines: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(engines, indent=1) + "\n").encode())


def engine_key(facts: dict[str, Any]) -> str:
    """Return the hexadecimal hash of everything that an engine depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def prepare(bundle: Path, folder: Path, precision: str) -> Bundle:
    """Make `folder` the bundle in this precision, unless it was made of just that."""
    source = sha256_of(bundle / MANIFEST)
    if (folder / MANIFEST).exists():
        made = Bundle(folder)
        if (made.manifest.get("made_from"), made.manifest.get("precision")) == (source, precision):
            return made
    copy_bundle(bundle, folder, precision)  # engines of what was there go with it
    return Bundle(folder)


def facts_of(
    trt: Any, builder: str, graph: Path, weights: str, shapes: dict[str, Any], options: Options
) -> dict[str, Any]:
    """Return everything that an engine depends on. Raises BackendError where the GPU to build for has no name."""
    return {
        "builder": builder,
        "version": trt.__version__,
        "gpu": device_name() if builder == "tensorrt" else "any",
        "graph": sha256_of(graph),
        "weights": weights,
        "shapes": shapes,
        "precision": options.precision,
        "version_compatible": options.version_compatible,
        "hardware": options.hardware,
        "plugins": sha256_of(Path(options.plugins)) if options.plugins else None,
    }


def verify_engine(bundle: Bundle, graph: str, about: dict[str, Any], sizes: Range, precision: str) -> None:
    """Run golden inputs of the smallest and the usual size. Raises ExportError where ONNX Runtime's results differ."""
    reference, engine = (
        OnnxRuntimeBackend(bundle, None, None),
        open_backend(bundle, {graph: about}, BackendOptions()),
    )
    for pictures in (sizes.smallest, sizes.usual):
        compare_backends(reference, engine, bundle, graph, Size.of_pictures(*pictures), precision)
        print(f"{graph}: as ONNX Runtime's for {pictures}")


def _copying(bundle: Path, folder: Path, precision: str) -> str:
    """Return the command line that makes the folder from which those of trtexec read their graphs."""
    copy = ["cp", "-r", "--", str(bundle), str(folder)]
    return shlex.join(
        copy if precision == "fp32" else ["python", "export/to_half.py", str(bundle), "-o", str(folder)]
    )


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of a text such as "1080x1920"."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH")
    return int(match[1]), int(match[2])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT, help="(default: the shipped one)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder of the engines (default: NAME.engines in the current folder, NAME as in the manifest)",
    )
    parser.add_argument("--precision", choices=["fp16", "fp32"], default="fp16")
    parser.add_argument("--builder", choices=["tensorrt", "rtx"], default="tensorrt")
    parser.add_argument("--graphs", nargs="*", help="which (default: all of the bundle)")
    parser.add_argument("--min", type=parse_size, default=(64, 64), metavar="HxW", help="smallest picture")
    parser.add_argument("--opt", type=parse_size, default=(1080, 1920), metavar="HxW", help="usual picture")
    parser.add_argument("--max", type=parse_size, default=(2160, 3840), metavar="HxW", help="largest picture")
    parser.add_argument("--batch", type=int, nargs=3, default=(1, 1, 1), metavar=("MIN", "OPT", "MAX"))
    parser.add_argument(
        "--plugins", help="plugin library (kernels/tensorrt); without it: the function bodies"
    )
    parser.add_argument("--version-compatible", action="store_true", help="for later TensorRT versions, too")
    parser.add_argument("--hardware-compatibility", choices=COMPATIBILITY, default="none")
    parser.add_argument("--timing-cache", help="file that is read and written")
    parser.add_argument("--print-trtexec", action="store_true", help="print command lines, write nothing")
    args = parser.parse_args(argv)
    try:
        sides = (args.min, args.opt, args.max)
        sizes = Range(*(Pictures(n, *side) for n, side in zip(args.batch, sides, strict=True)))
    except ValueError as error:
        parser.error(str(error))
    options = Options(
        args.precision, args.plugins, args.version_compatible, args.hardware_compatibility, args.timing_cache
    )
    if args.plugins and args.version_compatible:
        parser.error("a version-compatible engine does not find plugins of another library: one of the two")
    if args.builder == "rtx" and (args.timing_cache or args.plugins or options.hardware != "none"):
        parser.error("TensorRT-RTX has no timing cache, no plugins and no hardware compatibility levels")
    bundle = Bundle(args.bundle)
    folder = args.output or Path(f"{Path(bundle.manifest['name']).name}.engines")
    graphs = args.graphs or list(bundle.graphs)
    if unknown := sorted(set(graphs) - set(bundle.graphs)):
        parser.error(f"no graph {unknown[0]}; there are {', '.join(bundle.graphs)}")
    plans, lines = {}, []
    for name in graphs:
        shapes = shapes_of(bundle.inputs[name], sizes)
        graph, engine = folder / bundle.graphs[name], folder / f"{name}.engine"
        plans[name] = graph, engine, shapes
        lines.append(trtexec(graph, engine, shapes, options))
    if args.print_trtexec:
        print("\n".join([_copying(args.bundle, folder, args.precision), *lines]))
        return 0
    bundle = prepare(args.bundle, folder, args.precision)
    if args.builder == "tensorrt":
        print("\n".join(lines))
    trt = load_builder(args.builder)
    log = trt.Logger(trt.Logger.WARNING)
    if args.plugins:
        write_whole(folder / LIBRARY, Path(args.plugins).read_bytes())
        load_plugins(trt, folder / LIBRARY, sha256_of(folder / LIBRARY))
    record = folder / RECORD
    known = json.loads(record.read_text()) if record.exists() else {}
    for name, (graph, engine, shapes) in plans.items():
        facts = facts_of(trt, args.builder, graph, bundle.manifest["files"][WEIGHTS], shapes, options)
        key = engine_key(facts)
        if (
            known.get(name, {}).get("key") == key
            and engine.exists()
            and sha256_of(engine) == known[name]["sha256"]
        ):
            print(f"{engine}: kept")
            continue
        if known.pop(name, None):
            _record(record, known)
        write_whole(engine, build_engine(trt, graph, shapes, options, log))
        library = LIBRARY if args.plugins else None
        about = {"key": key, "file": engine.name, "sha256": sha256_of(engine), "library": library, **facts}
        if args.builder == "tensorrt":
            try:
                verify_engine(bundle, name, about, sizes, args.precision)
            except BaseException:
                engine.unlink()
                raise
        known[name] = about
        _record(record, known)  # of what was checked only
        print(f"{engine}: {engine.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BackendError, ExportError) as error:
        sys.exit(f"error: {error}")
