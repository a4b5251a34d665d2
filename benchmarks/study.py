"""The original project's whole study, from JPEG files to the last trial, cold and warm.

Its 15 trials (blocks, dropout, embedding size) with their epoch counts, on made-up 64 px JPEGs and EfficientNetV2-B0
with random weights at 224 px: `--full` for the original's size, 100,000 images of 200 classes. Cold starts with nothing
kept; warm finds the features. The original took 172 minutes on a GPU, which ran for every image in every epoch.

The parts of the time: `materials` is all before the first trial (hashing, splitting, and the features), of it `network`
(from files to features: decoding goes on beside it in threads) and `storage` (writing them); `decoding_alone` is what
decoding would take by itself, from a sample. Then `training` and `validation` of all trials.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ImagematchError
from imagematch.events import RunLog
from imagematch.extractors.engines.conversion import sample_pictures
from imagematch.training import Materials, gather_materials, train_model

ORIGINAL_S = 172 * 60.0
DECODED = 2_000
TRIALS: tuple[tuple[tuple[int, ...], float, int, int], ...] = (
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


def make_images(folder: Path, images: int, classes: int) -> None:
    """JPEG files of 64 px, class per folder."""
    for row, picture in enumerate(sample_pictures(images, 64)):
        path = folder / f"class{row % classes:03d}" / f"{row:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)


def settings_of(base: dict[str, Any], trial: tuple[tuple[int, ...], float, int, int]) -> TrainSettings:
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


def decoding_seconds(materials: Materials) -> float:
    """What decoding all images by itself would take, from a sample, with as many threads as the store uses."""
    dataset, size = materials.dataset, materials.extractor.image_size
    sample = np.linspace(0, len(dataset.paths) - 1, min(DECODED, len(dataset.paths))).astype(int).tolist()
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        started = time.perf_counter()
        list(pool.map(lambda row: dataset.picture(row, size), sample))
        return (time.perf_counter() - started) * len(dataset.paths) / len(sample)


def run_study(base: dict[str, Any], folder: Path, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs the trials; the seconds of each part."""
    events = folder / f"{name}.jsonl"
    log = RunLog(events, None if options.json else sys.stdout)
    log.event(name)
    started = time.perf_counter()
    materials = gather_materials(settings_of(base, TRIALS[0]), manifest_dir=folder / "manifests", log=log)
    seconds = {"materials": time.perf_counter() - started, "training": 0.0, "validation": 0.0}
    seconds |= {"features": materials.features.seconds, **extraction_parts(events)}
    if materials.features.computed:
        seconds["decoding_alone"] = decoding_seconds(materials)
    first_step = 0.0
    for number, trial in enumerate(TRIALS[: options.trials]):
        training = train_model(materials, settings_of(base, trial))
        if not first_step:
            spent = training.result.seconds
            first_step = time.perf_counter() - started - spent["training"] - spent["validation"]
        for part in ("training", "validation"):
            seconds[part] += training.result.seconds[part]
        log.say(f"trial {number}: {training.result.seconds}")
    return {**seconds, "until_first_step": first_step, "total": time.perf_counter() - started}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes the images, runs the study cold, then warm."""
    data_dir = options.data_dir
    if data_dir is None:
        data_dir = folder / "images"
        make_images(data_dir, options.images, min(200, options.images // 20))
    base = {
        "experiment_name": "bench",
        "dataset": "folder",
        "data_dir": str(data_dir),
        "feature_extractor": options.extractor,
        "weights": options.weights,
        "feature_dir": str(folder / "features"),
    }
    cold = run_study(base, folder, "cold", options)
    warm = run_study(base, folder, "warm", options)
    epochs = sum(trial[3] for trial in TRIALS[: options.trials])
    ratios = {"cold_to_warm": cold["total"] / warm["total"]}
    if options.trials == len(TRIALS) and options.data_dir is None and options.images == 100_000:
        ratios |= {"original_to_cold": ORIGINAL_S / cold["total"], "original_to_warm": ORIGINAL_S / warm["total"]}
    return {
        "name": "study",
        "ratios": ratios,
        "seconds": {
            "images": float(options.images),
            "epochs": float(epochs),
            **{f"cold_{name}": value for name, value in cold.items()},
            **{f"warm_{name}": value for name, value in warm.items()},
        },
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, help="a folder of classes instead of made-up images")
    parser.add_argument("--weights", default="random", help="random, imagenet or a file")
    parser.add_argument("--extractor", default="efficientnet")
    parser.add_argument("--images", type=int, default=2_000, help="made-up images (the original's size: 100000)")
    parser.add_argument("--trials", type=int, default=2, help="how many of the 15 trials")
    parser.add_argument("--full", action="store_true", help="100,000 images and all 15 trials")
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
