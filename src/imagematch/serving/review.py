"""What of a gallery is worth a person's second: where labels and matcher disagree, and pairs near the threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from imagematch.data import Correction
from imagematch.retrieval import Gallery, checked_label
from imagematch.serving.answers import RemoveAnswer, UnknownsAnswer
from imagematch.serving.corrections import Corrections
from imagematch.serving.received import RequestError
from imagematch.serving.service import Service, image_response
from imagematch.serving.unknowns import Unknowns

_AT_ONCE = 40
"""Images whose neighbours are searched for in one request."""
_NEIGHBOURS = 4
_NEAR = 0.05
"""Distance from the threshold under which a decision is worth a look."""

_COPIES = 0.1
"""Share of the threshold under which images are likely copies of each other."""

Reason = Literal["other label", "no label", "duplicate", "near threshold"]


class ReviewImage(BaseModel):
    """An image of a pair."""

    id: int
    label: str | None


class ReviewItem(BaseModel):
    """A pair to look at.

    Reasons: "other label": they match, and their labels differ; "no label": they match, and one has none; "duplicate":
    their distance is under a tenth of the threshold; "near threshold": their distance is within 0.05 of it.
    """

    reason: Reason
    first: ReviewImage
    second: ReviewImage
    distance: float
    probability: float | None


class ReviewAnswer(BaseModel):
    """Pairs, the most doubtful first; `next` is the `after` of the following ones, null at the end."""

    items: list[ReviewItem]
    next: int | None


class CorrectionRequest(BaseModel):
    """What a person says of two images of the gallery."""

    first: int = Field(ge=1, lt=2**63)
    second: int = Field(ge=1, lt=2**63)
    distance: float = Field(ge=0, le=2.001)
    answer: Literal["same", "different", "not sure", "wrong label", "delete"]
    new_label: str = Field(default="", max_length=1000, description='What a "wrong label" should be; empty: not known.')


_BODY = {"application/json": {"schema": CorrectionRequest.model_json_schema()}}


class CorrectionAnswer(BaseModel):
    """How many answers there are; after an undo, what was taken back."""

    count: int
    undone: str | None = None


def review_items(gallery: Gallery, after: int, answered: set[frozenset[str]]) -> ReviewAnswer:
    """Pairs of the images after an id with their neighbours, without those that were answered before."""
    threshold, found = gallery.matcher.threshold, dict[frozenset[int], tuple[float, ReviewItem]]()
    page = gallery.page(after=after, limit=_AT_ONCE)
    neighbours = gallery.neighbours([image.id for image in page], _NEIGHBOURS)
    others = gallery.find(sorted({hit.id for hits in neighbours for hit in hits}))
    for image, hits in zip(page, neighbours, strict=True):
        for hit in hits:
            reason, other = _reason(image.label, hit.label or "", hit.distance, threshold), others.get(hit.id)
            if reason is None or other is None or frozenset((image.digest, other.digest)) in answered:
                continue
            item = ReviewItem(
                reason=reason,
                first=ReviewImage(id=image.id, label=image.label or None),
                second=ReviewImage(id=hit.id, label=hit.label),
                distance=hit.distance,
                probability=hit.probability,
            )
            found.setdefault(frozenset((image.id, hit.id)), (abs(hit.distance - threshold), item))
    items = [item for _, item in sorted(found.values(), key=lambda one: one[0])]
    return ReviewAnswer(items=items, next=page[-1].id if len(page) == _AT_ONCE else None)


def _reason(label: str, other: str, distance: float, threshold: float) -> Reason | None:
    if distance < threshold and label and other and label != other:
        return "other label"
    if distance < threshold and bool(label) != bool(other):
        return "no label"
    if distance < _COPIES * threshold:
        return "duplicate"
    return "near threshold" if abs(distance - threshold) < _NEAR else None


def add_review(app: FastAPI, service: Service) -> None:
    """Adds `/review` and `/corrections` to an application."""

    def corrections() -> Corrections:
        path = service.settings.corrections
        if path is None:
            raise RequestError(404, "answers are not recorded; start the server with --corrections FILE")
        return Corrections(path)

    @app.get("/review")
    async def review(after: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> ReviewAnswer:
        """Pairs of the gallery that are worth a person's second."""
        gallery, file = service.gallery, corrections()
        return await service.look(lambda: review_items(gallery, after, {one.pair for one in file.read()}))

    @app.post("/corrections", openapi_extra={"requestBody": {"required": True, "content": _BODY}})
    async def correct(request: Request) -> CorrectionAnswer:
        """Records what a person says of a pair. The gallery stays as it is."""
        gallery, file = service.gallery, corrections()
        async with service.received(request, *CorrectionRequest.model_fields, names=()) as received:
            given = received.model(CorrectionRequest)

        def record() -> int:
            images = gallery.find([given.first, given.second])
            for wanted in (given.first, given.second):
                if wanted not in images:
                    raise RequestError(404, f"there is no image {wanted}")
            first, second = images[given.first], images[given.second]
            return file.add(
                Correction(
                    digest=first.digest,
                    label=first.label,
                    other_digest=second.digest,
                    other_label=second.label,
                    distance=f"{given.distance:.6f}",
                    answer=given.answer,
                    new_label=checked_label(given.new_label),
                )
            )

        return CorrectionAnswer(count=await service.look(record))

    @app.delete("/corrections/last")
    async def undo() -> CorrectionAnswer:
        """Takes back the last answer."""
        file = corrections()
        last, left = await service.look(file.undo)
        if last is None:
            raise RequestError(404, "there is no answer to undo")
        return CorrectionAnswer(count=left, undone=last.answer)


def add_unknowns(app: FastAPI, service: Service) -> None:
    """Adds `/unknowns` to an application."""

    def unknowns() -> Unknowns:
        if service.unknowns is None:
            raise RequestError(404, "unknowns are remembered by a server with --corrections and one worker")
        return service.unknowns

    @app.get("/unknowns")
    async def often() -> UnknownsAnswer:
        """What several searches were for and nothing in the gallery matched, since the server was started."""
        return unknowns().often()

    @app.get("/unknowns/{number}/image", response_class=Response)
    async def image(number: int) -> Response:
        """The small image of the first of these searches."""
        return image_response(unknowns().image_file(number))

    @app.delete("/unknowns/{number}")
    async def dismiss(number: int) -> RemoveAnswer:
        """Shows it no more."""
        unknowns().dismiss(number, True)
        return RemoveAnswer(removed=1)

    @app.put("/unknowns/{number}")
    async def restore(number: int) -> RemoveAnswer:
        """Shows it again."""
        unknowns().dismiss(number, False)
        return RemoveAnswer(removed=0)
