"""The rule of layers holds: who may import whom, and that the package's private names are used inside alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"model", "training", "export", "benchmarks", "examples", "tests", "kernels"}
MAY = {  # folder: what of the project it may import besides itself
    "src/rdc_codec": set(),
    "examples": {"rdc_codec"},
    "model": {"rdc_codec"},
    "training": {"model", "rdc_codec"},
    "export": {"model", "rdc_codec"},
    "benchmarks": {"model", "training", "export", "rdc_codec"},
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every import of a file, also inside functions, except relative ones."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", MAY)
def test_a_layer_imports_only_what_lies_below_it(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    allowed = MAY[folder] | {folder.split("/")[-1]}
    for path in files:
        used = {module.partition(".")[0] for module, _ in imports(path)} & (FOLDERS | {"rdc_codec"})
        assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


# Attributes whose owner the name alone does not tell: those of a codec and its bundle.
PRIVATE = re.compile(r"\b(codec|reader|bundle|backend|tiny|shipped)\._[a-z]\w*")


@pytest.mark.parametrize("folder", ["examples", "model", "training", "export", "benchmarks", "tests"])
def test_private_names_of_the_package_stay_inside(folder: str) -> None:
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module, name in imports(path):
            parts = [*module.split("."), name]
            if parts[0] == "rdc_codec" and any(p.startswith("_") and not p.startswith("__") for p in parts):
                found.append(f"{path.relative_to(ROOT)}: {module}.{name}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := PRIVATE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, found
