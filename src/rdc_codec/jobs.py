"""What the command line makes of its paths: which file becomes which, several at once, and what is said of each."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from . import files
from .errors import CodecError, CodecWarning, InputError
from .files import STDIO, is_folder, one_line


class Job(NamedTuple):
    """Names a file to read and the file to make of it; refused says why it is not made."""

    source: Path
    target: Path
    refused: str | None = None


class Problem(NamedTuple):
    """Says of a path, in one line, why nothing was made of it."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class Made(NamedTuple):
    """Holds the bytes of a file to write, and what a line of JSON says of it."""

    data: bytes
    facts: dict[str, Any]


class Rules(NamedTuple):
    """Says what may be replaced. streams: an .rdc stream by another. overwrite: everything. skip: nothing, silently."""

    streams: bool
    overwrite: bool
    skip: bool


class _Outcome(NamedTuple):
    job: Job
    facts: dict[str, Any]
    error: str | None
    warnings: list[str]


_CAUGHT: ContextVar[list[str] | None] = ContextVar("rdc_warnings", default=None)


def plan(
    inputs: Sequence[Path],
    output: Path,
    suffix: str,
    accepted: Collection[str],
    into_folder: bool = False,
    keep_suffix: bool = False,
) -> tuple[list[Job], list[Problem]]:
    """Decide which file becomes which: folders keep their inner structure under the output folder.

    suffix: of what is made, with its dot, which takes the place of the input's or, with keep_suffix, follows it.
    accepted: suffixes of what is taken from folders. into_folder: `output` is a folder though it may be missing.
    Returns the jobs, and a problem for whatever in the folders is left out. A named file is taken whatever its suffix,
    and need not exist (reading it will say so). Raises InputError for a folder with nothing in it, an output that is a
    file where a folder is needed, and several inputs for one stream.
    """

    def named(path: Path) -> Path:
        return path.parent / f"{path.name if keep_suffix else path.stem}{suffix}"

    if len(inputs) == 1 and not is_folder(inputs[0]):
        source = inputs[0]
        if not into_folder and (output == STDIO or not is_folder(output)):
            return _without_clashes([Job(source, output)], keep_suffix), []
        if source == STDIO:
            raise InputError("-: the standard input has no name to take into a folder: name the output")
        return _without_clashes([Job(source, output / named(Path(source.name)))], keep_suffix), []
    if files.is_stream(output):
        raise InputError(f"{output}: only one picture can go there, a folder is needed for these inputs")
    try:
        is_file = output.exists() and not output.is_dir()
    except OSError as error:
        raise InputError(f"{output}: {one_line(error)}") from None
    if is_file:
        raise InputError(f"{output}: must be a folder for these inputs")
    jobs: list[Job] = []
    problems: list[Problem] = []
    for source in inputs:
        if source == STDIO:
            problems.append(Problem(source, "has no name to take into a folder: give it alone"))
            continue
        if not is_folder(source):
            jobs.append(Job(source, output / named(Path(source.name))))
            continue
        found, left_out = files_of(source, accepted)
        problems += left_out
        if not found and not left_out:
            raise InputError(f"{source}: no file in this folder has a suffix that can be read")
        jobs += [Job(file, output / named(file.relative_to(source))) for file in found]
    return _without_clashes(jobs, keep_suffix), problems


def files_of(folder: Path, accepted: Collection[str]) -> tuple[list[Path], list[Problem]]:
    """Return the files below a folder with one of these suffixes, sorted, and a problem for whatever else is there.

    Hidden files and folders, which systems put there themselves, are passed over.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    others: dict[str, int] = {}
    walk = os.walk(
        folder, onerror=lambda e: problems.append(Problem(Path(e.filename), one_line(e))), followlinks=False
    )
    for place, folders, names in walk:
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(place) / name).is_symlink():
                problems.append(Problem(Path(place) / name, "a link to a folder, which is not followed"))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(place) / name
            if path.suffix.lower() in accepted:
                found.append(path)
            else:
                kind = path.suffix.lower() or "no suffix"
                others[kind] = others.get(kind, 0) + 1
    if others:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(others.items()))
        problems.append(Problem(folder, f"left out what is not read by its suffix: {kinds}"))
    return sorted(found), problems


def _without_clashes(jobs: Sequence[Job], keep_suffix: bool) -> list[Job]:
    """Refuse each job that would write to an input, or to what an earlier job writes to."""
    sources = {identity for job in jobs if (identity := files.identity(job.source)) is not None}
    writers: dict[Path, Path] = {}
    checked = []
    for job in jobs:
        target = files.identity(job.target)
        if target is not None and target in sources:
            job = job._replace(refused=f"not written to {job.target}, which is an input")
        elif target is not None and (other := writers.get(target)) is not None:
            hint = "" if keep_suffix or other == job.source else " (--keep-suffix keeps their names apart)"
            job = job._replace(refused=f"not written to {job.target}, which {other} becomes{hint}")
        elif target is not None:
            writers[target] = job.source
        checked.append(job)
    return checked


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Made],
    problems: Sequence[Problem],
    rules: Rules,
    at_once: int,
    quiet: bool,
    as_json: bool,
) -> bool:
    """Do every job, so many at once, and return whether all of them were done and nothing was left out before.

    What went wrong is said in one line on stderr. as_json: a line of JSON on stdout for each file in the order of the
    jobs, and one with the sums.
    """
    from tqdm import tqdm

    from .ordered import in_order

    begun = time.perf_counter()

    def say(line: str) -> None:
        tqdm.write(f"rdc: {line}", file=sys.stderr)

    def tell(facts: dict[str, Any]) -> None:
        if as_json and sys.stdout is not None:
            print(json.dumps(facts), flush=True)

    for problem in problems:
        say(str(problem))
        tell({"input": str(problem.path), "error": problem.text})
    sums = {"written": 0, "skipped": 0, "failed": len(problems), "bytes": 0}
    hidden = quiet or len(jobs) < 2 or not sys.stderr.isatty()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _note
        outcomes = in_order(
            lambda job: job, lambda job: _do(job, work, rules), jobs, max(1, min(at_once, len(jobs)))
        )
        for outcome in tqdm(outcomes, total=len(jobs), disable=hidden, unit="file", file=sys.stderr):
            for warning in outcome.warnings:
                say(f"{outcome.job.source}: warning: {warning}")
            if outcome.error is not None:
                say(f"{outcome.job.source}: {outcome.error}")
            tell(_record(outcome))
            skipped = "skipped" in outcome.facts
            sums["failed" if outcome.error is not None else "skipped" if skipped else "written"] += 1
            sums["bytes"] += outcome.facts.get("bytes", 0)
    tell({"summary": {**sums, "seconds": round(time.perf_counter() - begun, 3)}})
    return not sums["failed"]


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Keep a warning for the job of the thread that gives it; `catch_warnings` does not tell threads apart."""
    caught = _CAUGHT.get()
    if caught is not None and issubclass(category, CodecWarning):
        caught.append(one_line(str(message)))


def _do(job: Job, work: Callable[[Job], Made], rules: Rules) -> _Outcome:
    begun = time.perf_counter()
    caught: list[str] = []
    _CAUGHT.set(caught)
    try:
        if job.refused is not None:
            raise InputError(job.refused)
        if rules.skip and not files.is_stream(job.target) and job.target.exists():
            return _Outcome(job, {"skipped": True}, None, caught)
        if not rules.overwrite:
            files.check_free(job.target, rules.streams)
        made = work(job)
        if not rules.overwrite:
            files.check_free(job.target, rules.streams)  # which another process may have written meanwhile
        files.write(job.target, made.data)
        facts = {"bytes": len(made.data), **made.facts, "seconds": round(time.perf_counter() - begun, 3)}
        return _Outcome(job, facts, None, caught)
    except BrokenPipeError:
        raise
    except (CodecError, OSError, MemoryError) as error:
        return _Outcome(job, {}, one_line(error), caught)


def _record(outcome: _Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {"input": str(outcome.job.source), "output": str(outcome.job.target)}
    record |= outcome.facts
    if outcome.error is not None:
        record["error"] = outcome.error
    if outcome.warnings:
        record["warnings"] = outcome.warnings
    return record
