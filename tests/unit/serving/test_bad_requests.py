"""Requests that cannot be answered: each is a 4xx or 503 with one line, and harms no other."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from imagematch.errors import ConfigError, DataError, ModelError, StudyError
from imagematch.matching import ImageMatcher
from imagematch.serving import TOKEN_VARIABLE, ServerSettings, create_app
from imagematch.serving.batching import BatchingMatcher, BatchingStore

from .conftest import image_file, write_matcher

ONE, TWO = image_file(1), image_file(2)
TOKEN = "correct-horse-battery-staple"


def png_bomb(side: int) -> bytes:
    """A PNG that claims side x side pixels and holds none."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image"),
        (ONE[: len(ONE) // 2], ""),
        (image_file(1, "JPEG")[:400], ""),
        (png_bomb(60_000), "over the limit of 50,000,000"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
        (b"%PDF-1.7", "PDF"),
    ],
    ids=["empty", "text", "truncated png", "truncated jpeg", "bomb", "svg", "pdf"],
)
@pytest.mark.parametrize("path", ["/embed", "/search", "/gallery"])
def test_an_image_that_cannot_be_used_is_a_422_with_one_line(
    client: TestClient, path: str, data: bytes, part: str
) -> None:
    answer = client.post(path, files={"image": data})
    assert answer.status_code == 422
    line = answer.json()["error"]
    assert part in line
    assert "\n" not in line
    assert client.get("/gallery").json()["count"] == 0


def test_one_of_many_that_cannot_be_used_is_named_and_none_is_added(client: TestClient) -> None:
    answer = client.post("/gallery", files=[("image", ONE), ("image", b"text"), ("image", TWO)])
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("image 2")
    assert client.get("/gallery").json()["count"] == 0


@pytest.mark.parametrize(
    ("request_of", "status", "part"),
    [
        ({"data": {"k": "3"}}, 415, "send multipart"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "send multipart"),
        ({"json": {"image": "not base64!"}}, 422, "`image` must be base64"),
        ({"json": {"image": 7}}, 422, "`image` must be base64"),
        ({"json": [1]}, 422, "must be a JSON object"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "is not JSON"),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "is not JSON"),
        ({"json": {"k": 3}}, 422, "there is no image"),
        ({}, 422, "there is no image"),
        ({"files": {"image": ONE}, "data": {"k": "0"}}, 422, "`k` must be"),
        ({"files": {"image": ONE}, "data": {"k": "2.5"}}, 422, "`k` must be"),
        ({"files": {"image": ONE}, "data": {"k": "1e99"}}, 422, "`k` must be"),
        ({"files": {"image": ONE}, "data": {"k": "nan"}}, 422, "`k` must be"),
        ({"files": {"image": ONE}, "data": {"threshold": "-1"}}, 422, "`threshold` must be"),
        ({"files": {"image": ONE}, "data": {"threshold": "1", "far": "0.1"}}, 422, "exclude each other"),
        ({"files": {"image": ONE}, "data": {"by_label": "perhaps"}}, 422, "`by_label` must be"),
        ({"files": {"image": ONE}, "data": {"top_k": "3"}}, 422, "no field 'top_k'"),
        ({"files": {"image": ONE, "k": b"3"}}, 422, "must be text, not a file"),
        ({"files": {"other": ONE}}, 422, "must be text, not a file"),
        ({"files": [("image", ONE)] * 65}, 413, "form cannot be read"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, 400, "form cannot be read"),
    ],
)
def test_a_request_that_is_wrong_is_a_4xx_with_one_line(
    client: TestClient, request_of: dict[str, Any], status: int, part: str
) -> None:
    answer = client.post("/search", **request_of)
    assert part in answer.json()["error"]
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("x" * 10_000, "a label has at most 1,000 letters, not 10,000"),
        ("a\0b", "a label must be text, without null characters"),
        ("\ud800", "a label must be Unicode text"),
        (7, "`label` must be text"),
        (["a", "b"], "1 images cannot have 2 labels"),
    ],
)
def test_a_label_that_cannot_be_one_is_refused_and_nothing_is_added(client: TestClient, label: Any, told: str) -> None:
    image = base64.b64encode(ONE).decode()
    content, headers = json.dumps({"image": image, "label": label}), {"Content-Type": "application/json"}
    answer = client.post("/gallery", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (422, {"error": told})
    assert client.get("/labels").json() == {"labels": [], "next": None}


def test_two_servers_share_a_gallery(start: Callable[..., TestClient]) -> None:
    one, other = start(), start()
    for number, client in enumerate((one, other, one, other), 1):
        assert client.post("/gallery", files={"image": image_file(number)}, data={"label": "x"}).json()["id"] == number
        for searching in (one, other):
            hits = searching.post("/search", files={"image": image_file(number)}, data={"k": "1"}).json()["hits"]
            assert [hit["id"] for hit in hits] == [number]
    assert other.delete("/gallery/1").json() == {"removed": 1}
    assert one.get("/gallery/1/image").status_code == 404
    assert [client.get("/gallery").json()["count"] for client in (one, other)] == [3, 3]


def test_paths_and_ids_that_are_not_there(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/gallery/0/image", 422),
        ("GET", f"/gallery/{2**70}/image", 422),
        ("DELETE", "/gallery/x", 422),
        ("GET", "/gallery?limit=0", 422),
        ("PUT", "/gallery", 405),
        ("GET", "/nothing", 404),
        ("GET", "/page/../../../../etc/passwd", 404),
        ("GET", "/page/%2e%2e/app.py", 404),
        ("GET", "/gallery/..%2f..%2fetc%2fpasswd/image", 404),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status, path
        assert set(answer.json()) == {"error"}, path


def test_a_path_of_the_servers_disk_is_never_read(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(ONE)
    answer = client.post("/embed", json={"image": str(tmp_path / "own.png")})
    assert answer.status_code == 422
    answer = client.post("/embed", files={"image": (str(tmp_path / "own.png"), str(tmp_path / "own.png").encode())})
    assert answer.status_code == 422


def test_a_body_that_is_too_large_is_refused_before_it_is_read(start: Callable[..., TestClient]) -> None:
    client = start(max_body_mb=1)
    announced = {"Content-Type": "image/png", "Content-Length": str(10**9)}
    answer = client.post("/embed", content=iter([b"x"]), headers=announced)
    assert (answer.status_code, answer.json()["error"]) == (413, "a request has at most 1 MB")
    assert answer.headers["connection"] == "close"
    unannounced = client.post("/embed", content=iter([b"x" * 600_000] * 3), headers={"Content-Type": "image/png"})
    assert unannounced.status_code == 413
    assert client.post("/embed", files={"image": ONE}).status_code == 200


async def _answered(app: Any, receive: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a POST to /embed whose body comes from `receive`."""
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/embed", "headers": headers, "query_string": b""}
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({**scope, "raw_path": b"/embed", "root_path": "", "scheme": "http", "http_version": "1.1"}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_body_that_comes_slowly_or_breaks_off_is_given_up(start: Callable[..., TestClient]) -> None:
    client = start(body_seconds=0.05)

    async def slow() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def broken() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert asyncio.run(_answered(client.app, slow)) == (408, {"error": "the request did not arrive within 0.05 s"})
    assert asyncio.run(_answered(client.app, broken)) == (400, {"error": "the request broke off"})
    assert client.app.state.service.memory.used == 0  # type: ignore[attr-defined]


def test_bodies_together_have_bounded_memory(start: Callable[..., TestClient]) -> None:
    client = start(max_body_mb=1, max_memory_mb=1)
    with client.app.state.service.memory.taken(999_999):  # type: ignore[attr-defined]
        answer = client.post("/embed", files={"image": ONE})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/embed", files={"image": ONE}).status_code == 200


@pytest.fixture
def held(start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, Any, Any]]:
    """A server for two images at a time whose engine waits: (client, entered, go on)."""
    client = start(max_waiting=2)
    batcher = client.app.state.service.matcher.batcher  # type: ignore[attr-defined]
    entered, go_on, run = threading.Event(), threading.Event(), batcher._function

    def waiting(images: Any, key: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return run(images, key)

    monkeypatch.setattr(batcher, "_function", waiting)
    yield client, entered, go_on
    go_on.set()


def test_a_full_queue_is_a_503_and_what_waits_is_answered(held: tuple[TestClient, Any, Any]) -> None:
    client, entered, go_on = held
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/embed", files=[("image", ONE), ("image", TWO)])
        assert entered.wait(60)
        answer = client.post("/embed", files={"image": ONE})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"error": "the server is busy; try again"}
        assert client.get("/health").status_code == 200
        go_on.set()
        assert first.result().status_code == 200
    assert client.post("/embed", files={"image": ONE}).status_code == 200


def test_a_token_is_needed_where_there_is_one(
    start: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    client = start(token_file=tmp_path / "token", host="::")
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
    ):
        for method, path in (("POST", "/embed"), ("GET", "/gallery"), ("GET", "/metrics"), ("DELETE", "/gallery/1")):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/embed", files={"image": ONE}, headers=allowed).status_code == 200
    assert client.get("/gallery", headers={**allowed, "Host": "matcher.example"}).status_code == 200
    assert [client.get(path).status_code for path in ("/", "/health", "/docs", "/openapi.json")] == [200] * 4
    monkeypatch.setenv(TOKEN_VARIABLE, "another token")
    with pytest.raises(ConfigError, match="16 or more"):
        ServerSettings(model=tmp_path).token()


def test_without_a_token_only_this_machine_is_served(client: TestClient, matcher_folder: Path) -> None:
    with pytest.raises(ConfigError, match="without a token the server listens to this machine only"):
        create_app(ServerSettings(model=matcher_folder, host="::"))
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_cannot_use_it(client: TestClient) -> None:
    other = client.post("/gallery", files={"image": ONE}, headers={"Origin": "http://evil.example"})
    assert other.status_code == 403
    assert client.post("/gallery", files={"image": ONE}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    own = client.post("/gallery", files={"image": ONE}, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_a_gallery_that_cannot_be_used_now_is_a_503_and_is_used_again(
    client: TestClient, gallery_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise StudyError("the gallery cannot be used: database or disk is full", where=str(gallery_folder))

    with monkeypatch.context() as broken:
        broken.setattr("imagematch.retrieval.sqlite_store.SqliteStore.add", full)
        answer = client.post("/gallery", files={"image": ONE})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"error": "the gallery cannot be used now; the server's log has more"}
    assert client.post("/gallery", files={"image": ONE}).json() == {"id": 1, "ids": [1]}


def test_a_defect_is_a_500_in_one_line_and_the_log_has_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("a secret of the implementation")

    monkeypatch.setattr(client.app.state.service.matcher, "embed", defect)  # type: ignore[attr-defined]
    answer = client.post("/embed", files={"image": ONE})
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error; the server's log has more"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "a secret of the implementation" in capsys.readouterr().err


def test_another_matchers_gallery_is_refused(matcher_folder: Path, gallery_folder: Path, tmp_path: Path) -> None:
    other = write_matcher(tmp_path / "other", seed=2)
    with pytest.raises(ModelError, match="belongs to another matcher"):
        create_app(ServerSettings(model=other, gallery=str(gallery_folder)))
    with pytest.raises(DataError, match="no gallery is there"):
        create_app(ServerSettings(model=matcher_folder, gallery=str(tmp_path / "nowhere")))


def test_what_one_request_breaks_is_no_others_error(matcher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three wait for the engine together, and the middle one's image makes it fail."""
    sizes: list[int] = []
    matcher = BatchingMatcher(ImageMatcher.load(matcher_folder), sizes.append)
    batcher = matcher.batcher
    run, started, go_on = batcher._function, threading.Event(), threading.Event()

    def failing(images: Any, key: Any) -> Any:
        if not started.is_set():
            started.set()
            assert go_on.wait(60)
        if any(image.max() == 0 for image in images):
            raise ModelError("gives no number")
        return run(images, key)

    monkeypatch.setattr(batcher, "_function", failing)
    good, black = np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(matcher.embed, good)
        assert started.wait(60)
        rest = [pool.submit(matcher.embed, image) for image in (good, black, good)]
        while batcher.waiting < 3:
            time.sleep(0.001)
        go_on.set()
        expected = first.result()
        assert np.array_equal(rest[0].result(), expected)
        assert np.array_equal(rest[2].result(), expected)
        with pytest.raises(ModelError, match="gives no number"):
            rest[1].result()
    matcher.close()
    assert sizes == [1, 3]
    with pytest.raises(ModelError, match="stopping"):
        matcher.embed(good)


def test_searches_that_wait_run_together_where_they_want_as_many() -> None:
    """The store counts its calls; each answer is that of a search alone."""
    started, go_on, calls = threading.Event(), threading.Event(), []

    class Store:
        facts = "those of the store"

        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            calls.append((len(queries), k))
            if not started.is_set():
                started.set()
                assert go_on.wait(60)
            return np.repeat(queries[:, :1].astype(int), k, axis=1), np.full((len(queries), k), 0.5, np.float32)

        def close(self) -> None:
            calls.append((0, 0))

    store = BatchingStore(Store())  # type: ignore[arg-type]
    assert store.facts == "those of the store"

    def found(number: int, k: int) -> list[list[int]]:
        return store.search(np.full((1, 2), number, np.float32), k)[0].tolist()

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(found, 1, 2)
        assert started.wait(60)
        rest = []
        for number, k in ((2, 2), (3, 2), (4, 1)):
            rest.append(pool.submit(found, number, k))
            while store._batcher.waiting < len(rest):
                time.sleep(0.001)
        go_on.set()
        assert [one.result() for one in (first, *rest)] == [[[1, 1]], [[2, 2]], [[3, 3]], [[4]]]
    store.close()
    assert calls == [(1, 2), (2, 2), (1, 1), (0, 0)]
