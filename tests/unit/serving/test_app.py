"""What the server answers, in process."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery

from .conftest import image_file, write_matcher

ONE, TWO, THREE = (image_file(seed) for seed in (1, 2, 3))
OWN_RATES = {"threshold": 1.0, "far": 0.02, "frr": 0.05, "fpir": 0.2, "fnir": 0.1}


def test_two_images_are_matched(client: TestClient, matcher_folder: Path) -> None:
    expected = ImageMatcher.load(matcher_folder).match([ONE], [TWO])[0]
    answer = client.post("/match", files={"first": ONE, "second": TWO})
    assert answer.status_code == 200
    assert answer.json() == {
        **OWN_RATES,
        "is_match": expected.is_match,
        "distance": pytest.approx(expected.distance, abs=1e-6),
        "probability": pytest.approx(expected.probability, abs=1e-6),
    }
    same = client.post("/match", files={"first": ONE, "second": ONE}).json()
    assert (same["distance"], same["is_match"]) == (0.0, True)


def test_multipart_base64_and_raw_bytes_are_embedded_alike(client: TestClient, matcher_folder: Path) -> None:
    expected = ImageMatcher.load(matcher_folder).embed([ONE, TWO])
    text = [base64.b64encode(data).decode() for data in (ONE, TWO)]
    multipart = client.post("/embed", files=[("image", ONE), ("image", TWO)])
    as_json = client.post("/embed", json={"image": text})
    raw = client.post("/embed", content=ONE, headers={"Content-Type": "image/png"})
    assert np.allclose(multipart.json()["embeddings"], expected, atol=1e-6)
    assert np.allclose(as_json.json()["embeddings"], expected, atol=1e-6)
    assert np.allclose(raw.json()["embeddings"], expected[:1], atol=1e-6)


def test_what_is_added_is_found_and_what_is_removed_is_not(client: TestClient) -> None:
    empty = client.post("/search", files={"image": ONE}, data={"k": "3"})
    assert empty.json() == {**OWN_RATES, "hits": [], "unknown": True, "results": None}
    added = client.post("/gallery", files={"image": ONE}, data={"label": "Anna"})
    assert added.json() == {"id": 1, "ids": [1]}
    assert client.post("/gallery", files=[("image", TWO), ("image", THREE)]).json() == {"id": 2, "ids": [2, 3]}
    found = client.post("/search", files={"image": ONE}, data={"k": "1"}).json()
    hit = {"id": 1, "label": "Anna", "distance": 0.0, "probability": pytest.approx(1, abs=1e-4), "is_match": True}
    assert (found["hits"], found["unknown"]) == ([hit], False)
    assert client.delete("/gallery/1").json() == {"removed": 1}
    assert client.delete("/gallery/1").status_code == 404
    found = client.post("/search?k=9", content=ONE, headers={"Content-Type": "application/octet-stream"}).json()
    assert {hit["id"] for hit in found["hits"]} == {2, 3}


def test_many_images_are_searched_at_a_time(client: TestClient) -> None:
    client.post("/gallery", files=[("image", ONE), ("image", TWO)], data={"label": ["a", "b"]})
    found = client.post("/search", files=[("image", TWO), ("image", ONE)], data={"k": "1"}).json()
    assert [one["hits"][0]["label"] for one in found["results"]] == ["b", "a"]
    assert found["hits"] == found["results"][0]["hits"]


def test_another_threshold_comes_with_its_own_rates(client: TestClient) -> None:
    client.post("/gallery", files={"image": ONE})
    for threshold, at in {
        "0.5": {"far": 0.01, "frr": 0.4, "fpir": 0.15, "fnir": None},  # of the next looser and the next stricter
        "0.8": {"far": 0.02, "frr": 0.1, "fpir": 0.2, "fnir": 0.3},
        "1.9": {"far": None, "frr": 0.01, "fpir": None, "fnir": 0.05},
    }.items():
        found = client.post("/search", files={"image": ONE}, data={"threshold": threshold}).json()
        assert {key: found[key] for key in ("threshold", *at)} == {"threshold": float(threshold), **at}
    found = client.post("/search", files={"image": ONE}, data={"far": "0.001"}).json()
    assert (found["threshold"], found["far"], found["frr"]) == (0.3, 0.001, 0.4)
    unresolved = client.post("/search", files={"image": ONE}, data={"far": "0.00001"})
    assert unresolved.status_code == 422
    assert "no threshold has a FAR" in unresolved.json()["error"]


def test_the_gallery_is_paged_and_has_labels(client: TestClient) -> None:
    for seed in range(5):
        client.post("/gallery", files={"image": image_file(seed)}, data={"label": "ab"[seed % 2]})
    first = client.get("/gallery", params={"limit": 3}).json()
    assert ([image["id"] for image in first["images"]], first["next"], first["count"]) == ([1, 2, 3], 3, 5)
    rest = client.get("/gallery", params={"limit": 3, "after": 3}).json()
    assert ([image["id"] for image in rest["images"]], rest["next"]) == ([4, 5], None)
    assert [image["id"] for image in client.get("/gallery", params={"label": "b"}).json()["images"]] == [2, 4]
    labels = [{"label": "a", "count": 3}, {"label": "b", "count": 2}]
    assert client.get("/labels").json() == {"labels": labels, "next": None}
    assert client.get("/labels?contains=B").json() == {"labels": labels[1:], "next": None}
    assert client.get("/gallery/1/image").headers["content-type"] == "image/png"
    assert client.get("/gallery/99/image").status_code == 404


def test_a_label_is_replaced(client: TestClient) -> None:
    client.post("/gallery", files={"image": ONE}, data={"label": "Anna"})
    assert client.patch("/gallery/1", json={"label": "Ben"}).json() == {"id": 1, "label": "Ben"}
    assert client.get("/gallery").json()["images"][0]["label"] == "Ben"
    assert client.post("/search", files={"image": ONE}).json()["hits"][0]["distance"] == 0.0
    assert client.get("/gallery/1/image").status_code == 200
    assert client.patch("/gallery/2", json={"label": "Ben"}).status_code == 404
    assert client.patch("/gallery/1", json={"label": ""}).status_code == 422
    assert client.patch("/gallery/1", json={"label": 7}).status_code == 422


def test_a_label_is_data_and_never_markup(client: TestClient) -> None:
    label = "<img src=x onerror=alert(1)>\u202e\x1b[31m"
    client.post("/gallery", files={"image": ONE}, data={"label": label})
    answer = client.get("/gallery")
    assert answer.json()["images"][0]["label"] == label
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    too_long = client.post("/gallery", files={"image": TWO}, data={"label": "x" * 10_000})
    assert too_long.status_code == 422
    assert too_long.json() == {"error": "a label has at most 1,000 letters, not 10,000"}


def test_the_model_says_what_was_measured(client: TestClient) -> None:
    model = client.get("/model").json()
    assert (model["name"], model["decision"], model["gallery"], model["changed_on_disk"]) == (
        *("small", OWN_RATES, 0),
        False,
    )
    assert [point["threshold"] for point in model["curve"]] == [0.3, 0.6, 0.7, 1.0, 1.1, 1.2]
    assert (model["measured_on"], model["calibration"]["far_ci95"]) == ("test", [0.01, 0.03])
    assert "golden" not in model["card"]


def test_a_matcher_that_changes_underneath_is_reported_and_not_used(
    start: Callable[..., TestClient], tmp_path: Path
) -> None:
    folder = write_matcher(tmp_path / "changing")
    client = start(model=folder, gallery=None)
    before = client.post("/embed", files={"image": ONE}).json()
    write_matcher(folder, seed=2)
    assert client.get("/model").json()["changed_on_disk"] is True
    assert client.post("/embed", files={"image": ONE}).json() == before
    (folder / "matcher.json").unlink()
    assert client.get("/model").json()["changed_on_disk"] is True


def test_without_a_gallery_matching_goes_on(start: Callable[..., TestClient]) -> None:
    client = start(gallery=None)
    assert client.post("/match", files={"first": ONE, "second": TWO}).status_code == 200
    for answer in (client.post("/search", files={"image": ONE}), client.get("/gallery"), client.delete("/gallery/1")):
        assert answer.status_code == 404
        assert answer.json() == {"error": "no gallery is served; start the server with --gallery"}


def test_a_gallery_that_was_rebuilt_for_another_matcher_is_an_error_in_one_line(
    client: TestClient, gallery_folder: Path, tmp_path: Path
) -> None:
    client.post("/gallery", files={"image": ONE})
    with Gallery.open(gallery_folder) as gallery:
        gallery.rebuild(write_matcher(tmp_path / "other", seed=2))
    answer = client.post("/search", files={"image": ONE})
    assert answer.status_code == 500
    assert "matcher" in answer.json()["error"]
    assert str(gallery_folder) not in answer.text


def test_the_server_counts_its_requests_and_logs_no_image(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/gallery", files={"image": ONE}, data={"label": "secret name"})
    client.post("/search", files={"image": TWO})
    client.get("/nothing")
    text = client.get("/metrics").text
    assert 'imagematch_requests_total{method="POST",route="/search",status="200"} 1' in text
    assert 'imagematch_requests_total{method="GET",route="other",status="404"} 1' in text
    assert 'imagematch_request_seconds_count{route="/gallery"} 1' in text
    assert "imagematch_images_total 2" in text
    assert "imagematch_gallery_images 1" in text
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines[:2]] == [
        ("POST", "/gallery", 200),
        ("POST", "/search", 200),
    ]
    assert "secret name" not in json.dumps(lines)


def test_the_interface_is_described_without_a_network(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/match", "/embed", "/model", "/health", "/metrics", "/search", "/gallery", "/labels"),
        *("/gallery/{image_id}", "/gallery/{image_id}/image", "/review", "/corrections", "/corrections/last"),
        *("/unknowns", "/unknowns/{number}", "/unknowns/{number}/image"),
    }
    body = described["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json", "application/octet-stream"}
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text
