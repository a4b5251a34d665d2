"""What Optuna is asked, and what counts as a repeat."""

import itertools

import optuna
import pytest

from imagematch.config import StudySettings, parse_study
from imagematch.tuning.space import config_digest, grid_labels, labels_at, suggest


def study(**values: object) -> StudySettings:
    return parse_study({"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", **values})


def ask(settings: StudySettings, **fixed: object) -> tuple[optuna.Trial, dict[str, object]]:
    own = optuna.create_study()
    own.enqueue_trial(fixed)
    trial = own.ask()
    return trial, suggest(trial, settings)


def test_lists_are_stored_as_json_strings() -> None:
    settings = study(intermediate_ff_block_units_grid=[[512, 256], []], dropout=0.1)
    trial, values = ask(settings, intermediate_ff_block_units="[512, 256]")
    assert trial.params == {"intermediate_ff_block_units": "[512, 256]"}
    assert values == {"intermediate_ff_block_units": (512, 256)}


def test_a_field_without_effect_is_not_asked() -> None:
    settings = study(dropout_grid=[0.1, 0.2], intermediate_ff_block_units_grid=["[]", "[64]"])
    trial, _ = ask(settings, intermediate_ff_block_units="[]")
    assert set(trial.params) == {"intermediate_ff_block_units"}
    trial, _ = ask(settings, intermediate_ff_block_units="[64]", dropout=0.2)
    assert trial.params == {"intermediate_ff_block_units": "[64]", "dropout": 0.2}


def test_a_margin_is_asked_only_where_the_loss_has_one() -> None:
    settings = study(loss_grid=["triplet_semihard", "nt_xent"], margin_range={"low": 0.05, "high": 0.5})
    assert "margin" not in ask(settings, loss="nt_xent")[0].params
    assert "margin" in ask(settings, loss="triplet_semihard")[0].params


def test_rounding_errors_make_no_new_point() -> None:
    settings = study(dropout_range={"low": 0, "high": 1, "step": 0.1}, intermediate_ff_block_units=[8])
    assert config_digest(settings, {"dropout": 0.30000000000000004}) == config_digest(settings, {"dropout": 0.3})
    assert config_digest(settings, {"dropout": 0.4}) != config_digest(settings, {"dropout": 0.3})


def test_dropout_without_blocks_makes_no_new_point() -> None:
    settings = study(dropout_grid=[0.1, 0.2], intermediate_ff_block_units_grid=["[]", "[64]"])
    points = {config_digest(settings, {"dropout": d, "intermediate_ff_block_units": ()}) for d in (0.1, 0.2)}
    assert len(points) == 1


def test_the_grid_has_every_distinct_point_once() -> None:
    settings = study(
        dropout_grid=[0.1, 0.2], intermediate_ff_block_units_grid=["[]", "[64]"], embedding_dim_grid=[8, 16, 32]
    )
    labels = list(grid_labels(settings))
    assert len(labels) == settings.grid_points == 9
    assert len({tuple(sorted(point.items())) for point in labels}) == 9
    for point in labels:
        trial, _ = ask(settings, **point)
        assert trial.params == point


def test_the_grid_is_that_of_all_combinations_without_repeats() -> None:
    settings = study(
        loss_grid=["triplet_semihard", "nt_xent", "arcface"],
        margin_grid=[0.1, 0.2, 0.3],
        triplet_hinge_grid=["hinge", "softplus"],
        temperature_grid=[0.05, 0.1],
        dropout_grid=[0.1, 0.2],
        intermediate_ff_block_units_grid=["[]", "[64]"],
    )
    naive = {}
    for options in itertools.product(*(dimension.values() for dimension in settings.space.values())):
        values = settings.active(dict(zip(settings.space, options, strict=True)))
        naive.setdefault(config_digest(settings, values), labels_at(settings, values))
    found = list(grid_labels(settings))
    assert len(found) == len(naive) == settings.grid_points
    assert sorted(map(str, found)) == sorted(map(str, naive.values()))


def test_combinations_of_fields_that_do_not_count_cost_nothing() -> None:
    """Each loss has one of the fields: combined they would be 4 x 91^4."""
    fields = ("margin", "temperature", "alpha", "scale")
    ranges = {f"{field}_range": {"low": 0.1, "high": 1, "step": 0.01} for field in fields}
    settings = study(loss_grid=["triplet_hard", "nt_xent", "multi_similarity", "arcface"], dropout=0, **ranges)
    assert len(list(grid_labels(settings))) == settings.grid_points == 4 * 91


@pytest.mark.parametrize(
    "dimension",
    [
        {"learning_rate_range": {"low": 1e-4, "high": 1e-2, "log": True}},
        {"embedding_dim_range": {"low": 8, "high": 100, "step": 8}},
        {"embedding_dim_range": {"low": 8, "high": 512, "log": True}},
        {"dropout_range": {"low": 0, "high": 0.95, "step": 0.1}, "intermediate_ff_block_units": [4]},
    ],
)
def test_ranges_give_values_inside(dimension: dict[str, object]) -> None:
    settings = study(**dimension)
    own = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        values = suggest(own.ask(), settings)
        for field, value in values.items():
            low, *_, high = settings.space[field].ends
            assert low <= value <= high
        settings.settings_for(values)
