"""The comparison of losses: every loss has a search of its own, as long as the others', that is a valid study."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from imagematch.config import LOSS_FIELDS, LOSSES, OFFLINE_LOSSES

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
    assert study.effective_pruner == "none", "as many whole trials for each"
    assert study.fixed["split"][2] == 0.5
    first = study.settings_for({field: dimension.ends[0] for field, dimension in study.space.items()})
    assert first.images_per_batch == common["batch_classes"] * common["batch_images"]
    assert (first.batch_size is not None) == (loss in OFFLINE_LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_published_default_is_among_the_choices_or_they_are_around_it(recipes: ModuleType, loss: str) -> None:
    assert recipes.SEARCHED[loss]
    for field, choices in recipes.SEARCHED[loss].items():
        assert min(choices) <= LOSS_FIELDS[loss][field] <= max(choices)
