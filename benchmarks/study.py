"""The original project's whole study, from JPEG files to its best model evaluated, cold and warm.

Its 15 trials (blocks, dropout, embedding size) with their epoch counts, on made-up 64 px JPEGs and EfficientNetV2-B0
with random weights at 224 px: `--full` for the original's size, 100,000 images of 200 classes. Trials run in
`--workers` processes that share the processors, as `hpt.py --workers` has it. Cold starts with nothing kept; warm finds
the features. At the end of each the best trial's model is calibrated and evaluated on every split. The original took
172 minutes on a GPU, which ran for every image in every epoch; `keras` is what that would take here, from the speed of
Keras's `predict` in float32 on a few of the images.

The parts of the time: `data` is all before the first trial (hashing, splitting, and the features), of it `network`
(from files to features: decoding goes on beside it in threads) and `storage` (writing them); `decoding_alone` is what
decoding would take by itself, from a sample. Then `trials`, from the start of the processes to the end of the last one
(`training` and `validation` add up what all of them took, side by side), and `evaluation`.
`second_study_first_step` is `hpt.py` in a new process, from its start to the first training step of a study that finds
the features.

`--to-quality` measures what users feel instead: the time from image files, nothing cached, to a matcher that separates
pairs at least as well as the original's best. The original's best trial (by its loss: [512, 256] -> 1024, dropout 0.3,
batches of 256 random images, margin 1) is trained on the same features; `train.py` with our recipe runs in a new
process, once cold and once with the features there, and once without a single option. All matchers are measured by ROC
AUC over all pairs of the same test images, which none was chosen on. `processor` counts the processor seconds of that
process, for machines that do other things as well. It needs images that can be told apart: `--data-dir`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagematch.config import TrainSettings, parse_train
from imagematch.data import thread_count
from imagematch.errors import ImagematchError
from imagematch.events import RunLog
from imagematch.extractors import sample_images
from imagematch.features import map_features
from imagematch.files import Layout
from imagematch.model import build_head
from imagematch.pipeline import calibrate_and_measure
from imagematch.processor import choose_sorts_of_numpy
from imagematch.training import TrainingData, load_training_data, train_model

ROOT = Path(__file__).resolve().parent.parent
ORIGINAL_S = 172 * 60.0
DECODED, KERAS_IMAGES, KERAS_BATCH = 2_000, 128, 32
SIDE = 64
Trial = tuple[tuple[int, ...], float, int, int]
TRIALS: tuple[Trial, ...] = (
    ((256, 256), 0.6, 512, 30),
    ((256,), 0.9, 512, 50),
    ((), 0.0, 256, 21),
    ((256, 256), 0.3, 512, 31),
    ((), 0.0, 256, 26),
    ((1024, 512), 0.3, 512, 23),
    ((512, 512), 0.0, 512, 16),
    ((512,), 0.2, 128, 32),
    ((512,), 0.7, 1024, 1),
    ((), 0.0, 128, 1),
    ((1024, 512), 0.4, 1024, 30),
    ((1024, 512), 0.4, 1024, 15),
    ((1024, 512), 0.5, 1024, 1),
    ((512, 256), 0.3, 1024, 35),
    ((512, 256), 0.2, 512, 23),
)
"""Blocks, dropout, embedding size and epochs of each trial, as the original study's database has them."""

ORIGINAL_RECIPE = {
    "intermediate_ff_block_units": [512, 256],
    "dropout": 0.3,
    "embedding_dim": 1024,
    "batch_size": 256,
    "margin": 1.0,
    "objective": "val_loss",
    "epochs": 50,
    "early_stopping_patience": 3,
}
"""The trial with the lowest loss in the original study's database."""
OUR_RECIPE = {
    "loss": "multi_similarity",
    "embedding_dim": 512,
    "intermediate_ff_block_units": [],
    "parallel_heads": [[1024]],
    "dropout": 0.5,
    "join": {"features": "whitened", "weight": "auto", "reduce": True},
    "lr_schedule": "cosine",
    "epochs": 15,
}
"""A point of `configs/hpt/recipe.yaml`: of its losses the one with the best validation ROC AUC on Tiny ImageNet."""


def make_images(folder: Path, images: int, classes: int) -> None:
    """JPEG files of 64 px, class per folder."""
    for row, picture in enumerate(sample_images(images, SIDE)):
        path = folder / f"class{row % classes:03d}" / f"{row:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)


def settings_of(base: dict[str, Any], trial: Trial) -> TrainSettings:
    """The settings of one of the trials; it trains for just as many epochs as the original did."""
    blocks, dropout, embedding_dim, epochs = trial
    return parse_train(
        {
            **base,
            "intermediate_ff_block_units": list(blocks),
            "dropout": dropout,
            "embedding_dim": embedding_dim,
            "epochs": epochs,
            "early_stopping_patience": epochs,
        }
    )


def extraction_parts(events: Path) -> dict[str, float]:
    """Seconds of the network and of writing, as the store noted them block by block."""
    blocks = [event for line in events.open() if (event := json.loads(line))["event"] == "features_block"]
    return {part: sum(block["seconds"][part] for block in blocks) for part in ("network", "storage")}


def decoding_seconds(data: TrainingData) -> float:
    """What decoding all images by itself would take, from a sample, with as many threads as the store uses."""
    dataset, size = data.dataset, data.extractor.image_size
    sample = np.linspace(0, len(dataset.paths) - 1, min(DECODED, len(dataset.paths))).astype(int).tolist()
    with ThreadPoolExecutor(max(2, thread_count())) as pool:
        started = time.perf_counter()
        list(pool.map(lambda row: dataset.pixels(row, size), sample))
        return (time.perf_counter() - started) * len(dataset.paths) / len(sample)


def keras_seconds(data: TrainingData, epochs: int) -> float:
    """What pushing the training images through the network would take in Keras, float32, in each of so many epochs."""
    dataset, model = data.dataset, data.extractor.build()
    rows = dataset.rows("train")[:KERAS_IMAGES].tolist()
    pictures = np.stack([np.asarray(Image.fromarray(dataset.pixels(row, SIDE)).resize((SIDE, SIDE))) for row in rows])
    model.predict(pictures[:KERAS_BATCH], batch_size=KERAS_BATCH, verbose=0)
    started = time.perf_counter()
    model.predict(pictures, batch_size=KERAS_BATCH, verbose=0)
    return (time.perf_counter() - started) / len(rows) * len(dataset.rows("train")) * epochs


class Worker:
    """What a process holds that trains trials."""

    data: TrainingData

    @classmethod
    def start(cls, base: dict[str, Any], manifest_dir: Path) -> None:
        """Finds the features."""
        cls.data = load_training_data(settings_of(base, TRIALS[0]), manifest_dir=manifest_dir)

    @classmethod
    def train(cls, base: dict[str, Any], trial: Trial) -> tuple[float, dict[str, float], list[np.ndarray]]:
        """Trains one trial: its value, the seconds of its parts, and the head's weights."""
        training = train_model(cls.data, settings_of(base, trial))
        return training.result.best_value, training.result.seconds, training.head.get_weights()


def run_trials(base: dict[str, Any], manifest_dir: Path, options: argparse.Namespace) -> tuple[list[Any], float]:
    """What each trial came to, and the seconds until the last one was done."""
    started = time.perf_counter()
    share = str(max(1, thread_count() // options.workers))
    before, spawn = os.environ.copy(), multiprocessing.get_context("spawn")
    choose_sorts_of_numpy(os.environ)  # as workers have it
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS"), share)
    with ProcessPoolExecutor(options.workers, spawn, initializer=Worker.start, initargs=(base, manifest_dir)) as pool:
        done = list(pool.map(Worker.train, [base] * options.trials, TRIALS[: options.trials]))
    os.environ.clear()
    os.environ.update(before)
    return done, time.perf_counter() - started


def run_study(base: dict[str, Any], folder: Path, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs the trials and evaluates the best one's model; the seconds of each part."""
    events, manifest_dir = folder / f"{name}.jsonl", Layout(folder / "exp").manifests
    log = RunLog(events, None if options.json else sys.stdout)
    log.event(name)
    started = time.perf_counter()
    data = load_training_data(settings_of(base, TRIALS[0]), manifest_dir=manifest_dir, log=log)
    seconds = {"data": time.perf_counter() - started}
    seconds |= {"features": data.features.seconds, **extraction_parts(events)}
    done, seconds["trials"] = run_trials(base, manifest_dir, options)
    for part in ("training", "validation"):
        seconds[part] = sum(taken[part] for _, taken, _ in done)
    begun = time.perf_counter()
    number = max(range(len(done)), key=lambda place: done[place][0])
    settings = settings_of(base, TRIALS[number])
    units, dim = settings.intermediate_ff_block_units, settings.embedding_dim
    head = build_head(data.extractor.feature_dim, units=units, embedding_dim=dim)
    head.set_weights(done[number][2])

    def embed(rows: np.ndarray) -> np.ndarray:
        return map_features(lambda block: head(np.asarray(block, np.float32)), [data.features.array], rows)

    calibrate_and_measure(embed, data.baseline, data.whitened_baseline(), data.dataset, settings)
    seconds |= {"evaluation": time.perf_counter() - begun, "total": time.perf_counter() - started}
    if data.features.computed:  # what else is measured here is no part of the study
        seconds["decoding_alone"] = decoding_seconds(data)
        seconds["keras"] = keras_seconds(data, sum(trial[3] for trial in TRIALS[: options.trials]))
        log.say(f"features by {data.features.engine} in {data.features.precision}")
    return seconds


def second_study_first_step(base: dict[str, Any], folder: Path) -> float:
    """Seconds from the start of `hpt.py` to the first training step of a study whose features are kept."""
    study = {key: value for key, value in base.items() if key != "experiment_name"}
    study |= {"study_name": "second", "embedding_dim_grid": [128, 256], "n_trials": 1, "rerun_top_k": 0, "epochs": 1}
    config = folder / "second.yaml"
    config.write_text(json.dumps(study))
    started = time.time()
    subprocess.run(
        [sys.executable, str(ROOT / "hpt.py"), "--hpt-config-filepath", str(config)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    log = Layout(folder / "exp").study_dir("second") / "run.jsonl"
    trial = next(event for line in log.open() if (event := json.loads(line))["event"] == "trial_finished")
    ended = datetime.fromisoformat(trial["time"]).timestamp()
    return ended - started - trial["seconds"]["training"] - trial["seconds"]["validation"]


def trained_matcher(settings: dict[str, Any], folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Runs `train.py` in a new process: its seconds, and the matcher's metrics of the test images."""
    config = folder / "train.yaml"
    config.write_text(json.dumps(settings))
    used, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config", str(config), "--fresh"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    wall, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = Layout(folder / "exp").model_dir(settings["experiment_name"]) / "metrics.json"
    seconds = {"wall": wall, "processor": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime}
    return seconds, json.loads(metrics.read_text())["test"]


def measure_to_quality(base: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Our recipe cold and warm, then the original's best trial on the same features."""
    runs = {
        "cold": base | OUR_RECIPE,
        "warm": base | OUR_RECIPE | {"experiment_name": "warm"},
        "defaults": base | {"experiment_name": "defaults"},
        "original": base | ORIGINAL_RECIPE | {"experiment_name": "original"},
    }
    found = {name: trained_matcher(settings, folder) for name, settings in runs.items()}
    ours, theirs = found["cold"][1], found["original"][1]
    ratios = {f"{name}_to_original": ours[name] / theirs[name] for name in ("roc_auc", "map_at_r", "recall_at_1")}
    ratios |= {f"{name}_roc_auc": test["roc_auc"] for name, (_, test) in found.items()}
    ratios["original_to_cold_processor"] = found["original"][0]["processor"] / found["cold"][0]["processor"]
    seconds = {f"{name}_{kind}": value for name, (taken, _) in found.items() for kind, value in taken.items()}
    return {"name": "study_to_quality", "ratios": ratios, "seconds": seconds}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes the images, runs the study cold, then warm, then begins another; or see `measure_to_quality`."""
    data_dir = options.data_dir
    if data_dir is None:
        data_dir = folder / "images"
        make_images(data_dir, options.images, min(200, options.images // 20))
    base = {
        "experiment_name": "bench",
        "dataset": options.dataset,
        "data_dir": str(data_dir.resolve()),
        "feature_extractor": options.extractor,
        "weights": options.weights
        if options.weights in ("random", "imagenet")
        else str(Path(options.weights).resolve()),
        "feature_dir": str(folder / "features"),
        "training_precision": options.training_precision,
    }
    if options.to_quality:
        return measure_to_quality(base, folder)
    cold = run_study(base, folder, "cold", options)
    warm = run_study(base, folder, "warm", options)
    keras_s, second_s = cold.pop("keras"), second_study_first_step(base, folder)
    ratios = {"cold_to_warm": cold["total"] / warm["total"]}
    ratios |= {"keras_to_cold": keras_s / cold["total"], "keras_to_warm": keras_s / warm["total"]}
    if options.trials == len(TRIALS) and options.data_dir is None and options.images == 100_000:
        ratios |= {"original_to_cold": ORIGINAL_S / cold["total"], "original_to_warm": ORIGINAL_S / warm["total"]}
    return {
        "name": "study",
        "ratios": ratios,
        "seconds": {
            **{f"cold_{name}": value for name, value in cold.items()},
            **{f"warm_{name}": value for name, value in warm.items()},
            "second_study_first_step": second_s,
            "keras": keras_s,
        },
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, help="a folder of classes instead of made-up images")
    parser.add_argument("--dataset", default="folder", help="how --data-dir is read")
    parser.add_argument(
        "--to-quality", action="store_true", help="the time to a matcher as good as the original's best"
    )
    parser.add_argument("--weights", default="random", help="random, imagenet or a file")
    parser.add_argument("--extractor", default="efficientnet")
    parser.add_argument("--images", type=int, default=2_000, help="made-up images (the original's size: 100000)")
    parser.add_argument("--trials", type=int, default=2, help="how many of the 15 trials")
    parser.add_argument("--full", action="store_true", help="100,000 images and all 15 trials")
    parser.add_argument("--workers", type=int, default=thread_count(), help="processes (one a processor)")
    parser.add_argument("--training-precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    if options.full:
        options.images, options.trials = 100_000, len(TRIALS)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = measure(options, Path(folder))
        except ImagematchError as error:
            raise SystemExit(str(error)) from error
    if options.json:
        print(json.dumps(found))
        return
    for group in ("ratios", "seconds"):
        print(group)
        for name, value in found[group].items():
            print(f"  {name:32} {value:,.3f}")


if __name__ == "__main__":
    main()
