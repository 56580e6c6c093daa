"""Documentation: Python examples run, commands run or parse, links and pictures are there.

A Python block is run unless `<!-- not run: WHY -->` stands before it. `rdc` commands of the README are run. Commands
that train, export or measure are parsed by their own argument parsers, so that a renamed option or module fails here.
`make` needs a target of that name, `pip install ".[x]"` an extra, `pytest` and `cmake` a path.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from rdc_codec.cli import main as rdc
from rdc_codec.errors import DamagedAuxiliaryWarning

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S
)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}[^\n]*\n)+")
PROGRAMS = ("rdc", "python", "make", "pip", "cmake", "compute-sanitizer")
STARTS = re.compile(rf"(?:{'|'.join(PROGRAMS)}) \S")


class Block(NamedTuple):
    page: Path
    line: int
    why_not: str | None  # None: it is run
    text: str


class Command(NamedTuple):
    page: Path
    text: str


def place(page: Path, detail: object = "") -> str:
    return f"{page.relative_to(ROOT)}:{detail}"


def python_blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in FENCE.finditer(text):
            if found["kind"] == "python":
                yield Block(page, text[: found.start("text")].count("\n") + 1, found["why"], found["text"])


def commands_in(text: str) -> Iterator[str]:
    """Return lines that call a program, with continued lines joined and without comments or what is optional."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s#.*| && .*", "", line.strip())
        if STARTS.match(line):
            yield " ".join(line.split())


def commands() -> Iterator[Command]:
    for page in PAGES:
        text = page.read_text()
        blocks = [f["text"] for f in FENCE.finditer(text) if f["kind"] in ("sh", "")]
        rest = FENCE.sub("\n", text)
        blocks += INDENTED.findall(rest)
        inline = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", INDENTED.sub("\n", rest))
        blocks += [" ".join(words.split()) for words in inline]
        for command in dict.fromkeys(c for block in blocks for c in commands_in(block)):
            yield Command(page, command)


BLOCKS = list(python_blocks())
SHORT, LONG = [b for b in BLOCKS if b.page == README][:2]  # what they show is tested, too
COMMANDS = list(commands())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with what the examples read: photo.png, photos/, photo.rdc is made by them."""
    Image.fromarray(data.chelsea()).save(tmp_path / "photo.png")
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    shutil.copy(tmp_path / "photo.png", tmp_path / "photos" / "inner" / "cat.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- Python -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block", [pytest.param(b, id=place(b.page, b.line)) for b in BLOCKS if b not in (SHORT, LONG)]
)
@pytest.mark.filterwarnings("ignore::rdc_codec.errors.DamagedAuxiliaryWarning")
def test_a_python_example_runs(block: Block, folder: Path) -> None:
    if block.why_not:
        compile(block.text, place(block.page, block.line), "exec")
        pytest.skip(block.why_not)
    exec(compile(block.text, place(block.page, block.line), "exec"), {})


def test_the_first_example_of_the_readme_is_six_lines_that_give_both_pictures(folder: Path) -> None:
    assert len([x for x in SHORT.text.splitlines() if x.strip()]) == 6
    found: dict = {}
    exec(SHORT.text, found)
    assert found["people"].shape == found["machines"].shape == data.chelsea().shape
    assert (found["people"] != found["machines"]).any()


def test_the_long_example_of_the_readme_warns_and_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(DamagedAuxiliaryWarning):
        exec(LONG.text, {})
    assert capsys.readouterr().out.splitlines()[-1] == "CorruptError not an RDC stream"


# --- commands ---------------------------------------------------------------------------------


class Parsed(BaseException):
    """Says that the arguments were taken; what would come next is not run."""


def parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start `python` with these arguments and stop where its parser has taken them."""
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *given: object, **named: object) -> None:
        original(self, *given, **named)  # type: ignore[arg-type]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    module = arguments[1] if arguments[0] == "-m" else None
    monkeypatch.setattr(sys, "argv", arguments[1:] if module else [str(ROOT / arguments[0]), *arguments[1:]])
    with pytest.raises(Parsed):
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")


def options_of(group: str) -> set[str]:
    """Return the names of a table of pyproject.toml."""
    table = re.search(
        rf"^\[{re.escape(group)}\]\n(.*?)(?=^\[)", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    assert table is not None
    return set(re.findall(r"^([\w-]+) *=", table[1], re.M))


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    match words:
        case ["make", *rest]:
            targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
            wanted = {word for word in rest if "=" not in word}
            assert wanted and wanted <= targets
        case ["pip", "install", *rest] | ["python", "-m", "pip", "install", *rest]:
            local = [word for word in rest if word.startswith(".")]
            extras = {e for word in local for e in re.findall(r"[\w-]+", word)}
            assert extras <= options_of("project.optional-dependencies")
        case ["pip", "uninstall", *_]:
            pass
        case ["cmake", "-S", source, *_]:
            assert (ROOT / source / "CMakeLists.txt").exists()
        case ["cmake", "--build" | "--install", *_]:
            pass
        case ["compute-sanitizer", *rest]:
            check(rest, monkeypatch)
        case ["python", "-m", "timeit", "-s", setup, statement]:
            compile(setup, "timeit", "exec"), compile(statement, "timeit", "exec")
        case ["python", "-m", "pytest", *rest]:
            assert all((ROOT / word).exists() for word in rest if word.endswith(".py"))
        case ["python", "-m", "rdc_codec", *rest] | ["rdc", *rest]:
            if rest and not rest[0].startswith("-"):
                command = rdc.commands[rest[0]]
                if len(rest) > 1:
                    command.make_context(rest[0], rest[1:])
        case ["python", *rest]:
            parse(rest, monkeypatch)
        case _:
            raise AssertionError("no rule for this program")


@pytest.mark.parametrize("command", [pytest.param(c, id=place(c.page, c.text)) for c in COMMANDS])
def test_a_command_is_taken(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(
        shlex.split(re.sub(r"\[--[^\]]*\]", " ", command.text)), monkeypatch
    )  # without [--what is optional]


def test_the_readme_names_the_two_commands() -> None:
    assert {"make demo", "make test"} <= {c.text for c in COMMANDS if c.page == README}


def test_the_rdc_commands_of_the_readme_run_in_order(folder: Path) -> None:
    lines = [shlex.split(c.text) for c in COMMANDS if c.page == README and c.text.startswith("rdc ")]
    assert len(lines) >= 4
    for line in lines:
        done = CliRunner().invoke(rdc, line[1:])
        assert done.exit_code == 0, (line, done.output)
    assert (folder / "coded" / "inner" / "cat.rdc").exists()
    assert Image.open(folder / "restored.png").size == Image.open(folder / "photo.png").size


def test_a_wrong_option_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        parse(["-m", "benchmarks.sizing", "--no-such-option"], monkeypatch)


# --- the front page ---------------------------------------------------------------------------


def test_the_picture_of_the_front_page_is_made_by_its_command(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["front_page.py", "-o", str(folder / "made.jpg")])
    runpy.run_path(str(ROOT / "examples" / "front_page.py"), run_name="__main__")
    printed = re.findall(r"([\d,]+) bytes", capsys.readouterr().out)
    told = re.search(r"!\[([^\]]*)\]\(docs/front_page\.jpg\)", README.read_text())
    assert told is not None and len(printed) == 3
    assert re.findall(r"[\d,]*\d (?=bytes)", told[1]) == [f"{size} " for size in printed]
    committed = ROOT / "docs" / "front_page.jpg"
    assert committed.stat().st_size <= 400_000
    assert Image.open(committed).size == Image.open(folder / "made.jpg").size


def test_the_front_page_names_nothing_of_a_workplace() -> None:
    for page in PAGES:
        assert not re.search(
            r"(?<![\w.])/(root|home|mnt|work)/|shared/|pypi\.|pythonhosted", page.read_text()
        ), page.name


# --- architecture -----------------------------------------------------------------------------


def stages() -> list[list[list[str]]]:
    """Return rows of the two tables of docs/architecture.md: what stands in backticks in each cell."""
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in row] for row in rows if len(row) == 5 and "`" in row[1]
    ]


def test_every_stage_is_where_the_architecture_says() -> None:
    rows = stages()
    assert len(rows) >= 20
    for _, files, functions, _, tests in rows:
        paths = [
            ROOT / f if "/" in f and not f.startswith("backends") else ROOT / "src/rdc_codec" / f
            for f in files
        ]
        texts = [p for path in paths for p in (path.glob("*.py") if path.is_dir() else [path])]
        texts += (
            [ROOT / "src/rdc_codec/native.pyi"] if any(f.startswith("native.") for f in functions) else []
        )
        everything = "\n".join(path.read_text() for path in texts)
        for name in functions:
            assert re.search(rf"(?:def|class) {name.split('.')[-1]}\b|\"{name}\"", everything), (files, name)
        assert tests and all((ROOT / "tests" / test).exists() for test in tests), tests


# --- links ------------------------------------------------------------------------------------


class Sources(HTMLParser):
    """Collects what <img src=...> and <a href=...> name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def links(page: Path) -> list[str]:
    text = INDENTED.sub("\n", FENCE.sub("\n", page.read_text()))
    html = Sources()
    html.feed(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + html.found


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("\n", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [pytest.param(p, id=place(p)) for p in PAGES])
def test_relative_links_and_pictures_exist(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_every_page_is_in_the_sites_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in menu, page.name


def test_there_is_something_to_check() -> None:
    assert len(BLOCKS) >= 4 and len(COMMANDS) >= 30
    assert sum(len(links(page)) for page in PAGES) >= 40
