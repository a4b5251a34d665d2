"""`imagematch retrieve` and `imagematch duplicates`, as a user runs them, on a small matcher trained here."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from imagematch.cli.main import app
from imagematch.cli.running import run
from imagematch.matching import ImageMatcher
from imagematch.retrieval import distances, embed_images, list_images, submit

MODEL = Path("exp/saved_models/small")
SMALL = {
    "experiment_name": "small",
    "dataset": "folder",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim": 8,
    "epochs": 6,
    "feature_dir": "exp/features",
    "threshold": {"far": 0.05},
}
FOLDERS = ("--query", "query", "--gallery", "gallery")
TABLE = ("--query", "table.csv", "--gallery", "table.csv")
BAD_NAMES = ("=1+1.png", "<script>alert(1).png", "new\nline.png", "ü" * 125 + ".png")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a matcher in exp/, and digits in gallery/CLASS and query/CLASS."""
    from imagematch.config import parse_train
    from imagematch.files import Layout
    from imagematch.pipeline import run_training

    root = tmp_path_factory.mktemp("small")
    digits = load_digits()
    for row in range(160):
        part = "query" if row < 40 else "gallery"
        path = root / part / f"digit {digits.target[row]}" / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[row] * 15.9).astype(np.uint8)).save(path)
    settings = {**SMALL, "data_dir": str(root / "gallery")}
    here = Path.cwd()
    os.chdir(root)
    try:
        run_training(parse_train(settings), Layout())
    finally:
        os.chdir(here)
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change, and the current directory."""
    shutil.copytree(trained, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def command(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `imagematch` in this process: exit code, output, errors."""
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run(app, arguments)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run_it


@pytest.fixture
def retrieve(command: Command) -> Command:
    def run_it(*arguments: str, output: str = "out.json") -> tuple[int, str, str]:
        base = ["retrieve", "--model", str(MODEL), "--query", "query", "--gallery", "gallery", "--output", output]
        return command(*base, *arguments)

    return run_it


def embedded(folder: str) -> tuple[list[str], np.ndarray]:
    paths = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.png"))
    return paths, ImageMatcher.load(MODEL).embed([Path(folder, path) for path in paths])


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error


def test_json_has_for_each_query_the_gallery_by_distance(retrieve: Command, place: Path) -> None:
    code, out, err = retrieve("--top-k", "7")
    assert (code, err) == (0, "")
    (queries, a), (gallery, b) = embedded("query"), embedded("gallery")
    every = distances(a, b)
    expected = {
        query: [gallery[row] for _, row in sorted(zip(every[i].tolist(), range(len(b)), strict=True))[:7]]
        for i, query in enumerate(queries)
    }
    assert json.loads(Path("out.json").read_text()) == expected
    truth, labels = ([path.split("/")[0] for path in paths] for paths in (queries, gallery))
    for k in (1, 5, 10):
        hit = np.mean([truth[i] in [labels[row] for row in np.argsort(every[i])[:k]] for i in range(len(queries))])
        assert re.search(rf"Recall@K( +\S+){{{(1, 5, 10).index(k)}}} +{hit:.4f}", out)
        assert re.search(rf"top-K accuracy( +\S+){{{(1, 5, 10).index(k)}}} +{hit:.4f}", out)
    knn = KNeighborsClassifier(1).fit(b, labels).score(a, truth)
    assert re.search(rf"kNN accuracy +{knn:.4f}", out)
    ranks = [[labels[row] == truth[i] for row in np.argsort(every[i])] for i in range(len(queries))]
    precise = [[np.mean(right[: r + 1]) * right[r] for r in range(sum(right))] for right in ranks]
    assert f"MAP@R {np.mean([np.mean(one) for one in precise]):.4f}" in out
    assert knn > 0.6  # the ranking means something


def test_the_features_alone_stand_beside_the_head(retrieve: Command, place: Path) -> None:
    _, beside, _ = retrieve("--output", "found.json")
    _, alone, _ = retrieve("--output", "found.json", "--space", "features", "--metric", "cosine")
    row = {line[:14].strip(): line[14:].split() for line in alone.splitlines()}
    map_at_r = re.search(r"^MAP@R (0\.\d+)", alone, re.MULTILINE)
    assert map_at_r is not None
    first, fifth, tenth = row["kNN accuracy"]
    assert (
        f"features alone by cosine: Recall@1 {row['Recall@K'][0]}, MAP@R {map_at_r[1]}, "
        f"kNN accuracy {first} (k = 1), {fifth} (k = 5), {tenth} (k = 10)"
    ) in beside
    assert "baseline" not in alone


def test_one_image_is_a_query_and_without_an_output_the_ranking_is_printed(command: Command, place: Path) -> None:
    ways = ("--model", str(MODEL), "--gallery", "gallery", "--top-k", "3")
    code, out, err = command("retrieve", *ways, "--query", "query/digit 0/000.png")
    assert (code, err) == (0, "")
    (queries, a), (gallery, b) = embedded("query"), embedded("gallery")
    every = distances(a[queries.index("digit 0/000.png")][None], b)[0]
    order = np.argsort(every, kind="stable")[:3]
    printed = out.splitlines()
    assert printed[-4:] == [
        "000.png",
        *(f"{rank:4} {every[row]:8.4f}  {gallery[row]}" for rank, row in enumerate(order, 1)),
    ]
    code, out, _ = command("retrieve", *ways, "--query", "query")
    assert out.splitlines()[-1] == "and 20 more queries: give --output FILE"
    code, _, err = command("retrieve", *ways, "--query", str(MODEL / "config.yaml"))
    assert (code, one_line(err)) == (3, True)
    assert "config.yaml: is not an image in a known format" in err


def test_json_on_standard_output_has_distances_and_nothing_else_is_there(command: Command, place: Path) -> None:
    Path("query/digit 0/broken.png").write_text("no picture")
    ways = ("retrieve", "--model", str(MODEL), *FOLDERS, "--top-k", "2", "--json")
    code, out, err = command(*ways)
    assert code == 0
    assert "left out: digit 0/broken.png" in err
    Path("query/digit 0/broken.png").unlink()
    found = json.loads(out)
    (queries, a), (gallery, b) = embedded("query"), embedded("gallery")
    assert [one["query"] for one in found["queries"]] == queries
    for one in found["queries"][:5]:
        for neighbour in one["neighbours"]:
            pair = a[queries.index(one["query"])][None], b[gallery.index(neighbour["gallery"])][None]
            assert neighbour["distance"] == pytest.approx(float(distances(*pair)[0, 0]), abs=1e-6)
            assert neighbour["right"] == (one["query"].split("/")[0] == neighbour["gallery"].split("/")[0])
    assert found["metrics"]["queries"] == 40
    assert (found["metric"], found["index"], found["threshold"]) == ("euclidean", "flat", None)
    code, out, _ = command("duplicates", "--model", str(MODEL), "gallery", "--threshold", "1e-3", "--json")
    assert (code, json.loads(out)) == (0, {"threshold": 1e-3, "groups": [], "undivided": []})


def test_a_threshold_leaves_out_what_is_farther_and_says_who_is_unknown(command: Command, place: Path) -> None:
    ways = ("retrieve", "--model", str(MODEL), *FOLDERS, "--top-k", "5")
    every = json.loads(command(*ways, "--json")[1])
    middle = float(np.median([one["neighbours"][0]["distance"] for one in every["queries"]]))
    near = json.loads(command(*ways, "--json", "--threshold", str(middle))[1])
    for whole, part in zip(every["queries"], near["queries"], strict=True):
        assert part["neighbours"] == [one for one in whole["neighbours"] if one["distance"] < middle]
    unknown = sum(not one["neighbours"] for one in near["queries"])
    assert 0 < unknown < 40
    assert near["metrics"] == every["metrics"]
    code, out, _ = command(*ways, "--threshold", str(middle))
    assert f"{unknown} queries are unknown: nothing in the gallery is nearer than" in out
    assert code == 0
    for wrong in ("0", "-1", "nan", "inf"):
        code, _, err = command(*ways, "--threshold", wrong)
        assert (code, one_line(err)) == (2, True)


def test_csv_has_ranks_and_distances(retrieve: Command, place: Path) -> None:
    assert retrieve("--top-k", "3", "--metric", "cosine", output="new/out.csv")[0] == 0
    rows = table("new/out.csv")
    assert len(rows) == 3 * 40
    (queries, a), (gallery, b) = embedded("query"), embedded("gallery")
    every = distances(a, b, "cosine")
    for number, row in enumerate(rows):
        query, other = queries.index(row["query"]), gallery.index(row["gallery"])
        assert int(row["rank"]) == number % 3 + 1
        assert float(row["distance"]) == pytest.approx(float(every[query, other]), abs=2e-6)
        assert row["right"] == str(queries[query].split("/")[0] == gallery[other].split("/")[0])


def test_the_page_is_self_contained_and_marks_right_and_wrong(retrieve: Command, place: Path) -> None:
    bad = "<img src=x onerror=alert(1)>.png"
    shutil.copy("gallery/digit 1/042.png", f"query/digit 0/{bad}")  # wrong class: its neighbours are of another one
    assert retrieve("--top-k", "4", output="out.html")[0] == 0
    page = Path("out.html").read_text()
    assert page.count("<img ") == 41 * 5
    assert 'class="tile right"' in page
    assert 'class="tile wrong"' in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert page.count("<script") == 1  # the page's own
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_jaccard_needs_features(retrieve: Command, place: Path) -> None:
    code, _, err = retrieve("--metric", "jaccard")
    assert code == 2
    assert one_line(err)
    assert "use space features" in err
    assert retrieve("--metric", "jaccard", "--space", "features", "--top-k", "5")[0] == 0

    def pixels(folder: str) -> tuple[list[str], np.ndarray]:
        paths = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.png"))
        return paths, np.stack([np.asarray(Image.open(Path(folder, p)), float).ravel() for p in paths])

    (queries, a), (gallery, b) = pixels("query"), pixels("gallery")
    found = json.loads(Path("out.json").read_text())
    for i, query in enumerate(queries):
        every = [1 - np.minimum(a[i], row).sum() / np.maximum(a[i], row).sum() for row in b]
        assert np.isclose([every[gallery.index(path)] for path in found[query]], np.sort(every)[:5]).all()


def test_a_query_that_is_no_image_is_named_and_the_others_go_on(retrieve: Command, place: Path) -> None:
    Path("query/digit 0/broken.png").write_text("no picture")
    code, out, _ = retrieve()
    assert code == 0
    assert "left out: digit 0/broken.png: is not an image in a known format" in out
    assert len(json.loads(Path("out.json").read_text())) == 40


def test_what_is_left_out_of_a_folder_that_is_query_and_gallery_is_named_once(command: Command, place: Path) -> None:
    Path("gallery/digit 0/broken.png").write_text("no picture")
    Path("gallery/digit 0/notes.txt").write_text("no image by its name")
    ways = ("--model", str(MODEL))
    both = ("--query", "gallery", "--gallery", "./gallery", "--output", "out.json")
    for arguments in (("retrieve", *ways, *both), ("duplicates", *ways, "gallery")):
        code, out, _ = command(*arguments)
        assert code == 0
        assert out.count("digit 0/broken.png: is not an image") == 1
        assert out.count("digit 0/notes.txt") == 1
    shutil.copy("gallery/digit 0/broken.png", "query/digit 0/broken.png")
    _, out, _ = command("retrieve", *ways, *FOLDERS, "--output", "out.json")
    assert out.count("digit 0/broken.png: is not an image") == 2


@pytest.mark.parametrize("what", ["query", "gallery"])
def test_an_empty_folder_is_told_in_one_line(retrieve: Command, place: Path, what: str) -> None:
    shutil.rmtree(what)
    Path(what).mkdir()
    code, _, err = retrieve()
    assert code == 3
    assert one_line(err)
    assert f"{what}: no images in it" in err
    assert not Path("out.json").exists()


def test_more_than_the_gallery_has_gives_all_and_says_so(retrieve: Command, place: Path) -> None:
    code, out, _ = retrieve("--top-k", "1000")
    assert code == 0
    assert "top-k 1,000 is more than the gallery has: all 120 are given" in out
    assert {len(ranked) for ranked in json.loads(Path("out.json").read_text()).values()} == {120}


def test_a_copy_of_a_query_is_found_and_the_metrics_leave_it_out(retrieve: Command, place: Path) -> None:
    shutil.copy("query/digit 0/000.png", "gallery/digit 0/other name.png")
    for index in ((), ("--index", "hnsw")):
        code, out, _ = retrieve("--top-k", "1000", *index, output="out.csv")
        assert code == 0
        assert "1 images of the gallery are copies of a query: ranked, but not counted in the metrics" in out
        found = [row for row in table("out.csv") if row["query"] == "digit 0/000.png"]
        assert (found[0]["gallery"], float(found[0]["distance"])) == ("digit 0/other name.png", 0.0)
        assert len(found) == 121
    Path("gallery/digit 0/other name.png").unlink()
    shutil.copytree("query", "gallery", dirs_exist_ok=True)
    _, out, _ = retrieve()
    first = {query: ranked[0] for query, ranked in json.loads(Path("out.json").read_text()).items()}
    assert first == {query: query for query in embedded("query")[0]}
    assert float(re.search(r"Recall@K +(\S+)", out)[1]) < 1  # type: ignore[index]


def test_a_query_of_the_gallery_itself_is_left_out_of_its_own_ranking(command: Command, place: Path) -> None:
    ways = ["retrieve", "--model", str(MODEL), "--gallery", "gallery", "--top-k", "1000", "--output", "out.json"]
    for query, prefix in (("gallery", ""), ("./gallery/digit 1", "digit 1/")):
        code, out, _ = command(*ways, "--query", query)
        assert code == 0
        found = json.loads(Path("out.json").read_text())
        assert f"{len(found)} images are in both: each is left out of its own ranking" in out
        assert all(len(ranked) == 119 and prefix + one not in ranked for one, ranked in found.items())


def test_too_few_images_for_the_index_are_told_before_any_is_embedded(
    retrieve: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.retrieval.folder_search.embed_images", lambda *_, **__: pytest.fail("embedded"))
    code, _, err = retrieve("--index", "ivfpq")
    assert code == 3
    assert one_line(err)
    assert "an ivfpq index begins with 256 images or more, not 120" in err


def test_why_there_are_no_metrics_is_said(retrieve: Command, place: Path) -> None:
    shutil.copy("gallery/digit 3/045.png", "gallery/loose.png")
    _, out, _ = retrieve()
    assert "no metrics: not all images of gallery are in class folders, as loose.png" in out
    assert "Recall" not in out
    Path("gallery/loose.png").unlink()
    Path("one/digit 0").mkdir(parents=True)
    shutil.copy("query/digit 0/000.png", "one/digit 0")
    told = "no metrics: no query has another image of its class in the gallery"
    assert told in retrieve("--query", "one", "--gallery", "one")[1]
    shutil.move("gallery", "shop")
    Path("gallery").mkdir()
    for folder in Path("shop").iterdir():
        shutil.move(folder, Path("gallery", f"a {folder.name}"))
    assert "no metrics: the two have no class in common (the first are digit 0 in query and a digit 0" in retrieve()[1]


def test_folders_query_and_gallery_of_one_place_are_roles(command: Command, retrieve: Command, place: Path) -> None:
    alone = retrieve()[1]
    Path("shop").mkdir()
    for name in ("query", "gallery"):
        shutil.move(name, "shop")
    ways = ["--query", "shop", "--gallery", "shop", "--output", "shop.json"]
    code, out, _ = command("retrieve", "--model", str(MODEL), *ways)
    assert (code, out.replace("shop.json", "out.json")) == (0, alone)
    expected = json.loads(Path("out.json").read_text())
    found = json.loads(Path("shop.json").read_text())
    assert found == {f"query/{query}": [f"gallery/{path}" for path in ranked] for query, ranked in expected.items()}


def test_features_of_a_trained_extractor_are_cached_too(
    retrieve: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagematch.config import parse_train
    from imagematch.files import Layout
    from imagematch.pipeline import run_training

    settings = {
        "experiment_name": "small",
        "dataset": "folder",
        "data_dir": "gallery",
        "feature_extractor": "small_cnn",
        "weights": "random",
        "trainable": True,
        "image_size": 8,
        "embedding_dim": 8,
        "epochs": 1,
    }
    run_training(parse_train(settings), Layout(), fresh=True)
    computed: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        vectors, count = embed_images(*arguments, **options)
        computed.append(count)
        return vectors, count

    monkeypatch.setattr("imagematch.retrieval.folder_search.embed_images", counted)
    assert "index flat" in retrieve()[1]
    first = json.loads(Path("out.json").read_text())
    assert "index flat" in retrieve()[1]
    assert json.loads(Path("out.json").read_text()) == first
    shutil.copy("query/digit 0/000.png", "gallery/digit 0/new.png")
    assert "index flat" in retrieve()[1]
    assert json.loads(Path("out.json").read_text())["digit 0/000.png"][0] == "digit 0/new.png"
    assert computed == [120, 40, 0, 0, 0, 0]
    assert "index flat" in retrieve("--space", "features")[1]


def test_names_of_any_kind_are_unchanged_in_json_and_csv_and_harmless_in_pages(retrieve: Command, place: Path) -> None:
    for number, name in enumerate(BAD_NAMES):
        shutil.move(sorted(Path("gallery/digit 1").glob("0*.png"))[number], Path("gallery/digit 1", name))
    Path("gallery/digit 1", os.fsdecode(b"\xff.png")).write_bytes(Path("query/digit 1/001.png").read_bytes())
    for output in ("out.json", "out.csv", "out.html"):
        code, _, err = retrieve("--top-k", "200", output=output)
        assert (code, err) == (0, "")
    ranked = json.loads(Path("out.json").read_text())["digit 2/002.png"]
    assert {f"digit 1/{name}" for name in BAD_NAMES} <= set(ranked)
    assert os.fsdecode(b"digit 1/\xff.png") in ranked
    rows = table("out.csv")
    assert {Path("gallery", row["gallery"]).is_file() for row in rows} == {True}
    assert {f"digit 1/{name}" for name in BAD_NAMES} <= {row["gallery"] for row in rows}
    assert Path("out.html").read_text().count("<script") == 1  # the page's own
    shutil.move("gallery/digit 1/=1+1.png", "gallery/=1+1.png")
    assert retrieve("--top-k", "200", output="out.csv")[0] == 0
    names = {row["gallery"] for row in table("out.csv")}
    assert "=1+1.png" in names


def test_a_kept_index_grows_is_rebuilt_and_belongs_to_its_model(retrieve: Command, place: Path) -> None:
    assert "index: hnsw of 120 images" in retrieve("--index", "hnsw", "--top-k", "3")[1]
    first = json.loads(Path("out.json").read_text())
    retrieve("--top-k", "3")
    assert json.loads(Path("out.json").read_text()) == first
    assert "index: hnsw of" not in retrieve("--index", "hnsw", "--top-k", "3")[1]
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save("gallery/digit 0/a new one.png")
    assert "index: 1 images appended" in retrieve("--index", "hnsw", "--top-k", "500")[1]
    assert "digit 0/a new one.png" in json.loads(Path("out.json").read_text())["digit 0/000.png"]
    Path("gallery/digit 0/a new one.png").unlink()
    assert "index: hnsw of 120 images" in retrieve("--index", "hnsw", "--top-k", "500")[1]
    assert "digit 0/a new one.png" not in json.loads(Path("out.json").read_text())["digit 0/000.png"]
    description = next((MODEL / "indexes").glob("*/index.json"))
    description.write_text(json.dumps({**json.loads(description.read_text()), "model": "another"}))
    code, _, err = retrieve("--index", "hnsw")
    assert code == 5
    assert one_line(err)
    assert "was built by another model; remove it: it will be built again" in err


def test_the_second_time_nothing_goes_through_the_network(place: Path) -> None:
    matcher = ImageMatcher.load(MODEL)
    queries, gallery = (list_images(Path(name), manifest_dir=Path("exp/manifests")) for name in ("query", "gallery"))
    first, computed = embed_images(matcher, queries, Path("exp/features"))
    again, computed_again = embed_images(matcher, queries, Path("exp/features"))
    assert (computed, computed_again) == (40, 0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, embedded("query")[1], atol=1e-5)
    assert embed_images(matcher, gallery, Path("exp/features"))[1] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output", "out.txt"], "end its name with .json, .csv or .html"),
        (["--submit", "ftp://example.org"], "is not an http or https address"),
        (["--top-k", "0"], "--top-k"),
        (["--metric", "manhattan"], "--metric"),
        (["--metric", "jaccard", "--space", "features", "--index", "hnsw"], "hnsw does not know the metric jaccard"),
    ],
)
def test_wrong_options_are_told_in_one_line(retrieve: Command, arguments: list[str], told: str) -> None:
    code, _, err = retrieve(*arguments)
    assert code == 2
    assert one_line(err)
    assert told in err


def test_a_missing_model_and_a_missing_folder_are_told_in_one_line(command: Command) -> None:
    ways = ["--query", "query", "--gallery", "gallery", "--output", "out.json"]
    code, _, err = command("retrieve", "--model", "nowhere", *ways)
    assert (code, one_line(err)) == (5, True)
    code, _, err = command("retrieve", "--model", str(MODEL), *ways, "--gallery", "nowhere")
    assert (code, one_line(err)) == (3, True)


def test_names_too_long_are_told_in_one_line(retrieve: Command, command: Command) -> None:
    long = "x" * 300
    for arguments, expected in (
        (("--gallery", long), 3),
        (("--query", f"{long}/y"), 3),
        (("--output", f"{long}.json"), 2),
    ):
        code, _, err = retrieve(*arguments)
        assert (code, one_line(err)) == (expected, True)
        assert "File name too long" in err
    code, _, err = command("duplicates", "--model", str(MODEL), long)
    assert (code, one_line(err)) == (3, True)


def test_names_with_line_feeds_are_one_line_each(retrieve: Command, command: Command) -> None:
    Path("gallery/digit 1/new\nline.png").write_text("no picture")
    for name in ("a\nb.png", "c\nd.png"):
        shutil.copy("gallery/digit 1/042.png", Path("gallery/digit 1", name))
    assert "left out: digit 1/new\\nline.png: is not an image" in retrieve()[1]
    out = command("duplicates", "--model", str(MODEL), "gallery", "--threshold", "1e-3")[1]
    assert "   digit 1/a\\nb.png\n" in out


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(submit.__kwdefaults__, "pause_s", 0.01)
    monkeypatch.setitem(submit.__kwdefaults__, "timeout_s", 0.4)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if made.status == 0:
                threading.Event().wait(1.0)
                return
            self.send_response(made.status)
            self.end_headers()
            self.wfile.write(b"top-1: 0.9")

        def log_message(self, *_arguments: Any) -> None:
            pass

    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *_: None
    made.bodies, made.status = [], 200
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_ranking_is_posted_whatever_the_output(retrieve: Command, server: Any) -> None:
    code, out, _ = retrieve("--submit", f"http://127.0.0.1:{server.server_port}/", output="out.csv")
    assert code == 0
    assert "posted   top-1: 0.9" in out
    retrieve()
    assert server.bodies == [json.loads(Path("out.json").read_text())]


@pytest.mark.parametrize(("status", "told"), [(500, "answers 500"), (0, "no answer within 0.4 s")])
def test_a_server_at_fault_is_told_in_one_line_and_the_output_is_there(
    retrieve: Command, server: Any, status: int, told: str
) -> None:
    server.status = status
    code, _, err = retrieve("--submit", f"http://127.0.0.1:{server.server_port}/")
    assert code == 4
    assert one_line(err)
    assert told in err
    assert len(server.bodies) == 4
    assert Path("out.json").is_file()


def test_duplicates_are_grouped_and_nothing_is_deleted(command: Command, place: Path) -> None:
    shutil.copy("gallery/digit 3/045.png", "gallery/copy.png")
    before = sorted(Path("gallery").rglob("*"))
    for output in ("out.csv", "out.json", "out.html"):
        code, out, err = command("duplicates", "--model", str(MODEL), "gallery", "--output", output)
        assert (code, err) == (0, "")
        assert "121 images: " in out
    assert sorted(Path("gallery").rglob("*")) == before
    found = json.loads(Path("out.json").read_text())
    paths, vectors = embedded("gallery")
    every = distances(vectors, vectors)
    for group in found["groups"]:
        rows = [paths.index(image["path"]) for image in group["images"]]
        assert len(rows) > 1
        assert every[np.ix_(rows, rows)].max() == pytest.approx(group["diameter"], abs=1e-5)
        assert group["diameter"] < found["threshold"]
    together = [{image["path"] for image in group["images"]} for group in found["groups"]]
    assert any({"copy.png", "digit 3/045.png"} <= group for group in together)
    rows = table("out.csv")
    assert [row["path"] for row in rows if row["copy"] == "True"] in (
        ["copy.png", "digit 3/045.png"],
        ["digit 3/045.png", "copy.png"],
    )
    code, out, _ = command("duplicates", "--model", str(MODEL), "gallery", "--threshold", "1e-3")
    assert out.splitlines()[1:] == ["1: at most 0.0000 apart", "   copy.png", "   digit 3/045.png"]
    code, _, err = command("duplicates", "--model", str(MODEL), "nowhere")
    assert (code, one_line(err)) == (3, True)


def test_duplicates_at_a_threshold_of_ones_own(command: Command, place: Path) -> None:
    shutil.copy("gallery/digit 3/045.png", "gallery/copy.png")
    ways = ["duplicates", "--model", str(MODEL), "gallery", "--output", "out.json", "--threshold"]
    assert command(*ways, "1e-3")[0] == 0
    found = json.loads(Path("out.json").read_text())
    assert found["threshold"] == 1e-3
    assert [{image["path"] for image in group["images"]} for group in found["groups"]] == [
        {"copy.png", "digit 3/045.png"}
    ]
    assert "give a smaller --threshold" in command(*ways, "2.1")[1]
    for wrong in ("0", "-1", "nan", "inf"):
        code, _, err = command(*ways, wrong)
        assert (code, one_line(err)) == (2, True)
        assert "give a distance over 0" in err


def test_what_hangs_together_too_widely_is_told_and_listed(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.retrieval.duplicates.MOST_IN_A_CHAIN", 10)
    ways = ["duplicates", "--model", str(MODEL), "gallery", "--output", "out.json", "--threshold", "2.1"]
    code, out, _ = command(*ways)
    assert code == 0
    assert "120 images: 0 groups with 0 images under 2.1000" in out
    assert "120 more images, such as digit 0/048.png, form a chain of matches too long to be divided" in out
    found = json.loads(Path("out.json").read_text())
    assert (found["groups"], found["undivided"]) == ([], [embedded("gallery")[0]])


def test_a_table_says_which_images_are_queries_and_which_the_gallery(command: Command, place: Path) -> None:
    lines = ["path,label,query,gallery"]
    lines += [f"{path.as_posix()},{path.parent.name},yes,no" for path in sorted(Path("query").rglob("*.png"))]
    lines += [f"{path.as_posix()},{path.parent.name},no,yes" for path in sorted(Path("gallery").rglob("*.png"))]
    Path("table.csv").write_bytes("\r\n".join(lines).encode())
    of_folders = command("retrieve", "--model", str(MODEL), *FOLDERS, "--output", "folders.json")
    of_table = command("retrieve", "--model", str(MODEL), *TABLE, "--output", "table.json")
    assert of_table[0] == 0
    assert of_table[1].replace("table.json", "folders.json") == of_folders[1]
    folders, table = (json.loads(Path(name).read_text()) for name in ("folders.json", "table.json"))
    assert table == {f"query/{query}": [f"gallery/{path}" for path in found] for query, found in folders.items()}


def test_a_file_that_two_tables_name_is_one_file_however_they_name_it(command: Command, place: Path) -> None:
    files = [path.relative_to(place) for path in sorted(place.glob("gallery/*/*.png"))]
    (place / "deep").mkdir()
    (place / "link").symlink_to(place / "gallery")
    linked = place / "link" / files[2].relative_to("gallery")
    named = [place / files[0], f"../{files[1].as_posix()}", linked]
    (place / "deep/query.csv").write_text("path\n" + "".join(f"{file}\n" for file in named))
    (place / "gallery.csv").write_text("path\n" + "".join(f"./{file.as_posix()}\n" for file in files))
    sides = ("--query", "deep/query.csv", "--gallery", "gallery.csv")
    code, _, _ = command("retrieve", "--model", str(MODEL), *sides, "--output", "out.json")
    assert code == 0
    ranking = json.loads(Path("out.json").read_text())
    assert len(ranking) == 3
    for query, found in ranking.items():
        assert Path(query).name not in {Path(path).name for path in found}


@pytest.fixture
def faces(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The matcher is trained on what is cut out of photos: each has a digit as its face, in noise of its own."""
    from imagematch.config import parse_train
    from imagematch.data import Face, FaceCropper, decode
    from imagematch.files import Layout
    from imagematch.pipeline import run_training

    def find(_cropper: FaceCropper, image: bytes, **_: Any) -> Face | None:
        return Face(4, 6, 8, 8) if decode(image).shape[0] == 20 else None

    monkeypatch.setattr("imagematch.data.FaceCropper.find", find)
    for path in (*Path("query").rglob("*.png"), *Path("gallery").rglob("*.png")):
        in_noise(path, path)
    settings = {**SMALL, "data_dir": "gallery", "face_crop": "haar", "face_margin": 0.0, "face_missing": "skip"}
    run_training(parse_train(settings), Layout(), fresh=True)
    return place


def in_noise(source: Path, target: Path, seed: int = 0) -> None:
    """A photo with the digit of `source`, itself a digit or such a photo, as its face."""
    with Image.open(source) as image:
        digit = np.asarray(image.convert("RGB"))
    digit = digit if len(digit) == 8 else digit[6:14, 4:12]
    pixels = np.random.default_rng([seed, *target.name.encode()]).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    pixels[6:14, 4:12] = digit
    Image.fromarray(pixels).save(target)


def test_faces_are_searched_and_kept_as_they_are_cut(faces: Path, retrieve: Command) -> None:
    in_noise(Path("query/digit 0/000.png"), Path("gallery/digit 0/same face.png"))
    Image.new("RGB", (30, 30)).save("query/digit 0/faceless.png")
    Image.new("RGB", (30, 30)).save("gallery/digit 1/faceless too.png")
    code, out, _ = retrieve("--top-k", "5", output="flat.csv")
    assert code == 0
    assert "40 queries, 121 images in the gallery" in out
    assert "left out: digit 0/faceless.png: no face found in it" in out
    assert "left out: digit 1/faceless too.png: no face found in it" in out
    first = next(row for row in table("flat.csv") if row["query"] == "digit 0/000.png")
    assert (first["gallery"], float(first["distance"])) == ("digit 0/same face.png", 0.0)
    assert "index: hnsw of 121 images" in retrieve("--index", "hnsw", "--top-k", "5", output="hnsw.csv")[1]
    assert [(row["query"], row["gallery"]) for row in table("hnsw.csv")] == [
        (row["query"], row["gallery"]) for row in table("flat.csv")
    ]
    in_noise(Path("query/digit 1/001.png"), Path("gallery/digit 1/same face.png"))
    assert "index: 1 images appended" in retrieve("--index", "hnsw", output="hnsw.csv")[1]
    found = next(row for row in table("hnsw.csv") if row["query"] == "digit 1/001.png")
    assert (found["gallery"], float(found["distance"])) == ("digit 1/same face.png", 0.0)


def test_duplicates_are_found_by_the_face_alone(faces: Path, command: Command) -> None:
    in_noise(Path("gallery/digit 0/048.png"), Path("gallery/digit 0/same face.png"))
    Image.new("RGB", (30, 30)).save("gallery/digit 1/faceless.png")
    ways = ("--model", str(MODEL), "gallery", "--threshold", "0.000001", "--output", "groups.json")
    code, out, _ = command("duplicates", *ways)
    assert code == 0
    assert out.count("left out: digit 1/faceless.png: no face found in it") == 1
    groups = [
        {image["path"] for image in group["images"]} for group in json.loads(Path("groups.json").read_text())["groups"]
    ]
    assert groups == [{"digit 0/048.png", "digit 0/same face.png"}]


def test_the_boxes_of_a_table_are_images_of_their_own(command: Command, place: Path) -> None:
    """Each box is ranked and grouped as its part of the picture would be in a file."""
    names = ["digit 0/000.png", "digit 1/001.png", "digit 2/002.png"]
    parts = [np.asarray(Image.open(Path("query", name))) for name in names]
    Image.fromarray(np.concatenate(parts, axis=1)).save("sheet.png")
    Path("sheet.csv").write_text("path,x,y,w,h\n" + "".join(f"sheet.png,{8 * i},0,8,8\n" for i in range(3)))
    ways = ("retrieve", "--model", str(MODEL), "--top-k", "4", "--output", "out.json")
    assert command(*ways, "--query", "query", "--gallery", "gallery")[0] == 0
    expected = json.loads(Path("out.json").read_text())
    for index in ("flat", "hnsw"):
        assert command(*ways, "--query", "sheet.csv", "--gallery", "gallery", "--index", index)[0] == 0
        found = json.loads(Path("out.json").read_text())
        assert found == {f"sheet.png#{8 * i},0,8,8": expected[name] for i, name in enumerate(names)}
    for _ in range(2):  # built, then opened again
        assert command(*ways, "--query", "query", "--gallery", "sheet.csv", "--index", "hnsw")[0] == 0
        found = json.loads(Path("out.json").read_text())
        assert [found[name][0] for name in names] == [f"sheet.png#{8 * i},0,8,8" for i in range(3)]
    with Path("sheet.csv").open("a") as table:
        table.write("query/digit 1/001.png,,,,\n")
    ways = ("duplicates", "--model", str(MODEL), "sheet.csv", "--threshold", "0.000001", "--output", "groups.json")
    assert command(*ways)[0] == 0
    (group,) = json.loads(Path("groups.json").read_text())["groups"]
    assert {image["path"] for image in group["images"]} == {"query/digit 1/001.png", "sheet.png#8,0,8,8"}


def test_the_command_itself_runs_without_a_word_of_tensorflow(place: Path) -> None:
    arguments = ["retrieve", "--model", str(MODEL), "--query", "query", "--gallery", "gallery", "--output", "out.json"]
    done = subprocess.run([sys.executable, "-m", "imagematch", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "40 queries, 120 images in the gallery, euclidean distance, index flat" in done.stdout


def test_help_says_what_ranks_alike_and_what_jaccard_needs(command: Command) -> None:
    _, out, _ = command("retrieve", "--help")
    text = " ".join(out.split())
    assert "unit sphere, where euclidean and cosine rank alike" in text
    assert "jaccard (weighted) needs non-negative values: --space features" in text
    assert "those of efficientnet, the default, go below 0" in text
