"""What a request brings: images as multipart files, base64 in JSON or raw bytes, and fields; all within limits."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from imagematch.data import open_image
from imagematch.errors import DataError
from imagematch.serving.settings import ServerSettings

_Model = TypeVar("_Model", bound=BaseModel)

_MB = 1_000_000
_MAX_FIELDS = 1_000
_FIELD_BYTES = 64_000
_MAX_K = 1_000
_CLOSE = {"Connection": "close"}
_BUSY = {"Retry-After": "1"}


class RequestError(Exception):
    """A refused request: an HTTP status, a one-line reason, and headers."""

    def __init__(self, status: int, what: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = " ".join(what.split())
        self.headers = headers or {}


class Allowance:
    """A budget shared by all requests of the event loop; a request beyond it gets a 503."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    @contextlib.contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Takes so much while the block runs. Raises RequestError where less is left."""
        if self.used + amount > self.total:
            raise RequestError(503, "the server is busy; try again", _BUSY)
        self.used += amount
        try:
            yield
        finally:
            self.used -= amount


class Received:
    """A request's images and fields.

    Attributes:
        images: (the name of its field, a file's bytes), in order.
    """

    def __init__(self, images: list[tuple[str, bytes]], fields: dict[str, list[Any]]) -> None:
        self.images = images
        self._fields = fields

    def many(self) -> list[bytes]:
        """The images. Raises RequestError where there is none."""
        if not self.images:
            raise RequestError(422, "there is no image: send a file `image`, JSON with base64, or raw bytes")
        return [data for _, data in self.images]

    def named(self, name: str) -> bytes:
        """The one image of a field. Raises RequestError where there is not one."""
        found = [data for given, data in self.images if given == name]
        if len(found) != 1:
            raise RequestError(422, f"there must be one image `{name}`, not {len(found)}")
        return found[0]

    def texts(self, name: str) -> list[str | None]:
        """All values of a text field. Raises RequestError where one is no text."""
        values = self._fields.get(name, [])
        if not all(value is None or isinstance(value, str) for value in values):
            raise RequestError(422, f"`{name}` must be text")
        return values

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number over `low` and at most `high`; None where it is not given. Raises RequestError for anything else."""
        values = self._fields.get(name, [])
        if not values or values == [None]:
            return None
        try:
            value = float(values[0]) if not isinstance(values[0], bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if len(values) > 1 or not low < value <= high:
            raise RequestError(422, f"`{name}` must be a number over {low:g} and at most {high:g}")
        return value

    def k(self, default: int) -> int:
        """How many hits are wanted. Raises RequestError where that is no whole number from 1 to 1,000."""
        value = self.number("k", 0, _MAX_K)
        if value is not None and not value.is_integer():
            raise RequestError(422, f"`k` must be a whole number from 1 to {_MAX_K:,}")
        return default if value is None else int(value)

    def flag(self, name: str) -> bool:
        """Whether a field says true. Raises RequestError where it says neither true nor false."""
        value = (self._fields.get(name) or [False])[-1]
        meanings = {"true": True, "1": True, "false": False, "0": False, "": False}
        if str(value).lower() not in meanings:
            raise RequestError(422, f"`{name}` must be true or false")
        return meanings[str(value).lower()]

    def model(self, kind: type[_Model]) -> _Model:
        """All fields, each at most once. Raises RequestError where one is of another kind."""
        if twice := [name for name, values in self._fields.items() if len(values) != 1]:
            raise RequestError(422, f"there must be one `{twice[0]}`")
        try:
            return kind.model_validate({name: value for name, (value,) in self._fields.items()})
        except ValidationError as error:
            first = error.errors()[0]
            raise RequestError(422, f"{first['loc'][0]}: {first['msg']}") from error


@contextlib.asynccontextmanager
async def received(
    request: Request, settings: ServerSettings, memory: Allowance, names: tuple[str, ...], fields: tuple[str, ...]
) -> AsyncIterator[Received]:
    """Reads a request; its share of the memory is given back at the end of the block.

    Args:
        request: whose body is read.
        settings: with the limits.
        memory: bytes that the bodies of all requests may take.
        names: of the fields that are images; the first is that of raw bytes.
        fields: names of the other fields.

    Raises:
        RequestError: it is too large, too slow, of no known type, or has other fields.
    """
    limit = settings.max_body_mb * _MB
    announced = request.headers.get("content-length")
    size = limit if announced is None or not announced.isdecimal() else int(announced[:20])
    if size > limit:
        raise RequestError(413, f"a request has at most {settings.max_body_mb} MB", _CLOSE)
    with memory.taken(size):
        body = await _body(request, limit, settings.body_seconds)
        images, given = await _parsed(request.headers, body, names, settings.max_images)
        for key, value in request.query_params.multi_items():
            given.setdefault(key, []).append(value)
        if other := sorted(given.keys() - set(fields)):
            raise RequestError(
                422, f"there is no field {other[0][:40]!r} here; there are {', '.join((*names, *fields))}"
            )
        if len(images) > settings.max_images:
            raise RequestError(413, f"a request has at most {settings.max_images:,} images, not {len(images):,}")
        for number, (_, data) in enumerate(images, 1):
            _check_header(data, settings.max_megapixels, f"image {number}: " if len(images) > 1 else "")
        yield Received(images, given)


async def _body(request: Request, limit: int, seconds: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise RequestError(413, f"a request has at most {limit // _MB} MB", _CLOSE)
    except TimeoutError:
        raise RequestError(408, f"the request did not arrive within {seconds:g} s", _CLOSE) from None
    except ClientDisconnect:
        raise RequestError(400, "the request broke off", _CLOSE) from None
    return bytes(body)


async def _parsed(
    headers: Headers, body: bytes, names: tuple[str, ...], max_images: int
) -> tuple[list[tuple[str, bytes]], dict[str, list[Any]]]:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(headers, body, names, max_images)
    if kind == "application/json":
        return _json(body, names)
    if names and (kind.startswith("image/") or kind == "application/octet-stream"):
        return [(names[0], body)], {}
    if not body:
        return [], {}
    raise RequestError(415, "send multipart/form-data, application/json, image/* or application/octet-stream")


class _InMemory(MultiPartParser):
    """Starlette's parser without files on disk: the body is in memory already, and bounded."""

    spool_max_size = 1 << 40


async def _multipart(
    headers: Headers, body: bytes, names: tuple[str, ...], max_images: int
) -> tuple[list[tuple[str, bytes]], dict[str, list[Any]]]:
    async def stream() -> Any:
        yield body

    if "boundary=" not in headers["content-type"]:
        raise RequestError(400, "multipart/form-data without a boundary")
    parser = _InMemory(headers, stream(), max_files=max_images, max_fields=_MAX_FIELDS, max_part_size=_FIELD_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeDecodeError, ValueError, LookupError) as error:
        status = 413 if "Too many" in str(error) or "maximum size" in str(error) else 400
        raise RequestError(status, f"the form cannot be read: {str(error)[:200] or type(error).__name__}") from error
    images: list[tuple[str, bytes]] = []
    fields: dict[str, list[Any]] = {}
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile) != (key in names):
                kind = "a file" if key in names else "text, not a file"
                raise RequestError(422, f"the field {key[:40]!r} must be {kind}")
            if isinstance(value, UploadFile):
                images.append((key, await value.read()))
            else:
                fields.setdefault(key, []).append(value)
    finally:
        await form.close()
    return images, fields


def _json(body: bytes, names: tuple[str, ...]) -> tuple[list[tuple[str, bytes]], dict[str, list[Any]]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise RequestError(422, "the body must be a JSON object")
    images: list[tuple[str, bytes]] = []
    fields: dict[str, list[Any]] = {}
    for key, given in value.items():
        values = given if isinstance(given, list) else [given]
        if key not in names:
            fields[key] = values
            continue
        for text in values:
            try:
                if not isinstance(text, str):
                    raise ValueError("no text")
                images.append((key, base64.b64decode(text, validate=True)))
            except (ValueError, binascii.Error) as error:
                raise RequestError(422, f"`{key}` must be base64") from error
    return images, fields


def _check_header(data: bytes, max_megapixels: int, where: str) -> None:
    try:
        open_image(data, max_megapixels * 1_000_000)
    except DataError as error:
        raise RequestError(422, f"{where}{error.what}") from error
    except Exception:  # noqa: S110 - whatever a damaged header raises: the decoder says it in one line
        pass
