"""The review: which pairs are shown, and what becomes of the answers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from imagematch.data import Correction, read_corrections
from imagematch.errors import DataError
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery, Hits
from imagematch.serving.corrections import Corrections
from imagematch.serving.review import review_items
from imagematch.serving.unknowns import Unknowns

from .conftest import image_file


@pytest.fixture
def reviewed(start: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    """A gallery of nearly the same image three times: two labels, and none."""
    client = start(corrections=tmp_path / "corrections.csv")
    for kind, label in (("PNG", "a"), ("BMP", "b"), ("TIFF", "")):
        client.post("/gallery", files={"image": image_file(1, kind)}, data={"label": label})
    return client


def test_pairs_that_labels_and_matcher_see_differently_are_shown(reviewed: TestClient) -> None:
    answer = reviewed.get("/review").json()
    shown = {(one["reason"], one["first"]["id"], one["second"]["id"]) for one in answer["items"]}
    assert shown == {("other label", 1, 2), ("no label", 1, 3), ("no label", 2, 3)}
    assert answer["next"] is None


def test_pairs_near_the_threshold_are_shown_the_nearest_first(matcher_folder: Path, gallery_folder: Path) -> None:
    with Gallery.open(gallery_folder, matcher_folder) as gallery:
        gallery.add([image_file(seed) for seed in range(30)], "one")
        threshold = gallery.matcher.threshold
        expected = {
            frozenset((image.id, hit.id))
            for image in gallery.images()
            for hit in gallery.neighbours([image.id], 4)[0]
            if abs(hit.distance - threshold) < 0.05
        }
        items = review_items(gallery, 0, set()).items
        assert {frozenset((one.first.id, one.second.id)) for one in items} == expected
        doubts = [abs(one.distance - threshold) for one in items]
        assert doubts == sorted(doubts)
        assert all(one.reason == "near threshold" for one in items)


def test_an_answer_is_recorded_shown_no_more_and_taken_back(reviewed: TestClient, tmp_path: Path) -> None:
    given = {"first": 1, "second": 2, "distance": 0.0, "answer": "same"}
    assert reviewed.post("/corrections", json=given).json() == {"count": 1, "undone": None}
    with (tmp_path / "corrections.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["other_label"], row["distance"], row["answer"]) == ("a", "b", "0.000000", "same")
    assert len(row["digest"]) == len(row["other_digest"]) == 32
    assert [(one["first"]["id"], one["second"]["id"]) for one in reviewed.get("/review").json()["items"]] == [
        (1, 3),
        (2, 3),
    ]
    assert reviewed.delete("/corrections/last").json() == {"count": 0, "undone": "same"}
    assert len(reviewed.get("/review").json()["items"]) == 3
    assert reviewed.delete("/corrections/last").status_code == 404


def test_answers_that_are_wrong_change_nothing(reviewed: TestClient, tmp_path: Path) -> None:
    good = {"first": 1, "second": 2, "distance": 0.1, "answer": "same"}
    for change in ({"answer": "perhaps"}, {"first": 0}, {"distance": "far"}, {"distance": -1}):
        assert reviewed.post("/corrections", json={**good, **change}).status_code == 422
    assert reviewed.post("/corrections", json={**good, "second": 9}).status_code == 404
    assert not (tmp_path / "corrections.csv").exists()


def test_a_wrong_label_is_recorded_with_the_right_one_and_a_training_reads_it(
    reviewed: TestClient, tmp_path: Path
) -> None:
    given = {"first": 2, "second": 1, "distance": 0.0, "answer": "wrong label", "new_label": '=a,\n"b"'}
    assert reviewed.post("/corrections", json=given).json()["count"] == 1
    assert reviewed.post("/corrections", json={**given, "new_label": "x" * 1001}).status_code == 422
    (said,) = read_corrections(tmp_path / "corrections.csv")
    assert (said.label, said.answer, said.new_label) == ("b", "wrong label", given["new_label"])


def test_likely_copies_of_one_label_are_shown(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start(corrections=tmp_path / "corrections.csv")
    for kind in ("PNG", "BMP"):
        client.post("/gallery", files={"image": image_file(1, kind)}, data={"label": "a"})
    (item,) = client.get("/review").json()["items"]
    assert (item["reason"], item["first"]["id"], item["second"]["id"]) == ("duplicate", 1, 2)


def test_unknowns_that_keep_coming_back_are_remembered_and_dismissed(
    start: Callable[..., TestClient], tmp_path: Path
) -> None:
    client = start(corrections=tmp_path / "corrections.csv")

    def search(seed: int, kind: str = "PNG", threshold: float = 0.01) -> None:
        client.post("/search", files={"image": image_file(seed, kind)}, data={"threshold": threshold})

    client.post("/gallery", files={"image": image_file(1)})
    search(1)
    for kind in ("PNG", "PNG", "BMP", "TIFF"):  # the same file twice is one search
        search(2, kind)
    (found,) = client.get("/unknowns").json()["unknowns"]
    assert found["searches"] == 3
    path = f"/unknowns/{found['id']}"
    assert client.get(f"{path}/image").content.startswith(b"\x89PNG")
    assert client.delete(path).status_code == 200
    assert client.get("/unknowns").json() == {"unknowns": []}
    assert client.put(path).status_code == 200
    assert len(client.get("/unknowns").json()["unknowns"]) == 1
    assert client.get("/unknowns/99/image").status_code == 404


def test_no_more_unknowns_are_remembered_than_memory_has_room_for(
    matcher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.serving.unknowns._MOST", 2)
    monkeypatch.setattr(Unknowns, "_nearest", lambda *_: None)
    unknowns = Unknowns(ImageMatcher.load(matcher_folder))
    unknowns.remember([image_file(seed) for seed in range(5)], [Hits()] * 5)
    assert sorted(unknowns._found) == [4, 5]


def test_without_a_file_nothing_is_reviewed(client: TestClient) -> None:
    assert client.get("/review").json() == {
        "error": "answers are not recorded; start the server with --corrections FILE"
    }


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    for text in ("path,label\na,b\n", "", "\0", 'digest,"', "path,answer,share of neighbours\na,,1.0\n"):
        (tmp_path / "table.csv").write_text(text)
        with pytest.raises(DataError):
            Corrections(tmp_path / "table.csv").add(Correction("1", "a", "2", "b", "0.5", "same"))
        assert (tmp_path / "table.csv").read_text() == text


def test_labels_of_many_lines_leave_the_answers_readable(reviewed: TestClient, tmp_path: Path) -> None:
    reviewed.patch("/gallery/1", json={"label": "a\n" * 400})
    for new_label in ("\r\n" * 150 + "x", 'quoted " \u2028' * 50):
        given = {"first": 1, "second": 2, "distance": 0.1, "answer": "wrong label", "new_label": new_label}
        assert reviewed.post("/corrections", json=given).status_code == 200
    first, second = read_corrections(tmp_path / "corrections.csv")
    assert (first.new_label, first.label) == ("x", " ".join(["a"] * 400))
    assert second.new_label.startswith('quoted " ')


def test_an_answer_that_is_wrong_is_a_4xx_with_one_line(reviewed: TestClient) -> None:
    sound = {"first": 1, "second": 2, "distance": 0.1, "answer": "same"}
    for wrong in (
        *({"first": 0}, {"first": 2**63}, {"second": "x"}, {"second": None}, {"distance": -1}, {"distance": "nan"}),
        *({"answer": "perhaps"}, {"new_label": 7}, {"new_label": "x" * 1001}, {"new_label": ["a", "b"]}, {"other": 1}),
        *({"first": []}, {"new_label": "\0"}),
    ):
        answer = reviewed.post("/corrections", json={**sound, **wrong})
        assert answer.status_code == 422, wrong
        assert "\n" not in answer.json()["error"]
    for body in (b"{", b"[" * 100_000, b"[1]", b"\xff"):
        answer = reviewed.post("/corrections", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), body
    answer = reviewed.patch("/gallery/1", content=b"x", headers={"Content-Type": "image/png"})
    assert answer.status_code == 415


def test_an_answer_has_the_limits_of_every_request(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start(corrections=tmp_path / "corrections.csv", max_body_mb=1)
    answer = client.post("/corrections", content=b" " * 1_000_001, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "at most 1 MB" in answer.json()["error"]) == (413, True)
