"""The search page and its REST API: ``POST /search``, ``GET /artifacts``, ``GET /thumbnails/{id}``, OpenAPI."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp

import compress
from compress.bundle.artifact_choice import SHIPPED
from compress.bundle.thresholds import match_distance, thresholds_of
from compress.contracts import BadInput, CompressError, MissingTool
from compress.data.images import TooManyPixelsError, UndecodableImageError, read_image
from compress.demo.engines import Engine, engines, find
from compress.demo.guard import Guard
from compress.demo.pictures import FORMATS, MAX_PIXELS, unreadable, wrong_type
from compress.demo.systems import Opened, System, open_systems
from compress.demo.uploads import MAX_BYTES, Uploads
from compress.gallery.nearest import Match

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Error(BaseModel):
    """A request that failed.

    Attributes:
        error: one line that says what is wrong and what to do.
    """

    error: str


class ThresholdInfo(BaseModel):
    """The distance up to which an image is a match.

    Attributes:
        rate: false-accept rate in percent, such as ``0.1%``.
        distance: the largest distance of a match; null if the bundle was made with too few images for this rate.
    """

    rate: str
    distance: float | None


class ArtifactInfo(BaseModel):
    """An artifact on one runtime.

    Attributes:
        bundle: the name of its bundle.
        shipped: whether apps ship files of this format.
        unavailable: why it cannot run here; null if it can.
        thresholds: what "match" means for this artifact; empty if the bundle does not say, or if an older model made
            the gallery.
    """

    bundle: str
    artifact: str
    format: str
    precision: str
    bytes: int
    runtime: str
    evidence: str
    shipped: bool
    unavailable: str | None
    thresholds: list[ThresholdInfo]


class BundleInfo(BaseModel):
    """A bundle that is searched.

    Attributes:
        gallery: number of images that are searched.
        index: name of the index that is used; null if the query is compared with every image.
    """

    bundle: str
    gallery: int
    index: str | None
    distance: str


class PageInfo(BundleInfo):
    """Everything that can be searched; ``bundle``, ``gallery``, ``index`` and ``distance`` are of the first bundle.

    Attributes:
        bundles: every bundle, in the order in which they were given.
        max_bytes: largest size of a picture.
    """

    bundles: list[BundleInfo]
    max_bytes: int
    artifacts: list[ArtifactInfo]


class Found(BaseModel):
    """One gallery image. ``distance`` is Euclidean, 1 - cosine, or a number of bits or of features that differ.

    Attributes:
        match: whether the distance is within the threshold; true if none was asked for.
    """

    rank: int
    id: int
    name: str
    label: str
    distance: float
    match: bool
    thumbnail: str


class Milliseconds(BaseModel):
    """``prepare``: decode and resize; ``embed``: one warm run, null for a reference executor; ``rank``: search."""

    prepare: float
    embed: float | None
    rank: float


class Result(BaseModel):
    """The nearest gallery images, nearest first.

    Attributes:
        gallery: number of images that were searched.
        threshold: the largest distance of a match; null if none was asked for.
    """

    bundle: str
    artifact: str
    runtime: str
    evidence: str
    gallery: int
    distance: str
    threshold: float | None
    milliseconds: Milliseconds
    matches: list[Found]


PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"A JPEG, PNG or WebP image of at most {MAX_BYTES:,} bytes and {MAX_PIXELS:,} pixels.",
        "content": {f"image/{each.lower()}": {"schema": {"type": "string", "format": "binary"}} for each in FORMATS},
    }
}
REFUSALS = {
    400: "the upload broke off",
    404: "no such bundle, artifact or runtime",
    408: "the upload took too long",
    413: "too many bytes or pixels",
    415: "the body is no such image",
    422: "a parameter has a wrong value",
    503: "the runtime cannot run here, or too much is being uploaded",
}


def create_app(folders: Sequence[Path], *, exact: bool = False, galleries: Sequence[Path] = ()) -> ASGIApp:
    """The application for these bundles; with ``exact`` their indexes are not used.

    Args:
        galleries: files that ``compress index`` made; a bundle without one searches its own gallery.

    Raises:
        BadInput, MissingTool: as ``compress.demo.systems.open_systems``.
    """
    systems = {system.name: system for system in open_systems(folders, exact=exact, galleries=galleries)}
    running: list[Engine] = []
    uploads = Uploads()
    one_decode = threading.Lock()  # a decoded image may take half a gigabyte

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with engines(list(systems.values())) as found:
            running.extend(found)
            yield

    # FastAPI's own documentation pages load their scripts from elsewhere.
    app = FastAPI(
        title=f"Compress: {', '.join(systems)}",
        version=compress.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    def system_named(name: str | None) -> System:
        if name is None:
            return next(iter(systems.values()))
        if name not in systems:
            raise HTTPException(404, f"bundle '{name[:80]}': there are {', '.join(systems)}")
        return systems[name]

    @app.get("/artifacts")
    def artifacts() -> PageInfo:
        """Every artifact of every bundle on every runtime of its format."""
        bundles = [
            BundleInfo(
                bundle=name,
                gallery=len(now.rows),
                index=now.bundle.index_name,
                distance=now.bundle.gallery.embedding.distance,
            )
            for name, system in systems.items()
            for now in [system.now()]
        ]
        infos = [_info(each, older=systems[each.system].now().bundle.older) for each in running]
        return PageInfo(**dict(bundles[0]), bundles=bundles, max_bytes=MAX_BYTES, artifacts=infos)

    @app.post(
        "/search",
        openapi_extra=PICTURE,
        responses={status: {"model": Error, "description": words} for status, words in REFUSALS.items()},
    )
    async def search(
        request: Request,
        artifact: Annotated[str, Query(description="file name, as GET /artifacts lists it")],
        runtime: Annotated[str | None, Query(description="by default the best that runs here")] = None,
        top: Annotated[int, Query(ge=1, le=100)] = 10,
        threshold: Annotated[str | None, Query(description="a false-accept rate such as 0.1%, or a distance")] = None,
        bundle: Annotated[str | None, Query(description="by default the first")] = None,
    ) -> Result:
        """The gallery images nearest to the picture in the body."""
        system = system_named(bundle)
        try:
            engine = find([each for each in running if each.system == system.name], artifact, runtime)
        except KeyError as error:
            raise HTTPException(404, error.args[0]) from None
        try:
            limit = None
            if threshold is not None:
                older = system.now().bundle.older
                limit = match_distance(threshold, engine.entry, engine.runtime.title(), older=older)
        except BadInput as error:
            raise HTTPException(422, str(error).removeprefix("--")) from None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Browsers ask a site before they send it such a type from another page, so no foreign page can search.
        if kind not in PICTURE["requestBody"]["content"]:
            raise HTTPException(415, wrong_type(kind))
        async with uploads.read(request) as picture:
            return await run_in_threadpool(answer, system, engine, picture, top, limit)

    def answer(system: System, engine: Engine, picture: BinaryIO, top: int, limit: float | None) -> Result:
        now = system.now()
        start = time.perf_counter()
        try:
            with one_decode:
                pixels = read_image(picture, now.bundle.preprocess, formats=FORMATS, max_pixels=MAX_PIXELS)
        except TooManyPixelsError as error:
            raise HTTPException(413, f"the picture has {error}; make it smaller") from error
        except UndecodableImageError as error:
            raise HTTPException(415, unreadable(picture, str(error))) from error
        prepared = time.perf_counter()
        embedding, milliseconds = engine.embed(pixels)
        embedded = time.perf_counter()
        matches = now.bundle.rank(engine.entry.path, embedding, top)
        ranked = time.perf_counter()
        return Result(
            bundle=system.name,
            artifact=engine.file,
            runtime=engine.runtime.component_name(),
            evidence=engine.runtime.evidence(),
            gallery=len(now.rows),
            distance=now.bundle.gallery.embedding.distance,
            threshold=limit,
            milliseconds=Milliseconds(
                prepare=1000 * (prepared - start),
                embed=milliseconds if engine.timed else None,
                rank=1000 * (ranked - embedded),
            ),
            matches=[_found(now, system, rank, match, limit) for rank, match in enumerate(matches, start=1)],
        )

    @app.get(
        "/thumbnails/{number}",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 404: {"model": Error, "description": "no such image"}},
    )
    def thumbnail(
        number: Annotated[int, PathParameter(ge=0, lt=2**63)],
        bundle: Annotated[str | None, Query(description="by default the first")] = None,
        version: Annotated[str | None, Query(description="of the gallery; by default what it is now")] = None,
    ) -> Response:
        """A gallery image as a small JPEG."""
        system = system_named(bundle)
        found = system.thumbnail(number, version)
        if found is None:
            last = len(system.now().rows) - 1
            raise HTTPException(404, f"thumbnail {number}: the gallery has 0 to {last}, or was replaced; search again")
        return Response(found, media_type="image/jpeg")

    for path, (name, media_type) in PAGE.items():
        content = (files("compress.demo") / "page" / name).read_bytes()
        app.add_api_route(path, _file(content, media_type), include_in_schema=False)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(CompressError, _failed)
    return Guard(app)


def _info(each: Engine, *, older: bool) -> ArtifactInfo:
    return ArtifactInfo(
        bundle=each.system,
        artifact=each.file,
        format=each.entry.format,
        precision=each.entry.precision,
        bytes=each.entry.bytes,
        runtime=each.runtime.component_name(),
        evidence=each.runtime.evidence(),
        shipped=each.entry.format in SHIPPED,
        unavailable=each.unavailable,
        thresholds=[
            ThresholdInfo(rate=found.name, distance=found.distance)
            for found in (() if older else thresholds_of(each.entry, each.runtime.title()))
        ],
    )


def _found(now: Opened, system: System, rank: int, match: Match, limit: float | None) -> Found:
    row = now.rows[match.name]
    return Found(
        rank=rank,
        id=row,
        name=match.name,
        label=match.label,
        distance=match.distance,
        match=limit is None or match.distance <= limit,
        thumbnail=f"/thumbnails/{row}?{urlencode({'bundle': system.name, 'version': now.version})}",
    )


def _file(content: bytes, media_type: str) -> Any:
    def page() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return page


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"][1:])
    return JSONResponse({"error": f"{where}: {problem['msg']}"}, 422)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, MissingTool) else 500)
