"""The training loop on small synthetic features: what it learns, when it ends, and how it resumes."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ConfigError, InterruptedRunError, TrainingFailedError
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training import (
    EpochRecord,
    EpochValidator,
    FeatureSource,
    FitResult,
    Stage,
    StopRequest,
    embed_rows,
    fit,
    loop,
    make_optimizer,
    plan_batches,
)
from imagematch.training.batch_sources import Chunk

CLASSES, IMAGES, DIM = 6, 20, 12


def settings_of(**values: object) -> TrainSettings:
    base = {"experiment_name": "x", "batch_classes": 4, "batch_images": 3, "epochs": 4, "embedding_dim": 8}
    return parse_train({**base, **values})


class Bench:
    """A head, its data and everything `fit` wants; the same for the same settings."""

    def __init__(self, settings: TrainSettings, *, scale: float = 1.0) -> None:
        random = np.random.default_rng(0)
        self.labels = np.repeat(np.arange(CLASSES), IMAGES)
        centres = random.normal(size=(CLASSES, DIM))
        self.features = (scale * (centres[self.labels] + random.normal(size=(len(self.labels), DIM)))).astype(
            np.float32
        )
        rows = np.arange(len(self.labels))
        train, validation = rows[rows % 4 > 0], rows[rows % 4 == 0]
        self.settings = settings
        self.head = build_head(DIM, units=(16,), dropout=settings.dropout, embedding_dim=8, seed=3)
        plan = plan_batches(settings, self.labels[train], 1)
        self.source = FeatureSource([self.features], train, self.labels, plan, seed=2)
        self.loss = make_loss(settings, n_classes=CLASSES, embedding_dim=8)
        validation_plan = plan_batches(settings, self.labels[validation], 0)
        self.validator = EpochValidator(self.source, validation, self.labels, self.loss, validation_plan)

    def fit(self, **options: object) -> FitResult:
        return fit([Stage(self.settings, self.head, self.source, self.validator)], self.loss, **options)

    def embeddings(self) -> np.ndarray:
        rows = np.arange(len(self.labels))
        return embed_rows(self.source, rows, lambda block: self.head(block, training=False))


@functools.cache
def fitted(**values: object) -> tuple[Bench, FitResult]:
    """A bench after its training, and the result; shared by tests, which do not change it."""
    bench = Bench(settings_of(**values))
    return bench, bench.fit()


def test_it_learns_and_records_every_epoch() -> None:
    result = Bench(settings_of(epochs=8)).fit()
    assert [record["epoch"] for record in result.history] == list(range(1, 9))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.best_value == max(record["val_map_at_r"] for record in result.history)
    assert result.history[result.best_epoch - 1]["val_map_at_r"] == result.best_value
    assert {"val_loss", "val_roc_auc", "active", "spread", "learning_rate"} <= set(result.history[0])
    assert result.ended_by == "epochs"


def test_bfloat16_learns_and_is_validated_in_float32() -> None:
    bench = Bench(settings_of(epochs=8, training_precision="bfloat16"))
    result = bench.fit()
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[0]["loss"] != fitted(epochs=1)[1].history[0]["loss"]
    again = bench.validator.metrics(lambda block: bench.head(block, training=False))
    assert again["val_map_at_r"] == pytest.approx(result.best_value, abs=1e-9)


def test_mixup_of_the_bit_hyperrule_reaches_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(loss="arcface", epochs=3).model_copy(update={"lr_schedule": "bit_hyperrule"})
    plain = Bench(settings).fit()
    assert [record["learning_rate"] for record in plain.history] == pytest.approx([7e-5, 1.5e-4, 2.3e-4])
    monkeypatch.setattr("imagematch.training.schedules.mixup_alpha", lambda images: 0.1)
    mixed = Bench(settings).fit()
    assert mixed.history[0]["loss"] != plain.history[0]["loss"]
    assert mixed.history[0]["learning_rate"] == plain.history[0]["learning_rate"]


def test_the_best_epochs_weights_are_put_back() -> None:
    bench, result = fitted(epochs=60, early_stopping_patience=2, learning_rate=0.02)
    assert result.best_epoch < len(result.history)
    again = bench.validator.metrics(lambda block: bench.head(block, training=False))
    assert again["val_map_at_r"] == pytest.approx(result.best_value, abs=1e-9)


def test_early_stopping_counts_epochs_without_improvement() -> None:
    _, result = fitted(epochs=60, early_stopping_patience=2, learning_rate=0.02)
    assert result.ended_by == "early_stopping"
    assert len(result.history) == result.best_epoch + 2


def test_an_objective_that_is_minimised_keeps_the_smallest() -> None:
    result = Bench(settings_of(objective="val_loss", epochs=6)).fit()
    assert result.best_value == min(record["val_loss"] for record in result.history)


def test_a_callback_ends_it() -> None:
    result = Bench(settings_of()).fit(on_epoch=lambda record: record["epoch"] == 2)
    assert (result.ended_by, len(result.history)) == ("callback", 2)


@pytest.mark.parametrize("fields", [{"epochs": 4}, {"epochs": 60, "early_stopping_patience": 2, "learning_rate": 0.02}])
def test_a_callback_at_the_last_epoch_cuts_nothing_off(
    fields: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_IMAGES", 1)
    settings, checkpoint = settings_of(**fields), tmp_path / "state.npz"
    whole = Bench(settings).fit(checkpoint=checkpoint)

    def at_the_last(record: EpochRecord) -> bool:
        return record["epoch"] == len(whole.history)

    assert Bench(settings).fit(on_epoch=at_the_last).ended_by == whole.ended_by
    assert Bench(settings).fit(on_epoch=at_the_last, checkpoint=checkpoint).ended_by == whole.ended_by
    earlier = Bench(settings).fit(on_epoch=lambda record: record["epoch"] == 2, checkpoint=checkpoint)
    assert earlier.ended_by == "callback"


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_a_loss_that_is_no_number_stops_it_and_says_what_to_change() -> None:
    bench = Bench(settings_of())
    bench.features[::3] = np.nan
    with pytest.raises(TrainingFailedError, match="learning_rate"):
        bench.fit()


@pytest.mark.parametrize(
    ("values", "do"),
    [
        ({}, "lower learning_rate (now 0.001) or raise margin (now 0.2)"),
        ({"triplet_hinge": "softplus"}, "lower learning_rate (now 0.001)"),
        ({"loss": "nt_xent"}, "lower learning_rate (now 0.001) or use loss: triplet_semihard"),
        (
            {"loss": "contrastive", "margin": 0.5},
            "lower learning_rate (now 0.001) or raise margin (now 0.5) or use loss: triplet_semihard",
        ),
    ],
)
def test_a_collapse_stops_it_and_says_what_to_change(values: dict[str, object], do: str) -> None:
    bench = Bench(settings_of(epochs=2, **values))
    bench.features[:] = bench.features[0]
    with pytest.raises(TrainingFailedError, match="collapsed") as failed:
        bench.fit()
    assert failed.value.do == do


def test_steps_without_two_images_of_a_class_are_counted() -> None:
    settings = parse_train({"experiment_name": "x", "batch_size": 2, "epochs": 1, "embedding_dim": 8})
    bench = Bench(settings)
    (record,) = bench.fit().history
    pairs = [labels for _, chunk in bench.source.chunks(0) for labels in chunk]
    assert record["empty_steps"] == sum(one != other for one, other in pairs) > 30
    assert "empty_steps" not in fitted(epochs=1)[1].history[0]


def test_an_objective_that_is_not_measured_is_refused() -> None:
    bench = Bench(settings_of(loss="triplet_semihard", objective="val_loss"))
    rows = np.arange(0, len(bench.labels), 4)
    bench.validator = EpochValidator(
        bench.source, rows, bench.labels, None, plan_batches(bench.settings, bench.labels[rows], 0)
    )
    with pytest.raises(ConfigError, match="val_loss"):
        bench.fit()


def test_the_same_settings_give_the_same_weights() -> None:
    first, second = Bench(settings_of(dropout=0.3)), Bench(settings_of(dropout=0.3))
    assert first.fit().history == second.fit().history
    np.testing.assert_array_equal(first.embeddings(), second.embeddings())


LOSSES = [{}, {"loss": "arcface", "proxy_rate": 10}, {"loss": "contrastive", "cross_batch_memory": 24}]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_run_cut_in_two_comes_to_the_same(loss: dict[str, object], tmp_path: Path) -> None:
    """Dropout, Adam's moments, a loss's proxies and its memory are part of the state."""
    settings = settings_of(dropout=0.3, weight_decay=0.01, optimizer="adamw", **loss)
    whole = Bench(settings)
    expected = whole.fit()
    stop, path = StopRequest(), tmp_path / "checkpoint.npz"

    def ask_after_two(record: object) -> bool:
        if record["epoch"] == 2:
            stop.ask(2)
        return False

    with pytest.raises(InterruptedRunError, match="--resume"):
        Bench(settings).fit(on_epoch=ask_after_two, stop=stop, checkpoint=path, identity="a")
    resumed, calls = Bench(settings), []
    result = resumed.fit(
        checkpoint=path,
        identity="a",
        on_resume=lambda epochs: calls.append(f"resumed after {epochs}"),
        on_epoch=lambda record: calls.append(record["epoch"]),
    )
    assert calls == ["resumed after 2", 1, 2, 3, 4]
    assert result.history == expected.history
    np.testing.assert_array_equal(resumed.embeddings(), whole.embeddings())


@pytest.mark.parametrize(("images", "epochs"), [(1, [1, 2, 3, 4]), (270, [3]), (20_000, [])])
def test_checkpoints_go_by_the_images_of_training(
    images: int, epochs: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by time: a busy machine writes the same ones. 90 images are trained on in each of the 4 epochs."""
    written = written_checkpoints(monkeypatch)
    if images != loop._CHECKPOINT_IMAGES:
        monkeypatch.setattr(loop, "_CHECKPOINT_IMAGES", images)
    Bench(settings_of()).fit(checkpoint=tmp_path / "state.npz", on_resume=lambda epochs: pytest.fail("no checkpoint"))
    assert written == epochs


def test_a_checkpoint_after_every_epoch_where_images_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = written_checkpoints(monkeypatch)
    bench = Bench(settings_of())
    bench.source.cached = False
    bench.fit(checkpoint=tmp_path / "state.npz")
    assert written == [1, 2, 3, 4]


def written_checkpoints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of epochs in the checkpoints that will be written."""
    written: list[int] = []
    monkeypatch.setattr(loop, "write_checkpoint", lambda _path, checkpoint: written.append(len(checkpoint.history)))
    return written


@pytest.mark.parametrize(("seconds", "epochs"), [(0.1, [1]), (1.0, [])])
def test_a_stop_ends_a_long_epoch_at_once_and_a_short_one_at_its_end(
    seconds: float, epochs: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk takes `seconds` by the test's own clock; three chunks are two seconds and more."""
    written, chunks = written_checkpoints(monkeypatch), []
    bench, stop = Bench(settings_of()), StopRequest()

    class Slow(FeatureSource):
        def chunks(self, epoch: int) -> Iterator[Chunk]:
            for inputs, labels in super().chunks(epoch):
                for step in range(len(labels)):
                    chunks.append(epoch)
                    stop.ask(2)
                    yield inputs[step : step + 1], labels[step : step + 1]

    bench.source.__class__ = Slow
    with pytest.raises(InterruptedRunError):
        bench.fit(checkpoint=tmp_path / "state.npz", stop=stop, clock=lambda: seconds * len(chunks))
    assert written == epochs
    assert len(chunks) == (3 if seconds == 1.0 else bench.source.steps)


def by_two_optimisers(settings: TrainSettings) -> Bench:
    """A bench after one epoch, step by step: the head by one optimiser, the proxies by another at their own rate."""
    bench = Bench(settings)
    head, proxies = bench.head.trainable_variables, [bench.loss.proxies]
    own = settings.model_copy(update={"learning_rate": settings.proxy_rate * settings.learning_rate})
    of_head, of_proxies = make_optimizer(settings), make_optimizer(own)
    for chunk, labels in bench.source.chunks(0):
        for inputs, classes in zip(chunk, labels, strict=True):
            with tf.GradientTape() as tape:
                value = bench.loss(bench.head(inputs, training=True), classes).loss
            by_head, by_proxies = tape.gradient(value, [head, proxies])
            of_head.apply(by_head, head)
            of_proxies.apply(by_proxies, proxies)
    return bench


@pytest.mark.parametrize("rate", [0.1, 30])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_proxies_learn_at_a_rate_of_their_own(optimizer: str, rate: float) -> None:
    own = {"loss": "normalised_softmax", "temperature": 0.5, "optimizer": optimizer, "weight_decay": 0.1, "epochs": 1}
    settings = settings_of(**own, proxy_rate=rate)
    bench, expected, (plain, _) = Bench(settings), by_two_optimisers(settings), fitted(**own)
    bench.fit()
    np.testing.assert_allclose(bench.loss.proxies, expected.loss.proxies, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bench.embeddings(), expected.embeddings(), atol=1e-4)
    initial = np.asarray(Bench(settings).loss.proxies)
    moved, at_one = (np.abs(np.asarray(one.loss.proxies) - initial).mean() for one in (bench, plain))
    assert moved / at_one == pytest.approx(rate, rel=0.5)


def test_views_are_drawn_for_each_image_and_validated_as_they_are() -> None:
    settings = settings_of()
    bench = Bench(settings)
    rows = np.arange(len(bench.labels))
    views = [bench.features, bench.features + 100]
    source = FeatureSource(views, rows, bench.labels, plan_batches(settings, bench.labels, 1), seed=2)
    chunks = [inputs for inputs, _ in source.chunks(0)]
    shifted = np.concatenate([chunk.reshape(-1, DIM) for chunk in chunks])[:, 0] > 50
    assert 0.3 < shifted.mean() < 0.7
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(rows))), bench.features)
    np.testing.assert_array_equal(chunks[0], next(iter(source.chunks(0)))[0])
