"""Every loss under one protocol, that of "A Metric Learning Reality Check" (Musgrave, Belongie and Lim, 2020).

For each loss one study searches its own fields, the learning rates and the head: as many trials for each, by 4-fold
class-disjoint cross-validation and mean MAP@R. Each trial trains only a head on kept features. Half of the classes are
the test, which nothing is chosen on. Of the other half three quarters are train and one quarter validation, and a
quarter of that is put aside to calibrate the saved matcher: of 100 classes 37 train, 10 validation, 3 calibration and
50 test. The folds are made of train and validation. The best configuration is trained, with several seeds, on train
alone, stopped by validation, and measured on test. Calibration takes part in neither. The paper's embeddings of all
four folds, averaged or put together, are left out: one run is one head.

By default three losses on small made-up images, in about two minutes. The full run is one command; a run that was
stopped, even with kill -9, goes on with the same command:

  python benchmarks/recipes.py --data-dir data/tiny-imagenet-200 --weights data/weights/NAME.weights.h5
  python benchmarks/recipes.py --data-dir photos --dataset folder --trials 5 --seeds 4 --output exp/recipes_photos

Written to the output folder: recipes.csv, recipes.txt, recipes.html, and the studies with their reports. Keys of
`--json`: in `ratios` LOSS_FIGURE, its interval over the runs LOSS_FIGURE_low and _high, and LOSS_to_baseline (of
MAP@R); in `seconds` LOSS_search, and `features` for computing those once.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from comparison import COMPARED_METRICS, Recipe, comparison_table, comparison_text, write_comparison
from imagematch.config import DATASETS, LOSSES, OFFLINE_LOSSES, StudySettings, TrainSettings, parse_study, read_yaml
from imagematch.data import Dataset, fold_datasets, open_dataset
from imagematch.errors import ImagematchError
from imagematch.evaluation import split_metrics
from imagematch.events import RunLog
from imagematch.files import Layout, make_dir, write_json
from imagematch.interruption import StopRequest, stop_on_signals
from imagematch.pipeline import FinishedStudy, run_study
from imagematch.reporting import read_study
from imagematch.training import TrainingData, load_training_data, release_graphs
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE
from imagematch.tuning.samplers import derived_seed

COMMON = Path(__file__).parent.parent / "configs" / "hpt" / "reality_check.yaml"
MADE_UP_LOSSES = ("triplet_semihard", "nt_xent", "arcface")
MADE_UP_CLASSES, MADE_UP_IMAGES, MADE_UP_SIDE, MADE_UP_DIRECTIONS = 40, 10, 8, 6
MADE_UP: Mapping[str, Any] = {
    "dataset": "folder",
    "feature_extractor": "pixels",
    "image_size": MADE_UP_SIDE,
    "batch_classes": 8,
    "epochs": 5,
    "learning_rate_grid": [3e-3, 1e-2],
    "n_trials": 2,
}

_TRIPLET = {"margin": [0.05, 0.1, 0.2, 0.5]}
_PROXIES = {"proxy_rate": [1.0, 10.0, 100.0]}  # MLRC searches their learning rate, too
SEARCHED: Mapping[str, Mapping[str, Sequence[float]]] = {
    # "MLRC" is what the searches of the protocol's authors ended with on CUB, Cars and SOP (powerful-benchmarker,
    # docs/papers/mlrc.md); where they had not the loss, the default of LOSS_FIELDS has others around it.
    "triplet_semihard": _TRIPLET,  # MLRC 0.045 to 0.137; FaceNet 0.2
    "triplet_hard": _TRIPLET,
    "triplet_all": _TRIPLET,
    "triplet_offline": _TRIPLET,
    # MLRC's 0.38 to 0.77 are margins of negatives whose terms are not squared, averaged without the zeros. Squared and
    # with them, as here, negatives weigh less, and margins nearer to the diameter of the sphere, 2, are better.
    "contrastive": {"margin": [0.75, 1.0, 1.4, 1.8]},
    "lifted_structure": {"margin": [0.5, 1.0, 1.5]},
    "n_pairs": {"scale": [8.0, 16.0, 32.0]},
    "nt_xent": {"temperature": [0.02, 0.05, 0.1, 0.2]},  # MLRC 0.0002 to 0.042; Khosla et al. 0.1
    # MLRC with the miner, which is in ours: 7.5 to 18, 48 to 157, 0.63 to 0.85.
    "multi_similarity": {"alpha": [2.0, 8.0, 16.0], "beta": [50.0, 100.0, 150.0], "base": [0.5, 0.65, 0.8]},
    "circle": {"scale": [80.0, 256.0], "relaxation": [0.25, 0.4]},  # the paper's two settings: faces, retrieval
    "soft_nearest_neighbour": {"temperature": [0.1, 0.3, 1.0]},
    "normalised_softmax": {"temperature": [0.05, 0.07, 0.11], **_PROXIES},  # MLRC 0.063 to 0.109
    # MLRC 88 to 162, 0.34 to 0.62
    "cosface": {"scale": [64.0, 100.0, 160.0], "margin": [0.25, 0.35, 0.45, 0.6], **_PROXIES},
    # MLRC 50 to 220, 19 to 23 degrees
    "arcface": {"scale": [50.0, 64.0, 100.0, 220.0], "angle": [0.33, 0.4, 0.5], **_PROXIES},
    "proxy_nca": {"temperature": [0.07, 0.1, 1 / 9, 0.125], **_PROXIES},  # MLRC 1/14 to 1/8
    "proxy_anchor": {"scale": [16.0, 32.0, 64.0], "margin": [0.05, 0.1, 0.2], **_PROXIES},
}
"""Loss -> the choices of its own fields."""


def common_values(options: argparse.Namespace) -> dict[str, Any]:
    """What the studies of all losses share: the file's, with what the options say."""
    values = dict(read_yaml(COMMON).values) | {"feature_dir": str(options.output / "features")}
    if options.data_dir is None:
        values |= {**MADE_UP, "data_dir": str(options.output / "images")}
        values.pop("weights")
    else:
        if options.dataset != values["dataset"]:
            values["weights"] = "imagenet"  # which Keras fetches; the file's are those of who has its data set
        values |= {"dataset": options.dataset, "data_dir": str(options.data_dir)}
    given = {"weights": options.weights, "n_trials": options.trials}
    return values | {key: value for key, value in given.items() if value is not None}


def study_of(loss: str, common: Mapping[str, Any]) -> StudySettings:
    """The study of one loss. Raises ConfigError where its parts do not fit together."""
    values = {**common, "study_name": f"reality_check_{loss}", "loss": loss}
    if loss in OFFLINE_LOSSES:  # as many images in a batch, in triplets
        values["batch_size"] = values.pop("batch_classes") * values.pop("batch_images")
    return parse_study(values | {f"{field}_grid": list(choices) for field, choices in SEARCHED[loss].items()})


def trainings_of(study: StudySettings, layout: Layout, log: RunLog) -> list[Dataset]:
    """The images as the winner is trained and measured on them, then as each fold is."""
    settings = study.settings_for({field: dimension.ends[0] for field, dimension in study.space.items()})
    dataset = open_dataset(settings, manifest_dir=layout.manifests, log=log)
    return [dataset, *fold_datasets(dataset, study.folds, study.seed)]


def classes_in(dataset: Dataset, split: str) -> int:
    """How many classes a split has."""
    return len(np.unique(dataset.labels[dataset.rows(split)]))


def compare(options: argparse.Namespace, log: RunLog, stop: StopRequest) -> dict[str, Any]:
    """Searches and repeats loss by loss; the tables are written anew after each."""
    layout = Layout(options.output)
    common = common_values(options)
    trainings = trainings_of(study_of(options.losses[0], common), layout, log)
    fewest = min(classes_in(dataset, "train") for dataset in trainings)
    if fewest < common["batch_classes"]:
        images = common["batch_images"]
        log.say(f"batches of {fewest} classes x {images} for every loss: a fold has no more than {fewest} to train on")
        common["batch_classes"] = fewest
    studies = [study_of(loss, common) for loss in options.losses]

    @functools.cache
    def load_data() -> TrainingData:  # the same for every loss
        return load_training_data(settings, manifest_dir=layout.manifests, log=log)

    recipes: list[Recipe] = []
    edges: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for place, study in enumerate(studies, start=1):
        log.say(f"loss {place} of {len(studies)}: {study.fixed['loss']}")
        finished = run_study(study, layout, log=log, stop=stop)
        settings = finished.settings
        runs = [finished.matcher.metrics["test"]]
        for number in range(1, options.seeds):
            runs.append(run_again(settings, number, load_data, layout, stop))
            log.say(f"{settings.loss} again, seed {number}: test MAP@R {runs[-1]['map_at_r']:.4f}")
        recipes.append(Recipe(settings.loss, runs, search_facts(finished, layout, seconds)))
        edges[settings.loss] = at_edges(settings, study)
        table = comparison_table(recipes, finished.matcher.metrics["baseline"]["test"])
        remarks = [protocol_text(study, trainings[0], options.seeds), *remarks_on(table, edges)]
        write_comparison(options.output, "The losses compared", table, remarks)
    for line in [*comparison_text(table).splitlines(), *remarks, str(options.output / "recipes.html")]:
        log.say(line)
    return {"name": "recipes", "ratios": ratios_of(table), "seconds": seconds}


def run_again(
    winner: TrainSettings, number: int, load_data: Callable[[], TrainingData], layout: Layout, stop: StopRequest
) -> dict[str, Any]:
    """The winner's test figures with another seed; kept, so that they are found when the program is started again."""
    from imagematch.training import train_model, training_identity

    seed = derived_seed(winner.training_seed, number)
    settings = winner.model_copy(update={"training_seed": seed})
    path = make_dir(layout.study_dir(winner.experiment_name) / "runs") / f"seed-{number}.json"
    found = load_data()
    identity = training_identity(found, settings)
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("identity") == identity:
            return dict(kept["test"])
    training = train_model(
        found, settings, stop=stop, checkpoint=path.with_suffix(".checkpoint.npz"), discard_unfit=True
    )
    rows = found.dataset.rows("test")
    figures = split_metrics(training.embed(rows), found.dataset.labels[rows], split_by="class", intervals=False)
    write_json(path, {"identity": identity, "config": settings.to_yaml(), "test": figures})
    path.with_suffix(".checkpoint.npz").unlink(missing_ok=True)
    release_graphs()
    return figures


def search_facts(finished: FinishedStudy, layout: Layout, seconds: dict[str, float]) -> dict[str, Any]:
    """What the search came to, as columns; notes its seconds, and those of the features, in `seconds`."""
    name, loss = finished.settings.experiment_name, finished.settings.loss
    study = read_study(layout.study_database(name), name)
    trials = study.get_trials(deepcopy=False)
    seconds[f"{loss}_search"] = sum(trial.user_attrs.get(attributes.SECONDS, {}).get("total", 0.0) for trial in trials)
    extraction = max(figures["extraction_s"] for figures in study.user_attrs[BASELINE].values())
    seconds["features"] = max(seconds.get("features", 0.0), float(extraction))
    best = attributes.best_of(trials, study.directions)[0]
    return {
        "validation_map_at_r": float(best.values[0]),
        "trials": str(len(attributes.counted(trials))),
        "search_minutes": seconds[f"{loss}_search"] / 60,
        "best": ", ".join(f"{field} {value}" for field, value in best.params.items()),
    }


def protocol_text(study: StudySettings, dataset: Dataset, seeds: int) -> str:
    """What was done, in a few sentences."""
    train, validation, test = (f"{classes_in(dataset, split):,}" for split in ("train", "validation", "test"))
    calibration, tested = (f"{len(dataset.rows(split)):,}" for split in ("calibration", "test"))
    return (
        f"Each loss: {study.n_trials} trials, each the mean of {study.folds} class-disjoint folds of the {train} train "
        f"and {validation} validation classes; the best configuration trained {seeds} times on those {train}, stopped "
        f"by those {validation}, and measured on {tested} images of {test} other classes. {calibration} images for "
        "calibration took part in neither. Search minutes are those of the trials, on this machine."
    )


def at_edges(winner: TrainSettings, study: StudySettings) -> list[str]:
    """The winner's fields that have the lowest or highest of the numbers searched, where those were three or more."""
    found = []
    for field, dimension in study.space.items():
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in dimension.ends)
        few = dimension.size is not None and dimension.size < 3
        if numbers and not few and getattr(winner, field) in (min(dimension.ends), max(dimension.ends)):
            found.append(f"{field} {getattr(winner, field):g}")
    return found


def remarks_on(table: Any, edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Which winners lie at an edge of what was searched, and which losses are better than no head at all."""
    values = {row["recipe"]: row[COMPARED_METRICS[0]] for row in table.to_dict("records")}
    baseline = values.pop("baseline")
    better = ", ".join(loss for loss, value in values.items() if value > baseline) or "no loss"
    remarks = [f"A better MAP@R than the frozen extractor's {baseline:.4f}, by the mean of the runs: {better}."]
    if at_edge := "; ".join(f"{loss} ({', '.join(fields)})" for loss, fields in edges.items() if fields):
        remarks.append(f"At an edge of what was searched, so that better values may lie beyond it: {at_edge}.")
    return remarks


def ratios_of(table: Any) -> dict[str, float]:
    """The table as a flat mapping; what is missing is left out."""
    rows = {row["recipe"]: row for row in table.to_dict("records")}
    keys = {name + end: name + runs for name in COMPARED_METRICS for end, runs in _JSON_ENDS.items()}
    found = {f"{recipe}_{key}": row[column] for recipe, row in rows.items() for key, column in keys.items()}
    first = COMPARED_METRICS[0]
    found |= {f"{recipe}_to_baseline": row[first] / rows["baseline"][first] for recipe, row in rows.items()}
    return {key: float(value) for key, value in found.items() if value is not None and np.isfinite(value)}


_JSON_ENDS = {"": "", "_low": "_runs_low", "_high": "_runs_high"}


def make_images(folder: Path) -> None:
    """Classes that differ along a few directions of pixel space, images that differ more along others; always the same.

    What a head can learn of them holds for new classes too: which directions to look at.
    """
    random = np.random.default_rng(0)
    directions = random.normal(0, 1, (2, MADE_UP_DIRECTIONS, MADE_UP_SIDE, MADE_UP_SIDE, 3))
    for label in range(MADE_UP_CLASSES):
        own = make_dir(folder / f"class{label:02d}")
        of_class = random.normal(0, 12, MADE_UP_DIRECTIONS)
        for image in range(MADE_UP_IMAGES):
            of_image = random.normal(0, 16, MADE_UP_DIRECTIONS)
            pixels = (
                128 + np.tensordot((of_class, of_image), directions, 2) + random.normal(0, 12, directions.shape[2:])
            )
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(own / f"{image:02d}.png")


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, with what depends on each other filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object with name, ratios and seconds")
    parser.add_argument("--data-dir", type=Path, help="the images, instead of small made-up ones")
    parser.add_argument("--dataset", choices=DATASETS, default="tiny_imagenet", help="how the images are laid out")
    parser.add_argument("--weights", help="of MobileNetV2: imagenet, random or a file (the YAML file's, else imagenet)")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, metavar="LOSS", help=f"of {', '.join(LOSSES)} (all)")
    parser.add_argument("--trials", type=int, help="for each loss (8; 2 of made-up images)")
    parser.add_argument("--seeds", type=int, help="runs of the best configuration (5; 2 of made-up images)")
    parser.add_argument("--output", type=Path, help="folder (exp/recipes; for made-up images one that is removed)")
    options = parser.parse_args(arguments)
    made_up = options.data_dir is None
    options.losses = options.losses or list(MADE_UP_LOSSES if made_up else LOSSES)
    options.seeds = options.seeds or (2 if made_up else 5)
    return options


def main() -> None:
    """Compares, and prints the table or one JSON object."""
    options = options_of()
    with tempfile.TemporaryDirectory() as temporary, stop_on_signals(patient=True) as stop:
        options.output = options.output or Path(temporary if options.data_dir is None else "exp/recipes")
        log = RunLog(make_dir(options.output) / "run.jsonl", None if options.json else sys.stdout)
        if options.data_dir is None:
            make_images(options.output / "images")
        try:
            found = compare(options, log, stop)
        except ImagematchError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
