"""The key `join` in its forms, `epochs: 0`, and where neither goes."""

from typing import Any

import pytest

from imagematch.config import parse_study, parse_train
from imagematch.errors import ConfigError

WHITENED = {"features": "whitened", "power": 0.5, "dim": None, "weight": "auto", "reduce": False}


def _train(**values: Any) -> Any:
    return parse_train({"experiment_name": "x", "dataset": "digits", **values})


def test_every_form_has_all_options_and_comes_back_from_yaml(tmp_path: Any) -> None:
    from imagematch.config import load_train

    assert _train().joined is None
    assert _train(join="whitened").join == WHITENED
    settings = _train(join={"power": 1, "dim": 64, "weight": 2})
    assert settings.joined == {**WHITENED, "power": 1.0, "dim": 64, "weight": 2.0}
    (tmp_path / "train.yaml").write_text(settings.to_yaml())
    assert load_train(tmp_path / "train.yaml") == settings
    assert settings.trained_values["join"] == settings.join


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"join": "whitend"}, "did you mean whitened"),
        ({"join": {"features": "plain"}}, "join: features must be whitened"),
        ({"join": {"power": 1.5}}, "join: power must be a number from 0 to 1"),
        ({"join": {"dim": 0}}, "join: dim must be a whole number"),
        ({"join": {"weight": -1}}, "join: weight must be auto or a number from 0 to 1,000"),
        ({"join": {"weight": float("inf")}}, "join: weight must be auto or a number from 0 to 1,000"),
        ({"join": {"reduce": 1}}, "join: reduce must be true or false"),
        ({"join": {"wieght": 1}}, "did you mean weight"),
        ({"join": "whitened", "trainable": True}, "join needs a frozen extractor"),
        ({"join": "whitened", "objective": "val_loss"}, "join: weight: auto is chosen by the objective"),
        ({"epochs": 0, "trainable": True}, "epochs: 0 trains nothing"),
        ({"stages": [{"epochs": 0}]}, "epochs: 0 trains nothing"),
        ({"epochs": 0, "objective": "val_loss"}, "val_loss has no meaning with epochs: 0"),
        ({"refit": "train_and_validation", "stages": [{"epochs": 2}]}, "refit does not go with stages"),
    ],
)
def test_refused_in_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _train(**values)


def test_without_an_epoch_half_whitened_features_are_the_matcher() -> None:
    assert _train(epochs=0).joined == WHITENED
    assert _train(epochs=0, join={"power": 1}).joined == {**WHITENED, "power": 1.0}


def test_a_study_searches_it() -> None:
    study = parse_study({"study_name": "x", "dataset": "digits", "join_grid": ["none", "whitened", {"weight": 2}]})
    labels = study.space["join"].labels
    assert labels[0] == "none"
    trial = study.values_of({"join": labels[2]})
    assert study.settings_for(trial).join == {**WHITENED, "weight": 2.0}
