"""The comparison of losses: every loss has a search of its own, as long as the others', that is a valid study."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from comparison import Recipe, comparison_table
from imagematch.config import LOSSES, OFFLINE_LOSSES, PROXY_LOSSES, load_train, parse_study
from imagematch.registry import LOSS_REGISTRY

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(name="recipes", scope="module")
def recipes_fixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipes", ROOT / "benchmarks" / "recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arguments", [[], ["--data-dir", "images", "--dataset", "omniglot", "--trials", "8"]])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_searched_by_folds_of_classes(recipes: ModuleType, loss: str, arguments: list[str]) -> None:
    options = recipes.options_of([*arguments, "--output", "out"])
    common = recipes.common_values(options)
    study = recipes.study_of(loss, common)
    assert (study.folds, study.fixed["split_by"], study.n_trials) == (4, "class", common["n_trials"])
    assert study.pruner == "none", "as many whole trials for each"
    assert study.fixed["split"][2] == 0.5
    first = study.settings_for({field: dimension.ends[0] for field, dimension in study.space.items()})
    assert first.images_per_batch == common["batch_classes"] * common["batch_images"]
    assert (first.batch_size is not None) == (loss in OFFLINE_LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_published_default_is_among_the_choices_or_they_are_around_it(recipes: ModuleType, loss: str) -> None:
    assert recipes.SEARCHED[loss]
    for field, choices in recipes.SEARCHED[loss].items():
        assert min(choices) <= LOSS_REGISTRY.all()[loss].options[field].default <= max(choices)


def test_the_rate_of_proxies_is_searched_with_every_proxy_loss(recipes: ModuleType) -> None:
    assert {loss for loss, fields in recipes.SEARCHED.items() if "proxy_rate" in fields} == set(PROXY_LOSSES)


def test_a_winner_at_an_edge_of_three_numbers_or_more_is_told(recipes: ModuleType) -> None:
    space = {
        "learning_rate_grid": [1e-3, 1e-4, 1e-2],
        "margin_range": {"low": 0.1, "high": 0.5},
        "embedding_dim_range": {"low": 8, "high": 32, "step": 8},
        "batch_images_grid": [2, 4],
        "image_augmentation_grid": [False, True],
        "intermediate_ff_block_units_grid": [[], [8], [16]],
    }
    study = parse_study({"study_name": "s", "dropout": 0.0, **space})
    values = {"batch_images": 2, "image_augmentation": False, "intermediate_ff_block_units": ()}

    def edges(rate: float, margin: float, dim: int) -> list[str]:
        winner = study.settings_for({**values, "learning_rate": rate, "margin": margin, "embedding_dim": dim})
        return recipes.at_edges(winner, study)

    assert edges(1e-3, 0.3, 16) == []
    assert edges(1e-4, 0.3, 32) == ["learning_rate 0.0001", "embedding_dim 32"]
    assert edges(1e-2, 0.1, 8) == ["learning_rate 0.01", "margin 0.1", "embedding_dim 8"]


def test_remarks_tell_edges_and_what_beats_the_baseline(recipes: ModuleType) -> None:
    def figures(value: float) -> dict[str, object]:
        return {"map_at_r": value, "recall_at_1": value, "roc_auc": value, "ci95": {}}

    table = comparison_table([Recipe("nt_xent", [figures(0.3)]), Recipe("circle", [figures(0.2)])], figures(0.25))
    better, edge = recipes.remarks_on(table, {"nt_xent": [], "circle": ["scale 80", "learning_rate 0.001"]})
    assert better == "A better MAP@R than the frozen extractor's 0.2500, by the mean of the runs: nt_xent."
    assert edge.endswith(": circle (scale 80, learning_rate 0.001).")
    worse = comparison_table([Recipe("circle", [figures(0.2)])], figures(0.25))
    (none,) = recipes.remarks_on(worse, {"circle": []})
    assert none.endswith("by the mean of the runs: no loss.")


def test_the_weights_of_other_images_are_published_ones_unless_given(recipes: ModuleType) -> None:
    def weights(*arguments: str) -> str:
        values = recipes.common_values(recipes.options_of(["--data-dir", "images", "--output", "out", *arguments]))
        return str(values["weights"])

    assert weights().endswith(".weights.h5")
    assert weights("--dataset", "folder") == "imagenet"
    assert weights("--dataset", "folder", "--weights", "random") == "random"


def test_a_folder_of_few_classes_is_compared_in_batches_that_every_fold_can_draw(
    recipes: ModuleType,
    one_process: None,
    no_report: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a small extractor in place of MobileNetV2, whose weights are not at hand."""
    recipes.make_images(tmp_path / "photos")
    common = recipes.COMMON.read_text()
    for line, small in (("mobilenet_v2\n", "pixels\n"), ("size: 160", "size: 8"), ("epochs: 15", "epochs: 2")):
        assert line in common
        common = common.replace(line, small)
    (tmp_path / "common.yaml").write_text(common)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "COMMON", tmp_path / "common.yaml")
    options = ["--data-dir", "photos", "--dataset", "folder", "--trials", "1", "--seeds", "1", "--output", "out"]
    monkeypatch.setattr("sys.argv", ["recipes.py", *options, "--losses", "nt_xent", "triplet_offline"])
    recipes.main()
    printed = capsys.readouterr().out
    assert printed.count("batches of 15 classes x 4 for every loss: a fold has no more than 15 to train on\n") == 1
    studies = tmp_path / "out" / "hpt_studies"
    pairs, offline = (
        load_train(studies / f"reality_check_{loss}" / "best_config.yaml") for loss in ("nt_xent", "triplet_offline")
    )
    assert (pairs.batch_classes, pairs.batch_images, offline.batch_size) == (15, 4, 60)
    told = (tmp_path / "out" / "recipes.txt").read_text()
    assert "1 trials, each the mean of 4 class-disjoint folds of the 15 train and 5 validation classes" in told
    assert "measured on 200 images of 20 other classes. 13 images for calibration took part in neither" in told
    assert all(line in printed for line in told.splitlines()[:3]), "the table is printed line by line"
