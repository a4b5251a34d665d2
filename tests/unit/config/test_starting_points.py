"""What a study tries first: recipes of which all lies in its space, and what fits of the points that it names."""

from pathlib import Path

import pytest

from imagematch.config import RECIPES, StudySettings, parse_study, starting_lines, starting_points
from imagematch.errors import ConfigError


def settings_of(**values: object) -> StudySettings:
    base: dict[str, object] = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels"}
    wide = {
        "loss_grid": ["triplet_semihard", "multi_similarity", "nt_xent"],
        "intermediate_ff_block_units_grid": [[], [512]],
        "dropout_grid": [0.2, 0.4],
        "learning_rate_range": {"low": 1e-4, "high": 1e-2, "log": True},
    }
    return parse_study({**base, **(values or wide)})


def test_every_recipe_in_the_space_comes_first_unless_none_is_wanted() -> None:
    study = settings_of()
    unseen = study.model_copy(update={"fixed": {**study.fixed, "split_by": "class"}})
    named = [point.name for one in (unseen, study) for point in starting_points(one)]
    assert named == list(RECIPES), "each for its own way of splitting"
    assert not any(point.outside for point in starting_points(study))
    assert starting_points(study.model_copy(update={"start_from": ()})) == []


@pytest.mark.parametrize(
    "space",
    [
        {"learning_rate_grid": [1e-3, 3e-3]},  # another learning rate
        {"learning_rate_grid": [3e-4], "intermediate_ff_block_units": [64]},  # blocks are fixed
        {"learning_rate": 3e-4, "embedding_dim_grid": [2, 4]},  # nothing of a recipe is searched
        {"learning_rate_range": {"low": 4e-4, "high": 1e-2, "log": True}},
        {"learning_rate_grid": [3e-4], "trainable": True, "feature_extractor": "small_cnn", "weights": "random"},
    ],
)
def test_a_recipe_of_which_anything_is_outside_is_left_out(space: dict[str, object]) -> None:
    assert starting_points(settings_of(**space, loss="triplet_semihard", split_by="class")) == []
    inside = settings_of(learning_rate_grid=[3e-4], loss="triplet_semihard", split_by="class")
    assert [point.name for point in starting_points(inside)] == ["by_class_triplet"]


def test_a_fixed_field_that_a_recipe_agrees_with_keeps_it() -> None:
    study = settings_of(loss="nt_xent", split_by="class", learning_rate_grid=[3e-4, 1e-3])
    assert [(p.name, dict(p.values)) for p in starting_points(study)] == [("by_class_nt_xent", {"learning_rate": 3e-4})]


def test_of_a_named_point_the_part_that_fits_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("experiment_name: x\ndataset: digits\nembedding_dim: 99\nlearning_rate: 0.5\nloss: circle\n")
    searched = {"embedding_dim_range": {"low": 2, "high": 98}, "learning_rate_grid": [0.5, 0.1]}
    study = settings_of(**searched, start_from=[str(file), "by_class_nt_xent"])
    assert [(dict(p.values), dict(p.outside)) for p in starting_points(study)] == [
        ({"learning_rate": 0.5}, {"embedding_dim": 99}),
        ({}, {"learning_rate": 3e-4}),
    ]
    assert list(starting_lines(study)) == [
        f"tried first: {file} (learning_rate 0.5); not in the search space, so drawn: embedding_dim 99",
        "start_from by_class_nt_xent: nothing of it is in the search space (learning_rate 0.0003)",
    ]


def test_a_study_is_a_point_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of(embedding_dim_grid=[4, 8], start_from=["before"])
    with pytest.raises(ConfigError, match=r"exp/hpt_studies/before/best_config\.yaml"):
        starting_points(settings)
    folder = tmp_path / "exp/hpt_studies/before"
    folder.mkdir(parents=True)
    (folder / "best_config.yaml").write_text("experiment_name: before\ndataset: digits\nembedding_dim: 4\n")
    assert [dict(point.values) for point in starting_points(settings)] == [{"embedding_dim": 4}]


def test_a_study_cannot_start_from_itself() -> None:
    with pytest.raises(ConfigError, match=r"start_from names the study itself, s; leave it out: --resume"):
        settings_of(embedding_dim_grid=[4, 8], start_from=["s"])


def test_a_grid_has_an_order_of_its_own() -> None:
    study = settings_of(embedding_dim_grid=[4, 8], sampler="grid", start_from=["by_class_nt_xent"])
    assert list(starting_lines(study)) == [
        "start_from has no effect: sampler grid tries every configuration in an order of its own"
    ]
