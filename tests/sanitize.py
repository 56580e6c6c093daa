"""Runs the tests of the native code under AddressSanitizer and UBSan, and its threads under ThreadSanitizer.

The module is built by itself, into a copy of the package in build/sanitize; a find ends the process that meets it.
Leaks are not looked for in Python, which keeps what it has allocated until it ends: programs of C++ alone are for that
(tests/c_api_harness.cpp, tests/fuzz/cpp). ThreadSanitizer watches such a program, tests/threads.cpp, because Python and
NumPy are not built for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from kernel_library import CMAKE

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "sanitize"
TESTS = (
    "test_entropy_coder",
    "test_scale_network",
    "test_scale_context",
    "test_container",
    "test_damage",
    "test_windows",
    "test_conformance_kit",
    "test_fuzz_corpus",
)
WITHOUT = (
    # It measures memory, of which a sanitizer takes its own.
    "tests/test_damage.py::test_sizes_in_a_valid_header_are_not_believed_beyond_the_limit",
    # Networks make hundreds of pictures in them, slowly here, and see no byte of a stream.
    "tests/test_damage.py::test_every_cut_after_the_primary_data_decodes",
    "tests/test_damage.py::test_a_flipped_bit_anywhere_is_noticed",
    # OpenVINO opens a library in a way (RTLD_DEEPBIND) that a sanitizer ends the process for.
    "tests/test_conformance_kit.py::test_this_package_passes[openvino]",
)
C_API = "tests/test_c_api.py::test_static_and_under_sanitizers"  # builds programs without Python for it
STRICT = "-fno-sanitize-recover=all"


def run(command: list[str], **environment: str) -> None:
    """Run a command, or end with what it ended with."""
    print("+", *command, flush=True)
    code = subprocess.run(command, cwd=ROOT, env=os.environ | environment).returncode
    if code:
        raise SystemExit(code)


def library(compiler: str, name: str) -> str:
    """Return the path of a library that the compiler brings. Raises SystemExit where it has none."""
    command = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(found):
        raise SystemExit(f"{compiler} has no {name}")
    return found


def sanitized_package(compiler: str) -> Path:
    """Build the module with sanitizers, and return the folder that a copy of the package with it is in."""
    import nanobind

    options = [
        "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        "-DRDC_SANITIZE=address,undefined",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dnanobind_DIR={nanobind.cmake_dir()}",
    ]
    run([*CMAKE, "-S", str(ROOT), "-B", str(BUILD / "module"), *options])
    run([*CMAKE, "--build", str(BUILD / "module"), "--parallel", "2"])
    package = BUILD / "package" / "rdc_codec"
    shutil.rmtree(package.parent, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "rdc_codec", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (module,) = (BUILD / "module").glob("native*.so")
    shutil.copy(module, package)
    return package.parent


def under_address_sanitizer(compiler: str, arguments: list[str]) -> None:
    """Run the tests of the module, and those of the C API."""
    package = sanitized_package(compiler)
    # The C++ library as well, because the sanitizer looks for its exceptions when the process starts.
    preload = [library(compiler, "libasan.so"), library(compiler, "libstdc++.so.6")]
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, (package, ROOT))),
        "PYTHONMALLOC": "malloc",  # so that a step beyond an object of Python is seen as well
        "LD_PRELOAD": " ".join(preload),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    tests = [str(Path("tests") / f"{name}.py") for name in TESTS]
    tests += [f"--deselect={name}" for name in WITHOUT]
    check = "import rdc_codec.native as n; assert 'build/sanitize' in n.__file__.replace(chr(92), '/'), n.__file__"
    run([sys.executable, "-c", check], **environment)
    run([sys.executable, "-m", "pytest", "-m", "not slow and not gpu", *tests, *arguments], **environment)
    run([sys.executable, "-m", "pytest", "-m", "slow", C_API, *arguments])


def under_thread_sanitizer(compiler: str) -> None:
    """Build and run tests/threads.cpp."""
    kernels = ROOT / "kernels"
    sources = [
        ROOT / "tests" / "threads.cpp",
        *sorted((kernels / "c_api").glob("*.cpp")),
        *(p for p in sorted((kernels / "entropy_coder").glob("*.cpp")) if p.name != "module.cpp"),
    ]
    program = BUILD / "threads"
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=thread", STRICT, "-pthread"]
    run([compiler, *flags, *map(str, sources), "-o", str(program)])
    command = [str(program), str(ROOT / "tests" / "data" / "tiny")]
    # Its memory has fixed places, which the kernel's random ones may be in the way of.
    if (setarch := shutil.which("setarch")) and not subprocess.run([setarch, "-R", "true"]).returncode:
        command = [setarch, "-R", *command]
    run(command, TSAN_OPTIONS="halt_on_error=1")


def main() -> None:
    compiler = os.environ.get("CXX", "g++")
    under_thread_sanitizer(compiler)
    under_address_sanitizer(compiler, sys.argv[1:])


if __name__ == "__main__":
    main()
