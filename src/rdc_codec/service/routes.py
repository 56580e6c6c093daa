"""What can be asked of the service."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from .. import picture_files, windows
from ..types import Picture
from . import intake, problems
from .engine import Engine
from .parts import FORMATS, Part, PartsResponse, accepted, container_of, warning_headers
from .queries import DecodeQuery, EncodeQuery, NoQuery

if TYPE_CHECKING:
    from ..progressive import ProgressiveDecoder

STREAM = "image/x-rdc"
WORK = frozenset({"/encode", "/decode", "/info", "/verify"})  # routes that need a place
STATE = frozenset({"/health", "/ready", "/metrics"})

_ERROR = {
    "description": "The name of the error and what is wrong",
    "content": {
        "application/json": {
            "example": {"error": "CorruptError", "detail": "not an RDC stream"},
            "schema": {
                "type": "object",
                "properties": {"error": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["error", "detail"],
            },
        }
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((408, 413, 415, 422, 429, 503), _ERROR)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {intake.FIELD: _BINARY["schema"]},
        "required": [intake.FIELD],
    }
}


def _body(*types: str) -> dict[str, Any]:
    """Describe a body that is one of these types, or a form with such a file."""
    content = dict.fromkeys(types, _BINARY) | {"multipart/form-data": _FORM}
    return {"requestBody": {"required": True, "content": content}}


def _answers(description: str, content: dict[str, Any], *codes: int) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": content}} | _ERRORS | dict.fromkeys(codes, _ERROR)


router = APIRouter()


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _facts(found: dict[str, Any], size: int) -> dict[str, str]:
    """Return the headers that say of a stream what `rdc encode --json` does."""
    pixels = found["width"] * found["height"]
    return {
        "Rdc-Width": str(found["width"]),
        "Rdc-Height": str(found["height"]),
        "Rdc-Quality": str(found["quality"]),
        "Rdc-Bpp": str(round(8 * size / pixels, 4)),
    }


@router.post(
    "/encode",
    summary="Code a picture",
    response_class=Response,
    responses=_answers("The stream", {STREAM: _BINARY}),
    openapi_extra=_body("image/png", "image/jpeg", "image/webp", "application/octet-stream"),
)
async def encode(request: Request, query: Annotated[EncodeQuery, Query()]) -> Response:
    """Turn the file of a picture into a stream, upright, with transparency, ICC profile, Exif and XMP data."""
    engine = _engine(request)
    body = await intake.read(request, engine.settings)

    def work() -> tuple[bytes, dict[str, Any]]:
        codec = engine.codec
        data = codec.encode(
            picture_files.load(io.BytesIO(body), codec.max_pixels, query.rules),
            quality=query.quality,
            layers=query.how_many,
            base_quality=query.base_quality,
            aux_quality=query.aux_quality,
            metadata=not query.strip,
            background=query.colour,
            convert=query.convert,
            to_8bit=query.to_8bit,
            target_bytes=query.target_bytes,
            target_bpp=query.target_bpp,
            target_psnr=query.target_psnr,
            min_psnr=query.min_psnr,
            share=query.share,
        )
        return data, codec.info(data)

    (data, found), warnings = await engine.run(request, work)
    engine.metrics.pixels.labels("/encode").inc(found["width"] * found["height"])
    headers = _facts(found, len(data)) | warning_headers(warnings)
    return Response(data, media_type=STREAM, headers=headers)


@router.post(
    "/decode",
    summary="Restore a picture",
    response_class=Response,
    responses=_answers("The picture", dict.fromkeys(reversed(FORMATS), _BINARY), 406),
    openapi_extra=_body(STREAM),
)
async def decode(request: Request, query: Annotated[DecodeQuery, Query()]) -> Response:
    """Turn a stream into a picture of the type that `Accept` asks for, with all that the stream keeps beside it."""
    header = request.headers.get("accept")
    media_type = accepted(
        None if query.progressive and header and header.startswith("multipart/") else header
    )
    if query.progressive:
        return await _progressive(request, query, media_type)
    body = await intake.read(request, _engine(request).settings)
    part = await _picture(request, query, media_type, body)
    return Response(part.body, media_type=media_type, headers={**part.headers, "Vary": "Accept"})


async def _picture(request: Request, query: DecodeQuery, media_type: str, stream: bytes) -> Part:
    """Return the picture of a whole stream, or of what there is of one."""
    engine = _engine(request)

    def work() -> tuple[bytes, dict[str, Any]]:
        codec = engine.codec
        image = codec.decode_image(
            stream,
            beta=query.beta,
            layers=query.layers,
            strict=query.strict,
            region=query.part,
            scale=1 / query.factor,
        )
        engine.metrics.pixels.labels("/decode").inc(image.width * image.height)
        quality = query.picture_quality if media_type != "image/png" else None
        return picture_files.to_bytes(
            image, FORMATS[media_type], query.colour, quality, quick=True
        ), codec.info(stream)

    (body, found), warnings = await engine.run(request, work)
    return Part(body, media_type, _facts(found, len(stream)) | warning_headers(warnings))


async def _progressive(request: Request, query: DecodeQuery, media_type: str) -> Response:
    """Answer the picture of the base, while the rest of the stream arrives, and the whole picture after it.

    Until there is one of them an error has a status of its own; after that it is a part.
    """
    engine = _engine(request)
    if intake.is_form(request):

        async def whole() -> AsyncGenerator[bytes, None]:
            yield await intake.read(request, engine.settings)

        arriving = whole()
    else:
        arriving = intake.pieces(request, engine.settings)
    stream = bytearray()
    decoder = engine.codec.decoder()

    def feed() -> None:
        _feed_base(decoder, stream)

    async for piece in arriving:
        stream += piece
        if len(stream) < decoder.received + decoder.needed:
            continue
        await engine.run(request, feed, arriving=True)
        if decoder.steps:
            break

    def begin() -> Part | None:
        if (picture := _cut(decoder.picture(query.beta), query)) is None:
            return None
        from PIL import Image

        quality = query.picture_quality if media_type != "image/png" else None
        body = picture_files.to_bytes(
            Image.fromarray(picture), FORMATS[media_type], None, quality, quick=True
        )
        return Part(body, media_type, {"Rdc-Part": "base"})

    first: Part | None = None
    if decoder.steps and query.beta < 1 and query.layers != 0 and decoder.next_step not in (None, "end"):
        first = (await engine.run(request, begin, arriving=True)).result

    async def last() -> Part:
        async with aclosing(arriving):
            async for piece in arriving:
                stream.extend(piece)
        part = await _picture(request, query, media_type, bytes(stream))
        return part._replace(headers={"Rdc-Part": "picture", **part.headers})

    async def both(first: Part) -> AsyncGenerator[Part, None]:
        yield first
        try:
            yield await last()
        except ClientDisconnect:
            raise
        except Exception as error:  # the status has been sent
            yield Part.of_json(problems.content_of(error))

    async def alone(only: Part) -> AsyncGenerator[Part, None]:
        yield only

    made = both(first) if first is not None else alone(await last())
    return PartsResponse(made, container_of(request.headers.get("accept")))


def _feed_base(decoder: ProgressiveDecoder, stream: bytearray) -> None:
    """Give a decoder what it needs for the base, and no byte more, which would be decoded twice."""
    while not decoder.steps and len(stream) >= decoder.received + decoder.needed:
        decoder.feed(bytes(stream[decoder.received : decoder.received + decoder.needed]))


def _cut(picture: Picture, query: DecodeQuery) -> Picture | None:
    """Return what a picture has of the region, at its scale; None where it has not all of it."""
    height, width = picture.shape[:2]
    x, y, columns, rows = query.part or (0, 0, width, height)
    if not columns or not rows or x + columns > width or y + rows > height:
        return None
    part = picture[y : y + rows, x : x + columns]
    if query.factor > 1:
        import numpy as np

        part = np.concatenate(list(windows.reduced([part], query.factor)))
    return part


@router.post(
    "/info",
    summary="Tell what a stream says of itself",
    responses=_answers("Its header and the state of its chunks", {"application/json": {"example": {
        "width": 451, "height": 300, "quality": 50.0, "base_quality": 40.0, "aux_quality": 50.0,
        "model": "5d20fd95/0f2b8c11",
        "chunks": [{"type": "primary", "offset": 60, "length": 1502, "state": "ok"}],
    }}}),
    openapi_extra=_body(STREAM),
)  # fmt: skip
async def info(request: Request, query: Annotated[NoQuery, Query()]) -> JSONResponse:
    """Tell what `rdc info --json` tells, of a stream of any model."""
    engine = _engine(request)
    body = await intake.read(request, engine.settings)
    return JSONResponse((await engine.run(request, lambda: engine.codec.info(body))).result)


@router.post(
    "/verify",
    summary="Check a stream",
    responses=_answers("What is wrong with it, if anything is", {"application/json": {"example": {
        "ok": False, "decodable": True, "slices": 2, "problem": "auxiliary slice 2 is damaged",
    }}}),
    openapi_extra=_body(STREAM),
)  # fmt: skip
async def verify(request: Request, query: Annotated[NoQuery, Query()]) -> JSONResponse:
    """Check every chunk by its checksum and its symbols, as `rdc verify --json` does. No network is run."""
    engine = _engine(request)
    body = await intake.read(request, engine.settings)
    done = await engine.run(request, lambda: engine.codec.verify(body))
    return JSONResponse(done.result._asdict())


@router.get("/health", summary="Tell that the process lives")
async def health() -> dict[str, bool]:
    """Answer as long as the event loop does."""
    return {"ok": True}


@router.get("/ready", summary="Tell whether requests should come here", responses={503: {}})
async def ready(request: Request) -> JSONResponse:
    """Answer 503 while the service stops or its queue is full."""
    reason = _engine(request).not_ready
    return JSONResponse({"ready": reason is None, "reason": reason}, 200 if reason is None else 503)


@router.get("/metrics", summary="Tell what was counted, for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answer the metrics in Prometheus' text format."""
    return Response(generate_latest(_engine(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
