"""Our recipe's search beside pytorch-metric-learning with plain Optuna, on the same cached features.

Both search as many trials of as many epochs on the same training and validation images, choose among the same
extractors, are given the same embedding size, rank trials by validation MAP@R, train their winner with several seeds,
again on train and validation images for its best number of epochs, and are measured on the same test images by the same
code. Of the peer the row without that second training stands there, too. `--config` is a study file and `--set`
overrides its keys, as in hpt.py:

  python benchmarks/peer_search.py --set dataset=tiny_imagenet --set split_by=class --output exp/peer_tiny

Without `--set` the digits are searched by both, in two short trials. A search that was stopped goes on with the same
command. The peer needs `pip install imagematch[peer]`; without it our side is measured alone. Written to the output
folder: recipes.csv, recipes.txt, recipes.html. Keys of `--json`: in `ratios` NAME_METRIC and its interval over the
classes, in `seconds` NAME_search, those of the trials.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from comparison import COMPARED_METRICS, Recipe, comparison_table, comparison_text, write_comparison
from imagematch.config import StudySettings, TrainSettings, load_study
from imagematch.errors import ImagematchError
from imagematch.evaluation import epoch_metrics, split_metrics
from imagematch.events import RunLog
from imagematch.files import Layout, digest_json, make_dir, write_json
from imagematch.interruption import StopRequest, stop_on_signals
from imagematch.pipeline import run_study, train_again
from imagematch.reporting import read_study
from imagematch.training import TrainingData, load_training_data
from imagematch.tuning import attributes
from imagematch.tuning.samplers import derived_seed

RECIPE = Path(__file__).parent.parent / "configs" / "hpt" / "recipe.yaml"
DIGITS = ("dataset=digits", "split_by=class", "split=[0.4, 0.3, 0.3]", "feature_extractor=pixels", "image_size=8")
SHORT = ("epochs=2", "n_trials=2", "embedding_dim=16", "parallel_heads=[[16]]")
IMAGES_PER_CLASS, BATCH = 4, 256
RECIPES = "recipes.json"

DataOf = Callable[[str], TrainingData]
"""An extractor's name -> the images with its features."""
LOSSES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "triplet_semihard": {"margin": (0.05, 0.5)},
    "multi_similarity": {"base": (0.3, 0.8)},
    "nt_xent": {"temperature": (0.02, 0.5)},
    "proxy_anchor": {"margin": (0.05, 0.4)},
    "arcface": {"margin": (5.0, 40.0)},
    "normalised_softmax": {"temperature": (0.02, 0.2)},
}
"""The peer's losses, each with the option that is searched and its range; margins of ArcFace are degrees."""


def peer_loss(values: Mapping[str, Any], classes: int, dim: int) -> tuple[Any, Any]:
    """The peer's loss and its miner, None for none."""
    from pytorch_metric_learning import losses, miners

    name, own = values["loss"], {key: values[key] for key in LOSSES[values["loss"]]}
    if name == "triplet_semihard":
        return losses.TripletMarginLoss(**own), miners.TripletMarginMiner(own["margin"], type_of_triplets="semihard")
    if name == "multi_similarity":
        return losses.MultiSimilarityLoss(alpha=2, beta=50, **own), miners.MultiSimilarityMiner(epsilon=0.1)
    if name == "nt_xent":
        return losses.NTXentLoss(**own), None
    made = {
        "proxy_anchor": losses.ProxyAnchorLoss,
        "arcface": losses.ArcFaceLoss,
        "normalised_softmax": losses.NormalizedSoftmaxLoss,
    }[name]
    return made(num_classes=classes, embedding_size=dim, **own), None


def suggested(trial: Any, extractors: Sequence[str]) -> dict[str, Any]:
    """The peer's search space: the extractor, the loss and its option, the learning rates, the head."""
    extractor = trial.suggest_categorical("feature_extractor", list(extractors))
    name = trial.suggest_categorical("loss", list(LOSSES))
    own = {key: trial.suggest_float(f"{name}_{key}", *ends) for key, ends in LOSSES[name].items()}
    rates = {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}
    if name in ("proxy_anchor", "arcface", "normalised_softmax"):
        rates["proxy_rate"] = trial.suggest_float("proxy_rate", 1, 100, log=True)
    blocks = trial.suggest_categorical("blocks", ["none", "1024"])
    dropout = trial.suggest_float("dropout", 0, 0.6) if blocks != "none" else 0.0
    return {"feature_extractor": extractor, "loss": name, **own, **rates, "blocks": blocks, "dropout": dropout}


def peer_training(
    values: Mapping[str, Any],
    data: TrainingData,
    rows: np.ndarray,
    *,
    dim: int,
    epochs: int,
    seed: int,
    on_epoch: Callable[[int, Callable[[np.ndarray], np.ndarray]], None],
) -> None:
    """Trains a head in PyTorch, Adam and a cosine; calls `on_epoch` with each epoch and what embeds rows."""
    import torch
    from pytorch_metric_learning.samplers import MPerClassSampler

    torch.manual_seed(seed)
    np.random.seed(seed)  # the sampler draws from it
    names, labels = np.unique(data.dataset.labels[rows], return_inverse=True)
    width = data.features.array.shape[1]
    layers: list[Any] = []
    if values["blocks"] != "none":
        units = int(values["blocks"])
        layers = [torch.nn.Linear(width, units), torch.nn.BatchNorm1d(units), torch.nn.ReLU()]
        layers.append(torch.nn.Dropout(values["dropout"]))
        width = units
    head = torch.nn.Sequential(*layers, torch.nn.Linear(width, dim))
    loss, miner = peer_loss(values, len(names), dim)
    groups = [{"params": list(head.parameters())}]
    if proxies := list(loss.parameters()):
        groups.append({"params": proxies, "lr": values["learning_rate"] * values["proxy_rate"]})
    optimizer = torch.optim.Adam(groups, lr=values["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    batch = min(BATCH, IMAGES_PER_CLASS * len(names))
    sampler = MPerClassSampler(labels, IMAGES_PER_CLASS, batch, length_before_new_iter=max(batch, len(rows)))

    def features(rows: np.ndarray) -> Any:
        return torch.from_numpy(np.asarray(data.features.array[rows], np.float32))

    def embed(rows: np.ndarray) -> np.ndarray:
        head.eval()
        with torch.no_grad():
            blocks = [torch.nn.functional.normalize(head(features(part))) for part in np.array_split(rows, 16)]
        return np.asarray(torch.cat(blocks).numpy())

    for epoch in range(1, epochs + 1):
        head.train()
        drawn = np.fromiter(sampler, int)
        for index in drawn[: len(drawn) // batch * batch].reshape(-1, batch):
            embeddings, own = head(features(rows[index])), torch.from_numpy(labels[index])
            optimizer.zero_grad()
            loss(embeddings, own, *([] if miner is None else [miner(embeddings, own)])).backward()
            optimizer.step()
        schedule.step()
        on_epoch(epoch, embed)


def search_peer(
    study: StudySettings, settings: TrainSettings, data_of: DataOf, extractors: Sequence[str], folder: Path, log: RunLog
) -> Any:
    """The peer's Optuna study, as many trials as ours; what an earlier run finished counts."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: Any) -> float:
        values = suggested(trial, extractors)
        data = data_of(values["feature_extractor"])
        validation, labels = data.dataset.rows("validation"), data.dataset.labels
        started, best = time.perf_counter(), [0.0, 0]

        def on_epoch(epoch: int, embed: Callable[[np.ndarray], np.ndarray]) -> None:
            value = float(epoch_metrics(embed(validation), labels[validation])["map_at_r"])
            best[:] = max(best, [value, epoch], key=lambda pair: pair[0])
            trial.set_user_attr("epoch", best[1])
            trial.set_user_attr("seconds", time.perf_counter() - started)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        seed = study.seed + trial.number
        sizes = {"dim": settings.embedding_dim, "epochs": settings.epochs}
        peer_training(values, data, data.dataset.rows("train"), **sizes, seed=seed, on_epoch=on_epoch)
        log.say(f"peer: trial {trial.number + 1} of {study.n_trials}: {trial.params['loss']}, {best[0]:.4f}")
        return best[0]

    found = optuna.create_study(
        study_name="peer",
        storage=f"sqlite:///{folder / 'peer.db'}",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=study.seed),
        load_if_exists=True,
    )
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    done = len(found.get_trials(deepcopy=False, states=states))
    found.optimize(objective, n_trials=max(0, study.n_trials - done))
    return found


def measure_peer(study: StudySettings, layout: Layout, seeds: int, folder: Path, log: RunLog) -> list[Recipe]:
    """The peer's winner, and its winner trained again on train and validation images, over seeds."""
    settings = study.settings_for({field: dimension.ends[0] for field, dimension in study.space.items()})
    searched = study.space.get("feature_extractor")
    extractors = [settings.feature_extractor] if searched is None else searched.values()

    @functools.cache
    def data_of(extractor: str) -> TrainingData:
        own = settings.model_copy(update={"feature_extractor": extractor})
        return load_training_data(own, manifest_dir=layout.manifests, log=log)

    found = search_peer(study, settings, data_of, extractors, folder, log)
    trials = found.get_trials(deepcopy=False)
    minutes = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials) / 60
    values = suggested(found.best_trial, extractors)
    data = data_of(values["feature_extractor"])
    epochs, train = found.best_trial.user_attrs["epoch"], data.dataset.rows("train")
    more = np.concatenate([train, data.dataset.rows("validation")])
    recipes = []
    for name, rows in (("peer", train), ("peer, trained again", more)):
        runs = []
        for number in range(seeds):
            path = folder / f"{len(rows)}-trial-{found.best_trial.number}-seed-{number}.json"
            if not path.is_file():
                _measure_seed(values, data, rows, settings, epochs, number, path)
            runs.append(json.loads(path.read_text(encoding="utf-8")))
        best = ", ".join(f"{key} {value}" for key, value in found.best_params.items())
        facts = {"validation_map_at_r": float(found.best_value), "search_minutes": minutes, "best": best}
        recipes.append(Recipe(name, runs, facts))
    return recipes


def _measure_seed(
    values: Mapping[str, Any],
    data: TrainingData,
    rows: np.ndarray,
    settings: TrainSettings,
    best_epoch: int,
    number: int,
    path: Path,
) -> None:
    test = data.dataset.rows("test")

    def on_epoch(epoch: int, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        if epoch == best_epoch:
            labels = data.dataset.labels[test]
            found = split_metrics(embed(test), labels, split_by=settings.split_by, intervals=number == 0)
            write_json(path, found)

    # The schedule is that of the whole training, which stops at the epoch that was best
    peer_training(
        values,
        data,
        rows,
        dim=settings.embedding_dim,
        epochs=settings.epochs,
        seed=derived_seed(settings.seed, number),
        on_epoch=on_epoch,
    )


def measure_ours(study: StudySettings, layout: Layout, seeds: int, log: RunLog, stop: StopRequest) -> list[Recipe]:
    """Our winner over seeds, and the half-whitened features."""
    finished = run_study(study, layout, log=log, stop=stop)
    found = read_study(layout.study_database(study.study_name), study.study_name)
    trials = found.get_trials(deepcopy=False)
    minutes = sum(trial.user_attrs.get(attributes.SECONDS, {}).get("total", 0.0) for trial in trials) / 60
    runs = [finished.matcher.metrics["test"]]
    for number in range(1, seeds):
        path = make_dir(layout.root / "ours") / f"{digest_json(finished.settings.trained_values)}-seed-{number}.json"
        if not path.is_file():
            write_json(path, train_ours(finished.settings, number, layout, log, stop))
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    best = attributes.best_of(trials, found.directions)[0]
    facts = {
        "validation_map_at_r": float(best.values[0]),
        "search_minutes": minutes,
        "best": ", ".join(f"{key} {value}" for key, value in best.params.items()),
    }
    baseline = finished.matcher.metrics["baseline"]
    recipes = [Recipe("ours", runs, facts), Recipe("frozen", [baseline["test"]])]
    return [*recipes, Recipe("half-whitened", [baseline["whitened"]["test"]])] if baseline.get("whitened") else recipes


def train_ours(winner: TrainSettings, number: int, layout: Layout, log: RunLog, stop: StopRequest) -> Mapping[str, Any]:
    """The test metrics of our winner with another seed, trained again on train and validation images as the first."""
    from imagematch.training import train_model

    own = winner.model_copy(update={"training_seed": derived_seed(winner.training_seed, number)})
    data = load_training_data(own, manifest_dir=layout.manifests, log=log)
    training = train_model(data, own, stop=stop)
    if own.refit != "none":
        training = train_again(training, own, folder=make_dir(layout.root / "ours" / str(number)), stop=stop)
    rows = data.dataset.rows("test")
    return split_metrics(training.embed(rows), data.dataset.labels[rows], split_by=own.split_by, intervals=False)


def compare(options: argparse.Namespace, log: RunLog, stop: StopRequest) -> dict[str, Any]:
    """Both searches, then the table."""
    layout, folder = Layout(options.output), make_dir(options.output / "peer")
    features = f"feature_dir={options.feature_dir or options.output / 'features'}"
    digits = [] if options.set else [*DIGITS, *SHORT]
    study = load_study(options.config, [features, "rerun_top_k=0", *digits, *options.set])
    if options.peer_alone:
        write_json(folder / RECIPES, list(map(asdict, measure_peer(study, layout, options.seeds, folder, log))))
        return {}
    recipes = measure_ours(study, layout, options.seeds, log, stop)
    if all(importlib.util.find_spec(name) for name in ("torch", "pytorch_metric_learning")):
        # In a process of its own: after TensorFlow's trainings PyTorch ended the process without a word, twice of twice
        alone = ["--peer-alone", "--output", str(options.output)]
        subprocess.run([*sys.orig_argv, *alone], check=True)
        recipes[1:1] = [Recipe(**values) for values in json.loads((folder / RECIPES).read_text(encoding="utf-8"))]
    else:
        log.say("torch and pytorch_metric_learning are not installed: ours alone (pip install imagematch[peer])")
    table = comparison_table(recipes[:-1], recipes[-1].runs[0])
    epochs = study.fixed["epochs"]
    remark = f"{study.n_trials} trials of at most {epochs} epochs each; the winners over {options.seeds} seeds. "
    remark += f"The baseline is the {recipes[-1].name} features, without training."
    write_comparison(options.output, "Our search and a peer's", table, [remark])
    for line in comparison_text(table).splitlines():
        log.say(line)
    return {"name": "peer_search", "ratios": ratios_of(table), "seconds": seconds_of(table)}


def ratios_of(table: Any) -> dict[str, float]:
    """The table as a flat mapping; what is missing is left out."""
    ends = {"": "", "_low": "_classes_low", "_high": "_classes_high"}
    found = {
        f"{row['recipe']}_{name}{end}": row[f"{name}{column}"]
        for row in table.to_dict("records")
        for name in COMPARED_METRICS
        for end, column in ends.items()
    }
    return {key: float(value) for key, value in found.items() if value is not None and np.isfinite(value)}


def seconds_of(table: Any) -> dict[str, float]:
    """The seconds of each search."""
    rows = table.to_dict("records")
    return {f"{row['recipe']}_search": row["search_minutes"] * 60 for row in rows if row["search_minutes"] > 0}


def main() -> None:
    """Parses the options, searches, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object with name, ratios and seconds")
    parser.add_argument("--config", type=Path, default=RECIPE, help="our study's file (configs/hpt/recipe.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each winner")
    parser.add_argument("--feature-dir", type=Path, help="where features are cached (the output folder)")
    parser.add_argument("--output", type=Path, help="folder of the studies and tables; by default one that is removed")
    parser.add_argument("--peer-alone", action="store_true", help="search the peer's side alone, without a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, stop_on_signals(patient=True) as stop:
        options.output = options.output or Path(temporary)
        log = RunLog(make_dir(options.output) / "run.jsonl", None if options.json else sys.stdout)
        try:
            found = compare(options, log, stop)
        except ImagematchError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
    if options.json and found:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
