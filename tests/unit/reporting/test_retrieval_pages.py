import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagematch.files import digest_file
from imagematch.reporting import (
    groups_table,
    neighbours_plot,
    neighbours_table,
    write_csv,
    write_groups_page,
    write_neighbours_page,
)
from imagematch.retrieval import Group, ImageFolder, Neighbours, Retrieval, SearchMetrics

METRICS = SearchMetrics({1: 1.0}, 1.0, 1.0, {1: 1.0}, {1: 1.0}, 1, 0)

BAD_NAME = "<script>alert(1)</script>=.png"


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    names = [f"rose/{number}.png" for number in range(3)] + ["lily/" + BAD_NAME.replace("/", "\\")]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (200, 100), ((0, 60, 0, 180)[number], 0, 0)).save(tmp_path / name)
    labels = tuple(name.split("/")[0] for name in names)
    return ImageFolder(tmp_path, tuple(names), np.array([digest_file(tmp_path / name) for name in names]), labels)


def retrieval(images: ImageFolder, rows: list[list[int]], metrics: SearchMetrics | None = METRICS) -> Retrieval:
    distances = np.tile(np.arange(1, len(rows[0]) + 1, dtype=np.float32) / 10, (len(rows), 1))
    distances[np.array(rows) < 0] = np.inf
    found = Neighbours(np.array(rows), distances)
    return Retrieval(images.take(range(len(rows))), images, found, "euclidean", "flat", 0, 0, metrics)


def test_a_query_is_shown_beside_its_neighbours(images: ImageFolder) -> None:
    found = retrieval(images, [[2, 3, 1, -1]])
    figure = neighbours_plot(found, 0, count=2)
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["<b>query</b><br>rose", "0.100 ✓<br>rose", "0.200 ✗<br>lily"]
    assert len(figure.data) == 3
    assert all(trace.source.startswith("data:image/") for trace in figure.data)
    assert "<script" not in figure.to_json()
    assert len(neighbours_plot(found, 0, count=99).data) == 4


def test_without_metrics_nothing_is_right_or_wrong(images: ImageFolder) -> None:
    """As where the folders have no class in common: then every neighbour would be wrong."""
    figure = neighbours_plot(retrieval(images, [[2, 3]], None), 0)
    assert [note.text for note in figure.layout.annotations][1:] == ["0.100<br>rose", "0.200<br>lily"]


def test_names_in_a_figure_are_as_plotly_wants_them(images: ImageFolder) -> None:
    """It interprets tags, but shows the entities of quotes as they are."""
    named = dataclasses.replace(images, labels=("bird's <b>", *images.labels[1:]))
    figure = neighbours_plot(retrieval(named, [[2]]), 0)
    assert figure.layout.annotations[0].text == "<b>query</b><br>bird's &lt;b&gt;"


def test_a_page_shows_fifty_of_a_query_and_reads_each_image_once(
    images: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    seen = ImageFolder.thumbnail
    monkeypatch.setattr(ImageFolder, "thumbnail", lambda self, row, side: (read.append(row), seen(self, row, side))[1])
    found = retrieval(images, [[0, 1, 2] * 20, [1, 2, 3] * 20])
    write_neighbours_page(tmp_path / "p.html", found, model="m")
    page = (tmp_path / "p.html").read_text()
    assert page.count("<img ") == 2 * 51
    assert "Of each query the first 50 are shown" in page
    assert len(read) == 2 + 4


def test_the_worst_answered_queries_come_first_and_the_baseline_stands_beside(
    images: ImageFolder, tmp_path: Path
) -> None:
    neighbours = Neighbours(np.array([[1], [3], [-1], [0]]), np.array([[0.2], [0.3], [np.inf], [0.1]]))
    alone = dataclasses.replace(METRICS, recall_at_k={1: 0.25})
    found = Retrieval(images, images, neighbours, "euclidean", "flat", 0, 0, METRICS, alone)
    write_neighbours_page(tmp_path / "p.html", found, model="m")
    page = (tmp_path / "p.html").read_text()
    titles = re.findall(r"<h3>(.*?): (.*?)</h3>", page)
    expected = ["nearest wrong", "nearest wrong", "nothing found", "nearest right"]
    assert [kind for _, kind in titles] == expected
    assert [path for path, _ in titles][1:] == ["rose/1.png", "rose/2.png", "rose/0.png"]
    assert "baseline 0.2500" in page
    unlabelled = dataclasses.replace(found, metrics=None, baseline=None)
    write_neighbours_page(tmp_path / "p.html", unlabelled, model="m")
    titles = re.findall(r"<h3>(.*?): (.*?)</h3>", (tmp_path / "p.html").read_text())
    assert [kind for _, kind in titles] == ["nothing found", "found", "found", "found"]
    assert [path for path, _ in titles][:3] == ["rose/2.png", "rose/1.png", "rose/0.png"]


def test_the_aspect_ratio_of_images_does_not_change(images: ImageFolder, tmp_path: Path) -> None:
    small = images.thumbnail(0, 112)
    assert small.pixels.shape == (56, 112, 3)
    write_groups_page(tmp_path / "p.html", images, [Group(np.array([0]), np.array([0.0]), 0.0)], model="m", threshold=1)
    assert "rose/0.png (200 x 100)" in (tmp_path / "p.html").read_text()


def test_groups_are_a_table_and_a_page_with_harmless_names(images: ImageFolder, tmp_path: Path) -> None:
    groups = [Group(np.array([0, 2]), np.array([0, 0.01]), 0.01), Group(np.array([3, 1]), np.array([0, 0.3]), 0.3)]
    table = groups_table(images, groups)
    assert table["group"].tolist() == [1, 1, 2, 2]
    assert table["copy"].tolist() == [True, True, False, False]
    write_groups_page(tmp_path / "p.html", images, groups, model="m<b>", threshold=0.5)
    page = (tmp_path / "p.html").read_text()
    assert page.count("<img ") == 4
    assert page.count("<script") == 1  # the page's own
    assert "alert(1)</script>" not in page
    assert re.findall(r'data-kind="([^"]*)"', page) == ["several classes", "same bytes"]
    assert page.index("<h3>2: 2 images") < page.index("<h3>1: 2 images")
    assert "m&lt;b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert len(groups_table(images, [])) == 0
    assert "chains of matches" not in page
    write_groups_page(tmp_path / "p.html", images, [], model="m", threshold=0.5, undivided=9000)
    page = (tmp_path / "p.html").read_text()
    assert "9,000 more images form chains of matches" in page
    assert "No two images match" not in page


def test_paths_in_a_csv_can_be_opened(tmp_path: Path) -> None:
    """Whatever a spreadsheet would take them for: a formula, a quote, bytes that are no UTF-8."""
    names = ("=1/0.png", "@home,x/1.png", '"quoted"/2.png', "\udcff.png")
    images = ImageFolder(tmp_path, names, np.array(list("abcd")), None)
    groups = [Group(np.arange(4), np.zeros(4), 0.0)]
    for name, table in (("path", groups_table(images, groups)), ("gallery", neighbours_table(retrieval_of(images)))):
        write_csv(tmp_path / "o.csv", table)
        with (tmp_path / "o.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            assert [row[name] for row in csv.DictReader(file)] == list(names)


def retrieval_of(images: ImageFolder) -> Retrieval:
    found = Neighbours(np.array([[0, 1, 2, 3]]), np.zeros((1, 4), np.float32))
    return Retrieval(images.take([0]), images, found, "euclidean", "exact", 0, 0, None)
