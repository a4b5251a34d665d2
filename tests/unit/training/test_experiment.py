"""Whole trainings on the digits: on cached features, at the cut, and on images."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ConfigError, InterruptedRunError
from imagematch.evaluation import epoch_metrics
from imagematch.features.computation import Computation
from imagematch.losses import draw_triplets
from imagematch.training import (
    StopRequest,
    Training,
    TrainingData,
    embed_rows,
    load_training_data,
    loop,
    sample_rows,
    train_model,
    training_data,
    training_data_key,
)

ROWS = np.arange(0, 700, 10)
STAGES = [{"trainable": False, "epochs": 2}, {"trainable": 2, "epochs": 2, "learning_rate": 3e-4, "layer_decay": 0.5}]


def settings_of(folder: Path, **values: Any) -> TrainSettings:
    base = {
        "experiment_name": "x",
        "dataset": "digits",
        "max_classes": 4,
        "feature_extractor": "small_cnn",
        "image_size": 16,
        "weights": str(folder / "small_cnn.weights.h5"),
        "feature_dir": str(folder / "features"),
        "engine": "tensorflow",
        "batch_classes": 4,
        "batch_images": 4,
        "embedding_dim": 8,
        "epochs": 2,
        "validation_max_images": 100,
    }
    return parse_train({**base, **values})


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights for the small network, as if they were published."""
    from imagematch.extractors import build_network
    from imagematch.registry import EXTRACTOR_REGISTRY

    folder = tmp_path_factory.mktemp("experiment")
    build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 0).save_weights(folder / "small_cnn.weights.h5")
    return folder


def load(settings: TrainSettings, folder: Path) -> TrainingData:
    return load_training_data(settings, manifest_dir=folder / "manifests")


def trained(settings: TrainSettings, folder: Path) -> Training:
    return train_model(load(settings, folder), settings)


@pytest.fixture(scope="module", name="in_stages")
def in_stages_fixture(folder: Path) -> Training:
    return trained(settings_of(folder, stages=STAGES), folder)


@pytest.fixture(scope="module", name="first_stage_alone")
def first_stage_alone_fixture(folder: Path) -> Training:
    return trained(settings_of(folder, **STAGES[0]), folder)


def test_cached_features_at_the_cut_train_the_same_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(folder, trainable=2, epochs=1)  # longer, and rounding errors decide which triplets count
    computed: list[int] = []
    complete = Computation.complete

    def counted(self: Computation, *arguments: Any) -> int:
        computed.append(complete(self, *arguments))
        return computed[-1]

    monkeypatch.setattr(Computation, "complete", counted)
    settings = settings.model_copy(update={"feature_dir": folder / "features of its own"})
    cached = trained(settings, folder)
    assert len(computed) == 2, "the whole extractor for the baseline, and its part below the cut, once each"
    assert len(set(computed)) == 1
    again = trained(settings, folder)
    assert len(computed) == 2
    np.testing.assert_array_equal(cached.embed(ROWS), again.embed(ROWS))
    monkeypatch.setattr(training_data, "_MAX_CACHED_BYTES", 0)
    data = load(settings, folder)
    assert data.inputs[0].views is None
    on_images = train_model(data, settings)
    np.testing.assert_allclose(on_images.embed(ROWS), cached.embed(ROWS), atol=1e-3)
    assert on_images.result.best_value == pytest.approx(cached.result.best_value, abs=0.01)
    changed = [
        variable.path
        for variable, initial in zip(cached.network.variables, data.extractor.build().variables, strict=True)
        if not np.array_equal(variable, initial)
    ]
    assert {path.split("/")[-2] for path in changed} == {"block4_conv"}, "no batch norm, and nothing below"


def test_the_feature_model_is_the_whole_network(in_stages: Training) -> None:
    rows = np.arange(12)
    images = np.stack([in_stages.data.dataset.pixels(row, 16) for row in rows]).astype(np.float32)
    embeddings = np.asarray(in_stages.feature_model()(images, training=False))
    np.testing.assert_allclose(embeddings, in_stages.embed(rows), atol=1e-3)


def test_cached_views_at_the_cut(folder: Path) -> None:
    settings = settings_of(folder, trainable=2, image_augmentation=True, augmented_views=2, epochs=1)
    inputs = load(settings, folder).inputs[0]
    assert inputs.views is not None
    plain, first, second = inputs.views
    assert plain.shape == first.shape == second.shape
    assert not np.array_equal(plain[:50], first[:50])
    assert not np.array_equal(first[:50], second[:50])
    assert trained(settings, folder).result.history


def test_images_augmented_anew_go_through_the_frozen_network_and_are_validated_by_its_features(folder: Path) -> None:
    settings = settings_of(folder, image_augmentation=True, epochs=1)
    training = trained(settings, folder)
    assert training.network is None
    head = training.head(training.data.features.array[:20], training=False)
    np.testing.assert_allclose(training.embed(np.arange(20)), np.asarray(head), atol=1e-5)


def test_stages_train_the_head_first_and_then_the_network(in_stages: Training, first_stage_alone: Training) -> None:
    history = in_stages.result.history
    assert [(record["epoch"], record["stage"]) for record in history] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert history[-1]["learning_rate"] == pytest.approx(3e-4)
    assert in_stages.result.best_value == max(record["val_map_at_r"] for record in history)
    for one, other in zip(history, first_stage_alone.result.history, strict=False):
        assert {**one, "stage": None} == {**other, "stage": None}, "the first stage is that training alone"


@pytest.mark.parametrize("views", [2, 0], ids=["cached views", "anew"])
def test_a_stage_may_augment_on_its_own(folder: Path, in_stages: Training, views: int) -> None:
    own = {"image_augmentation": True, **({"augmented_views": views} if views else {})}
    settings, plain = (settings_of(folder, stages=[STAGES[0], {**STAGES[1], **more}]) for more in (own, {}))
    assert training_data_key(settings) != training_data_key(plain)
    data = load(settings, folder)
    first, second = ([] if inputs.views is None else inputs.views for inputs in data.inputs)
    assert (len(first), len(second)) == (1, 1 + views if views else 0)
    augmented = train_model(data, settings)
    losses = [[record["loss"] for record in one.result.history] for one in (augmented, in_stages)]
    assert losses[0][:2] == losses[1][:2], "the first stage has nothing of it"
    assert losses[0][2] != losses[1][2]
    best = augmented.result.history[augmented.result.best_epoch - 1]
    validation = data.dataset.rows("validation")
    rows = sample_rows(validation, data.dataset.labels, settings.validation_max_images, settings.seed)
    metrics = epoch_metrics(augmented.embed(rows), data.dataset.labels[rows])
    assert metrics["map_at_r"] == pytest.approx(best["val_map_at_r"], abs=1e-3), "validated on images as they are"


def test_a_later_stage_never_ends_worse_than_it_began(folder: Path, first_stage_alone: Training) -> None:
    stages = [STAGES[0], {"trainable": 2, "epochs": 1, "learning_rate": 100.0}]
    training = trained(settings_of(folder, stages=stages), folder)
    assert training.result.best_epoch <= 2
    np.testing.assert_allclose(training.embed(ROWS), first_stage_alone.embed(ROWS), atol=1e-3)


LEARNING = [{"loss": "proxy_nca", "proxy_rate": 10}, {"loss": "contrastive", "cross_batch_memory": 40}]


def copying(folder: Path) -> Callable[[Path, Any], None]:
    """`write_checkpoint`, which also leaves a copy of every checkpoint: NUMBER OF EPOCHS.npz."""
    plain = loop.write_checkpoint

    def write(path: Path, checkpoint: Any) -> None:
        plain(path, checkpoint)
        shutil.copyfile(path, folder / f"{len(checkpoint.history)}.npz")

    return write


@pytest.mark.parametrize("loss", LEARNING, ids=["proxies", "memory"])
def test_a_training_in_stages_that_is_resumed_gives_the_same_weights(
    folder: Path, tmp_path: Path, loss: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From within a stage, from its end, and from within the next; what the loss learns or remembers is restored, too.

    The checkpoints are those of a whole training that writes one after every epoch, and of one that is stopped.
    """
    monkeypatch.setattr(loop, "_CHECKPOINT_IMAGES", 1)
    settings = settings_of(folder, stages=STAGES, dropout=0.2, intermediate_ff_block_units=[16], **loss)
    data = load(settings, folder)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", copying(tmp_path))
        whole = train_model(data, settings, checkpoint=tmp_path / "whole.npz")
    stop, path = StopRequest(), tmp_path / "stopped.npz"

    def stop_after_two(record: Any) -> bool:
        if record["epoch"] == 2:
            stop.ask(2)
        return False

    with pytest.raises(InterruptedRunError):
        train_model(data, settings, on_epoch=stop_after_two, stop=stop, checkpoint=path)
    for checkpoint, epochs in ((tmp_path / "1.npz", 1), (path, 2), (tmp_path / "3.npz", 3)):
        reported: list[int] = []
        resumed = train_model(data, settings, checkpoint=checkpoint, on_resume=reported.append)
        assert reported == [epochs]
        assert resumed.result.history == whole.result.history
        np.testing.assert_array_equal(resumed.embed(ROWS), whole.embed(ROWS))


def test_layers_and_blocks_that_do_not_grow_are_refused_before_training(folder: Path) -> None:
    stages = [{"trainable": 4}, {"trainable": {"blocks": 1}}]
    with pytest.raises(ConfigError, match="stage 2 freezes what stage 1 trains"):
        trained(settings_of(folder, stages=stages), folder)


def test_layer_decay_slows_the_lower_layers(folder: Path) -> None:
    """By its power of the layers above: one step of Adam moves every weight by about the rate."""
    settings = settings_of(folder, trainable=4, layer_decay=0.1, epochs=1, batch_classes=4, batch_images=180)
    training = trained(settings, folder)
    initial = training.data.extractor.build()
    moved = {
        after.path.split("/")[-2]: float(np.abs(after - before).max())
        for before, after in zip(initial.trainable_variables, training.network.trainable_variables, strict=True)
    }
    assert moved == pytest.approx({"block3_conv": 1e-5, "block4_conv": 1e-4}, rel=0.05)


def test_offline_triplets_are_drawn_by_the_embeddings_of_each_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def noted(labels: np.ndarray, count: int, random: Any, embeddings: np.ndarray | None = None) -> np.ndarray:
        if embeddings is not None:
            assert embeddings.shape == (len(labels), 8)
            seen.append(embeddings)
        return draw_triplets(labels, count, random, embeddings)

    monkeypatch.setattr("imagematch.training.batches.draw_triplets", noted)
    own = {"loss": "triplet_offline", "batch_size": 60}
    values = settings_of(folder).model_dump(exclude_unset=True, exclude={"batch_classes", "batch_images"})
    settings = parse_train({**values, **own})
    first, again = trained(settings, folder), trained(settings, folder)
    assert len(seen) == 4
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(first.embed(ROWS), again.embed(ROWS))


class PreparedError(Exception):
    """Ends a training where it would begin."""


@pytest.fixture(name="prepared")
def prepared_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any]]:
    """A function that prepares a training: its first stage, and the loss."""

    def caught(stages: Any, loss: Any, **_options: Any) -> None:
        raise PreparedError(stages[0], loss)

    def prepare(data: TrainingData, settings: TrainSettings) -> tuple[Any, Any]:
        with pytest.raises(PreparedError) as prepared:
            train_model(data, settings)
        stage, loss = prepared.value.args
        return stage, loss

    monkeypatch.setattr("imagematch.training.experiment.fit", caught)
    return prepare


@pytest.mark.parametrize("trainable", [False, True], ids=["cached features", "images"])
def test_proxies_are_of_the_training_classes_alone(
    folder: Path, prepared: Callable[..., tuple[Any, Any]], trainable: bool
) -> None:
    settings = settings_of(folder, loss="proxy_nca", split_by="class", max_classes=10, seed=1, trainable=trainable)
    data = load(settings, folder)
    dataset = data.dataset
    classes = np.unique(dataset.labels[dataset.rows("train")])
    assert 2 <= len(classes) < len(dataset.class_names)
    assert classes.max() >= len(classes), "or numbering would change nothing"
    stage, loss = prepared(data, settings)
    assert loss.proxies.shape[0] == len(classes)
    rows = dataset.rows("train")
    label_of = {
        inputs.tobytes(): dataset.labels[row]
        for row, inputs in zip(rows, embed_rows(stage.source, rows, np.asarray), strict=True)
    }
    inputs, labels = next(iter(stage.source.chunks(0)))
    for one, label in zip(np.asarray(inputs)[0], labels[0], strict=True):
        assert classes[label] == label_of[one.tobytes()]


def test_val_loss_is_left_out_where_validation_classes_have_no_proxies(
    folder: Path, prepared: Callable[..., tuple[Any, Any]]
) -> None:
    by_class = {"split_by": "class", "max_classes": 10}

    def measured(settings: TrainSettings) -> dict[str, float]:
        stage, _loss = prepared(load(settings, folder), settings)
        return stage.validator.metrics(stage.model)

    assert "val_loss" not in measured(settings_of(folder, loss="proxy_nca", **by_class))
    assert "val_loss" in measured(settings_of(folder, **by_class))
    assert "val_loss" in measured(settings_of(folder, loss="proxy_nca"))
    predefined = settings_of(folder, loss="proxy_nca", objective="val_loss")  # splits the file does not know of
    with pytest.raises(ConfigError, match="val_loss has no meaning with proxy_nca"):
        train_model(load(settings_of(folder, loss="proxy_nca", **by_class), folder), predefined)
