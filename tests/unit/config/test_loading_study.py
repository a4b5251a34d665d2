"""Study files, and the errors they get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imagematch.config import (
    DEFAULTS,
    KEYS,
    TUNABLE,
    Choices,
    FloatRange,
    IntRange,
    StudySettings,
    load_study,
    parse_study,
)
from imagematch.errors import ConfigError

ORIGINAL = """\
study_name: "hpt_study-0"
seed: 0
image_augmentation: False
feature_extractor: "efficientnet"
embedding_dim_grid: [128, 256, 512, 1024]
intermediate_ff_block_units_grid: ["[]", "[256]", "[256, 256]", "[512]", "[512, 256]", "[512, 512]", "[1024]", "[1024, 512]"]
epochs: 50
early_stopping_patience: 3
n_trials: 15
"""  # noqa: E501 (the file as it was)

Load = Callable[..., StudySettings]
Error = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str, *overrides: str) -> StudySettings:
        path = tmp_path / "study.yaml"
        path.write_text(text if "_name:" in text else "study_name: s\n" + text, encoding="utf-8")
        return load_study(path, overrides)

    return load_text


@pytest.fixture
def error(load: Load, tmp_path: Path) -> Error:
    def error_of(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as refusal:
            load(text, *overrides)
        message = str(refusal.value)
        assert "\n" not in message
        return message.removeprefix(f"{tmp_path}/")

    return error_of


def test_the_original_study_file(load: Load) -> None:
    study = load(ORIGINAL)
    assert (study.study_name, study.n_trials, study.seed, study.objective) == ("hpt_study-0", 15, 0, "val_map_at_r")
    assert study.fixed == {
        "image_augmentation": False,
        "feature_extractor": "efficientnet",
        "epochs": 50,
        "early_stopping_patience": 3,
    }
    assert study.space["embedding_dim"] == Choices((128, 256, 512, 1024))
    blocks = ((), (256,), (256, 256), (512,), (512, 256), (512, 512), (1024,), (1024, 512))
    assert study.space["intermediate_ff_block_units"] == Choices(blocks)
    assert study.space["dropout"] == FloatRange(0.0, 0.9, 0.1)
    assert study.grid_points == 4 * (7 * 10 + 1)


def test_defaults(load: Load) -> None:
    study = load("")
    assert (study.n_trials, study.sampler, study.pruner, study.folds) == (30, "tpe", "median", 1)
    assert (study.rerun_top_k, study.rerun_seeds, study.storage, study.seed) == (3, 3, None, 0)


@pytest.mark.parametrize("line", ["dropout: 0.5", "dropout_grid: [0.5]", "dropout_range: {low: 0.5, high: 0.5}"])
def test_a_dropout_field_of_its_own_takes_the_place_of_the_default_range(load: Load, line: str) -> None:
    study = load(line)
    assert study.fixed.get("dropout", study.space.get("dropout")) != FloatRange(0.0, 0.9, 0.1)


@pytest.mark.parametrize(
    ("line", "searched"),
    [
        ("embedding_dim_grid: [8, 16]", False),
        ("intermediate_ff_block_units: []", False),
        ('intermediate_ff_block_units_grid: ["[]"]', False),
        ("intermediate_ff_block_units_grid: [[], [8]]", True),
        ("intermediate_ff_block_units: [8]", True),
        ("parallel_heads: [[], [8]]", True),
    ],
)
def test_dropout_is_searched_by_itself_only_where_a_head_has_blocks(load: Load, line: str, searched: bool) -> None:
    study = load(line)
    assert ("dropout" in study.space) == searched
    assert any("not written" in text for text in study.describe()) == searched


def test_lists_as_json_and_plain_are_the_same(load: Load) -> None:
    as_json = load('intermediate_ff_block_units_grid: ["[]", "[512, 256]"]')
    plain = load("intermediate_ff_block_units_grid: [[], [512, 256]]")
    assert as_json == plain
    assert as_json.digest == plain.digest
    assert as_json.space["intermediate_ff_block_units"].labels == ("[]", "[512, 256]")  # type: ignore[union-attr]


def test_ranges(load: Load) -> None:
    study = load(
        "learning_rate_range: {low: 1e-4, high: 1e-2, log: true}\n"
        "embedding_dim_range: {low: 32, high: 128, step: 40}\n"
        "batch_images_range: {low: 2, high: 8, log: true}\n"
        "dropout_range: {low: 0, high: 0.95, step: 0.1}\n"
    )
    assert study.space == {
        "learning_rate": FloatRange(1e-4, 1e-2, None, True),
        "embedding_dim": IntRange(32, 112, 40),
        "batch_images": IntRange(2, 8, 1, True),
        "dropout": FloatRange(0.0, 0.9, 0.1),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("embeding_dim_grid: [1]", "unknown key 'embeding_dim_grid'; did you mean embedding_dim_grid?"),
        ("dropout_rnage: {low: 0, high: 1}", "unknown key 'dropout_rnage'; did you mean dropout_range?"),
        ("n_trial: 3", "unknown key 'n_trial'; did you mean n_trials?"),
        ("embedding_dim_grid: []", "embedding_dim_grid is empty"),
        ("embedding_dim_grid: 3", "embedding_dim_grid must be a list of choices"),
        ("embedding_dim_grid:", "embedding_dim_grid must be a list of choices"),
        ("embedding_dim_grid: [64, 'a']", "embedding_dim_grid: the choice 'a': embedding_dim must be a whole number"),
        ("embedding_dim_grid: [64, 1.0]", "embedding_dim_grid: the choice 1.0"),
        ("embedding_dim_grid: ['64']", "embedding_dim_grid: the choice '64'"),
        ("embedding_dim_grid: [64, 64]", "embedding_dim_grid: the choice 64 is given twice"),
        ("learning_rate_grid: [1e-3, 0.001]", "learning_rate_grid: the choice 0.001 is given twice"),
        ("dropout_grid: [0, 0.0]", "dropout_grid: the choice 0.0 is given twice"),
        (
            "gradient_clipping_grid: [0, 1]",
            "gradient_clipping_grid: the choice 0: gradient_clipping must be a number over 0",
        ),
        ("dropout_grid: [0.1, 2]", "dropout_grid: the choice 2: dropout must be a number from 0 to 1"),
        ('intermediate_ff_block_units_grid: ["[1]", [1]]', "intermediate_ff_block_units_grid: the choice [1] is given"),
        (
            'intermediate_ff_block_units_grid: ["[1, "]',
            "intermediate_ff_block_units_grid: the choice '[1, ' is no list",
        ),
        ('intermediate_ff_block_units_grid: ["8"]', "intermediate_ff_block_units_grid: the choice '8'"),
        ("loss_grid: [triplet_hard, arcfase]", "loss_grid: the choice 'arcfase'"),
        ("dropout_range: {low: 0.5, high: 0.1}", "dropout_range: low 0.5 is over high 0.1"),
        ("dropout_range: {low: 0, hihg: 1}", "dropout_range: unknown key 'hihg', not one of"),
        ("dropout_range: {low: 0}", "dropout_range: high is missing"),
        ("dropout_range: [0, 1]", "dropout_range must be {low: ..., high: ...}"),
        ("dropout_range: {low: 0, high: 1.5}", "dropout_range: high: dropout must be a number from 0 to 1"),
        ("dropout_range: {low: 0, high: 1, step: 0}", "dropout_range: step must be a number over 0"),
        ("dropout_range: {low: 0, high: 1, step: .inf}", "dropout_range: step must be a number over 0"),
        ("dropout_range: {low: 0, high: 1, step: true}", "dropout_range: step must be a number over 0"),
        ("dropout_range: {low: 0, high: 1, log: 1}", "dropout_range: log must be true or false"),
        ("dropout_range: {low: 0, high: 1, log: true}", "dropout_range: log needs low over 0"),
        ("learning_rate_range: {low: 1e-3, high: 1, log: true, step: 0.1}", "learning_rate_range: step and log"),
        ("embedding_dim_range: {low: 8, high: 64, step: 0.5}", "embedding_dim_range: step must be a whole number"),
        ("embedding_dim_range: {low: 8, high: 64.0}", "embedding_dim_range: high: embedding_dim must be a whole"),
        ("image_size_range: {low: null, high: 64}", "image_size_range: low is missing"),
        ("loss_range: {low: 1, high: 2}", "loss is not a number and has no range; give loss_grid"),
        ("seed_grid: [1, 2]", "seed cannot vary between trials"),
        ("dataset_grid: [digits]", "dataset cannot vary between trials: trials on other data cannot be compared"),
        ("engine_grid: [auto]", "engine cannot vary between trials"),
        ("threshold_grid: [eer]", "threshold cannot vary between trials"),
        ("objective: val_los", "objective must be one of"),
        ("n_trials: 0", "n_trials must be a whole number"),
        ("sampler: bayes", "sampler must be one of tpe"),
        ("epochs: a", "epochs must be a whole number"),
        ("dataset: folder", "dataset: folder needs data_dir"),
        ("loss: arcface\nmargin_grid: [0.1]", "margin belongs to contrastive, cosface"),
        ("loss: arcface\nmargin: 0.1", "margin belongs to contrastive, cosface"),
        ("loss_grid: [arcface, cosface]\ntemperature: 0.1", "temperature belongs to normalised_softmax, nt_xent"),
        ("batch_size_grid: [32, 64]\nbatch_classes: 8", "batch_classes does not go with batch_size"),
        ("loss_grid: [arcface, nt_xent]\nbatch_images_grid: [1, 4]", "nt_xent compares images of one class"),
        ("batch_images_range: {low: 1, high: 4}", "triplet_semihard compares images of one class"),
        ("feature_extractor: small_cnn\ntrainable_grid: [true, false]", "trainable: false has no effect with small"),
        ("feature_extractor_grid: [vgg16, small_cnn]\ntrainable: false", "trainable: false has no effect with small"),
        ("sampler: grid\nlearning_rate_range: {low: 1e-4, high: 1e-2}", "sampler: grid needs a finite space"),
        (
            "sampler: grid\nembedding_dim_range: {low: 1, high: 1000}\nimage_size_range: {low: 32, high: 224}",
            "sampler: grid lists every point, at most 100,000, and here are 193,000",
        ),
        ("pruner: hyperband\nlr_schedule_grid: [cosine, bit_hyperrule]", "pruner: hyperband needs the length"),
        (
            "pruner: hyperband\nfeature_extractor: small_cnn\nstages: [{lr_schedule: bit_hyperrule}, {trainable: 1}]",
            "pruner: hyperband needs the length",
        ),
    ],
)
def test_refused(error: Error, text: str, says: str) -> None:
    message = error(text)
    assert message.startswith("study.yaml:")
    assert message.partition(" ")[2].startswith(says)


@pytest.mark.parametrize(
    "text", ["pruner: asha", "pruner: hyperband\nfolds: 3", "pruner: hyperband\nobjective: [val_map_at_r, parameters]"]
)
def test_other_pruning_goes_with_the_bit_hyperrule(load: Load, text: str) -> None:
    assert load(f"lr_schedule: bit_hyperrule\n{text}").fixed["lr_schedule"] == "bit_hyperrule"


def test_the_line_is_that_of_the_key(error: Error) -> None:
    assert error("epochs: 3\n\n# why\ndropout_grid:\n  - 0.5\n  - 2\n").startswith("study.yaml:5: dropout_grid")
    assert error("loss_grid: [arcface]\nn_trials: 3\nmargin_grid: [0.1]\n").startswith("study.yaml:4: margin")


def test_a_field_given_twice_names_both_lines(error: Error) -> None:
    message = error("dropout: 0\nepochs: 3\ndropout_range: {low: 0, high: 1}\n")
    assert "dropout (line 2) and dropout_range (line 4)" in message
    message = error("dropout_grid: [0]\ndropout_range: {low: 0, high: 1}\n")
    assert "dropout_grid (line 2) and dropout_range (line 3)" in message


@pytest.mark.parametrize(
    "line",
    ["margin_grid: [0.1, 0.2]", "loss_grid: [arcface, cosface]", "batch_images_range: {low: 2, high: 4}"],
)
def test_val_loss_cannot_rank_trials_whose_loss_differs(load: Load, error: Error, line: str) -> None:
    assert "val_loss cannot rank trials" in error(f"objective: val_loss\n{line}")
    assert load(f"objective: val_map_at_r\n{line}").objective == "val_map_at_r"


def test_val_loss_can_rank_other_trials(load: Load) -> None:
    assert load("objective: val_loss\nloss: arcface\nproxy_rate_grid: [1, 10]").space["proxy_rate"].size == 2
    study = load("objective: val_loss\nmargin_grid: [0.1]\nembedding_dim_grid: [8, 16]")
    assert study.settings_for({"margin": 0.1, "embedding_dim": 8}).objective == "val_loss"


def test_fields_of_several_losses_go_together(load: Load) -> None:
    study = load(
        "loss_grid: [arcface, triplet_hard]\nmargin_grid: [0.1, 0.2]\n"
        "angle_range: {low: 0.1, high: 0.5, step: 0.1}\ndropout: 0\n"
    )
    assert study.grid_points == 5 + 2


def test_train_files_are_recognised(error: Error) -> None:
    message = error("experiment_name: x\nepochs: 3\n")
    assert message.startswith("study.yaml:1: this is a train file: it has experiment_name; run it with train.py")
    message = error("study_name: s\nexperiment_name: x\n")
    assert message.startswith("study.yaml:2: experiment_name belongs to train files")


def test_missing_name() -> None:
    with pytest.raises(ConfigError, match=r"^settings: study_name is missing"):
        parse_study({"n_trials": 3})


def test_a_name_that_repeated_runs_would_have_is_refused(error: Error) -> None:
    message = error("study_name: digits-rerun\n")
    assert message.startswith("study.yaml:1: study_name may not end in -rerun")


@pytest.mark.parametrize("url", ["postgres//me:secret@host/db", "postgresql:me:secret@host", "secret", "a b://secret"])
def test_a_wrong_storage_never_shows_its_password(error: Error, url: str) -> None:
    for message in (error(f"storage: '{url}'"), error("", f"storage={url}"), error(f"storage: ['{url}']")):
        assert "storage must be the URL of a database" in message
        assert "secret" not in message


def test_the_password_is_not_shown_elsewhere(load: Load) -> None:
    study = load("storage: postgresql+psycopg://me:secret@host/db")
    assert study.storage == "postgresql+psycopg://me:secret@host/db"
    assert "secret" not in "\n".join((repr(study), str(study), *study.describe(), str(study.space_json())))


def test_an_override_takes_the_place_of_every_form(load: Load) -> None:
    study = load("dropout_range: {low: 0, high: 1}\nepochs: 9", "dropout=0.2", "epochs_grid=[1, 2]", "n_trials=4")
    assert study.fixed == {"dropout": 0.2}
    assert study.space == {"epochs": Choices((1, 2))}
    assert study.n_trials == 4


def test_every_tunable_field_is_a_setting_and_takes_a_grid(load: Load) -> None:
    assert set(TUNABLE) <= set(DEFAULTS)
    for field in TUNABLE:
        default = DEFAULTS[field]
        if KEYS[field].kind in ("int", "float"):
            assert isinstance(default, (int, float, type(None)))
    assert load("trainable_grid: [true, 1, false]").space["trainable"].options == (True, 1, False)
