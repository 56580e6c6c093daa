"""Decides what is to be done: units, without what an earlier run did. Every run of one job decides alike."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from ..errors import InputError
from ..files import one_line
from .places import STATE, Entry, Place
from .settings import Settings
from .sources import kind_of, without_suffix
from .units import Kind, Note, Outcome, Unit
from .work import accepted, member_key, target_of

JOB = f"{STATE}/job.json"
RECEIPTS = f"{STATE}/receipts"
FILES_OF_A_UNIT = 32
_UNITS_A_WORKER = 8  # so that all of them end at about the same time
_READERS = 16
_Thing = TypeVar("_Thing")
_ENDINGS: dict[Kind, str] = {"webdataset": ".tar", "parquet": ".parquet", "files": ""}


_SHARDS: tuple[Kind, ...] = ("webdataset", "parquet")


class Plan(NamedTuple):
    """Holds what is to be done and what is not.

    skipped: pictures that an earlier run did. notes: what is wrong, also what earlier runs found in shards that are
    done. left_out: what is not read by its suffix, a count for each.
    """

    units: list[Unit]
    skipped: int
    notes: list[Note]
    left_out: dict[str, int]


def is_first(place: Place, promise: dict[str, Any]) -> bool:
    """Tell whether no earlier run wrote to an output.

    promise: what decides the bytes. Raises InputError where an earlier run made something else.
    """
    try:
        before = json.loads(place.read(JOB))
    except FileNotFoundError:
        return True
    except ValueError:
        raise InputError(f"{place.url}/{JOB} cannot be read: take another folder") from None
    missing = object()
    other = [
        f"{name} was {before.get(name)}, now it is {promise.get(name)}"
        for name in {**before, **promise}
        if before.get(name, missing) != promise.get(name, missing)
    ]
    if other:
        raise InputError(f"{place.url} was made otherwise ({'; '.join(other)}): take another folder")
    return False


def keep(place: Place, promise: dict[str, Any]) -> None:
    """Note at an output what is made there. Raises OSError."""
    place.write(JOB, json.dumps(promise, indent=1).encode(), lasting=True)


def make(
    source: Place,
    destination: Place | None,
    settings: Settings,
    workers: int,
    first: bool = False,
    only: str | None = None,
) -> Plan:
    """Return what is to be done of a source, for so many workers.

    first: no earlier run wrote to the destination. only: the one file of the source to take. Raises InputError where
    there is nothing to do, or where what would be written is there already and no earlier run's.
    """
    notes: list[Note] = []
    left_out: dict[str, int] = {}
    entries = _sorted_out(_entries(source, notes, only), settings, left_out)
    if not any(entries.values()) and not notes:
        raise InputError(f"{settings.source}: nothing here has a suffix that can be read")
    if destination is None:
        files = [_of_files(names) for names in _groups([x.name for x in entries["files"]], workers)]
        shards = [_of_shard(kind, x, None, "") for kind in _SHARDS for x in entries[kind]]
        return Plan(_numbered([*files, *shards]), 0, notes, left_out)

    problems: list[tuple[str, str]] = []
    # A file without content is what the end of a machine may leave of one that had its name already.
    found = destination.files(problems) if destination.is_folder() else ()
    there = {entry.name for entry in found if entry.size}
    receipts = _receipts(destination)
    taken: dict[str, str] = {}

    if settings.output in (None, "files"):
        names, skipped = _files_to_files(entries["files"], settings, there, taken, notes)
        units = [
            _of_files([name for name, _ in group], "files", [target for _, target in group])
            for group in _groups(names, workers)
        ]
    else:
        units, skipped = _files_to_shards(entries["files"], settings, receipts, there, notes)
        taken |= {target: "files of the source" for unit in units for target in unit.targets}
    before, more = _shards(entries, settings, receipts, there, taken, notes)
    skipped += before
    units = _numbered([*units, *more])
    written = [target for unit in units if unit.output != "files" for target in unit.targets]
    if first and (foreign := there.intersection(written)):
        raise InputError(f"{min(foreign)} is at {destination.url} already, and not of this job")
    if not first and settings.output not in (None, "files"):
        _remove_orphans(destination, there - set(written), receipts, settings)
    for unit in units:
        if unit.receipt is not None:
            destination.remove(unit.receipt)  # also where the shard that it spoke of is gone
    destination.remove_parts()
    return Plan(units, skipped, notes, left_out)


def _entries(source: Place, notes: list[Note], only: str | None) -> Iterator[Entry]:
    if only is not None:
        yield source.entry(only)
        return
    problems: list[tuple[str, str]] = []
    yield from source.files(problems)
    notes += [Note(name, "OSError", text) for name, text in problems]


def _sorted_out(
    entries: Iterable[Entry], settings: Settings, left_out: dict[str, int]
) -> dict[Kind, list[Entry]]:
    """Return entries by their kind, and count what is none by its suffix."""
    wanted = accepted(settings.task)
    found: dict[Kind, list[Entry]] = {"files": [], "webdataset": [], "parquet": []}
    for entry in entries:
        suffix = posixpath.splitext(entry.name)[1].lower()
        kind = kind_of(entry.name)
        if kind != "files" or suffix in wanted:
            found[kind].append(entry)
        else:
            left_out[suffix or "no suffix"] = left_out.get(suffix or "no suffix", 0) + 1
    return found


def _files_to_files(
    entries: Sequence[Entry],
    settings: Settings,
    there: set[str],
    taken: dict[str, str],
    notes: list[Note],
) -> tuple[list[tuple[str, str]], int]:
    """Return what is to be made of files, name and target, and how many are done."""
    names, skipped = [], 0
    for entry in entries:
        key, suffix = posixpath.splitext(entry.name)
        target = target_of(key, suffix[1:], settings.made_suffix, settings.keep_suffix)
        if _clashes(entry.name, target, taken, notes):
            continue
        if target in there:
            skipped += 1
        else:
            names.append((entry.name, target))
    return names, skipped


def _files_to_shards(
    entries: Sequence[Entry],
    settings: Settings,
    receipts: dict[str, Outcome],
    there: set[str],
    notes: list[Note],
) -> tuple[list[Unit], int]:
    """Return units that put files into shards, beside those that are there, and count the files in these."""
    assert settings.output is not None
    ending = _ENDINGS[settings.output]
    pattern = _pattern(settings)
    numbers: set[int] = set()
    done: set[str] = set()
    for name, outcome in receipts.items():
        target = name.removesuffix(".json")
        if (found := pattern.fullmatch(target)) is not None and target in there:
            numbers.add(int(found[1]))
            done |= set(outcome.names)
    taken: dict[str, str] = {}
    waiting = []
    skipped = 0
    for entry in entries:
        key, suffix = posixpath.splitext(entry.name)
        target = target_of(member_key(key), suffix[1:], settings.made_suffix, settings.keep_suffix)
        if _clashes(entry.name, target, taken, notes):
            continue
        if entry.name in done:
            skipped += 1
        else:
            waiting.append(entry.name)
    units = []
    number = 0
    for start in range(0, len(waiting), settings.per_shard):
        while number in numbers:
            number += 1
        target = f"{_pack(settings)}-{number:06d}{ending}"
        group = waiting[start : start + settings.per_shard]
        units.append(_of_files(group, settings.output, (target,), f"{RECEIPTS}/{target}.json"))
        number += 1
    return units, skipped


def _shards(
    entries: dict[Kind, list[Entry]],
    settings: Settings,
    receipts: dict[str, Outcome],
    there: set[str],
    taken: dict[str, str],
    notes: list[Note],
) -> tuple[int, list[Unit]]:
    """Count the pictures in shards that are done, and return a unit for each other one."""
    units = []
    skipped = 0
    for kind in _SHARDS:
        for entry in entries[kind]:
            output = settings.output or kind
            target = without_suffix(entry.name) + _ENDINGS[output]
            other = taken.get(target) or (_below(target, taken) if output == "files" else None)
            if other is not None:
                error = f"not written to {target}, which {other} becomes"
                notes.append(Note(entry.name, InputError.__name__, error))
                continue
            taken[target] = entry.name
            unit = _of_shard(kind, entry, output, target)
            before = receipts.get(f"{target}.json")
            whole = before is not None and (output == "files" or not before.done or target in there)
            if before is not None and whole and before.stamp == unit.stamp:
                skipped += before.done
                notes += before.notes
            else:
                units.append(unit)
    return skipped, units


def _below(folder: str, taken: dict[str, str]) -> str | None:
    """Return what becomes a file in a folder, if anything does."""
    return next((other for target, other in taken.items() if target.startswith(f"{folder}/")), None)


def _clashes(name: str, target: str, taken: dict[str, str], notes: list[Note]) -> bool:
    """Note where two files would become one, and keep the first."""
    other = taken.setdefault(target, name)
    if other == name:
        return False
    text = f"not written to {target}, which {other} becomes (--keep-suffix keeps their names apart)"
    notes.append(Note(name, InputError.__name__, text))
    return True


def _pattern(settings: Settings) -> re.Pattern[str]:
    """Return what the names of shards that files go into look like."""
    ending = _ENDINGS[settings.output or "files"]
    return re.compile(rf"{_pack(settings)}-(\d{{6,}}){re.escape(ending)}")


def _pack(settings: Settings) -> str:
    return "streams" if settings.task == "encode" else "pictures"


def _remove_orphans(place: Place, there: set[str], receipts: dict[str, Outcome], settings: Settings) -> None:
    """Remove shards that were complete when their worker died before it could say so: their files are done again."""
    pattern = _pattern(settings)
    for name in there:
        if pattern.fullmatch(name) and f"{name}.json" not in receipts:
            place.remove(name)


def _receipts(place: Place) -> dict[str, Outcome]:
    """Return what earlier runs said of their shards, by the names of the receipts.

    Raises InputError where one is there and cannot be read: its shard would be taken for one that nobody finished.
    """
    if not place.is_folder(RECEIPTS):
        return {}
    problems: list[tuple[str, str]] = []
    names = [entry.name for entry in place.files(problems, hidden=RECEIPTS)]
    if problems:
        raise InputError(f"{place.url}: what earlier runs did cannot be read: {problems[0][1]}")

    def read(name: str) -> tuple[str, Outcome] | None:
        try:
            text = place.read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{place.url}: what earlier runs did cannot be read: {one_line(error)}"
            ) from None
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a half-written one
            return name.removeprefix(f"{RECEIPTS}/"), Outcome.load(text)
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(found for found in pool.map(read, names) if found is not None)


def _groups(things: Sequence[_Thing], workers: int) -> list[Sequence[_Thing]]:
    size = max(1, min(FILES_OF_A_UNIT, len(things) // (_UNITS_A_WORKER * workers)))
    return [things[start : start + size] for start in range(0, len(things), size)]


def _of_files(
    names: Sequence[str],
    output: Kind | None = None,
    targets: Sequence[str] = (),
    receipt: str | None = None,
) -> Unit:
    return Unit(-1, "files", tuple(names), output, tuple(targets), None, receipt)


def _of_shard(kind: Kind, entry: Entry, output: Kind | None, target: str) -> Unit:
    receipt = f"{RECEIPTS}/{target}.json" if output is not None else None
    stamp = (entry.size, entry.modified)
    return Unit(-1, kind, (entry.name,), output, (target,) if target else (), stamp, receipt)


def _numbered(units: Sequence[Unit]) -> list[Unit]:
    return [dataclasses.replace(unit, number=number) for number, unit in enumerate(units)]
