"""A stream is decoded while its bytes arrive: each symbol is parsed once, and there is a picture after each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np

from . import lossless
from .bundle import Bundle
from .container import LEAST_HEAD, Begun, ChunkState, ChunkType, Entry, Head, Header, copied, number_within
from .ending import guarded
from .entropy_coding import SymbolReader, Symbols
from .errors import CorruptError, InputError, TruncatedError, warn_of_damage
from .types import Buffer, Picture

_EARLY = LEAST_HEAD  # bytes in which wrong magic, version or fields are noticed at once


class _Step(NamedTuple):
    """Names a step, and the number of bytes from the start of the stream that it takes. kind: of its chunk."""

    name: str
    end: int
    kind: int | None = None


class ProgressiveDecoder:
    """Decodes one stream whose bytes come in pieces of any size; `Codec.decoder` makes it.

    `feed` it what has arrived; `steps` grows when there is a better picture, and `picture` makes that. `finish` says
    that no more comes. For one thread at a time. Bytes are kept only until their chunk is complete, those of chunks
    that are not needed not at all.

    What is wrong is noticed as soon as its bytes are there, by the checks of `decode` in their order: an error that
    leaves no picture is raised by `feed` or `finish`, and again by whatever is called afterwards. A damaged auxiliary
    slice stops the steps; `problem` says so, and `picture` warns.
    """

    def __init__(
        self,
        bundle: Bundle,
        read_head: Callable[[Buffer, Begun], Head],
        restore: Callable[[Symbols, Header, float], Picture],
        threads: int = 1,
    ) -> None:
        """Start with nothing.

        read_head: parses and checks header and directory, of which a part may be read already. restore: makes a picture
        of symbols with the networks.
        threads: that share the reading of symbols.
        """
        self._bundle, self._threads = bundle, threads
        self._read_head = read_head
        self._restore = restore
        self._head: Head | None = None
        self._reader: SymbolReader | None = None
        self._steps: list[_Step] = []
        self._buffer = bytearray()  # of the header, then of the chunk that is arriving
        self._head_at_least = LEAST_HEAD
        self._begun = Begun()
        self._entry = 0  # the chunk that is arriving, its bytes so far, and the slices before it
        self._taken = 0
        self._slices_before = 0
        self._exact: Picture | None = None  # the picture without loss
        self._exact_problem: str | None = None
        self._received = 0
        self._finished = False
        self._failure: Exception | None = None
        self._made: tuple[tuple[int, float], Picture] | None = None

    @guarded
    def feed(self, data: Buffer) -> None:
        """Take the next bytes, as many as have arrived (none is no error).

        Raises CorruptError (bytes after the end of the stream, too), UnsupportedError, WrongModelError, LimitError, and
        InputError for what is no buffer or comes after `finish`.
        """
        piece = memoryview(copied(data))
        self._raise_again()
        if self._finished:
            raise InputError("no bytes are taken after finish")
        try:
            self._take_chunks(self._take_head(piece))
        except BaseException as error:
            self._fail(error)
        self._received += len(piece)

    @guarded
    def finish(self) -> None:
        """Say that the stream ends here; what has not arrived is missing then, as in a file that is cut.

        Raises TruncatedError where that leaves no picture. Otherwise `problem` names the slice that is missing, and
        `picture` is, with its warning, what `decode` makes of the bytes.
        """
        self._raise_again()
        if self._finished:
            return
        try:
            if self._head is None:
                self._read_head(bytes(self._buffer), self._begun)  # which says what is missing
            missing = self._end_empty_chunks()
            symbols = self._symbols
            if symbols is None:
                raise TruncatedError(f"primary data is {self._state_of(ChunkType.PRIMARY).value}")
        except Exception as error:
            self._fail(error)
        if symbols.problem is None and ChunkType.AUX_SLICE in missing:
            state = self._state_of(ChunkType.AUX_SLICE)
            symbols.problem = f"auxiliary slice {symbols.slices} is {state.value}"
        if ChunkType.LOSSLESS in missing:
            self._exact_problem = f"lossless picture is {self._state_of(ChunkType.LOSSLESS).value}"
        self._finished = True

    @guarded
    def picture(self, beta: float = 0.0) -> Picture:
        """Make the best picture of what has arrived: a new uint8 array [H, W, 3]. beta: as for `decode`.

        Networks run once for as long as nothing better is there and beta is the same. Gives a DamagedAuxiliaryWarning
        for a slice that is damaged or, after `finish`, missing. Raises TruncatedError as long as the base is not there
        (`steps` is 0), BackendError, InputError.
        """
        beta = number_within(beta, 1, "beta")
        self._raise_again()
        symbols, head = self._symbols, self._head
        if symbols is None or head is None:
            raise TruncatedError(
                f"no picture yet: the {self.next_step} takes {self.needed} more bytes at least"
            )
        exact, problem = self._exact, self.problem
        if beta == 1:  # of the base alone, whatever became of the rest
            symbols, exact, problem = Symbols(symbols.z1, symbols.y1), None, None
        elif exact is not None:  # slices beside it say nothing of it
            if beta == 0:
                return np.copy(exact)
            symbols, problem = Symbols(symbols.z1, symbols.y1), None
        kind = (symbols.slices, beta if symbols.slices else 1.0)
        if self._made is None or self._made[0] != kind:
            self._made = kind, self._restore(symbols, head.header, beta)
        if problem is not None:
            warn_of_damage(f"decoded without it: {problem}")
        made = self._made[1]
        return np.copy(made) if exact is None else lossless.blend(made, exact, beta)

    @property
    def header(self) -> Header | None:
        """Tells what the stream says of its picture: width, height, qualities, model. None before it is there."""
        return None if self._head is None else self._head.header

    @property
    def received(self) -> int:
        """Tells how many bytes were fed."""
        return self._received

    @property
    def length(self) -> int | None:
        """Tells how many bytes the whole stream has. None before the header is there."""
        return self._steps[-1].end if self._steps else None

    @property
    def steps(self) -> int:
        """Tells how many pictures there were: 0 before the base is there, 1 with it, 1 + n with n slices.

        One that is stored without loss is one more.
        """
        return 0 if self._symbols is None else 1 + self._symbols.slices + (self._exact is not None)

    @property
    def next_step(self) -> str | None:
        """Names what comes next: "header", "base", "slice 0" (to 3), "lossless" or, for what no picture needs, "end".

        None where nothing does: the stream is complete, or finished.
        """
        step = self._next()
        return None if step is None else step.name

    @property
    def needed(self) -> int:
        """Tells how many more bytes the next step needs; before the header is there, how many it needs at least."""
        step = self._next()
        return 0 if step is None else step.end - self._received

    @property
    def complete(self) -> bool:
        """Tells whether all bytes of the stream were fed, damaged or not."""
        return self._head is not None and self._received == self.length

    @property
    def problem(self) -> str | None:
        """Says what auxiliary data is damaged or, after `finish`, missing; None if nothing is."""
        return self._exact_problem or (None if self._symbols is None else self._symbols.problem)

    @property
    def _symbols(self) -> Symbols | None:
        return None if self._reader is None else self._reader.symbols

    def _next(self) -> _Step | None:
        if self._finished:
            return None
        if self._head is None:
            return _Step("header", max(self._head_at_least, self._received + 1))
        stopped = self._symbols is not None and self._symbols.problem is not None
        ahead = (step for step in self._steps if step.end > self._received)
        return next((step for step in ahead if not (stopped and step.kind == ChunkType.AUX_SLICE)), None)

    def _take_head(self, piece: memoryview) -> memoryview:
        """Take what belongs to the header, and return the rest.

        Its least length is known better with every try. A try at every byte would take quadratic time.
        """
        while self._head is None:
            size = self._head_at_least - len(self._buffer)
            part, piece = piece[:size], piece[size:]
            self._buffer += part
            if not part or _EARLY < len(self._buffer) < self._head_at_least:
                break
            try:
                self._begin(self._read_head(bytes(self._buffer), self._begun))
            except TruncatedError as error:
                self._head_at_least = len(self._buffer) + (error.missing or 1)
        return piece

    def _begin(self, head: Head) -> None:
        self._buffer.clear()
        end, slices = head.size, 0
        for entry in head.entries:
            end += entry.length
            if entry.type == ChunkType.PRIMARY:
                self._steps.append(_Step("base", end, entry.type))
            elif entry.type == ChunkType.AUX_SLICE and slices < self._most_slices:
                self._steps.append(_Step(f"slice {slices}", end, entry.type))
                slices += 1
            elif entry.type == ChunkType.LOSSLESS:
                self._steps.append(_Step("lossless", end, entry.type))
        self._steps.append(_Step("end", end))
        self._reader = SymbolReader(head.header, self._bundle, self._threads)
        self._head = head

    def _take_chunks(self, piece: memoryview) -> None:
        if self._head is None:
            return
        while self._entry < len(self._head.entries):
            entry = self._head.entries[self._entry]
            part = piece[: entry.length - self._taken]
            piece = piece[len(part) :]
            self._taken += len(part)
            if self._is_wanted(entry):
                self._buffer += part
            if self._taken < entry.length:
                return
            self._end_chunk(entry)
        if piece:
            raise CorruptError("bytes after the end of the stream")

    @property
    def _most_slices(self) -> int:
        return 0 if self._bundle.auxiliary is None else self._bundle.auxiliary.slices

    def _is_wanted(self, entry: Entry) -> bool:
        if entry.type in (ChunkType.PRIMARY, ChunkType.LOSSLESS):
            return True
        within = self._slices_before < self._most_slices
        intact = self._symbols is None or self._symbols.problem is None
        return entry.type == ChunkType.AUX_SLICE and within and intact

    def _end_chunk(self, entry: Entry) -> None:
        payload, self._buffer = self._buffer, bytearray()
        self._read(entry, payload)
        self._entry, self._taken = self._entry + 1, 0

    def _end_empty_chunks(self) -> set[int]:
        """Take the chunks of no bytes, which are there wherever the data ends; return the types of those that are not.

        What stands behind a part that is missing, and needs it, is left alone.
        """
        assert self._head is not None
        missing: set[int] = set()
        for entry in self._head.entries[self._entry :]:
            if entry.length:
                wanted = entry.type != ChunkType.AUX_SLICE or self._slices_before < self._most_slices
                missing |= {entry.type} if wanted else set()
                self._slices_before += entry.type == ChunkType.AUX_SLICE
            elif ChunkType.PRIMARY not in missing and entry.type not in missing:
                self._read(entry, bytearray())
        return missing

    def _read(self, entry: Entry, payload: bytearray) -> None:
        """Take the content of the next chunk, which is all there."""
        assert self._reader is not None
        if entry.type == ChunkType.PRIMARY:
            if not entry.fits(payload):
                raise CorruptError(f"primary data is {ChunkState.DAMAGED.value}")
            self._reader.read_primary(payload)
        elif entry.type == ChunkType.LOSSLESS:
            self._end_lossless(entry, payload)
        elif self._is_wanted(entry):
            if entry.fits(payload):
                self._reader.read_slice(payload)
            elif self._symbols is not None:
                self._symbols.problem = f"auxiliary slice {self._slices_before} is {ChunkState.DAMAGED.value}"
        self._slices_before += entry.type == ChunkType.AUX_SLICE

    def _end_lossless(self, entry: Entry, payload: bytearray) -> None:
        assert self._head is not None
        header = self._head.header
        found: Picture | str = f"lossless picture is {ChunkState.DAMAGED.value}"
        if entry.fits(payload):
            found = lossless.unpack(payload, header.height, header.width)
        if isinstance(found, str):
            self._exact_problem = found
        else:
            self._exact = found

    def _state_of(self, kind: ChunkType) -> ChunkState:
        """Say of the next chunk of a type, which has not arrived, whether a part of it has."""
        assert self._head is not None
        arriving = self._head.entries[self._entry].type == kind and self._taken
        return ChunkState.TRUNCATED if arriving else ChunkState.MISSING

    def _fail(self, error: BaseException) -> NoReturn:
        self._buffer = bytearray()
        interrupted = InputError("an earlier feed was interrupted, and some of its bytes are lost")
        self._failure = error if isinstance(error, Exception) else interrupted
        raise error

    def _raise_again(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
