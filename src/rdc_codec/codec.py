"""`Codec` turns pictures into bytes and bytes into pictures."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast, overload

import numpy as np

from . import backends, container, cores, entropy_coding, forking, interrupts, pixels
from .backends import BackendInfo
from .backends.base import Backend, Inputs
from .backends.gpu_pool import GpuBackend
from .bundle import HYPER_STRIDE, Bundle
from .container import ID_BYTES, MAX_SIDE, Header, from_fixed, number_within, to_fixed
from .entropy_coding import Symbols
from .errors import CodecError, CorruptError, DamagedAuxiliaryWarning, InputError, LimitError
from .interop import describe, is_on_device, stream_handle
from .ordered import in_order
from .types import Buffer, CudaStreamLike, DeviceArray, HostImage, ImageLike, Picture

if TYPE_CHECKING:
    import onnxruntime

    from .backends.cuda import DevicePicture

Target = TypeVar("Target", bound=DeviceArray)

Item = TypeVar("Item")
Taken = TypeVar("Taken")
Result = TypeVar("Result")

OnError = Literal["raise", "return"]
Run = Callable[[str, Inputs], list[np.ndarray]]  # of a backend
Layers = Literal["all", "base"] | int  # how much of the auxiliary branch
MAX_PIXELS = 1 << 25
MAX_THREADS = 1024


class Report(NamedTuple):
    """Says what is wrong with a stream, if anything is.

    ok: all of it is there and undamaged. decodable: there is a picture in it. slices: auxiliary slices that it can be
    made of. problem: what is damaged, missing or not as it should be, in one line; None if nothing is.
    """

    ok: bool
    decodable: bool
    slices: int
    problem: str | None


class _Dials(NamedTuple):
    """Holds what an encoder was asked for: slices to write, and the qualities as they are in the header."""

    slices: int
    dial: float
    base: float
    auxiliary: float


class _Picture(NamedTuple):
    """Holds pixels as the graphs take them, int8 [1, H', W', 3] (or what lies in GPU memory), and the size."""

    pixels: Any
    height: int
    width: int


class Codec:
    """Encodes and decodes `.rdc` streams; one object may be used by several threads at once.

    model: folder of a bundle, for TensorRT one with engines (export/to_engine.py); a `Bundle` that is loaded already;
    None for the one shipped with the package. backend: "auto" (the best that works), "onnxruntime" (on the CPU),
    "openvino", "onnxruntime-cuda" or "tensorrt"; or an object of yours that runs the bundle's graphs
    (`rdc_codec.backends.Backend`), which the arguments after this one are not for. threads: of networks on the CPU
    (None: all cores that the process may use). session_options: an onnxruntime.SessionOptions to use instead of
    `threads`. device: number of the GPU (None: that of the calling thread's CUDA context, which is used as it is, else
    the first); for OpenVINO the name of a device ("CPU", "GPU.0"). providers, provider_options: those of an
    onnxruntime.InferenceSession, to run the networks on other devices through ONNX Runtime. cache_dir: folder where
    OpenVINO keeps what it compiled, for a faster next start (None: nothing is written).
    cuda_graphs: repeat what the GPU does for a size as one CUDA graph; off, it takes more of the CPU, but no other
    thread that waits for the whole device can meet a capture, in which that is an error (docs/backends.md).

    Attributes: `bundle`, the loaded model; `backend`, the one in use and why; `max_pixels`, the largest picture that
    is accepted, counted after padding to multiples of 64 and checked against the header before anything is allocated
    (raise it for larger ones; encoding takes up to about 240 bytes of memory a pixel, decoding 150).

    Raises InputError, CorruptError or UnsupportedError for the bundle, BackendError for the backend.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Bundle | None = None,
        backend: str | Backend = "auto",
        threads: int | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
        device: int | str | None = None,
        cuda_graphs: bool = True,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if model is not None and not isinstance(model, str | os.PathLike | Bundle):
            raise InputError(f"model must be the path of a bundle, a Bundle or None, got {model!r}")
        if threads is not None and (type(threads) is not int or not 1 <= threads <= MAX_THREADS):
            raise InputError(f"threads must be 1 to {MAX_THREADS} or None, got {threads!r}")
        if type(cuda_graphs) is not bool:
            raise InputError(f"cuda_graphs must be True or False, got {cuda_graphs!r}")
        self.bundle = model if isinstance(model, Bundle) else Bundle(model)
        options = backends.BackendOptions(
            threads,
            session_options,
            device,
            cuda_graphs,
            providers,
            provider_options,
            None if cache_dir is None else os.fspath(cache_dir),
        )
        self._backend = backends.create(backend, self.bundle, options)
        self._turn = threading.Lock()
        self.max_pixels = MAX_PIXELS
        self._made_of: dict[str, Any] = {
            "model": model,
            "backend": backend,
            "threads": threads,
            "session_options": session_options,
            "device": device,
            "cuda_graphs": cuda_graphs,
            "providers": providers,
            "provider_options": provider_options,
            "cache_dir": cache_dir,
        }
        forking.register(self)

    def after_fork(self) -> None:
        """Make the lock anew in a forked process, where another thread's turn would never end."""
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy a codec by what it was made of: the other one loads the model again, from the same path."""
        if self._made_of["session_options"] is not None:
            raise TypeError("a Codec with session_options cannot be pickled or copied: ONNX Runtime's cannot")
        return _made_again, (self._made_of, self.max_pixels)

    @property
    def backend(self) -> BackendInfo:
        """Tells which backend is in use, on which device, and why it was taken; as a string it is a sentence."""
        return self._backend.info

    @property
    def slices(self) -> int:
        """Tells how many auxiliary slices the model has (0: it has a single branch)."""
        return 0 if self.bundle.auxiliary is None else self.bundle.auxiliary.slices

    def encode(
        self,
        image: ImageLike,
        quality: float = 50,
        layers: Layers = "all",
        base_quality: float | None = None,
        aux_quality: float | None = None,
        cuda_stream: CudaStreamLike | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Code a picture: uint8 array [H, W, 3] (RGB) or PIL image, any size from 1x1.

        quality: 0 (smallest) to 100, continuous. layers: "all", "base" (primary branch only, for
        machines) or a number of auxiliary slices. base_quality, aux_quality: 0 to 100, instead of what
        quality implies for each branch. Metadata is not coded, and an Exif orientation is not applied
        (PIL.ImageOps.exif_transpose does), of several frames the current one is taken. With a backend on a
        GPU the picture may be in its memory: anything with `__cuda_array_interface__` or DLPack; it is read
        after what is queued on `cuda_stream`, a CUDA stream of any library. timeout: seconds after which this ends
        with DeadlineError, and the work as well, within about a second (None: never); a backend that cannot be
        stopped, such as one on a GPU, ends its network first. Raises InputError, LimitError, BackendError;
        CorruptError where the bundle's files changed since it was loaded.
        """

        if cuda_stream is not None:
            self._gpu("cuda_stream")
        handle = None if cuda_stream is None else stream_handle(cuda_stream)

        def run(graph: str, inputs: Inputs) -> list[np.ndarray]:
            return self._backend.run(graph, inputs, handle)

        dials = self._dials(quality, layers, base_quality, aux_quality)
        return interrupts.call(
            lambda: self._code(self._picture(image), dials, run),
            timeout,
            movable=self._stoppable(),
            large=interrupts.is_large_picture(image),
        )

    @overload
    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float = ...,
        layers: Layers = ...,
        base_quality: float | None = ...,
        aux_quality: float | None = ...,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> Iterator[bytes]: ...

    @overload
    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float = ...,
        layers: Layers = ...,
        base_quality: float | None = ...,
        aux_quality: float | None = ...,
        workers: int | None = ...,
        *,
        on_error: OnError,
    ) -> Iterator[bytes | CodecError]: ...

    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float = 50,
        layers: Layers = "all",
        base_quality: float | None = None,
        aux_quality: float | None = None,
        workers: int | None = None,
        on_error: OnError = "raise",
    ) -> Iterator[Any]:
        """Code many pictures and yield their streams in order, the same bytes as `encode` gives one by one.

        Pictures may differ in size. Each is read and copied when there is room for it, before the next one is asked of
        `images`, so that a buffer may be filled again and a file closed then (arrays in GPU memory alone are not
        copied: they must keep until their stream is there). Entropy coding of some overlaps with the networks of
        another, which run one picture at a time. workers: threads (None: 2 to 4, by the number of cores); at most one
        picture more than that is held.

        on_error: "raise" ends the iteration with the first error, in place of its result; "return" yields a picture's
        CodecError in the place of its stream and goes on. Either way the error's `index` tells the picture, from 0.
        Errors of `images` itself are raised.
        """
        dials = self._dials(quality, layers, base_quality, aux_quality)

        def work(picture: _Picture) -> bytes:
            return self._code(picture, dials, self._take_turns)

        return _batch(self._picture, work, images, workers, on_error)

    def _dials(
        self, quality: float, layers: Layers, base_quality: float | None, aux_quality: float | None
    ) -> _Dials:
        """Check what an encoder is asked for. Raises InputError."""
        count = self._layers(layers)
        if isinstance(layers, int | np.integer) and layers > self.slices:
            raise InputError(f"layers is {layers}, the model has {self.slices} auxiliary slices")
        dial = from_fixed(to_fixed(quality))
        implied = self.bundle.branch_qualities(dial)
        base = from_fixed(to_fixed(implied[0] if base_quality is None else base_quality, "base_quality"))
        auxiliary = from_fixed(to_fixed(implied[1] if aux_quality is None else aux_quality, "aux_quality"))
        return _Dials(count, dial, base, auxiliary)

    def _picture(self, image: ImageLike) -> _Picture:
        """Return a picture as the graphs take it: a copy, but for one in GPU memory. Raises InputError, LimitError."""
        if is_on_device(image):
            self._gpu("a picture in GPU memory")
            described = describe(image)
            self._check_size(described.height, described.width)
            return _Picture(image, described.height, described.width)
        host = cast("HostImage", image)
        height, width = pixels.size_of(host)
        self._check_size(height, width)
        return _Picture(pixels.to_tensor(pixels.to_rgb(host), HYPER_STRIDE), height, width)

    def _code(self, picture: _Picture, dials: _Dials, run: Run) -> bytes:
        inputs: dict[str, Any] = {
            "pixels": picture.pixels,
            "base_level": _float(self.bundle.primary.level(dials.base)),
        }
        if dials.slices and self.bundle.auxiliary is not None:
            inputs["aux_level"] = _float(self.bundle.auxiliary.level(dials.auxiliary))
            z1, y1, z2, y2 = (a[0] for a in run("encode_full", inputs))
            coded = Symbols(z1, y1, z2, y2, dials.slices)
        else:
            z1, y1 = (a[0] for a in run("encode_base", inputs))
            coded = Symbols(z1, y1)
        identities = (self.bundle.parse_id[:ID_BYTES], self.bundle.picture_id[:ID_BYTES])
        header = Header(picture.width, picture.height, dials.dial, dials.base, dials.auxiliary, *identities)
        return container.write(header, entropy_coding.write(coded, self.bundle))

    @overload
    def decode(
        self,
        data: Buffer,
        beta: float = ...,
        layers: Layers | None = ...,
        out: None = ...,
        cuda_stream: None = ...,
        strict: bool = ...,
        timeout: float | None = ...,
    ) -> Picture: ...

    @overload
    def decode(
        self,
        data: Buffer,
        beta: float = ...,
        layers: Layers | None = ...,
        *,
        out: Literal["device"],
        cuda_stream: CudaStreamLike | None = ...,
        strict: bool = ...,
        timeout: float | None = ...,
    ) -> DevicePicture: ...

    @overload
    def decode(
        self,
        data: Buffer,
        beta: float = ...,
        layers: Layers | None = ...,
        *,
        out: Target,
        cuda_stream: CudaStreamLike | None = ...,
        strict: bool = ...,
        timeout: float | None = ...,
    ) -> Target: ...

    def decode(
        self,
        data: Buffer,
        beta: float = 0.0,
        layers: Layers | None = None,
        out: DeviceArray | Literal["device"] | None = None,
        cuda_stream: CudaStreamLike | None = None,
        strict: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Restore a picture, uint8 [H, W, 3]: x1 + (1 - beta) * r.

        beta: 1 for machines (primary branch alone) to 0 for people. layers: use at most so many
        auxiliary slices (None: all there are). Where auxiliary data is damaged or cut off, the picture
        is made without that part, with a DamagedAuxiliaryWarning; strict: it is a CorruptError, before any network
        has run (`verify` tells without either).

        Returns a NumPy array; with a backend on a GPU, and `out` = "device", a new array in GPU memory
        (rdc_codec.backends.cuda.DevicePicture), or `out` itself, an array in GPU memory to write to. cuda_stream: a
        CUDA stream of any library; what is queued on it comes before, and the picture is ready in its order.
        Without it the picture is ready when this returns. timeout: as for `encode`.

        Raises TruncatedError, CorruptError, UnsupportedError, WrongModelError, LimitError, InputError,
        BackendError, DeadlineError.
        """
        if out is None:
            if cuda_stream is not None:
                raise InputError(
                    'cuda_stream is for pictures that stay in GPU memory: give out="device" or an array'
                )
            picture, problem = interrupts.call(
                lambda: self._decode(data, beta, layers, self._backend.run, strict),
                timeout,
                movable=self._stoppable(),
                large=interrupts.is_large_stream(data),
            )
        else:
            gpu = self._gpu("out")
            handle = None if cuda_stream is None else stream_handle(cuda_stream)
            if not (isinstance(out, str) and out == "device") and not is_on_device(out):
                raise InputError(f'out must be "device" or an array in GPU memory, got {type(out).__name__}')
            target = None if isinstance(out, str) else out

            def work() -> tuple[Any, str | None]:
                graph, inputs, header, problem = self._parse(data, beta, layers, strict)
                interrupts.check()
                made = gpu.run_to_device(graph, inputs, header.height, header.width, target, handle)
                return made, problem

            picture, problem = interrupts.call(work, timeout, movable=False, large=False)
        _warn(problem)
        return picture

    @overload
    def decode_batch(
        self,
        streams: Iterable[Buffer],
        beta: float = ...,
        layers: Layers | None = ...,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> Iterator[Picture]: ...

    @overload
    def decode_batch(
        self,
        streams: Iterable[Buffer],
        beta: float = ...,
        layers: Layers | None = ...,
        workers: int | None = ...,
        *,
        on_error: OnError,
    ) -> Iterator[Picture | CodecError]: ...

    def decode_batch(
        self,
        streams: Iterable[Buffer],
        beta: float = 0.0,
        layers: Layers | None = None,
        workers: int | None = None,
        on_error: OnError = "raise",
    ) -> Iterator[Any]:
        """Restore the pictures of many streams, in order, as `decode` does one by one.

        workers and on_error are as for `encode_batch`, and buffers may be filled again as there. A
        DamagedAuxiliaryWarning is given when its picture is taken.
        """
        number_within(beta, 1, "beta")
        self._layers("all" if layers is None else layers)

        def work(data: Buffer) -> tuple[Picture, str | None]:
            return self._decode(data, beta, layers, self._take_turns)

        return _unpacked(_batch(container.copied, work, streams, workers, on_error))

    def _take_turns(self, graph: str, inputs: Inputs) -> list[np.ndarray]:
        if self._backend.parallel:
            return self._backend.run(graph, inputs)
        with self._turn:
            return self._backend.run(graph, inputs)

    def _stoppable(self) -> bool:
        """Tell whether the backend lets its networks run in any thread, and be ended from another one."""
        return bool(getattr(self._backend, "stoppable", False))

    def _gpu(self, what: str) -> GpuBackend:
        """Return the backend, for an argument that only one on a GPU takes. Raises InputError on another."""
        if not isinstance(self._backend, GpuBackend):
            raise InputError(f"{what} needs a backend on a GPU, this is {self.backend.name}")
        return self._backend

    def _decode(
        self, data: Buffer, beta: float, layers: Layers | None, run: Run, strict: bool = False
    ) -> tuple[Picture, str | None]:
        """Return the picture, and what of the stream was damaged or missing."""
        graph, inputs, header, problem = self._parse(data, beta, layers, strict)
        (out,) = run(graph, inputs)
        return pixels.from_tensor(out, header.height, header.width), problem

    def _parse(
        self, data: Buffer, beta: float, layers: Layers | None, strict: bool
    ) -> tuple[str, dict[str, np.ndarray], Header, str | None]:
        """Return the graph that makes the picture, its inputs, the header, and what was damaged or missing.

        strict: raise CorruptError for that.
        """
        beta = number_within(beta, 1, "beta")
        count = self._layers("all" if layers is None else layers)
        stream = self._stream(data)
        header = stream.header
        coded = entropy_coding.read(stream, self.bundle, 0 if beta == 1 else count)
        if strict and coded.problem is not None:
            raise CorruptError(coded.problem)
        inputs = {
            "z1": coded.z1[None],
            "y1": coded.y1[None],
            "base_level": _float(self.bundle.primary.level(header.base_quality)),
        }
        if coded.slices:
            assert self.bundle.auxiliary is not None and coded.z2 is not None and coded.y2 is not None
            inputs["z2"], inputs["y2"] = coded.z2[None], coded.y2[None]
            inputs["aux_level"] = _float(self.bundle.auxiliary.level(header.aux_quality))
            inputs["slices"] = np.array([coded.slices], np.int32)
            if beta == 0 and "decode_people" in self.bundle.graphs:
                return "decode_people", inputs, header, coded.problem  # without making x1
            inputs["beta"] = _float(beta)
            return "decode_full", inputs, header, coded.problem
        return "decode_base", inputs, header, coded.problem

    def info(self, data: Buffer) -> dict[str, Any]:
        """Tell what a stream, of any model, says of itself, as a dictionary for JSON; nothing is decoded.

        width, height; quality, base_quality, aux_quality; model ("parsing/picture" identity in hex);
        chunks: list of type, offset, length, state ("ok", "missing", "truncated", "damaged").
        """
        stream = container.read(data, max_pixels=self.max_pixels)
        header = stream.header
        return {
            "width": header.width,
            "height": header.height,
            "quality": header.quality,
            "base_quality": header.base_quality,
            "aux_quality": header.aux_quality,
            "model": f"{header.parse_id.hex()}/{header.picture_id.hex()}",
            "chunks": [
                {"type": c.name, "offset": c.offset, "length": c.length, "state": c.state.value}
                for c in stream.chunks
            ],
        }

    def verify(self, data: Buffer) -> Report:
        """Check a stream of this model, every chunk by its checksum and by its symbols; no network is run.

        Nothing is raised or warned for whatever the bytes are: the report says what `decode` would do. Raises
        InputError where `data` is no buffer.
        """
        copy = container.copied(data)  # what is no buffer is an error; nothing below is one
        try:
            stream = self._stream(copy)
            coded = entropy_coding.read(stream, self.bundle, self.slices)
        except CodecError as error:
            return Report(False, False, 0, f"{type(error).__name__}: {error}")
        return Report(coded.problem is None, True, coded.slices, coded.problem)

    def symbols(self, data: Buffer) -> dict[str, np.ndarray]:
        """Return the decoded integers, int32 arrays [C, h, w], for conformance tests.

        primary_hyper, primary_latents and, where received, auxiliary_hyper, auxiliary_latents (zeros in
        slices that were not received). Raises and warns as `decode` does.
        """
        coded = entropy_coding.read(self._stream(data), self.bundle, self.slices)
        _warn(coded.problem)
        found = {"primary_hyper": coded.z1, "primary_latents": coded.y1}
        if coded.z2 is not None and coded.y2 is not None:
            found["auxiliary_hyper"] = coded.z2
            found["auxiliary_latents"] = coded.y2
        return found

    def _stream(self, data: Buffer) -> container.Stream:
        stream = container.read(data, max_pixels=self.max_pixels)
        container.identify(stream.header, self.bundle.parse_id, self.bundle.picture_id)
        self._check_size(stream.header.height, stream.header.width)
        return stream

    def _check_size(self, height: int, width: int) -> None:
        """Raise LimitError for a picture that is over the limit with its padding, which is what memory is for."""
        rows, columns = (-(-side // HYPER_STRIDE) for side in (height, width))
        if max(height, width) > MAX_SIDE or rows * columns * HYPER_STRIDE**2 > self.max_pixels:
            raise LimitError(
                f"picture of {width}x{height} is over the limit of {self.max_pixels} pixels, "
                f"counted in blocks of {HYPER_STRIDE}x{HYPER_STRIDE}"
            )

    def _layers(self, layers: Layers) -> int:
        """Return how many auxiliary slices `layers` asks for, at most as many as the model has."""
        if isinstance(layers, str) and layers in ("base", "all"):
            return 0 if layers == "base" else self.slices
        if isinstance(layers, bool) or not isinstance(layers, int | np.integer) or layers < 0:
            raise InputError(f'layers must be "all", "base" or a number of slices, got {layers!r}')
        return min(int(layers), self.slices)


def _made_again(made_of: dict[str, Any], max_pixels: int) -> Codec:
    codec = Codec(**made_of)
    codec.max_pixels = max_pixels
    return codec


def _warn(problem: str | None) -> None:
    if problem is not None:
        # Where the caller of Codec is: this function, the method, then that.
        warnings.warn(f"decoded without it: {problem}", DamagedAuxiliaryWarning, stacklevel=3)


def _batch(
    take: Callable[[Item], Taken],
    work: Callable[[Taken], Result],
    items: Iterable[Item],
    workers: int | None,
    on_error: OnError,
) -> Generator[Any, None, None]:
    """Yield results in order, and with on_error "return" errors in their places; every error knows its index."""
    if on_error not in ("raise", "return"):
        raise InputError(f'on_error must be "raise" or "return", got {on_error!r}')

    def numbered(index: int, error: CodecError) -> CodecError:
        error.index = index
        if on_error == "raise":
            raise error
        return error

    def take_one(item: tuple[int, Item]) -> tuple[int, Taken | CodecError]:
        try:
            return item[0], take(item[1])
        except CodecError as error:
            return item[0], numbered(item[0], error)

    def work_one(taken: tuple[int, Taken | CodecError]) -> Result | CodecError:
        index, given = taken
        if isinstance(given, CodecError):
            return given
        try:
            return work(given)
        except CodecError as error:
            return numbered(index, error)

    return in_order(take_one, work_one, enumerate(items), _workers(workers))


def _unpacked(
    found: Generator[tuple[Picture, str | None] | CodecError, None, None],
) -> Iterator[Picture | CodecError]:
    with contextlib.closing(found):  # its threads end with this, also where the warning is an error
        for result in found:
            if isinstance(result, CodecError):
                yield result
                continue
            picture, problem = result
            _warn(problem)
            yield picture


def _workers(count: int | None) -> int:
    if count is None:
        return min(4, max(2, cores.limit() or os.cpu_count() or 2))
    if type(count) is not int or not 1 <= count <= MAX_THREADS:
        raise InputError(f"workers must be 1 to {MAX_THREADS} or None, got {count!r}")
    return count


def _float(value: float) -> np.ndarray:
    return np.array([value], np.float32)
