"""`evaluate` and `export` as a user runs them: the training's own figures, lists of pairs, networks for others."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tests.conftest import Invoke

from imagematch import ImageMatcher
from imagematch.config import load_train
from imagematch.data import open_dataset
from imagematch.errors import ConfigError, DataError, ModelError
from imagematch.matching.card_file import sealed
from imagematch.pipeline import export as export_room
from imagematch.pipeline.export import export_matcher, export_projector
from imagematch.pipeline.exporters import EXPORTERS
from imagematch.pipeline.pair_lists import read_pairs
from imagematch.pipeline.pairs import evaluate_pairs

MODEL = Path("exp/saved_models/small")


@pytest.fixture(scope="module")
def copied(small_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the study's folder that may be added to."""
    return Path(shutil.copytree(small_study, tmp_path_factory.mktemp("copied") / "study"))


@pytest.fixture
def inside(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copied)
    return copied


@pytest.fixture(scope="module")
def faces(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in the folders of LFW: `name/name_0001.jpg`, 12 images of each of 4."""
    folder = tmp_path_factory.mktemp("faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copied)
        dataset = open_dataset(load_train(MODEL / "config.yaml"), manifest_dir=Path("exp/manifests"))
    for label in range(4):
        (folder / f"digit{label}").mkdir()
        for number, row in enumerate(np.flatnonzero(dataset.labels == label)[:12], 1):
            path = folder / f"digit{label}" / f"digit{label}_{number:04}.jpg"
            Image.fromarray(dataset.pixels(int(row), 8)).save(path, quality=100)
    return folder


def image(label: int, number: int) -> str:
    return f"digit{label}/digit{label}_{number:04}.jpg"


def write_table(path: Path, lines: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def test_evaluate_gives_the_figures_of_the_training(inside: Path, invoke: Invoke) -> None:
    kept = json.loads((inside / MODEL / "metrics.json").read_text())
    command = ("evaluate", "--model", MODEL, "--one-shot", "5", "--output", "out", "--json")
    done = invoke(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"validation", "test", "baseline", "one_shot"}
    without = {"remarks": []}  # that the winner was refitted is said of the training
    assert {**found["test"], **without} == {**kept["test"], **without}
    assert found["baseline"]["test"]["roc_auc"] == kept["baseline"]["test"]["roc_auc"]
    assert found["one_shot"]["matcher"]["trials"] == 100
    assert 0 <= found["one_shot"]["matcher"]["error_rate"] < 0.5
    assert json.loads((inside / "out" / "metrics.json").read_text()) == found
    assert "ROC AUC" in (inside / "out" / "report.html").read_text(encoding="utf-8")


def test_evaluate_in_words(inside: Path, invoke: Invoke) -> None:
    done = invoke("evaluate", "--model", MODEL, "--split", "calibration")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:3]] == ["calibration", "baseline, calibration"]
    assert any(line.startswith("threshold ") for line in lines)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--split", "holiday"], 2, "holiday"),
        (["--output", MODEL], 2, "own folder"),
        (["--output", MODEL, "--pairs", "nowhere.csv"], 2, "own folder"),
        (["--one-shot", "40"], 3, "fewer ways"),
        (["--one-shot", "5", "--pairs", "x.csv"], 2, "--one-shot"),
        (["--pairs", "nowhere.csv"], 3, "nowhere.csv"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    inside: Path, invoke: Invoke, options: list[str], code: int, says: str
) -> None:
    done = invoke("evaluate", "--model", MODEL, *options)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert says in last
    assert ("ROC AUC" in done.stdout) == ("40" in options), "finished figures are printed all the same"


def test_a_table_of_pairs_is_folded_and_bad_images_are_named(
    inside: Path, invoke: Invoke, faces: Path, tmp_path: Path
) -> None:
    (faces / "torn.jpg").write_bytes((faces / image(0, 1)).read_bytes()[:200])
    lines = [(image(label, n), image(label, n + 1), 1) for label in range(4) for n in range(1, 12)]
    lines += [(image(label, n), image((label + 1) % 4, n), 0) for label in range(4) for n in range(1, 12)]
    table = [("path_a", "path_b", "same"), *lines, ("torn.jpg", image(0, 1), 1), (image(1, 1), "a\x1b[31m\nb.jpg", 0)]
    write_table(tmp_path / "pairs.csv", table)
    command = ("evaluate", "--model", MODEL, "--pairs", tmp_path / "pairs.csv", "--data-dir", faces)
    done = invoke(*command)
    assert done.returncode == 0, done.stderr
    assert "88 pairs, 44 genuine; 2 left out: 2 images" in done.stdout
    assert done.stdout.count("mean and standard error of 10 folds") == 2, "the baseline's, too"
    assert "torn.jpg" in done.stderr
    assert "\x1b" not in done.stderr
    found = json.loads(invoke(*command, "--json", "--output", tmp_path / "out").stdout)
    assert set(found["unreadable"]) == {"torn.jpg", "a\x1b[31m\nb.jpg"}
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    matcher = ImageMatcher.load(inside / MODEL)
    scores = matcher.predict([faces / a for a, _, _ in lines], [faces / b for _, b, _ in lines])
    right = (-scores < matcher.threshold) == np.array([same for *_, same in lines], bool)
    assert found["threshold"]["accuracy"] == pytest.approx(right.mean())
    assert found["folded"]["mean"] == pytest.approx(np.mean(found["folded"]["accuracies"]))
    assert found["folded"]["mean"] > 0.7
    baseline = found["baseline"]
    assert found["roc_auc_ci95"][0] <= found["roc_auc"] <= found["roc_auc_ci95"][1]
    assert not found["ci95_trustworthy"]
    assert found["ci95_classes"] == 4
    assert baseline["roc_auc_ci95"][0] < baseline["roc_auc"] < found["roc_auc"]
    pixels = {name: np.asarray(Image.open(faces / name), np.float64).ravel() for line in lines for name in line[:2]}
    unit = {name: values / np.linalg.norm(values) for name, values in pixels.items()}
    apart = [np.linalg.norm(unit[a] - unit[b]) for a, b, _ in lines]
    assert baseline["roc_auc"] == pytest.approx(
        roc_auc_score([same for *_, same in lines], np.negative(apart)), abs=2e-3
    )


def test_a_list_in_lfws_format_keeps_its_folds(copied: Path, faces: Path, tmp_path: Path) -> None:
    rows = ["2\t3"]
    for fold in (0, 2):
        rows += [f"digit{fold}\t{n}\t{n + 5}" for n in range(1, 4)]
        rows += [f"digit{fold}\t{n}\tdigit{fold + 1}\t{n}" for n in range(1, 4)]
    (tmp_path / "pairs.txt").write_text("\n".join(rows) + "\n")
    pairs = read_pairs(tmp_path / "pairs.txt")
    assert [pair.fold for pair in pairs] == [0] * 6 + [1] * 6
    assert pairs[0].second == image(0, 6)
    found = evaluate_pairs(copied / MODEL, tmp_path / "pairs.txt", faces)
    assert (found.pairs, found.genuine, found.skipped) == (12, 6, 0)
    assert found.matcher.folded is not None
    assert found.baseline.folded is not None
    assert len(found.matcher.folded.accuracies) == 2
    assert found.matcher.interval is not None
    assert found.matcher.interval.classes == 4, "people, by their folders"
    assert found.remarks == ()


def test_an_unreadable_image_costs_its_pairs_and_not_the_figures(copied: Path, faces: Path, tmp_path: Path) -> None:
    lines = [(image(0, n), image(0, n + 1), 1) for n in (1, 3)] + [(image(0, n), image(1, n), 0) for n in range(1, 5)]
    torn = [("gone.jpg", image(0, 1), 1), *lines]
    found = evaluate_pairs(copied / MODEL, write_table(tmp_path / "pairs.csv", torn), faces)
    assert (found.pairs, found.skipped) == (6, 1)
    assert found.matcher.folded is not None
    assert len(found.matcher.folded.accuracies) == 2


def test_folds_that_leave_nothing_to_choose_on_are_told(copied: Path, faces: Path, tmp_path: Path) -> None:
    rows = ["2\t1", "digit0\t1\t90", "digit0\t1\tdigit1\t1", "digit2\t1\t2", "digit2\t1\tdigit3\t1"]
    (tmp_path / "pairs.txt").write_text("\n".join(rows) + "\n")
    found = evaluate_pairs(copied / MODEL, tmp_path / "pairs.txt", faces)
    assert found.matcher.roc_auc is not None
    assert found.matcher.folded is None
    assert "no accuracy over folds" in found.to_json()["remarks"][0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.jpg,b.jpg,perhaps\n", "pairs.csv:1"),
        ("path_a,path_b,same\na.jpg,b.jpg\n", "pairs.csv:2"),
        ("path_a,path_b,same\n", "empty"),
        ("a.jpg,b.jpg,1\n", "none of its 1 pairs"),
        ("a.jpg,\xff.jpg,1\n", "is not UTF-8 text"),
    ],
)
def test_a_table_that_is_none(copied: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pairs.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=says):
        evaluate_pairs(copied / MODEL, tmp_path / "pairs.csv")


def test_pairs_of_one_kind_have_no_auc_and_no_folds(copied: Path, faces: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "pairs.csv", [(image(0, n), image(0, n + 1), "yes") for n in range(1, 5)])
    found = evaluate_pairs(copied / MODEL, tmp_path / "pairs.csv", faces)
    assert (found.matcher.roc_auc, found.matcher.folded, found.genuine) == (None, None, 4)
    assert found.matcher == found.baseline
    assert ["All pairs of the list are genuine" in remark for remark in found.remarks] == [True]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize(
    ("kind", "name"),
    [("onnx", "model.onnx"), ("litert", "model.tflite"), ("openvino", "openvino"), ("saved_model", "saved")],
)
def test_an_export_gives_the_matchers_embeddings(inside: Path, tmp_path: Path, kind: str, name: str) -> None:
    output = tmp_path / "new" / name
    done = export_matcher(MODEL, kind, output)
    assert done.distance < 1e-3
    pictures = np.random.default_rng(0).uniform(0, 255, (3, 5, 8, 3)).astype(np.float32)
    expected = ImageMatcher.load(MODEL).embed(np.rint(pictures))
    np.testing.assert_allclose(EXPORTERS[kind].run(output, np.rint(pictures)), expected, atol=1e-4)
    assert [path.name for path in output.parent.iterdir()] == [name]
    assert "under " in done.notes[1]
    export_matcher(MODEL, kind, output)  # its own may be replaced


def test_export_as_a_command(inside: Path, invoke: Invoke, tmp_path: Path) -> None:
    command = ("export", "--model", MODEL, "--format", "onnx")
    done = invoke(*command, "--output", tmp_path / "model.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("onnx  ")
    for options, says in ((["--output", "x.bin"], "onnx is a file .onnx"), ([], "--output")):
        refused = invoke(*command, *options)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert says in refused.stderr
    unknown = invoke(*command[:-1], "pytorch")
    assert unknown.returncode == 2
    assert "onnx, litert, openvino, saved_model, projector" in unknown.stderr


def test_an_export_that_gives_other_embeddings_is_not_kept(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, output in (("saved_model", tmp_path / "saved"), ("litert", tmp_path / "model.tflite")):
        exporter = EXPORTERS[kind]
        monkeypatch.setattr(exporter, "write", lambda _, path: path.is_dir() or path.write_bytes(b"new"), raising=False)
        monkeypatch.setattr(exporter, "run", lambda _, pictures: np.eye(len(pictures), 8, dtype=np.float32))
        if kind == "litert":
            output.write_bytes(b"old")
        with pytest.raises(ModelError, match="other embeddings"):
            export_matcher(MODEL, kind, output)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_bytes() == b"old"


def test_an_export_that_does_not_normalise_is_not_kept(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ImageMatcher.load(MODEL).embedding_model

    def thrice(_: Path, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([3 * np.asarray(model(picture[None], training=False)) for picture in pictures])

    exporter = EXPORTERS["litert"]
    monkeypatch.setattr(exporter, "write", lambda _, path: path.write_bytes(b"new"), raising=False)
    monkeypatch.setattr(exporter, "run", thrice)
    with pytest.raises(ModelError, match="other embeddings"):
        export_matcher(MODEL, "litert", tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_converter_that_fails_is_one_line(inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(EXPORTERS["onnx"], "write", fail, raising=False)
    with pytest.raises(ModelError, match="first second") as caught:
        export_matcher(MODEL, "onnx", tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_extra(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_room.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ModelError, match=r"tf2onnx and onnx and onnxruntime not installed; pip install 'imagematch\[onnx\]'"
    ):
        export_matcher(MODEL, "onnx", "model.onnx")


def test_nobodys_folder_is_overwritten(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for kind, output in (("openvino", tmp_path), ("saved_model", tmp_path / "thesis.txt"), ("onnx", tmp_path)):
        with pytest.raises(ConfigError):
            export_matcher(MODEL, kind, output)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_projector_gets_every_test_image(inside: Path) -> None:
    folder, logs = export_projector(MODEL)
    assert (folder, logs) == (Path("exp/projector/small"), Path("exp/logs/small"))
    vectors = np.loadtxt(folder / "vecs.tsv", delimiter="\t")
    lines = (folder / "meta.tsv").read_text().splitlines()
    assert vectors.shape[0] == 180 == len(lines) - 1
    assert lines[0].split("\t")[0] == "class"
    assert json.loads((folder / "projector_config.json").read_text())["embeddings"][0]["tensorPath"] == "vecs.tsv"
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size[0] >= sprite.size[1] > 0
    assert (logs / "projector_config.pbtxt").is_file()
    assert list(logs.glob("events.out.tfevents.*")), "the training's curves stay"


def test_a_matcher_whose_name_leads_elsewhere_is_refused(inside: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(MODEL, tmp_path / "changed"))
    card = json.loads((changed / "matcher.json").read_text())
    (changed / "matcher.json").write_text(json.dumps(sealed({**card, "name": "../../elsewhere"})))
    with pytest.raises(ModelError, match="cannot name a folder"):
        export_projector(changed)
    assert not Path("elsewhere").exists()


def test_evaluate_and_export_are_in_the_help(invoke: Invoke) -> None:
    done = invoke("--help")
    assert "evaluate" in done.stdout
    assert "export" in done.stdout
