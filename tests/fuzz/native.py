"""Builds the native targets: with libFuzzer where a clang has it, else with the driver of random changes in cpp."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from kernel_library import CMAKE

SOURCE = Path(__file__).parent / "cpp"
TARGETS = ("rans", "networks", "stream", "bundle", "readers")
SEEDS = {"rans": "noise", "networks": "noise", "stream": "streams", "bundle": "bundles", "readers": "files"}


def clang() -> str | None:
    """Return a clang++ that has libFuzzer, the newest one; None where there is none."""
    names = {"clang++"}
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder).is_dir():
            names |= {
                p.name for p in Path(folder).glob("clang++-*") if re.fullmatch(r"clang\+\+-\d+", p.name)
            }
    order = sorted(names, key=lambda name: int(name.partition("-")[2] or 0), reverse=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "one.cpp"
        source.write_text(
            'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
        )
        command = ["-fsanitize=fuzzer,address", str(source), "-o", str(Path(folder) / "one")]
        for name in order:
            if shutil.which(name) and not subprocess.run([name, *command], capture_output=True).returncode:
                return name
    return None


def tool_of(compiler: str, name: str) -> str:
    """Return llvm-cov or llvm-profdata of the same version as a clang++. Raises FileNotFoundError."""
    version = compiler.partition("++")[2]
    beside = Path(shutil.which(compiler) or "").resolve().with_name(name)
    for found in (shutil.which(name + version), str(beside) if beside.exists() else None):
        if found:
            return found
    raise FileNotFoundError(f"no {name} for {compiler}: install LLVM's tools")


def build(folder: Path, compiler: str | None, engine: str) -> dict[str, Path]:
    """Build all targets, and return their programs. engine: as cpp/CMakeLists.txt has it."""
    options = [f"-DRDC_FUZZ_ENGINE={engine}"] + ([f"-DCMAKE_CXX_COMPILER={compiler}"] if compiler else [])
    for command in (
        [*CMAKE, "-S", str(SOURCE), "-B", str(folder), *options],
        [*CMAKE, "--build", str(folder), "--parallel", str(min(4, os.cpu_count() or 1))],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return {name: folder / f"fuzz_{name}" for name in TARGETS}


def coverage(programs: dict[str, Path], compiler: str, folders: dict[str, list[Path]], work: Path) -> str:
    """Run files through programs that count lines, and return what llvm-cov reports of the kernels."""
    profiles = []
    for name, program in programs.items():
        profile = work / f"{name}.profraw"
        environment = os.environ | {"LLVM_PROFILE_FILE": str(profile)}
        subprocess.run([program, *folders[name]], check=True, capture_output=True, env=environment)
        profiles.append(str(profile))
    merged = work / "merged.profdata"
    subprocess.run([tool_of(compiler, "llvm-profdata"), "merge", *profiles, "-o", str(merged)], check=True)
    first, *others = map(str, programs.values())
    objects = [first, *(word for other in others for word in ("-object", other))]
    kernels = SOURCE.parents[2] / "kernels"
    command = [tool_of(compiler, "llvm-cov"), "report", *objects, f"-instr-profile={merged}", str(kernels)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
