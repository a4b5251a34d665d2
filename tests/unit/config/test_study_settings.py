"""A study's trials: which values count, how many there are, and what tells two search spaces apart."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.config import DEFAULTS, StudySettings, parse_study, space_difference
from imagematch.config.train_keys import is_active
from imagematch.errors import ConfigError


def _study(**values: Any) -> StudySettings:
    return parse_study({"study_name": "s", "dropout": 0.0, **values})


MIXED = {
    "dropout_range": {"low": 0, "high": 0.4, "step": 0.1},
    "loss_grid": ["triplet_hard", "arcface", "nt_xent"],
    "margin_grid": [0.1, 0.2],
    "temperature_grid": [0.05, 0.1],
    "triplet_hinge_grid": ["hinge", "softplus"],
    "intermediate_ff_block_units_grid": [[], [8], [8, 8]],
}


def _mixed() -> StudySettings:
    return parse_study({"study_name": "s", **MIXED})


def test_inactive_values_are_left_out() -> None:
    study = _mixed()
    values = {
        "dropout": 0.1,
        "loss": "arcface",
        "margin": 0.1,
        "temperature": 0.1,
        "triplet_hinge": "hinge",
        "intermediate_ff_block_units": [],
    }
    assert study.active(values) == {"loss": "arcface", "intermediate_ff_block_units": ()}
    assert study.active({**values, "loss": "triplet_hard", "triplet_hinge": "softplus"}) == {
        "loss": "triplet_hard",
        "triplet_hinge": "softplus",
        "intermediate_ff_block_units": (),
    }
    assert study.active({**values, "intermediate_ff_block_units": [8]})["dropout"] == 0.1


def test_settings_of_a_trial_leave_inactive_values_out() -> None:
    study = _mixed()
    values = {"dropout": 0.1, "loss": "arcface", "margin": 0.1, "temperature": 0.1, "triplet_hinge": "hinge"}
    made = study.settings_for(values)
    assert made.loss_options == {"scale": 64.0, "angle": 0.5, "proxy_rate": 1.0}
    assert made.dropout == 0.0
    assert made.experiment_name == "s"


def test_a_rate_of_proxies_is_searched_with_proxies_alone() -> None:
    study = _study(loss_grid=["nt_xent", "arcface"], proxy_rate_grid=[1, 10, 100])
    assert study.grid_points == 1 + 3
    assert study.active({"loss": "nt_xent", "proxy_rate": 10}) == {"loss": "nt_xent"}
    assert study.settings_for({"loss": "arcface", "proxy_rate": 10}).proxy_rate == 10
    assert study.settings_for({"loss": "nt_xent", "proxy_rate": 10}).proxy_rate == 1


def test_a_fixed_value_counts_where_its_loss_does() -> None:
    study = _study(loss_grid=["triplet_hard", "arcface"], margin=0.7)
    assert study.settings_for({"loss": "triplet_hard"}).margin == 0.7
    assert study.settings_for({"loss": "arcface"}).margin is None


def test_name_and_seed_of_a_trial() -> None:
    study = _study(seed=5, objective="val_eer")
    made = study.settings_for({})
    assert (made.experiment_name, made.seed, made.training_seed, made.objective) == ("s", 5, 5, "val_eer")
    made = study.settings_for({}, experiment_name="t", training_seed=9)
    assert (made.experiment_name, made.seed, made.training_seed) == ("t", 5, 9)


def test_values_come_back_from_what_is_stored() -> None:
    study = _mixed()
    stored = {"dropout": 0.30000000000000004, "intermediate_ff_block_units": "[8, 8]", "loss": "arcface"}
    values = study.values_of(stored)
    assert values == {"dropout": 0.3, "intermediate_ff_block_units": (8, 8), "loss": "arcface"}
    assert study.settings_for(values).dropout == 0.3
    assert study.settings_for({**values, "dropout": 0.30000000000000004}).dropout == 0.3


def test_a_value_outside_the_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="outside the search space"):
        _mixed().settings_for({"loss": "cosface"})
    with pytest.raises(ConfigError, match="study s: epochs must be"):
        _mixed().settings_for({"epochs": "many"})


def _points_one_by_one(study: StudySettings) -> int:
    """Every combination, its inactive values left out, counted once."""
    seen = set()
    for combination in itertools.product(*(dimension.values() for dimension in study.space.values())):
        values = dict(zip(study.space, combination, strict=True))
        every = {**DEFAULTS, **study.fixed, **values}
        seen.add(repr({field: value for field, value in values.items() if is_active(field, every)}))
    return len(seen)


_GRIDS = st.fixed_dictionaries(
    {
        "loss_grid": st.sampled_from([["triplet_hard", "arcface"], ["nt_xent", "arcface", "triplet_all"]]),
        "image_augmentation_grid": st.just([True, False]),
    },
    optional={
        "intermediate_ff_block_units_grid": st.sampled_from([[[]], [[], [8]], [[8], [8, 8]]]),
        "dropout_range": st.just({"low": 0, "high": 0.5, "step": 0.1}),
        "augmented_views_range": st.just({"low": 1, "high": 3}),
        "feature_extractor_grid": st.sampled_from([["pixels"], ["pixels", "mobilenet"], ["vgg16"]]),
        "trainable_grid": st.sampled_from([[True], [True, 1, False]]),
        "triplet_hinge_grid": st.just(["hinge", "softplus"]),
        "margin_grid": st.just([0.1, 0.2, 0.3]),
        "angle_grid": st.just([0.1, 0.2]),
        "batch_size_grid": st.just([None, 8]),
        "batch_classes_grid": st.just([4, 8]),
    },
)


@settings(deadline=None, max_examples=60)
@given(_GRIDS)
def test_grid_points_against_counting_one_by_one(grids: dict[str, Any]) -> None:
    study = parse_study({"study_name": "s", **grids})
    assert study.grid_points == _points_one_by_one(study)


def test_grid_points_of_the_mixed_study() -> None:
    study = _mixed()
    assert study.grid_points == (1 + 2 * 5) * ((2 + 1) + 1 + 2) == _points_one_by_one(study)


def test_grid_points_without_end_and_without_dimensions() -> None:
    assert _study(learning_rate_range={"low": 1e-4, "high": 1e-2}).grid_points is None
    assert _study().grid_points == 1


def test_grid_points_of_a_very_large_space_are_bounded() -> None:
    study = _study(batch_size_range={"low": 2, "high": 1_048_576}, loss_grid=["triplet_hard", "nt_xent"])
    assert study.grid_points == 2 * 1_048_575


def test_digest_follows_the_space_not_its_spelling() -> None:
    base = _study(embedding_dim_grid=[8, 16], epochs=50)
    assert base.digest == _study(embedding_dim_grid=[8, 16]).digest
    for same in (
        {"n_trials": 3},
        {"sampler": "random"},
        {"data_dir": "d"},
        {"engine": "tensorflow"},
        {"rerun_top_k": 0},
    ):
        assert _study(embedding_dim_grid=[8, 16], **same).digest == base.digest
    for other in ({"seed": 1}, {"objective": "val_eer"}, {"epochs": 3}, {"learning_rate_grid": [0.1]}):
        assert _study(embedding_dim_grid=[8, 16], **other).digest != base.digest
    assert _study(embedding_dim_grid=[16, 8]).digest != base.digest


def test_space_as_json() -> None:
    study = _study(
        dataset="folder",
        data_dir="here",
        intermediate_ff_block_units=[8],
        weights="a/b.h5",
        margin_range={"low": 0, "high": 1},
        dropout=0.5,
    )
    stored = json.loads(json.dumps(study.space_json(), allow_nan=False))
    assert stored == study.space_json()
    assert stored["fixed"] == {
        "dropout": 0.5,
        "dataset": "folder",
        "intermediate_ff_block_units": [8],
        "weights": "a/b.h5",
    }
    assert stored["space"] == {"margin": {"low": 0.0, "high": 1.0, "step": None, "log": False}}


def test_differences_are_readable() -> None:
    dropout = {"low": 0, "high": 1, "step": 0.1}
    old = parse_study({"study_name": "s", "embedding_dim_grid": [8, 16], "dropout_range": dropout, "epochs": 3})
    new = parse_study(
        {"study_name": "s", "embedding_dim_grid": [8, 32], "dropout": 0.5, "loss": "arcface", "objective": "val_eer"}
    )
    assert space_difference(old.space_json(), new.space_json()) == [
        "objective: 'val_map_at_r' became 'val_eer'",
        "epochs: fixed 3 became the default",
        "embedding_dim: choices 8, 16 became choices 8, 32",
        "dropout: range 0 to 1 step 0.1 became fixed 0.5",
        "loss: the default became fixed arcface",
    ]
    assert space_difference(old.space_json(), json.loads(json.dumps(old.space_json()))) == []


def test_describe() -> None:
    text = "\n".join(_mixed().describe())
    for part in ("study s: 30 trials out of 66 grid points", "val_map_at_r (maximize)", "loss: triplet_hard, arcface"):
        assert part in text
    assert "endless" in _study(margin_range={"low": 0, "high": 1}).describe()[0]


def test_studies_can_be_copied() -> None:
    study = _mixed()
    assert copy.deepcopy(study) == study


class TestObjectives:
    def test_one_or_two(self) -> None:
        assert _study(objective="val_f1").objectives == ("val_f1",)
        two = _study(objective=["val_map_at_r", "parameters"], pruner="asha")
        assert two.objectives == ("val_map_at_r", "parameters")
        assert two.pruner == "none"
        assert two.settings_for({}).objective == "val_map_at_r"
        assert any("pruner none (two objectives)" in line for line in two.describe())
        assert two.space_json()["objective"] == ["val_map_at_r", "parameters"]

    @pytest.mark.parametrize(
        ("objective", "says"),
        [
            ("val_map_at_rr", "did you mean val_map_at_r?"),
            ("parameters", "objective must be one of val_map_at_r"),
            ("val_precision", "objective must be one of"),
            (["val_map_at_r", "latency"], "did you mean latency_ms?"),
            (["parameters", "val_map_at_r"], "the first objective must be one of"),
            (["val_map_at_r"], "one metric or two different ones"),
            (["val_eer", "val_eer"], "one metric or two different ones"),
            (["val_eer", "parameters", "val_f1"], "one metric or two different ones"),
        ],
    )
    def test_refused(self, objective: object, says: str) -> None:
        with pytest.raises(ConfigError) as refused:
            _study(objective=objective)
        assert says in f"{refused.value.what} {refused.value.do}"

    def test_cmaes_searches_for_one(self) -> None:
        with pytest.raises(ConfigError, match="cmaes searches for one objective"):
            _study(sampler="cmaes", objective=["val_map_at_r", "parameters"])

    def test_another_limit_is_another_study(self) -> None:
        old, new = _study(), _study(max_parameters=1000)
        assert space_difference(old.space_json(), new.space_json()) == ["max_parameters: nothing (null) became 1000"]
        assert "max_parameters" not in old.space_json()


def test_all_points_of_a_small_grid_are_said_so() -> None:
    assert "all 2 grid points" in _study(embedding_dim_grid=[8, 16], dropout=0.1, n_trials=10).describe()[0]
    assert "1 trial out of 2 grid points" in _study(embedding_dim_grid=[8, 16], dropout=0.1, n_trials=1).describe()[0]
