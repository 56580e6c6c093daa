"""What one worker does: a unit is read, coded and written, and what came of it is told. Nothing here knows Ray."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import picture_files
from ..codec import Codec
from ..errors import CodecWarning, CorruptError, InputError
from ..files import one_line
from .places import Place
from .settings import Settings
from .sinks import Files, Made, Shard, Sink, Table, name_beside
from .sources import Item, Reader, Sample
from .units import Note, Outcome, Task, Unit

STREAM_SUFFIX = ".rdc"


def accepted(task: Task) -> set[str]:
    """Return the suffixes of what a task takes."""
    return picture_files.readable_suffixes() if task == "encode" else {STREAM_SUFFIX}


def target_of(key: str, suffix: str, made: str, keep_suffix: bool) -> str:
    """Return the name of what is made of a picture or stream: the last part of its suffix is replaced."""
    parts = suffix.split(".") if suffix else []
    kept = parts if keep_suffix else parts[:-1]
    return ".".join([key, *kept, made])


class Worker:
    """Does units with one codec. Raises InputError, CorruptError or WrongModelError for the model and the places."""

    def __init__(self, settings: Settings) -> None:
        self.codec = Codec(
            settings.model, backend="onnxruntime", threads=settings.threads, sha256=settings.sha256
        )
        self.codec.max_pixels = settings.max_pixels
        self._settings = settings
        self._place = None if settings.destination is None else Place(settings.destination)
        self._reader = Reader(Place(settings.source), settings.task, accepted(settings.task), settings.column)
        if settings.task == "decode":
            self._format = picture_files.writable_format(Path(f"picture.{settings.picture_type}"))

    def do(self, unit: Unit) -> Outcome:
        """Do a unit, as often as it is given: the outputs and the outcome are those of the first time.

        Whatever goes wrong is a note of the outcome.
        """
        outcome = Outcome(unit.number, stamp=unit.stamp)
        try:
            self._fill(unit, outcome)
        except Exception as error:  # of the shard itself, of the place, or a fault of ours: the others go on
            self._fail(unit, outcome, error)
            return outcome
        if unit.receipt is not None and self._place is not None and (unit.stamp is not None or outcome.done):
            try:
                self._place.write(unit.receipt, outcome.dump().encode(), lasting=True)
            except OSError as error:  # the next run does it again, and this one says why
                self._fail(unit, outcome, error)
        return outcome

    def _fill(self, unit: Unit, outcome: Outcome) -> None:
        code = {"encode": self._encode, "decode": self._decode, "verify": self._verify}[self._settings.task]
        sink: Sink | None = None
        taken: set[str] = set()
        try:
            for sample in self._reader.samples(unit):
                if isinstance(sample, Note):
                    outcome.notes.append(sample)
                    continue
                if unit.output is not None and not _is_path(sample.key):
                    names = [item.name for item in sample.items] or [sample.key]
                    error = InputError("not a name that a file can have")
                    outcome.notes += [_note(_where(unit, name), error) for name in names]
                    continue
                made = self._made(unit, sample, code, taken, outcome)
                if unit.output in ("files", "webdataset"):
                    sample = self._named(unit, sample, taken, outcome)
                if unit.output is None or (sample.items and not made):
                    continue  # nothing is written, or there would be labels without a picture
                if sink is None:
                    sink = self._sink(unit)
                self._write(unit, sink, sample, made, outcome)
        except BaseException:
            if sink is not None:
                sink.abandon()
            raise
        if sink is not None:
            sink.close()
            outcome.notes += sink.notes

    def _made(
        self,
        unit: Unit,
        sample: Sample,
        code: Callable[[bytes], tuple[bytes, dict[str, Any]]],
        taken: set[str],
        outcome: Outcome,
    ) -> list[Made]:
        """Code what is in a sample, and note what is wrong with it."""
        made = []
        for item in sample.items:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    target = self._target(unit, sample, item)
                    if target in taken and unit.output is not None:
                        raise InputError(f"not written to {target}, which an earlier one becomes")
                    taken.add(target)
                    data, facts = code(item.data)
                except Exception as error:  # whatever a picture brings about is no other one's trouble
                    outcome.notes.append(_note(_where(unit, item.name), error))
                    continue
                finally:
                    outcome.notes += [
                        Note(_where(unit, item.name), x.category.__name__, one_line(str(x.message)), True)
                        for x in caught
                        if issubclass(x.category, CodecWarning)
                    ]
            made.append(Made(item.name, target, data, facts))
            if unit.output is None:
                outcome.done += 1
                outcome.pixels += facts["width"] * facts["height"]
        return made

    def _named(self, unit: Unit, sample: Sample, taken: set[str], outcome: Outcome) -> Sample:
        """Leave out what is beside a picture and has no name of its own, with a note that says so."""
        kept = {}
        key = sample.key if unit.kind == "webdataset" else member_key(sample.key)
        for suffix, value in sample.beside.items():
            name = name_beside(key, suffix) if isinstance(value, bytes) else f"{key}.json"
            if not _is_path(name):
                error = InputError("not a name that a file can have")
            elif isinstance(value, bytes) and name in taken:
                error = InputError(f"not written to {name}, which another one becomes")
            else:
                kept[suffix] = value
                taken.add(name)
                continue
            outcome.notes.append(_note(_where(unit, f"{sample.key}.{suffix}"), error))
        return sample._replace(beside=kept)

    def _target(self, unit: Unit, sample: Sample, item: Item) -> str:
        """Return where an item goes: a file, or a member of a shard, whose key may have no dots."""
        if unit.kind == "files" and unit.output == "files":
            return unit.targets[unit.sources.index(item.name)]
        if unit.output is None:
            return item.name
        key = sample.key if unit.kind == "webdataset" else member_key(sample.key)
        return target_of(key, item.suffix, self._settings.made_suffix, self._settings.keep_suffix)

    def _write(self, unit: Unit, sink: Sink, sample: Sample, made: list[Made], outcome: Outcome) -> None:
        try:
            key = sample.key if unit.kind == "webdataset" else member_key(sample.key)
            sink.add(key, made, sample.beside)
        except OSError as error:
            if unit.output != "files":
                raise  # of the shard, which is not written then
            outcome.notes += [_note(_where(unit, one.name), error) for one in made]
            return
        for one in made:
            outcome.done += 1
            outcome.size += len(one.data)
            outcome.pixels += one.facts["width"] * one.facts["height"]
            if unit.kind == "files" and unit.receipt is not None:
                outcome.names.append(one.name)

    def _sink(self, unit: Unit) -> Sink:
        assert self._place is not None  # where there is an output
        if unit.output == "files":
            return Files(self._place, "" if unit.kind == "files" else unit.targets[0])
        if unit.output == "webdataset":
            return Shard(self._place, unit.targets[0])
        return Table(self._place, unit.targets[0], self._settings.task, self._reader.types)

    def _fail(self, unit: Unit, outcome: Outcome, error: Exception) -> None:
        """Note an error of a whole unit: nothing of a shard is there, and of files what was written before."""
        noted = {note.name for note in outcome.notes if not note.warning}
        if unit.output not in (None, "files"):
            outcome.done = outcome.size = outcome.pixels = 0
            outcome.names = []
        if unit.kind != "files":
            outcome.notes.append(_note(unit.sources[0], error))
            return
        left = [name for name in unit.sources if name not in noted]
        # Files are done in order, and each is counted when it is written.
        outcome.notes += [_note(name, error) for name in left[outcome.done :]]

    def _encode(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        rules = self._settings.rules
        image = picture_files.load(io.BytesIO(data), self.codec.max_pixels, rules)
        stream = self.codec.encode(
            image,
            background=rules.background,
            convert=rules.convert,
            to_8bit=rules.to_8bit,
            **self._settings.coding,
        )
        return stream, self._facts(stream)

    def _decode(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        image = self.codec.decode_image(data, **self._settings.coding)
        quality = self._settings.picture_quality
        made = picture_files.to_bytes(image, self._format, self._settings.rules.background, quality)
        return made, self._facts(data) | {"width": image.width, "height": image.height}

    def _verify(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        report = self.codec.verify(data)
        if not report.ok:
            what = "damaged, but there is a picture" if report.decodable else "no picture"
            raise CorruptError(f"{what}: {report.problem}")
        return b"", self._facts(data)

    def _facts(self, stream: bytes) -> dict[str, Any]:
        about = self.codec.info(stream)
        return {name: about[name] for name in ("width", "height", "quality")}


def member_key(key: str) -> str:
    """Return a path as the key of a WebDataset member, which ends at the first dot of its last part."""
    folder, _, last = key.rpartition("/")
    last = last.replace(".", "_")
    return f"{folder}/{last}" if folder else last


def _is_path(key: str) -> bool:
    """Tell whether a key names a file below a folder, which what someone sent need not do."""
    if "\0" in key or (os.name == "nt" and not {"\\", ":"}.isdisjoint(key)):
        return False
    return not any(part in ("", ".", "..") for part in key.split("/"))


def _where(unit: Unit, name: str) -> str:
    """Return what a note calls a picture: with its shard, if it comes out of one."""
    return name if unit.kind == "files" else f"{unit.sources[0]}: {name}"


def _note(name: str, error: BaseException) -> Note:
    return Note(name, type(error).__name__, one_line(error))
