"""Every tunable field can be searched as a grid and, where it is a number, as a range; every sampler takes them all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optuna
import pytest

from imagematch.config import KEYS, SAMPLERS, TUNABLE, StudySettings, parse_study
from imagematch.events import SILENT
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan

EXAMPLES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "image_size": ([64, 96], {}),
    "feature_extractor": (["mobilenet_v2", "resnet50", ["mobilenet_v2", "vgg16"]], {}),
    "weights": (["imagenet", "random"], {}),
    "trainable": ([False, True, 3], {}),
    "image_augmentation": ([False, True], {}),
    "augmented_views": ([1, 4], {"image_augmentation": True}),
    "feature_whitening": ([16, 64], {}),
    "feature_dropout": ([0.1, 0.4], {}),
    "join": (["none", "whitened"], {}),
    "intermediate_ff_block_units": ([[], [8], [16, 8]], {}),
    "parallel_heads": ([[], [[8]], [[], [16, 8]]], {}),
    "dropout": ([0.1, 0.4], {"intermediate_ff_block_units": [8]}),
    "embedding_dim": ([8, 32], {}),
    "loss": (["triplet_hard", "nt_xent", "arcface", "proxy_anchor"], {}),
    "margin": ([0.1, 0.4], {"loss": "triplet_hard"}),
    "loss_distance": (["euclidean", "squared_euclidean"], {}),
    "triplet_hinge": (["hinge", "softplus"], {}),
    "scale": ([8.0, 64.0], {"loss": "circle"}),
    "temperature": ([0.05, 0.5], {"loss": "nt_xent"}),
    "angle": ([0.2, 0.6], {"loss": "arcface"}),
    "relaxation": ([0.2, 0.5], {"loss": "circle"}),
    "alpha": ([1.0, 4.0], {"loss": "multi_similarity"}),
    "beta": ([10.0, 60.0], {"loss": "multi_similarity"}),
    "base": ([0.3, 1.0], {"loss": "multi_similarity"}),
    "cross_batch_memory": ([0, 512], {}),
    "proxy_rate": ([1.0, 100.0], {"loss": "proxy_anchor"}),
    "batch_classes": ([4, 16], {}),
    "batch_images": ([2, 8], {}),
    "batch_size": ([32, 128], {}),
    "optimizer": (["adam", "sgd"], {}),
    "learning_rate": ([1e-4, 1e-2], {}),
    "lr_schedule": (["constant", "cosine"], {}),
    "layer_decay": ([0.5, 0.9], {"trainable": True}),
    "weight_decay": ([0.0, 1e-2], {}),
    "gradient_clipping": ([0.5, 5.0], {}),
    "training_precision": (["float32", "bfloat16"], {}),
    "epochs": ([3, 9], {}),
    "early_stopping_patience": ([1, 5], {}),
    "stages": ([[{"epochs": 2}], [{"epochs": 2}, {"epochs": 3, "trainable": True}]], {}),
}


def study_of(**values: Any) -> StudySettings:
    return parse_study({"study_name": "s", "feature_extractor": "mobilenet_v2", "dropout": 0.0, **values})


def without(values: dict[str, Any], field: str) -> dict[str, Any]:
    """`values` and what a study of `field` needs, the field itself left out of what is fixed."""
    base = {"feature_extractor": "mobilenet_v2", "dropout": 0.0}
    return {"study_name": "s", **{key: value for key, value in base.items() if key != field}, **values}


def searched(settings: StudySettings, at_most: int = 60) -> optuna.Study:
    """The study that the plan makes, with a value that anything can be told."""
    study = optuna.create_study(direction="maximize")
    plan = Plan(study, settings, SILENT)
    for number in range(at_most):
        planned = plan.next_trial()
        if planned is None:
            break
        study.tell(planned.trial, -abs(number % 7 - 3))
    return study


def test_there_is_an_example_of_every_tunable_field() -> None:
    assert set(EXAMPLES) == set(TUNABLE)


@pytest.mark.parametrize("field", TUNABLE)
def test_a_grid_of_it_is_searched(field: str) -> None:
    choices, context = EXAMPLES[field]
    settings = parse_study({**without(context, field), f"{field}_grid": choices, "sampler": "grid"})
    assert settings.grid_points == len(choices)
    study = searched(settings)
    found = [settings.values_of(trial.params)[field] for trial in attributes.counted(study.trials)]
    assert sorted(map(repr, found)) == sorted(map(repr, settings.space[field].values()))
    trained = {repr(getattr(settings.settings_for({field: value}), field)) for value in found}
    assert len(trained) == len(choices)


@pytest.mark.parametrize("field", [field for field in TUNABLE if KEYS[field].kind in ("int", "float")])
@pytest.mark.parametrize("manner", ["plain", "step", "log"])
def test_a_range_of_it_is_searched(field: str, manner: str) -> None:
    (low, high), context = EXAMPLES[field]
    if manner == "log" and low == 0:
        low = high // 4 if KEYS[field].kind == "int" else high / 4
    given = {"low": low, "high": high}
    if manner == "step":
        given["step"] = round((high - low) / 4, 6) if KEYS[field].kind == "float" else max(1, (high - low) // 4)
    elif manner == "log":
        given["log"] = True
    for sampler in ("tpe", "qmc"):
        settings = parse_study(
            {**without(context, field), f"{field}_range": given, "sampler": sampler, "n_trials": 3, "pruner": "none"}
        )
        values = [settings.values_of(t.params)[field] for t in attributes.counted(searched(settings).trials)]
        assert len(set(values)) == len(values) == 3
        for value in values:
            assert low <= value <= high
            settings.settings_for({field: value})


MIXED = {
    "feature_extractor_grid": ["mobilenet_v2", "pixels"],
    "trainable_grid": [False, True],
    "layer_decay_range": {"low": 0.5, "high": 1.0},
    "loss_grid": ["triplet_semihard", "nt_xent", "circle", "proxy_anchor"],
    "margin_range": {"low": 0.05, "high": 0.5},
    "temperature_range": {"low": 0.05, "high": 1.0, "log": True},
    "scale_grid": [16.0, 64.0],
    "intermediate_ff_block_units_grid": [[], [8], [16, 8]],
    "dropout_range": {"low": 0, "high": 0.5, "step": 0.1},
    "learning_rate_range": {"low": 1e-4, "high": 1e-1, "log": True},
    "weight_decay_range": {"low": 0.0, "high": 0.1},
}


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_choices_ranges_and_conditional_fields_together(sampler: str) -> None:
    settings = parse_study({"study_name": "s", **MIXED, "sampler": sampler, "n_trials": 40})
    trials = attributes.counted(searched(settings).trials)
    assert len(trials) == 40
    for name in ("feature_extractor", "loss", "intermediate_ff_block_units"):
        assert set(Counter(t.params[name] for t in trials)) == set(settings.space[name].labels), "every choice is tried"
    for trial in trials:
        values = settings.values_of(trial.params)
        assert settings.active(values) == values, "no field without effect is drawn"
        settings.settings_for(values)
    assert len({t.params["learning_rate"] for t in trials}) == 40


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_a_mixed_study_in_parts_is_the_study_in_one(sampler: str) -> None:
    settings = parse_study({"study_name": "s", **MIXED, "sampler": sampler, "n_trials": 20})
    whole = [t.params for t in searched(settings).trials]
    study = optuna.create_study(direction="maximize")
    told = 0
    for part in (6, 13, 20):
        plan = Plan(study, settings.model_copy(update={"n_trials": part}), SILENT)
        while (planned := plan.next_trial()) is not None:
            study.tell(planned.trial, -abs(told % 7 - 3))
            told += 1
    assert [t.params for t in study.trials] == whole


def test_qmc_deals_choices_out_evenly() -> None:
    settings = study_of(
        loss_grid=["triplet_hard", "nt_xent"], embedding_dim_grid=[8, 16, 32, 64], sampler="qmc", n_trials=8
    )
    trials = searched(settings).trials[:8]
    assert Counter(t.params["loss"] for t in trials) == {"triplet_hard": 4, "nt_xent": 4}
    assert Counter(t.params["embedding_dim"] for t in trials) == {8: 2, 16: 2, 32: 2, 64: 2}


def test_cmaes_says_what_it_moves() -> None:
    line = next(
        line
        for line in parse_study({"study_name": "s", **MIXED, "sampler": "cmaes"}).describe()
        if "cmaes moves" in line
    )
    assert line == "cmaes moves ranges that always count (learning_rate, weight_decay); TPE draws the rest"
    few = study_of(embedding_dim_grid=[8, 16], sampler="cmaes").describe()
    assert (
        "cmaes moves ranges that always count (none, too few for CMA-ES, so TPE draws all); TPE draws the rest" in few
    )
