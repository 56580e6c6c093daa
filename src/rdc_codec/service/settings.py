"""What a service is started with, checked before anything is loaded."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from .. import cores
from ..backends.precision import Precision, checked
from ..errors import InputError

MAX_BYTES = 32 << 20
MAX_PIXELS = 1 << 25
QUEUE = 32
SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """Holds the model and the limits of a service.

    model: folder of a bundle (None: the shipped one). backend, threads, precision: as for `Codec`. workers: pictures
    that are coded at once (None: as many as the process has cores). queue: requests that are accepted beyond those.
    max_bytes: of a request's body. max_pixels: of a picture, counted as `Codec.max_pixels` does. timeout: seconds that
    coding one picture may take. transfer_timeout: seconds in which a body must have arrived, and in which an answer
    must be taken.

    Raises InputError for a number that is out of its range, and for an unknown precision.
    """

    model: str | None = None
    backend: str = "auto"
    threads: int | None = None
    workers: int | None = None
    queue: int = QUEUE
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    timeout: float = SECONDS
    transfer_timeout: float = SECONDS
    precision: Precision | None = None

    def __post_init__(self) -> None:
        checked(self.precision)
        for name, least in (("workers", 1), ("queue", 0), ("max_bytes", 1), ("max_pixels", 1)):
            value = getattr(self, name)
            if value is None and name == "workers":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number from {least} on, got {value!r}")
        for name in ("timeout", "transfer_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise InputError(f"{name} must be a number of seconds above 0, got {value!r}")

    @property
    def at_once(self) -> int:
        """Tells how many pictures are coded at once."""
        return self.workers or cores.limit() or os.cpu_count() or 1

    @property
    def places(self) -> int:
        """Tells how many requests are accepted at a time, those that wait and those that arrive or leave included."""
        return self.at_once + self.queue

    @property
    def longest(self) -> float:
        """Tells how many seconds an accepted request may take at most."""
        # A progressive answer waits for its turn up to three times: to read the base, to show it, and for the whole.
        turns = 3 * (1 + math.ceil(self.queue / self.at_once))
        return 2 * self.transfer_timeout + turns * self.timeout
