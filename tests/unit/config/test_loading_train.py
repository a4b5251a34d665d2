"""Train files and overrides, and the errors they get."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from imagematch.config import TrainSettings, load_study, load_train, parse_train
from imagematch.errors import ConfigError

ORIGINAL = """\
experiment_name: "efficientnet_with_ff_block_test"

seed: 0
image_augmentation: False

feature_extractor: "efficientnet"
embedding_dim: 128
intermediate_ff_block_units: [512, 256]
dropout: 0.5

epochs: 50
early_stopping_patience: 10
"""


def _load(tmp_path: Path, text: str, *overrides: str) -> TrainSettings:
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return load_train(path, overrides)


def _error(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        _load(tmp_path, text, *overrides)
    message = str(refusal.value)
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path}/")


def test_the_original_train_file(tmp_path: Path) -> None:
    made = _load(tmp_path, ORIGINAL)
    assert made.intermediate_ff_block_units == (512, 256)
    assert (made.dropout, made.embedding_dim, made.feature_extractor) == (0.5, 128, "efficientnet")


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001"])
def test_learning_rates(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, f"experiment_name: x\nlearning_rate: {text}\n").learning_rate == 0.001


def test_unknown_key(tmp_path: Path) -> None:
    message = _error(tmp_path, "experiment_name: x\nembeding_dim: 3\n")
    assert message == "train.yaml:2: unknown key 'embeding_dim'; did you mean embedding_dim?"


def test_the_first_by_line_and_how_many_more(tmp_path: Path) -> None:
    message = _error(tmp_path, "experiment_name: x\nepochs: a\nfoo: 1\nembeding_dim: 3\ndropout: 2\n")
    assert message == "train.yaml:2: epochs must be a whole number from 0 to 100000, not 'a' (and 3 more)"


def test_missing_name(tmp_path: Path) -> None:
    assert _error(tmp_path, "epochs: 3\n").startswith("train.yaml: experiment_name is missing")


def test_study_files_are_recognised(tmp_path: Path) -> None:
    message = _error(tmp_path, "study_name: x\nepochs: 3\n")
    assert message.startswith("train.yaml:1: this is a study file: it has study_name; run it with hpt.py")
    for line in ("n_trials: 3", "dropout_grid: [0, 1]", "dropout_range: {low: 0, high: 1}"):
        message = _error(tmp_path, f"experiment_name: x\n{line}\n")
        assert message.startswith("train.yaml:2: ")
        assert "belongs to study files" in message


def test_overrides_take_the_place_of_the_file(tmp_path: Path) -> None:
    made = _load(tmp_path, ORIGINAL, "epochs=7", "intermediate_ff_block_units=[64]", "learning_rate = 1e-4", "epochs=8")
    assert (made.epochs, made.intermediate_ff_block_units, made.learning_rate) == (8, (64,), 1e-4)


def test_an_override_mends_the_file(tmp_path: Path) -> None:
    assert _load(tmp_path, "experiment_name: x\nepochs: -1\n", "epochs=1").epochs == 1


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epochs=1e1", "--set epochs: epochs must be a whole number"),
        ("epochs=", "--set epochs: epochs must be a whole number"),
        ("epoch=3", "--set epoch: unknown key 'epoch'; did you mean epochs?"),
        ("epochs", "--set: 'epochs' is not KEY=VALUE"),
        ("=3", "--set: '=3' is not KEY=VALUE"),
        ("split=[0.5", "--set split: not valid YAML"),
        ("epochs=!!int 3", "--set epochs: the tag"),
        ("temperature=0.1", "--set temperature: temperature belongs to"),
    ],
)
def test_wrong_overrides(tmp_path: Path, override: str, says: str) -> None:
    assert _error(tmp_path, ORIGINAL, override).startswith(says)


def test_errors_of_the_file_come_before_those_of_overrides(tmp_path: Path) -> None:
    message = _error(tmp_path, "experiment_name: x\nepochs: -1\n", "dropout=9")
    assert message.startswith("train.yaml:2: epochs")
    assert "(and 1 more)" in message


def test_settings_from_python() -> None:
    assert parse_train({"experiment_name": "x", "epochs": 3}).epochs == 3
    with pytest.raises(ConfigError, match=r"^my notebook: unknown key 'epoch'; did you mean epochs\?$"):
        parse_train({"experiment_name": "x", "epoch": 3}, where="my notebook")
    with pytest.raises(ConfigError, match="unknown key '3'"):
        parse_train({"experiment_name": "x", 3: 3})  # type: ignore[dict-item]


def test_long_and_hostile_values_are_shown_short_and_harmless(tmp_path: Path) -> None:
    message = _error(tmp_path, 'experiment_name: x\nloss: "' + "y" * 10_000 + '"\n')
    assert len(message) < 500
    message = _error(tmp_path, 'experiment_name: x\nloss: "\\e[31mred\\n"\n')
    assert message.isprintable()
    message = _error(tmp_path, 'experiment_name: x\n"\\e[31m": 1\n')
    assert message.isprintable()


def test_all_mistakes_are_reported_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    stages = "stages:\n  - {epocs: 3}\n  - {trainable: -1, loss: circle}\n"
    path.write_text(f"experiment_name: x\nepochs: a\nfoo: 1\n{stages}")
    with pytest.raises(ConfigError) as caught:
        load_train(path)
    first, *rest = (str(error).removeprefix(f"{path}:") for error in (caught.value, *caught.value.more))
    assert first.startswith("2: epochs must be a whole number")
    assert first.endswith("(and 4 more)")
    assert [line.partition(";")[0] for line in rest] == [
        "3: unknown key 'foo'",
        "5: stage 1: 'epocs' is not a field of a stage",
        "6: stage 2: 'loss' is not a field of a stage",
        "6: stage 2: trainable must be true, false, the number of last layers to train or {blocks: the number of last "
        "blocks}, not -1",
    ]
    copied = pickle.loads(pickle.dumps(caught.value))
    assert list(map(str, copied.more)) == list(map(str, caught.value.more))


def test_broken_rules_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("experiment_name: x\nloss: arcface\nmargin: 0.1\naugmented_views: 3\ndataset: folder\n")
    with pytest.raises(ConfigError) as caught:
        load_train(path)
    assert [error.where.rpartition(":")[2] for error in (caught.value, *caught.value.more)] == ["3", "4", "5"]


def test_a_list_where_one_value_belongs_suggests_the_grid(tmp_path: Path) -> None:
    message = _error(tmp_path, "experiment_name: x\nembedding_dim: [64, 128]\n")
    assert message == (
        "train.yaml:2: embedding_dim must be a whole number from 1 to 65536, not [64, 128]; "
        "a study searches embedding_dim_grid"
    )
    path = tmp_path / "study.yaml"
    path.write_text("study_name: s\nloss: [circle, arcface]\n")
    with pytest.raises(ConfigError, match=r"study.yaml:2: loss must be one of .*; did you mean loss_grid\?"):
        load_study(path)
