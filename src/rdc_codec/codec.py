"""`Codec` turns pictures into bytes and bytes into pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast, overload

import numpy as np

from . import (
    attachments,
    backends,
    balance,
    container,
    cores,
    ending,
    entropy_coding,
    forking,
    interrupts,
    lossless,
    ordered,
    pixels,
    rates,
    stored,
    targets,
    windows,
)
from .attachments import Attachments
from .backends import BackendInfo
from .backends.base import Backend, Inputs, number
from .backends.gpu_pool import GpuBackend
from .backends.precision import Precision
from .bundle import HYPER_STRIDE, Bundle, folder_named
from .container import ID_BYTES, MAX_SIDE, ChunkType, Header, from_fixed, number_within, to_fixed
from .entropy_coding import Symbols
from .errors import (
    CodecError,
    CorruptError,
    DamagedMetadataWarning,
    InputError,
    LimitError,
    UnsupportedError,
    warn_of_damage,
)
from .interop import describe, is_on_device, stream_handle
from .metadata import Metadata
from .ordered import in_order
from .pixels import Background, Rules
from .progressive import ProgressiveDecoder
from .types import Buffer, CudaStreamLike, DeviceArray, HostImage, ImageLike, Picture

if TYPE_CHECKING:
    import onnxruntime
    from PIL import Image

    from .backends.cuda import DevicePicture

Target = TypeVar("Target", bound=DeviceArray)

Item = TypeVar("Item")
Taken = TypeVar("Taken")
Result = TypeVar("Result")

OnError = Literal["raise", "return"]
Run = Callable[[str, Inputs], list[np.ndarray]]  # of a backend
Layers = Literal["all", "base"] | int  # how much of the auxiliary branch
DEFAULT_QUALITY = 50
MAX_PIXELS = 1 << 27
MAX_THREADS = 1024
# That share the entropy coding of a picture: rANS, which they wait for, is a fifth of it.
MAX_CODING_THREADS = 8
_CODED = (ChunkType.PRIMARY, ChunkType.AUX_SLICE)
SCALES = (1, 2, 4, 8)  # pixels of a side that a decoded pixel may stand for


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
    """Holds what an encoder was asked for: slices to write, and the qualities as they are in the header.

    aim: what to search other qualities for. min_psnr: dB, below which a picture is stored lossless. beside: quality of
    the base then. share: of the bytes, for the base.
    """

    slices: int
    dial: float
    base: float
    auxiliary: float
    aim: rates.Aim | None = None
    min_psnr: float | None = None
    beside: float = 0.0
    share: float | None = None


class _Picture(NamedTuple):
    """Holds pixels as the graphs take them, int8 [1, H', W', 3] (or what lies in GPU memory), size and the rest.

    large: they are those of the picture itself, uint8 [H, W, 3], of which windows are taken.
    """

    pixels: Any
    height: int
    width: int
    attached: Attachments = Attachments()
    large: bool = False


class _Parsed(NamedTuple):
    """Holds what a stream says: symbols and levels by the names of a graph's inputs, the graph, and what is missing.

    exact: the picture that it has without loss, of which there is so much in the result as beta says.
    """

    header: Header
    graph: str
    planes: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    problem: str | None
    beta: float = 1
    exact: Picture | None = None

    def inputs(self) -> dict[str, np.ndarray]:
        """Return what the graph takes to make the whole picture."""
        return {name: plane[None].astype(np.int32) for name, plane in self.planes.items()} | self.levels


class Codec:
    """Encodes and decodes `.rdc` streams; one object may be used by several threads at once.

    model: folder of a bundle, for TensorRT one with engines (export/to_engine.py); a `Bundle` that is loaded already;
    None for the one shipped with the package. backend: "auto" (the best that works), "onnxruntime" (on the CPU),
    "openvino", "onnxruntime-cuda" or "tensorrt"; or an object of yours that runs the bundle's graphs
    (`rdc_codec.backends.Backend`), which the arguments after this one are not for. threads: of networks and of entropy
    coding on the CPU (None: all cores that the process may use). session_options: an onnxruntime.SessionOptions to use
    for the networks instead. device: number of the GPU (None: that of the calling thread's CUDA context, which is used
    as it is, else the first); for OpenVINO the name of a device ("CPU", "GPU.0"). providers, provider_options: those of
    an onnxruntime.InferenceSession, to run the networks on other devices through ONNX Runtime. cache_dir: folder where
    OpenVINO keeps what it compiled, for a faster next start (None: nothing is written). precision: "exact" (graphs in
    fp32: pictures of any two backends on a CPU, or of ours on a GPU, differ by at most one grey level, where they
    differ at all), "fast" (bf16 in OpenVINO where the processor has it, except for what carries the picture:
    docs/results.md says what that costs; as the bundle's graphs are elsewhere) or None (as the bundle's graphs are,
    fp32 for the shipped one); symbols are parsed the same in all.
    sha256: of the bundle to be used (`Codec.bundle.sha256`), 64 hexadecimal digits: another one is a WrongModelError.
    cuda_graphs: repeat what the GPU does for a size as one CUDA graph; off, it takes more of the CPU, but no other
    thread that waits for the whole device can meet a capture, in which that is an error (docs/backends.md).

    Attributes: `bundle`, the loaded model; `backend`, the one in use and why; `max_pixels`, the largest picture that
    is accepted, counted after padding to multiples of 64 and checked against the header before anything is allocated
    (raise it for larger ones: above 4 megapixels networks run over windows, and memory grows by 7 bytes a pixel, or by
    about 20 with transparency or a picture without loss).

    Raises InputError, CorruptError, UnsupportedError or LimitError for the bundle, BackendError for the backend.
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
        sha256: str | None = None,
        precision: Precision | None = None,
    ) -> None:
        if model is not None and not isinstance(model, str | os.PathLike | Bundle):
            raise InputError(f"model must be the path of a bundle, a Bundle or None, got {model!r}")
        threads = None if threads is None else _count_of_threads(threads, "threads")
        cache_dir = None if cache_dir is None else str(folder_named(cache_dir, "cache_dir"))
        if type(cuda_graphs) is not bool:
            raise InputError(f"cuda_graphs must be True or False, got {cuda_graphs!r}")
        if isinstance(model, Bundle):
            model.check_sha256(sha256)
        self.bundle = model if isinstance(model, Bundle) else Bundle(model, sha256)
        options = backends.BackendOptions(
            threads,
            session_options,
            device,
            cuda_graphs,
            providers,
            provider_options,
            cache_dir,
            precision,
        )
        self._backend = backends.create(backend, self.bundle, options)
        self._turn = threading.Lock()
        self._cores = min(threads or cores.limit() or os.cpu_count() or 1, MAX_CODING_THREADS)
        self.max_pixels = MAX_PIXELS
        self._made_of: dict[str, Any] = {
            "model": model if model is None or isinstance(model, Bundle) else self.bundle.path,
            "backend": backend,
            "threads": threads,
            "session_options": session_options,
            "device": device,
            "cuda_graphs": cuda_graphs,
            "providers": providers,
            "provider_options": provider_options,
            "cache_dir": cache_dir,
            "sha256": sha256,
            "precision": precision,
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
        """Tells which backend is in use, on which device, in which precision, and why; as a string it is a sentence."""
        return self._backend.info

    def _coding_threads(self) -> int:
        """Return how many threads share the entropy coding of a picture: in a batch, pictures share the cores."""
        return max(1, self._cores // ordered.at_once())

    @property
    def slices(self) -> int:
        """Tells how many auxiliary slices the model has (0: it has a single branch)."""
        return 0 if self.bundle.auxiliary is None else self.bundle.auxiliary.slices

    @ending.guarded
    def encode(
        self,
        image: ImageLike,
        quality: float | None = None,
        layers: Layers = "all",
        base_quality: float | None = None,
        aux_quality: float | None = None,
        cuda_stream: CudaStreamLike | None = None,
        *,
        metadata: bool | Metadata = True,
        background: Background | None = None,
        convert: bool = False,
        to_8bit: bool = False,
        target_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        min_psnr: float | None = None,
        share: float | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Code a picture: PIL image, or uint8 array [H, W, 3] (RGB), [H, W, 4] (RGBA) or [H, W] (grey), from 1x1 on.

        quality: 0 (smallest) to 100, continuous (None: 50, or what a target asks for). layers: "all", "base" (primary
        branch only, for machines) or a number of auxiliary slices. base_quality, aux_quality: 0 to 100, instead of what
        quality implies for each branch. share: 0.05 to 0.95, of the bytes of both branches those of the base, or as
        near as the model has it; the stream has the bytes that it would have without (at most, and at most 2 % less),
        and encoding takes about twice as long; not together with a quality of a branch, target_psnr or min_psnr.

        How to choose: quality alone gives the base the largest part of the bytes that costs people at most 0.1 dB
        (docs/results.md has the figures). A smaller share is for readers that get the base alone and want it small. A
        larger one is for machines that read the whole stream at beta = 1, and costs people more. base_quality and
        aux_quality give every picture the same two qualities, and with them each its own share.

        An Exif orientation is not applied (PIL.ImageOps.exif_transpose does), of several frames the current one is
        taken. With a backend on a GPU the picture may be in its memory, uint8 [H, W, 3]: anything with
        `__cuda_array_interface__` or DLPack; it is read after what is queued on `cuda_stream`, a CUDA stream of any
        library.

        metadata: keep the ICC profile, Exif and XMP data of a PIL image (rdc_codec.metadata.Metadata: keep these).
        background: (red, green, blue), 0 to 255, to blend transparency with; without it, alpha is kept without loss,
        unless it is opaque everywhere. convert: take CMYK, YCbCr, HSV, LAB and premultiplied pictures through
        Pillow's conversion. to_8bit: take 16-bit pictures and uint16 arrays, rounded to 8 bits. Without the last two,
        such pictures are an InputError. A DroppedMetadataWarning says where an ICC profile does not fit what is coded.

        target_bytes, target_bpp: search the quality at which the stream has at most so many bytes, or bits for each
        pixel of the picture, and at most 2 % less. target_psnr: the one at which what `decode` makes of it has at least
        so many dB, and at most 0.1 dB more. One of the three, without a quality. (Where a single step of 1/256 leads
        over that range, the stream is the nearest that is not over the bytes or under the dB.) TargetError says that
        no quality gives it, and the best there is. min_psnr: decode what was written, and store the picture without
        loss beside a base of quality 0 (or base_quality; with layers="base" the one asked for) if it has fewer dB than
        this; not together with a target.

        timeout: seconds after which this ends with DeadlineError, and the work as well, within about a second (None:
        never); a backend that cannot be stopped, such as one on a GPU, ends its network first, and so does Pillow
        where it packs transparency or a picture without loss (about 0.25 s a megapixel).

        Raises InputError, LimitError, BackendError; CorruptError where the bundle's files changed since it was loaded.
        """

        if cuda_stream is not None:
            self._gpu("cuda_stream")
        handle = None if cuda_stream is None else stream_handle(cuda_stream)

        def run(graph: str, inputs: Inputs) -> list[np.ndarray]:
            return self._backend.run(graph, inputs, handle)

        goals = target_bytes, target_bpp, target_psnr, min_psnr, share
        dials = self._dials(quality, layers, base_quality, aux_quality, *goals)
        rules, kept = Rules(background, convert, to_8bit), _kept(metadata)
        return interrupts.call(
            lambda: self._code(self._picture(image, rules, kept), dials, run),
            timeout,
            movable=self._stoppable(),
            large=interrupts.is_large_picture(image),
        )

    @overload
    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float | None = ...,
        layers: Layers = ...,
        base_quality: float | None = ...,
        aux_quality: float | None = ...,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
        *,
        metadata: bool | Metadata = ...,
        background: Background | None = ...,
        convert: bool = ...,
        to_8bit: bool = ...,
        target_bytes: int | None = ...,
        target_bpp: float | None = ...,
        target_psnr: float | None = ...,
        min_psnr: float | None = ...,
        share: float | None = ...,
        timeout: float | None = ...,
    ) -> Iterator[bytes]: ...

    @overload
    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float | None = ...,
        layers: Layers = ...,
        base_quality: float | None = ...,
        aux_quality: float | None = ...,
        workers: int | None = ...,
        *,
        on_error: OnError,
        metadata: bool | Metadata = ...,
        background: Background | None = ...,
        convert: bool = ...,
        to_8bit: bool = ...,
        target_bytes: int | None = ...,
        target_bpp: float | None = ...,
        target_psnr: float | None = ...,
        min_psnr: float | None = ...,
        share: float | None = ...,
        timeout: float | None = ...,
    ) -> Iterator[bytes | CodecError]: ...

    def encode_batch(
        self,
        images: Iterable[ImageLike],
        quality: float | None = None,
        layers: Layers = "all",
        base_quality: float | None = None,
        aux_quality: float | None = None,
        workers: int | None = None,
        on_error: OnError = "raise",
        *,
        metadata: bool | Metadata = True,
        background: Background | None = None,
        convert: bool = False,
        to_8bit: bool = False,
        target_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        min_psnr: float | None = None,
        share: float | None = None,
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """Code many pictures and yield their streams in order, the same bytes as `encode` gives one by one.

        Pictures may differ in size. Each is read and copied when there is room for it, before the next one is asked of
        `images`, so that a buffer may be filled again and a file closed then (arrays in GPU memory alone are not
        copied: they must keep until their stream is there). Entropy coding of some overlaps with the networks of
        another, which run one picture at a time. workers: threads (None: 2 to 4, by the number of cores); at most one
        picture more than that is held.

        on_error: "raise" ends the iteration with the first error, in place of its result; "return" yields a picture's
        CodecError in the place of its stream and goes on. Either way the error's `index` tells the picture, from 0.
        Errors of `images` itself are raised. The other arguments are those of `encode`, targets and timeout those
        of each picture, whose seconds count from when it is begun.
        """
        goals = target_bytes, target_bpp, target_psnr, min_psnr, share
        dials = self._dials(quality, layers, base_quality, aux_quality, *goals)
        rules, kept = Rules(background, convert, to_8bit), _kept(metadata)

        def take(image: ImageLike) -> _Picture:
            return self._picture(image, rules, kept, copied=True)

        def work(picture: _Picture) -> bytes:
            return self._code(picture, dials, self._take_turns)

        return _batch(take, work, images, workers, on_error, timeout)

    def _dials(
        self,
        quality: float | None,
        layers: Layers,
        base_quality: float | None,
        aux_quality: float | None,
        target_bytes: int | None,
        target_bpp: float | None,
        target_psnr: float | None,
        min_psnr: float | None,
        share: float | None,
    ) -> _Dials:
        """Check what an encoder is asked for. Raises InputError."""
        count = self._layers(layers)
        if isinstance(layers, int | np.integer) and layers > self.slices:
            raise InputError(f"layers is {layers}, the model has {self.slices} auxiliary slices")
        qualities = {"quality": quality, "base_quality": base_quality, "aux_quality": aux_quality}
        aim = rates.aim_of(target_bytes, target_bpp, target_psnr, {**qualities, "min_psnr": min_psnr})
        least = None if min_psnr is None else number_within(min_psnr, rates.MAX_PSNR, "min_psnr")
        fixed = {"base_quality": base_quality, "aux_quality": aux_quality}
        others = {**fixed, "target_psnr": target_psnr, "min_psnr": min_psnr}
        wanted = balance.share_of(share, others, base_only=not count)
        dial, base, auxiliary = self._implied(DEFAULT_QUALITY if quality is None else quality)
        if base_quality is not None:
            base = from_fixed(to_fixed(base_quality, "base_quality"))
        if aux_quality is not None:
            auxiliary = from_fixed(to_fixed(aux_quality, "aux_quality"))
        # What has the picture itself needs no fine base, unless someone asked for that.
        beside = base if base_quality is not None or count == 0 else 0.0
        return _Dials(count, dial, base, auxiliary, aim, least, beside, wanted)

    def _implied(self, quality: float) -> targets.Dial:
        """Return a quality and what it implies for the branches, as they are in the header. Raises InputError."""
        dial = from_fixed(to_fixed(quality))
        base, auxiliary = (from_fixed(to_fixed(q)) for q in self.bundle.branch_qualities(dial))
        return dial, base, auxiliary

    def _picture(
        self, image: ImageLike, rules: Rules, kept: bool | Metadata, copied: bool = False
    ) -> _Picture:
        """Return a picture as the graphs take it. Raises InputError, LimitError.

        It is a copy, but for one in GPU memory, and for a large one unless `copied`.
        """
        if is_on_device(image):
            self._gpu("a picture in GPU memory")
            described = describe(image)
            self._check_size(described.height, described.width)
            attached = Attachments(kept) if isinstance(kept, Metadata) else Attachments()
            return _Picture(image, described.height, described.width, attached)
        host = cast("HostImage", image)
        self._check_size(*pixels.size_of(host, rules))
        planes = pixels.planes_of(host, rules)
        height, width = planes.rgb.shape[:2]
        attached = attachments.of(host, planes, kept)
        if windows.is_large(height, width, windows.ENCODE_LIMIT):
            shared = isinstance(host, np.ndarray) and np.may_share_memory(planes.rgb, host)
            rgb = planes.rgb.copy() if copied and shared else planes.rgb
            return _Picture(rgb, height, width, attached, large=True)
        return _Picture(pixels.to_tensor(planes.rgb, HYPER_STRIDE), height, width, attached)

    def _code(self, picture: _Picture, dials: _Dials, run: Run) -> bytes:
        interrupts.check()
        if dials.aim is not None or dials.share is not None:
            return self._search(picture, dials, run)

        def chunks_of(slices: int, base: float) -> targets.Chunks:
            symbols = targets.code_at_once(
                run, self.bundle, picture.pixels, slices, base, dials.auxiliary, picture.large
            )
            return entropy_coding.write(symbols, self.bundle, self._coding_threads())

        if dials.min_psnr is not None:
            self._host_pixels(picture)  # before anything is coded for nothing
        dial = dials.dial, dials.base, dials.auxiliary
        stream = self._write(picture, dial, chunks_of(dials.slices, dials.base))
        if dials.min_psnr is not None and self._fidelity(picture, stream, run) < dials.min_psnr:
            exact = (ChunkType.LOSSLESS, stored.pack(self._host_pixels(picture)))
            interrupts.check()
            dial = dials.dial, dials.beside, dials.auxiliary
            stream = self._write(picture, dial, [*chunks_of(0, dials.beside), exact])
        return stream

    def _search(self, picture: _Picture, dials: _Dials, run: Run) -> bytes:
        """Code a picture until it reaches a target, or has the asked share in its base."""
        steps = targets.Steps(
            run, self.bundle, picture.pixels, dials.slices, picture.large, self._coding_threads()
        )

        def coded(dial: targets.Dial) -> bytes:
            return self._write(picture, dial, steps.chunks(*dial[1:]))

        if dials.aim is None:
            stream = coded((dials.dial, dials.base, dials.auxiliary))
            goal = rates.Goal("bytes", len(stream), picture.height * picture.width)
        else:
            goal = dials.aim.of(picture.height, picture.width)
            if not goal.of_bytes:
                self._host_pixels(picture)  # before anything is coded for nothing
            stream = targets.reach(
                goal,
                self._implied,
                coded,
                len if goal.of_bytes else lambda made: self._fidelity(picture, made, run),
                None if dials.slices else self.bundle.quality_of_base,
                steps.base_bytes if steps.known_base else None,
                self.bundle.expected,
            )
        return stream if dials.share is None else self._split(stream, goal, dials.share, steps, coded)

    def _write(self, picture: _Picture, dial: targets.Dial, chunks: targets.Chunks) -> bytes:
        """Return the stream of a picture, with what is attached to it."""
        identities = (self.bundle.parse_id[:ID_BYTES], self.bundle.picture_id[:ID_BYTES])
        header = Header(picture.width, picture.height, *dial, *identities)
        every = [*chunks, *picture.attached.chunks()]
        return container.write(header, sorted(every, key=lambda chunk: chunk[0]))

    def _fidelity(self, picture: _Picture, stream: bytes, run: Run) -> float:
        """Return the PSNR of what a stream restores at beta = 0."""
        made, _ = self._decode(stream, 0, None, run)
        found = lossless.psnr(self._host_pixels(picture), made, picture.attached.alpha)
        return min(found, rates.MAX_PSNR)  # of equal pictures it is infinite, which no search can use

    def _split(
        self,
        stream: bytes,
        goal: rates.Goal,
        share: float,
        steps: targets.Steps,
        encode: Callable[[targets.Dial], bytes],
    ) -> bytes:
        """Return a stream that reaches the goal, as the given one does, and whose base has this share."""
        parsed = self._stream(stream)
        header = parsed.header
        beside = len(stream) - sum(chunk.length for chunk in parsed.chunks if chunk.type in _CODED)
        dial = header.quality, header.base_quality, header.aux_quality
        return balance.split(goal, share, beside, dial, steps.base_bytes, encode, self.bundle.expected)

    @staticmethod
    def _host_pixels(picture: _Picture) -> Picture:
        """Return the picture, uint8 [H, W, 3], as it is compared. Raises InputError for one in GPU memory."""
        if not isinstance(picture.pixels, np.ndarray):
            raise InputError("target_psnr and min_psnr need a picture that is not in GPU memory")
        if picture.large:
            return picture.pixels
        return pixels.from_tensor(picture.pixels, picture.height, picture.width)

    @overload
    def decode(
        self,
        data: Buffer,
        beta: float = ...,
        layers: Layers | None = ...,
        out: Picture | None = ...,
        cuda_stream: None = ...,
        strict: bool = ...,
        region: tuple[int, int, int, int] | None = ...,
        scale: float = ...,
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

    @ending.guarded
    def decode(
        self,
        data: Buffer,
        beta: float = 0.0,
        layers: Layers | None = None,
        out: DeviceArray | Picture | Literal["device"] | None = None,
        cuda_stream: CudaStreamLike | None = None,
        strict: bool = False,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        timeout: float | None = None,
    ) -> Any:
        """Restore a picture, uint8 [H, W, 3]: x1 + (1 - beta) * r.

        beta: 1 for machines (primary branch alone) to 0 for people. layers: use at most so many
        auxiliary slices (None: all there are). Where auxiliary data is damaged or cut off, the picture
        is made without that part, with a DamagedAuxiliaryWarning; strict: it is a CorruptError, before any network
        has run (`verify` tells without either). region: (x, y, width, height) in pixels, the part to make, of which
        networks see no more than they need. scale: 1, 1/2, 1/4 or 1/8, each pixel then the mean of those it stands
        for, [ceil(H * scale), ceil(W * scale), 3].

        Metadata and alpha are for `decode_image`; this neither returns nor checks them.

        Returns a NumPy array, which is `out` where that is one to write to (uint8 of the right shape, a memory map for
        example); with a backend on a GPU, and `out` = "device", a new array in GPU memory
        (rdc_codec.backends.cuda.DevicePicture), or `out` itself, an array in GPU memory to write to. cuda_stream: a
        CUDA stream of any library; what is queued on it comes before, and the picture is ready in its order.
        Without it the picture is ready when this returns. Into GPU memory goes the whole picture alone. timeout:
        as for `encode`.

        Raises TruncatedError, CorruptError, UnsupportedError, WrongModelError, LimitError, InputError,
        BackendError, DeadlineError.
        """
        if out is None or isinstance(out, np.ndarray):
            if cuda_stream is not None:
                raise InputError(
                    'cuda_stream is for pictures that stay in GPU memory: give out="device" or an array'
                )

            def restored() -> tuple[Picture, str | None]:
                parsed = self._parse(data, beta, layers, strict)
                return self._restore(parsed, self._backend.run, region, scale, out), parsed.problem

            picture, problem = interrupts.call(
                restored, timeout, movable=self._stoppable(), large=interrupts.is_large_stream(data)
            )
        else:
            gpu = self._gpu("out")
            handle = None if cuda_stream is None else stream_handle(cuda_stream)
            if not (isinstance(out, str) and out == "device") and not is_on_device(out):
                raise InputError(f'out must be "device" or an array, got {type(out).__name__}')
            if region is not None or scale != 1:
                raise InputError("region and scale are for pictures in the memory of the CPU")
            target = None if isinstance(out, str) else out

            def work() -> tuple[Any, str | None]:
                parsed = self._parse(data, beta, layers, strict)
                if parsed.exact is not None:
                    raise UnsupportedError(
                        "a picture that is stored without loss is not decoded into GPU memory"
                    )
                interrupts.check()
                sides = parsed.header.height, parsed.header.width
                return gpu.run_to_device(
                    parsed.graph, parsed.inputs(), *sides, target, handle
                ), parsed.problem

            picture, problem = interrupts.call(work, timeout, movable=False, large=False)
        _warn(problem)
        return picture

    @ending.guarded
    def decode_rows(
        self,
        data: Buffer,
        beta: float = 0.0,
        layers: Layers | None = None,
        strict: bool = False,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
    ) -> Iterator[Picture]:
        """Restore a picture as `decode` does and yield its rows as they are made, from top to bottom.

        Each array, uint8 [n, W, 3], has as many as networks made at once. What is wrong with the arguments or the
        stream is raised, or warned of, before this returns.
        """
        parsed = self._parse(data, beta, layers, strict)
        rows = self._rows(parsed, self._backend.run, region, scale)
        _warn(parsed.problem)
        return rows

    @ending.guarded
    def decode_image(
        self,
        data: Buffer,
        beta: float = 0.0,
        layers: Layers | None = None,
        strict: bool = False,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        timeout: float | None = None,
    ) -> Image.Image:
        """Restore a picture as a PIL image of mode RGB, RGBA, L or LA, with all that the stream keeps beside it.

        Its `info` has icc_profile, exif and xmp as Pillow's own readers set them. The arguments are those of `decode`.
        Where metadata or alpha is damaged or cut off, the image lacks it, with a DamagedMetadataWarning; strict: it is
        a CorruptError. Raises as `decode` does.
        """

        def work() -> tuple[Attachments, Picture, str | None]:
            found = attachments.read(self._stream(data))
            if strict and found.problems:
                raise CorruptError("; ".join(found.problems))
            interrupts.check()
            parsed = self._parse(data, beta, layers, strict)
            return found, self._restore(parsed, self._backend.run, region, scale), parsed.problem

        attached, picture, problem = interrupts.call(
            work, timeout, movable=self._stoppable(), large=interrupts.is_large_stream(data)
        )
        _warn(problem)
        for lost in attached.problems:
            warn_of_damage(f"decoded without it: {lost}", DamagedMetadataWarning)
        if attached.alpha is not None and (region is not None or scale != 1):
            part = _part(region, *attached.alpha.shape)
            alpha = attached.alpha[part.y : part.y + part.height, part.x : part.x + part.width]
            smaller = np.concatenate(list(windows.reduced([alpha[..., None]], _factor(scale))))
            attached = dataclasses.replace(attached, alpha=np.ascontiguousarray(smaller[..., 0]))
        return attached.image(picture)

    @overload
    def decode_batch(
        self,
        streams: Iterable[Buffer],
        beta: float = ...,
        layers: Layers | None = ...,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
        *,
        timeout: float | None = ...,
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
        timeout: float | None = ...,
    ) -> Iterator[Picture | CodecError]: ...

    def decode_batch(
        self,
        streams: Iterable[Buffer],
        beta: float = 0.0,
        layers: Layers | None = None,
        workers: int | None = None,
        on_error: OnError = "raise",
        *,
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """Restore the pictures of many streams, in order, as `decode` does one by one.

        workers, on_error and timeout are as for `encode_batch`, and buffers may be filled again as there. A
        DamagedAuxiliaryWarning is given when its picture is taken.
        """
        number_within(beta, 1, "beta")
        self._layers("all" if layers is None else layers)

        def work(data: Buffer) -> tuple[Picture, str | None]:
            return self._decode(data, beta, layers, self._take_turns)

        return _unpacked(_batch(container.copied, work, streams, workers, on_error, timeout))

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
        parsed = self._parse(data, beta, layers, strict)
        return self._restore(parsed, run), parsed.problem

    def _parse(self, data: Buffer, beta: float, layers: Layers | None, strict: bool) -> _Parsed:
        """Read the symbols of a stream, and decide which graph makes the picture of them.

        strict: raise CorruptError for what was damaged or missing.
        """
        beta = number_within(beta, 1, "beta")
        count = self._layers("all" if layers is None else layers)
        stream = self._stream(data)
        header = stream.header
        exact: Picture | str | None = None
        chunk = lossless.chunk_of(stream.chunks)
        if chunk is not None and beta < 1 and (count or not self.slices):
            exact = lossless.read(chunk, header.height, header.width)
        # Slices beside a picture without loss say nothing of it; the base has to be whole, whatever it is asked for.
        wanted = 0 if beta == 1 or isinstance(exact, np.ndarray) else count
        coded = entropy_coding.read(stream, self.bundle, wanted, self._coding_threads())
        problem = exact if isinstance(exact, str) else coded.problem
        if strict and problem is not None:
            raise CorruptError(problem)
        parsed = self._synthesis(coded, header, beta)
        return parsed._replace(problem=problem, exact=exact if isinstance(exact, np.ndarray) else None)

    def _synthesis(self, coded: Symbols, header: Header, beta: float) -> _Parsed:
        """Decide which graph makes a picture of symbols."""
        planes = {"z1": coded.z1, "y1": coded.y1}
        levels = {"base_level": number(self.bundle.primary.level(header.base_quality))}
        graph = "decode_base"
        if coded.slices:
            assert self.bundle.auxiliary is not None and coded.z2 is not None and coded.y2 is not None
            planes |= {"z2": coded.z2, "y2": coded.y2}
            levels["aux_level"] = number(self.bundle.auxiliary.level(header.aux_quality))
            levels["slices"] = np.array([coded.slices], np.int32)
            if beta == 0 and "decode_people" in self.bundle.graphs:
                graph = "decode_people"  # without making x1
            else:
                graph = "decode_full"
                levels["beta"] = number(beta)
        return _Parsed(header, graph, planes, levels, coded.problem, beta)

    def _restore(
        self,
        parsed: _Parsed,
        run: Run,
        region: tuple[int, int, int, int] | None = None,
        scale: float = 1,
        out: Picture | None = None,
    ) -> Picture:
        """Make the picture, or a part of it, and return it: `out`, if that is given."""
        height, width = parsed.header.height, parsed.header.width
        small = not windows.is_large(height, width, windows.DECODE_LIMIT)
        if region is None and scale == 1 and small and parsed.exact is None:
            (made,) = run(parsed.graph, parsed.inputs())
            picture = pixels.from_tensor(made, height, width)
            if out is None:
                return picture
            _check_target(out, picture.shape)
            with interrupts.wanted():
                out[...] = picture
            return out
        part, factor = _part(region, height, width), _factor(scale)
        shape = (-(-part.height // factor), -(-part.width // factor), 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        _check_target(out, shape)
        start = 0
        for rows in self._rows(parsed, run, region, scale):
            with interrupts.wanted():  # the caller's array is the caller's again after a deadline
                out[start : start + len(rows)] = rows
            start += len(rows)
        return out

    def _rows(
        self, parsed: _Parsed, run: Run, region: tuple[int, int, int, int] | None, scale: float
    ) -> Iterator[Picture]:
        part = _part(region, parsed.header.height, parsed.header.width)
        factor = _factor(scale)

        @ending.guarded  # it may run in any thread that takes rows
        def make(planes: list[np.ndarray]) -> np.ndarray:
            named = dict(zip(parsed.planes, planes, strict=True))
            return run(parsed.graph, named | parsed.levels)[0]

        if parsed.exact is None:
            rows = windows.decode(list(parsed.planes.values()), make, part)
        else:
            exact = parsed.exact[part.y : part.y + part.height, part.x : part.x + part.width]
            made = windows.decode(list(parsed.planes.values()), make, part) if parsed.beta else None
            rows = lossless.rows(exact, made, parsed.beta)
        return rows if factor == 1 else windows.reduced(rows, factor)

    def decoder(self) -> ProgressiveDecoder:
        """Return a decoder of one stream that takes its bytes as they arrive and makes pictures in between.

        `ProgressiveDecoder` says how it is used. Its picture of a stream, or of the beginning of one, is that of
        `decode`.
        """
        return ProgressiveDecoder(self.bundle, self._head, self._restored, self._coding_threads())

    def _head(self, data: Buffer, begun: container.Begun) -> container.Head:
        head = container.read_head(data, max_pixels=self.max_pixels, begun=begun)
        self._check_header(head.header)
        return head

    def _restored(self, coded: Symbols, header: Header, beta: float) -> Picture:
        return self._restore(self._synthesis(coded, header, beta), self._backend.run)

    @ending.guarded
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

    @ending.guarded
    def verify(self, data: Buffer) -> Report:
        """Check a stream of this model, every chunk by its checksum and by its symbols; no network is run.

        Nothing is raised or warned for whatever the bytes are: the report says what `decode` would do. Raises
        InputError where `data` is no buffer.
        """
        copy = container.copied(data)  # what is no buffer is an error; nothing below is one
        try:
            stream = self._stream(copy)
            coded = entropy_coding.read(stream, self.bundle, self.slices, self._coding_threads())
        except CodecError as error:
            return Report(False, False, 0, f"{type(error).__name__}: {error}")
        problems = list(attachments.read(stream).problems)
        if coded.problem is not None:
            problems.insert(0, coded.problem)
        if (chunk := lossless.chunk_of(stream.chunks)) is not None:
            exact = lossless.read(chunk, stream.header.height, stream.header.width)
            problems += [exact] if isinstance(exact, str) else []
        if not problems and (damage := stream.damage()) is not None:  # of what no picture needs
            problems.append(damage)
        return Report(not problems, True, coded.slices, "; ".join(problems) or None)

    @ending.guarded
    def symbols(self, data: Buffer) -> dict[str, np.ndarray]:
        """Return the decoded integers, int32 arrays [C, h, w], for conformance tests.

        primary_hyper, primary_latents and, where received, auxiliary_hyper, auxiliary_latents (zeros in
        slices that were not received). Raises and warns as `decode` does.
        """
        coded = entropy_coding.read(self._stream(data), self.bundle, self.slices, self._coding_threads())
        _warn(coded.problem)
        found = {"primary_hyper": coded.z1, "primary_latents": coded.y1}
        if coded.z2 is not None and coded.y2 is not None:
            found["auxiliary_hyper"] = coded.z2
            found["auxiliary_latents"] = coded.y2
        return {name: plane.astype(np.int32) for name, plane in found.items()}

    def _stream(self, data: Buffer) -> container.Stream:
        stream = container.read(data, max_pixels=self.max_pixels)
        self._check_header(stream.header)
        return stream

    def _check_header(self, header: Header) -> None:
        container.identify(header, self.bundle.parse_id, self.bundle.picture_id)
        self._check_size(header.height, header.width)

    def _check_size(self, height: int, width: int) -> None:
        """Raise LimitError for a picture that is over the limit with its padding, which is what memory is for."""
        rows, columns = (-(-side // HYPER_STRIDE) for side in (height, width))
        if max(height, width) > MAX_SIDE or rows * columns * HYPER_STRIDE**2 > self.max_pixels:
            raise LimitError(
                f"picture of {width}x{height} is over the limit of {self.max_pixels} pixels, "
                f"counted in blocks of {HYPER_STRIDE}x{HYPER_STRIDE} (raise max_pixels for larger ones)"
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


def _kept(metadata: bool | Metadata) -> bool | Metadata:
    if type(metadata) is not bool and not isinstance(metadata, Metadata):
        raise InputError(f"metadata must be True, False or Metadata, got {metadata!r}")
    return metadata


def _warn(problem: str | None) -> None:
    if problem is not None:
        warn_of_damage(f"decoded without it: {problem}")


def _batch(
    take: Callable[[Item], Taken],
    work: Callable[[Taken], Result],
    items: Iterable[Item],
    workers: int | None,
    on_error: OnError,
    timeout: float | None,
) -> Generator[Any, None, None]:
    """Yield results in order, and with on_error "return" errors in their places; every error knows its index."""
    if on_error not in ("raise", "return"):
        raise InputError(f'on_error must be "raise" or "return", got {on_error!r}')
    seconds = interrupts.checked_timeout(timeout)

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
            with interrupts.within(seconds):
                return work(given)
        except CodecError as error:
            return numbered(index, error)

    try:
        numbered_items = enumerate(items)
    except TypeError:
        raise InputError(f"a batch takes an iterable, got {type(items).__name__}") from None
    return in_order(take_one, work_one, numbered_items, _workers(workers))


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
    return _count_of_threads(count, "workers")


def _count_of_threads(count: int, name: str) -> int:
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not whole or not 1 <= count <= MAX_THREADS:
        raise InputError(f"{name} must be a whole number from 1 to {MAX_THREADS} or None, got {count!r}")
    return int(count)


def _part(region: tuple[int, int, int, int] | None, height: int, width: int) -> windows.Region:
    """Return the region of a picture of this size. Raises InputError unless it lies within."""
    if region is None:
        return windows.Region(0, 0, width, height)
    try:
        part = windows.Region(*map(operator.index, region))
    except TypeError:
        raise InputError(f"region must be four integers (x, y, width, height), got {region!r}") from None
    inside = part.x >= 0 and part.y >= 0 and part.x + part.width <= width and part.y + part.height <= height
    if not inside or part.width < 1 or part.height < 1:
        raise InputError(f"region {tuple(part)} (x, y, width, height) is not within {width}x{height} pixels")
    return part


def _factor(scale: float) -> int:
    """Return how many pixels become one, each way. Raises InputError for a scale that is not offered."""
    for factor in SCALES:
        if not isinstance(scale, str | bytes) and scale == 1 / factor:
            return factor
    raise InputError(f"scale must be 1, 1/2, 1/4 or 1/8, got {scale!r}")


def _check_target(out: np.ndarray, shape: tuple[int, ...]) -> None:
    if out.dtype != np.uint8 or out.shape != shape or not out.flags.writeable:
        raise InputError(f"out must be a writable uint8 array of {shape}, got {out.dtype} {out.shape}")
