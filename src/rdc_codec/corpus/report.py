"""Counts what came of a job, and writes what is wrong as JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from .places import STATE, Place
from .settings import Settings
from .units import Note, Outcome

REPORT = f"{STATE}/report.jsonl"
_DONE = {"encode": "encoded", "decode": "decoded", "verify": "whole"}


class Tally:
    """Sums up outcomes, and what a plan left out."""

    def __init__(
        self, settings: Settings, skipped: int, notes: Sequence[Note], left_out: dict[str, int]
    ) -> None:
        self._word = _DONE[settings.task]
        self._begun = time.perf_counter()
        self._skipped = skipped
        self._left_out = left_out
        self._total = Outcome(notes=list(notes))

    def add(self, outcome: Outcome) -> None:
        """Count what came of a unit."""
        self._total.done += outcome.done
        self._total.size += outcome.size
        self._total.pixels += outcome.pixels
        self._total.notes += outcome.notes

    @property
    def notes(self) -> list[Note]:
        """Tells what is wrong, so far."""
        return self._total.notes

    @property
    def all_done(self) -> bool:
        """Tells whether nothing is bad and nothing was left out."""
        return not self._total.bad and not self._left_out

    def sums(self) -> dict[str, Any]:
        """Return the counts: what was done, was done before, is bad or was left out; bytes, megapixels and seconds."""
        return {
            self._word: self._total.done,
            "skipped": self._skipped,
            "bad": self._total.bad,
            "left_out": sum(self._left_out.values()),
            "bytes": self._total.size,
            "megapixels": round(self._total.pixels / 1e6, 3),
            "seconds": round(time.perf_counter() - self._begun, 3),
        }

    def sentence(self) -> str:
        """Return the counts as one line for people."""
        sums = self.sums()
        counts = ", ".join(
            f"{sums[x]} {x.replace('_', ' ')}" for x in (self._word, "skipped", "bad", "left_out")
        )
        return f"{counts}; {sums['bytes']} bytes, {sums['megapixels']} megapixels, {sums['seconds']} s"

    def left_out(self) -> str | None:
        """Return what was left out, in one line, or None if nothing was."""
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self._left_out.items()))
        return f"left out what is not read by its suffix: {kinds}" if kinds else None

    def lines(self) -> list[str]:
        """Return the report: a line of JSON for all that is wrong."""
        return [json.dumps(note.line()) for note in self.notes]

    def write(self, place: Place) -> None:
        """Write the report of this run in place of the last one's. Raises OSError."""
        place.write(REPORT, "".join(f"{line}\n" for line in self.lines()).encode())
