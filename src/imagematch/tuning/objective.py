"""The objective of a trial: one training, or one for each fold; an interrupted one resumes where it was."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import fold_datasets
from imagematch.errors import ConfigError
from imagematch.extractors import choose_extractor, open_engine
from imagematch.files import remove_leftovers, write_json
from imagematch.interruption import StopRequest
from imagematch.reading import MB, read_file
from imagematch.training import HALF_WHITENED_DIM, TrainingData
from imagematch.tuning.attributes import TRIAL_METRICS
from imagematch.tuning.samplers import derived_seed

if TYPE_CHECKING:
    from imagematch.matching import Embedder
    from imagematch.training import Training

OnStep = Callable[[int, float], bool]
"""Called with each step's number (from 1) and value; True ends the trial there."""

_FOLD_PURPOSE = 1_000_000
_FOLD_BYTES = 16 * MB
_WARM_UP_RUNS = 5
_RUNS = 30


@dataclass(frozen=True)
class TrialFiles:
    """Paths of a trial's files: its state while it is trained, and its history.

    Attributes:
        folder: of all trials of the study.
        name: of this one.
    """

    folder: Path
    name: str

    @property
    def history(self) -> Path:
        """One JSON record an epoch; those of folds have their `fold`."""
        return self.folder / f"{self.name}.json"

    def checkpoint(self, fold: int = 0) -> Path:
        """Of a training that is going on; folds count from 1."""
        return self.folder / (f"{self.name}-fold{fold}.npz" if fold else f"{self.name}.npz")

    def finished(self, fold: int) -> Path:
        """The result of a finished fold."""
        return self.folder / f"{self.name}-fold{fold}.json"

    def remove_state(self) -> None:
        """Removes what only an interrupted trial needs, and what killed writers left."""
        remove_leftovers(self.folder)
        self.checkpoint().unlink(missing_ok=True)
        for path in self.folder.glob(f"{self.name}-fold*"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Trained:
    """The result of one training, as JSON."""

    values: list[float]
    best_epoch: int
    metrics: dict[str, float]
    parameters: int
    history: list[dict[str, Any]]
    seconds: dict[str, float]
    cut_off: bool = False


def run_trial(
    materials: TrainingData,
    settings: TrainSettings,
    files: TrialFiles,
    *,
    folds: int,
    second: str = "",
    on_step: OnStep,
    stop: StopRequest,
) -> dict[str, Any]:
    """Trains and returns what the study stores on the trial.

    Without folds the steps are epochs, and the value is the best epoch's. With folds each is a step, whose value is the
    mean over the folds so far, and so is the trial's value.
    `pruned` says whether steps were left out: at a trial's last one nothing is.

    Args:
        materials: of the settings.
        settings: what to train; each fold draws seeds of its own from theirs.
        files: the trial's.
        folds: 1 for the split as it is, else see `fold_datasets`.
        second: the second objective, measured after a training; empty where there is one.
        on_step: see OnStep.
        stop: checked between steps.

    Raises:
        InterruptedRunError: `stop` requested it; the same call resumes with the epoch or fold.
        ImagematchError: as `train_model`.
    """
    if folds == 1:

        def on_epoch(record: Mapping[str, Any]) -> bool:
            return on_step(record["epoch"], record[settings.objective])

        trained = _train(materials, settings, files.checkpoint(), on_epoch, stop, second)
        write_json(files.history, trained.history)
        return {**_results([trained]), "best_epoch": trained.best_epoch, "pruned": trained.cut_off}
    done: list[_Trained] = []
    for number, dataset in enumerate(fold_datasets(materials.dataset, folds, settings.seed), start=1):
        done.append(_train_fold(replace(materials, dataset=dataset), settings, files, number, stop, second))
        if on_step(number, _mean(done)):
            break
    write_json(files.history, [{"fold": k, **record} for k, t in enumerate(done, start=1) for record in t.history])
    values = [trained.values[0] for trained in done]
    return {
        **_results(done),
        "best_epoch": [trained.best_epoch for trained in done],
        "fold_values": values,
        "fold_spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "pruned": len(done) < folds,
    }


def _train_fold(
    materials: TrainingData, settings: TrainSettings, files: TrialFiles, number: int, stop: StopRequest, second: str
) -> _Trained:
    """Trains a fold, or reads its result from before the trial was cut off."""
    from imagematch.training import training_identity

    seed = derived_seed(settings.training_seed, number, purpose=_FOLD_PURPOSE)
    own = settings.model_copy(update={"training_seed": seed})
    identity, path = training_identity(materials, own) + second, files.finished(number)
    if (finished := _finished(path, identity)) is not None:
        return finished
    trained = _train(materials, own, files.checkpoint(number), lambda _record: False, stop, second)
    write_json(path, {"identity": identity, **asdict(trained)})
    files.checkpoint(number).unlink(missing_ok=True)
    return trained


def _finished(path: Path, identity: str) -> _Trained | None:
    """The result of a fold, as `_train_fold` wrote it; None where there is none of this identity."""
    try:
        stored = json.loads(read_file(path, max_bytes=_FOLD_BYTES))
        if stored.pop("identity") != identity:
            return None
        stored["metrics"] = stored.pop("figures", stored.get("metrics"))  # as version 0.1 calls them
        return _Trained(**stored)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _train(
    materials: TrainingData,
    settings: TrainSettings,
    checkpoint: Path,
    on_epoch: Callable[[Mapping[str, Any]], bool],
    stop: StopRequest,
    second: str,
) -> _Trained:
    from imagematch.training import train_model

    started = time.perf_counter()
    training = train_model(materials, settings, on_epoch=on_epoch, stop=stop, checkpoint=checkpoint, discard_unfit=True)
    result = training.result
    metrics = dict(training.metrics)
    value = metrics[settings.objective]
    return _Trained(
        [value] if not second else [value, _second_value(second, training, metrics, settings)],
        result.best_epoch,
        metrics,
        int(training.parameters),
        result.history,
        {**result.seconds, "total": time.perf_counter() - started},
        cut_off=result.ended_by == "callback",
    )


def _second_value(name: str, training: Training, metrics: Mapping[str, Any], settings: TrainSettings) -> float:
    """The second objective of a finished training: of its validation images, or of its model."""
    from imagematch.evaluation import epoch_metrics
    from imagematch.training import embedding_metric_names, sample_rows

    if name == "parameters":
        return float(training.parameters)
    if name == "latency_ms":
        return latency_ms(training, settings)
    if name in metrics:
        return float(metrics[name])
    if name == "val_loss":
        what = f"val_loss has no meaning with {settings.loss} here: validation classes have no proxies"
        raise ConfigError(what, where="objective", do="choose another second objective")
    dataset = training.data.dataset
    rows = sample_rows(dataset.rows("validation"), dataset.labels, settings.validation_max_images, settings.seed)
    (metric,) = embedding_metric_names([name])
    return epoch_metrics(training.embed(rows, as_validated=True), dataset.labels[rows], [metric])[metric]


def _mean(done: Sequence[_Trained]) -> float:
    return float(np.mean([trained.values[0] for trained in done]))


def _results(done: Sequence[_Trained]) -> dict[str, Any]:
    """The values, and each metric that all trainings have, as the mean; epochs and seconds as the sum."""
    names = [name for name in done[0].metrics if all(name in trained.metrics for trained in done)]
    return {
        "values": [float(value) for value in np.mean([trained.values for trained in done], axis=0)],
        "epochs": sum(len(trained.history) for trained in done),
        TRIAL_METRICS: {name: float(np.mean([t.metrics[name] for t in done])) for name in names},
        "parameters": done[0].parameters,
        "seconds": {part: sum(t.seconds[part] for t in done) for part in done[0].seconds},
    }


# ---- what a model costs: known before it is trained, or measured after


def trained_parameters(settings: TrainSettings, network_parameters: Mapping[str, int]) -> int:
    """The weights that a training of `settings` would have: the head's, and the extractor's where that is trained.

    Args:
        settings: of the training.
        network_parameters: extractor -> its weights; used only for one that is trained.

    Raises:
        ModelError: the extractor's weights cannot be found.
    """
    extractor = choose_extractor(settings.stage_settings[-1])  # a stage trains what those before it train
    count, join = 0, settings.joined
    if join is not None and join["weight"] != math.inf:
        count += (extractor.feature_dim + 1) * (join["dim"] or min(HALF_WHITENED_DIM, extractor.feature_dim))
        if settings.trains_nothing:
            return count
    for blocks in (settings.intermediate_ff_block_units, *settings.parallel_heads):
        width = extractor.feature_dim
        if settings.feature_whitening is not None:
            count, width = count + (width + 1) * settings.feature_whitening, settings.feature_whitening
        for units in blocks:
            count += (width + 4) * units  # a kernel without bias; scale, shift, mean and variance of the batch norm
            width = units
        count += (width + 1) * settings.embedding_dim
    return count if extractor.frozen else count + network_parameters[extractor.name]


def latency_ms(training: Training, settings: TrainSettings) -> float:
    """Milliseconds from one decoded image to its embedding, as the saved matcher would compute it.

    The median of 30 runs of one image each, after 5 that are not measured, in this process with the threads it has:
    other workers and programs disturb it. Reading and decoding the file are not in it.
    """
    extractor = training.data.extractor
    dataset = training.data.dataset
    image = [dataset.pixels(int(dataset.rows("validation")[0]), extractor.image_size, extractor.framing)]
    embedder = _embedder(training, settings)
    seconds = []
    for _ in range(_WARM_UP_RUNS + _RUNS):
        started = time.perf_counter()
        embedder.embed(image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[_WARM_UP_RUNS:])


def _embedder(training: Training, settings: TrainSettings) -> Embedder:
    from imagematch.extractors import TrainedNetwork
    from imagematch.matching import Embedder
    from imagematch.model import head_in_numpy

    extractor, features = training.data.extractor, training.data.features
    if training.network is not None:
        engine = open_engine(TrainedNetwork(extractor, training.network), "auto", "float32")
    else:
        name = "auto" if features.engine == "numpy" else features.engine
        engine = open_engine(training.data.network, name, features.precision, Path(settings.feature_dir) / "networks")
    head = head_in_numpy(training.shape, training.head)
    return Embedder(engine, head, test_time_flip=training.flip)
