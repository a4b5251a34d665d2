"""The application: one function for each path, JSON of the types in `answers`, errors as `{"error": "one line"}`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from uvicorn.config import STARTUP_FAILURE

from imagematch import __version__
from imagematch.errors import ConfigError, DataError, ImagematchError, StudyError
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Hits
from imagematch.serving.answers import (
    AddAnswer,
    EmbedAnswer,
    Found,
    HealthAnswer,
    HitAnswer,
    ImageAnswer,
    LabelAnswer,
    LabelsAnswer,
    MatchAnswer,
    ModelAnswer,
    PageAnswer,
    RelabelAnswer,
    RemoveAnswer,
    SearchAnswer,
)
from imagematch.serving.guard import PAGE_PATH, Guard
from imagematch.serving.monitoring import ServerMetrics, log_line
from imagematch.serving.received import RequestError
from imagematch.serving.review import add_review, add_unknowns
from imagematch.serving.service import Service, image_response
from imagematch.serving.settings import SETTINGS_VARIABLE, ServerSettings

_PAGE_FILES = resources.files("imagematch.serving").joinpath("page")
_LABELS_AT_ONCE = 500

_ImageId = Annotated[int, Path(ge=1, lt=2**63)]
_NUMBER = {"type": "number"}
_DECISION = {
    "threshold": {**_NUMBER, "description": "Decide at this distance."},
    "far": {**_NUMBER, "description": "Decide where the measured false accept rate was at most this much."},
}


def _body(fields: Mapping[str, Any], images: tuple[str, ...] = ("image",)) -> dict[str, Any]:
    """What `/openapi.json` says of a request's body, which is read by `received`."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    text: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
    forms = {
        kind: {"schema": {"type": "object", "properties": {**dict.fromkeys(images, one), **fields}, "required": images}}
        for kind, one in (("multipart/form-data", file), ("application/json", text))
    }
    raw = {"application/octet-stream": {"schema": file}} if len(images) == 1 else {}
    return {"requestBody": {"required": True, "content": {**forms, **raw}}}


def create_app(settings: ServerSettings, matcher: ImageMatcher | None = None) -> FastAPI:
    """The ASGI application of a server.

    Args:
        settings: what it serves, and within which limits.
        matcher: the matcher of `settings.model`, if it is open already.

    Raises:
        ConfigError: the token cannot be read, or other machines reach a server without one.
        ImagematchError: as `ImageMatcher.load` and `Gallery.open`.
    """
    metrics, token = ServerMetrics(), settings.token()
    service = Service(settings, matcher or ImageMatcher.load(settings.model), metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="imagematch", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Guard, token=token, metrics=metrics)
    _answer_errors(app)
    _add_matching(app, service)
    _add_gallery(app, service)
    add_review(app, service)
    add_unknowns(app, service)
    _add_pages(app)
    return app


def app_from_environment() -> FastAPI:
    """The application of a worker process, which ends where it cannot be made."""
    try:
        return create_app(ServerSettings.model_validate_json(os.environ[SETTINGS_VARIABLE]))
    except ImagematchError as error:
        log_line("error", error=str(error))
        sys.exit(STARTUP_FAILURE)


def _answer_errors(app: FastAPI) -> None:
    def answer(status: int, what: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": what}, status, headers)

    @app.exception_handler(RequestError)
    async def request_error(_request: Request, error: RequestError) -> JSONResponse:
        return answer(error.status, error.what, error.headers)

    @app.exception_handler(ImagematchError)
    async def own_error(_request: Request, error: ImagematchError) -> JSONResponse:
        """Without what names this machine's files; the log has it all."""
        log_line("error", error=str(error))
        if isinstance(error, DataError | ConfigError):
            where = f"{error.where}: " if error.where.startswith("image ") else ""
            return answer(422, " ".join(f"{where}{error.what}".split()))
        if isinstance(error, StudyError):
            return answer(503, "the gallery cannot be used now; the server's log has more", {"Retry-After": "5"})
        return answer(500, " ".join(error.what.split()))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return answer(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    @app.exception_handler(404)
    @app.exception_handler(405)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), error.headers)


def _add_matching(app: FastAPI, service: Service) -> None:
    matcher = service.matcher

    @app.post("/match", openapi_extra=_body(_DECISION, ("first", "second")))
    async def match(request: Request) -> MatchAnswer:
        """Whether two images show the same thing."""
        async with service.received(request, "threshold", "far", names=("first", "second")) as given:
            decision = service.decision(given)
            first, second = given.named("first"), given.named("second")
            found = await service.work(2, partial(matcher.match, [first], [second], threshold=decision.threshold))
        assert isinstance(found, list)
        one = found[0]
        return MatchAnswer(
            is_match=one.is_match, distance=one.distance, probability=one.probability, **decision.model_dump()
        )

    @app.post("/embed", openapi_extra=_body({}), response_model=EmbedAnswer)
    async def embed(request: Request) -> Response:
        """Embeddings of one or many images."""
        async with service.received(request) as given:
            images = given.many()
            embeddings = await service.work(len(images), partial(matcher.embed, images))
        return JSONResponse({"embeddings": embeddings.tolist()})

    @app.get("/model")
    async def model() -> ModelAnswer:
        """The matcher: its card, its threshold and the error rates that were measured."""
        card, rates = matcher.card, service.rates
        calibration = card.threshold.rates
        return ModelAnswer(
            name=card.name,
            version=__version__,
            decision=rates.at(matcher.threshold),
            curve=rates.curve(),
            calibration=None if calibration is None else calibration.model_dump(),
            measured_on=rates.measured_on,
            metrics=rates.metrics,
            card=card.model_dump(mode="json", exclude={"golden"}),
            gallery=await service.look(partial(len, service.gallery)) if service.has_gallery else None,
            review=service.settings.corrections is not None,
            changed_on_disk=await service.look(service.changed_on_disk),
        )

    @app.get("/health")
    async def health() -> HealthAnswer:
        """That the server answers."""
        return HealthAnswer()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """For Prometheus; of the worker that answers."""
        return PlainTextResponse(await service.metrics_text(), media_type="text/plain; version=0.0.4")


def _found(hits: Hits) -> Found:
    return Found(hits=[HitAnswer(**vars(hit)) for hit in hits], unknown=hits.unknown)


def _add_gallery(app: FastAPI, service: Service) -> None:
    fields = {"k": {"type": "integer"}, "by_label": {"type": "boolean"}, **_DECISION}

    @app.post("/search", openapi_extra=_body(fields))
    async def search(request: Request) -> SearchAnswer:
        """The nearest of the gallery to an image, and whether any of them matches."""
        gallery = service.gallery
        async with service.received(request, *fields) as given:
            decision, images = service.decision(given), given.many()
            k, by_label = given.k(10), given.flag("by_label")

            def wanted() -> list[Hits]:
                hits = gallery.search_many(images, k, threshold=decision.threshold, by_label=by_label)
                if service.unknowns is not None:
                    service.unknowns.remember(images, hits)
                return hits

            found = [_found(hits) for hits in await service.work(len(images), wanted)]
        results = found if len(found) > 1 else None
        return SearchAnswer(**decision.model_dump(), **found[0].model_dump(), results=results)

    @app.post("/gallery", openapi_extra=_body({"label": {"type": "string"}}))
    async def add(request: Request) -> AddAnswer:
        """Adds one or many images, all of them or none, under one label, one for each, or none."""
        gallery = service.gallery
        async with service.received(request, "label") as given:
            images, labels = given.many(), given.texts("label") or [None]
            if len(labels) not in (1, len(images)):
                raise RequestError(422, f"{len(images)} images cannot have {len(labels)} labels")
            each = labels * len(images) if len(labels) == 1 else labels
            ids = await service.work(len(images), partial(gallery.add, images, each))
        return AddAnswer(id=ids[0], ids=ids)

    @app.get("/gallery")
    async def page(
        label: Annotated[str | None, Query(max_length=1000)] = None,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 60,
    ) -> PageAnswer:
        """The images after an id, of one label where one is given (empty: those without)."""
        gallery = service.gallery
        found = await service.look(lambda: gallery.page(label, after=after, limit=limit + 1))
        count = await service.look(partial(len, gallery))
        images = [ImageAnswer(id=one.id, label=one.label or None, added=one.added) for one in found[:limit]]
        return PageAnswer(images=images, next=images[-1].id if len(found) > limit else None, count=count)

    @app.get("/labels")
    async def labels(
        after: Annotated[str | None, Query(max_length=1000)] = None,
        contains: Annotated[str, Query(max_length=1000)] = "",
    ) -> LabelsAnswer:
        """The labels after one that contain a text, in order, and how many images each has."""
        start = "" if after is None else f"{after}\x01"  # what follows it: no label has a null character
        wanted = partial(service.gallery.labels, start=start, contains=contains, limit=_LABELS_AT_ONCE + 1)
        counts = await service.look(wanted)
        names = list(counts)[:_LABELS_AT_ONCE]
        part = [LabelAnswer(label=name or None, count=counts[name]) for name in names]
        return LabelsAnswer(labels=part, next=names[-1] if len(counts) > len(names) else None)

    @app.get("/gallery/{image_id}/image", response_class=Response)
    async def image(image_id: _ImageId) -> Response:
        """The small image that is stored."""
        data = await service.look(partial(service.gallery.image_file, image_id))
        if data is None:
            raise RequestError(404, f"there is no image {image_id}, or it was stored without its file")
        return image_response(data)

    @app.patch("/gallery/{image_id}", openapi_extra=_body({"label": {"type": "string"}}, ()))
    async def relabel(image_id: _ImageId, request: Request) -> RelabelAnswer:
        """Gives an image another label."""
        gallery = service.gallery
        async with service.received(request, "label", names=()) as given:
            texts = given.texts("label")
            if len(texts) != 1 or texts[0] is None:
                raise RequestError(422, "there must be one `label`")
            if not await service.look(partial(gallery.relabel, image_id, texts[0])):
                raise RequestError(404, f"there is no image {image_id}")
        return RelabelAnswer(id=image_id, label=texts[0])

    @app.delete("/gallery/{image_id}")
    async def remove(image_id: _ImageId) -> RemoveAnswer:
        """Removes an image; its id is not used again."""
        removed = await service.look(partial(service.gallery.remove, image_id))
        if not removed:
            raise RequestError(404, f"there is no image {image_id}")
        return RemoveAnswer(removed=removed)


def _add_pages(app: FastAPI) -> None:
    def own_page(name: str) -> Response:
        return Response(_PAGE_FILES.joinpath(name).read_bytes(), media_type="text/html")

    app.get("/", include_in_schema=False)(lambda: own_page("index.html"))
    app.get("/docs", include_in_schema=False)(lambda: own_page("docs.html"))
    app.mount(PAGE_PATH.rstrip("/"), StaticFiles(packages=[("imagematch.serving", "page")]), name="page")
