"""A job from its beginning to its report: places are looked at, a plan is made, Ray does it, everything is counted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import cores
from ..bundle import Bundle
from ..codec import Codec
from ..errors import InputError
from . import engine, plan
from .places import Place
from .report import REPORT, Tally
from .settings import Settings
from .units import Outcome, Task

__all__ = ["REPORT", "Job"]

_SEARCHES = ("target_bytes", "target_bpp", "target_psnr", "min_psnr")


class Job:
    """Is a job that is planned, and can be done once.

    settings: what is asked for; its source may be a single file. workers: how many (None: as many as there are cores
    for). address: of a Ray cluster (None: this machine). Attributes: `plan`, and `tally`, the counts so far.

    Raises InputError for places and options that cannot be, CorruptError for the model.
    """

    def __init__(self, settings: Settings, workers: int | None = None, address: str | None = None) -> None:
        source, only = _source(settings.source)
        self.settings = dataclasses.replace(settings, source=source.url)
        self._workers, self._address = workers, address
        self._place = None if settings.destination is None else Place(settings.destination)
        first = False
        if self._place is not None:
            if self._place.is_file():
                raise InputError(f"{settings.destination}: must be a folder")
            over = self._place.within(source) or source.within(self._place)
            if self._place.same(source) if only is not None else over:
                raise InputError(f"{settings.destination}: must be a folder apart from {settings.source}")
            _check(self.settings)
        promise: dict[str, Any] | None = None
        writes = self._place if settings.task != "verify" else None
        if writes is not None:
            bundle = Bundle(settings.model)
            self.settings = dataclasses.replace(self.settings, sha256=bundle.sha256)
            promise = self.settings.promise(_identity(bundle, settings.task))
            first = plan.is_first(writes, promise)
        guess = workers or cores.limit() or os.cpu_count() or 1
        self.plan = plan.make(source, writes, self.settings, guess, first, only)
        if writes is not None and promise is not None and first:
            plan.keep(writes, promise)
        self.tally = Tally(self.settings, self.plan.skipped, self.plan.notes, self.plan.left_out)

    def outcomes(self) -> Iterator[Outcome]:
        """Do what is planned, and yield what comes of each unit; the report is written whatever happens.

        Ray is not started where there is nothing to do. Raises BackendError, and OSError for the report.
        """
        try:
            if self.plan.units:
                with engine.session(self._address, self._workers, self.settings.threads) as workers:
                    for outcome in engine.run(self.plan.units, self.settings, workers):
                        self.tally.add(outcome)
                        yield outcome
        finally:
            if self._place is not None:
                self.tally.write(self._place)
                with contextlib.suppress(OSError):
                    self._place.remove_parts()


def _identity(bundle: Bundle, task: Task) -> str:
    """Return what tells a model from one that gives other outputs; on streams, the quality map has a say, too."""
    found = f"{bundle.parse_id.hex()}/{bundle.picture_id.hex()}"
    if task != "encode":
        return found
    qualities = json.dumps(bundle.manifest["quality_map"], sort_keys=True)
    return f"{found}/{hashlib.sha256(qualities.encode()).hexdigest()}"


def _source(url: str) -> tuple[Place, str | None]:
    """Return the folder that a source is, or the one that it lies in and its name. Raises InputError."""
    try:
        place = Place(url)
        if place.is_folder():
            return place, None
        if place.is_file():
            return place.parent()
    except OSError as error:
        raise InputError(f"{url}: {error}") from None
    raise InputError(f"{url}: there is no such file or folder")


def _check(settings: Settings) -> None:
    """Code a tiny picture as each is to be, for what is wrong with all of them to be said once."""
    if settings.task == "encode":
        codec = Codec(settings.model, backend="onnxruntime", threads=1)
        coding = {name: value for name, value in settings.coding.items() if name not in _SEARCHES}
        codec.encode(np.zeros((8, 8, 3), np.uint8), **coding)
