"""Stages: what they may hold, where their mistakes are reported, and what each of them is resolved to."""

from pathlib import Path

import pytest

from imagematch.config import load_study, load_train, parse_train
from imagematch.errors import ConfigError

HEAD = "experiment_name: x\nfeature_extractor: mobilenet_v2\nlearning_rate: 0.002\nstages:\n"


def load(folder: Path, stages: str) -> object:
    path = folder / "train.yaml"
    path.write_text(HEAD + stages)
    return load_train(path)


def test_a_stage_has_its_own_fields_and_else_the_file_s() -> None:
    settings = parse_train(
        {
            "experiment_name": "x",
            "learning_rate": 0.002,
            "epochs": 7,
            "stages": [{"trainable": False}, {"trainable": {"blocks": 2}, "learning_rate": 1e-5, "epochs": 3}],
        }
    )
    first, second = settings.stage_settings
    assert (first.trainable, first.learning_rate, first.epochs, first.stages) == (False, 0.002, 7, ())
    assert (second.trainable, second.learning_rate, second.epochs) == ({"blocks": 2}, 1e-5, 3)
    plain = parse_train({"experiment_name": "x"})
    assert plain.stage_settings == (plain,)


def test_stages_survive_a_file(tmp_path: Path) -> None:
    settings = load(tmp_path, "  - {trainable: false, epochs: 3}\n  - {trainable: 30, learning_rate: 1.0e-5}\n")
    path = tmp_path / "again.yaml"
    path.write_text(settings.to_yaml())
    assert load_train(path) == settings


@pytest.mark.parametrize(
    ("stages", "line", "text"),
    [
        ("  - {trainable: false}\n  - {epocs: 3}\n", 6, "'epocs' is not a field of a stage; did you mean epochs?"),
        ("  - epochs: 3\n    trainable: -1\n", 6, "stage 1: trainable must be true, false, the number of last layers"),
        ("  - {epochs: 3,\n     lr_schedule: cosin}\n", 6, "did you mean cosine?"),
        ("  - {loss: circle}\n", 5, "'loss' is not a field of a stage"),
        ("  - {augmented_views: 2}\n", 5, "stage 1: augmented_views has no effect without image_augmentation"),
        ("  - {trainable: 5}\n  - {trainable: 3}\n", 6, "stage 2 freezes what stage 1 trains"),
        ("  - {trainable: {blocks: 1}}\n  - {epochs: 3}\n", 4, "stage 2 freezes what stage 1 trains"),
        ("  - {layer_decay: 0.5}\n", 5, "layer_decay has no effect where nothing of the extractor is trained"),
        ("  epochs: 3\n", 4, "stages must be a list of mappings"),
    ],
)
def test_a_mistake_in_a_stage_is_reported_in_one_line_with_its_line(
    tmp_path: Path, stages: str, line: int, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, stages)
    message = str(caught.value)
    assert text in message
    assert f"train.yaml:{line}" in message
    assert "\n" not in message


def test_a_study_may_fix_stages_or_choose_among_them(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "study_name: s\nfeature_extractor: mobilenet_v2\nembedding_dim_grid: [32, 64]\n"
        "stages: [{trainable: false, epochs: 2}, {trainable: 3}]\n"
    )
    study = load_study(path)
    assert study.settings_for({"embedding_dim": 32}).stage_settings[1].trainable == 3
    path.write_text(
        "study_name: s\nfeature_extractor: mobilenet_v2\n"
        "stages_grid: [[{trainable: false}], [{trainable: false}, {trainable: {blocks: 1}}]]\n"
    )
    study = load_study(path)
    stages = study.space["stages"]
    chosen = stages.value_of(stages.labels[1])
    assert study.settings_for({"stages": chosen}).stage_settings[1].trainable == {"blocks": 1}
    path.write_text("study_name: s\nembedding_dim_grid: [32, 64]\nstages:\n  - {trainable: false}\n  - {epocs: 2}\n")
    with pytest.raises(ConfigError, match=r"study.yaml:5.*did you mean epochs"):
        load_study(path)
