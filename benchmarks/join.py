"""What joining a head with half-whitened features brings on classes that were not trained on.

Frozen features, half-whitened features, a head, and the head joined with them are measured on the test classes of Tiny
ImageNet (by class) and Omniglot (by alphabet), one seed each; the weight of the join is chosen on validation.
`--data-dir` holds `tiny-imagenet-200` and `omniglot`, of which what is there is measured; the digits without either.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ImagematchError
from imagematch.evaluation import epoch_metrics
from imagematch.training import Training, TrainingData, load_training_data, release_graphs, train_model

SHOWN = ("roc_auc", "map_at_r", "recall_at_1")
HEADS: dict[str, dict[str, Any]] = {
    "linear head": {"intermediate_ff_block_units": []},
    "head [1024]": {"intermediate_ff_block_units": [1024], "dropout": 0.5},
}


def base_settings(options: argparse.Namespace, feature_dir: Path) -> dict[str, dict[str, Any]]:
    """Name -> the keys of a training, for each data set that is there."""
    common = {
        "experiment_name": "join",
        "split_by": "class",
        "split": [0.4, 0.1, 0.5],
        "feature_dir": str(feature_dir),
        "loss": "multi_similarity",
        "learning_rate": 3e-4,
        "lr_schedule": "cosine",
        "epochs": 30,
        "early_stopping_patience": 10,
        "embedding_dim": 512,
    }
    network = {"feature_extractor": "mobilenet_v2", "weights": options.weights}
    found = {}
    if (options.data_dir / "tiny-imagenet-200").is_dir():
        own = {"dataset": "tiny_imagenet", "data_dir": str(options.data_dir / "tiny-imagenet-200"), "image_size": 224}
        found["Tiny ImageNet"] = {**common, **network, **own}
    if (options.data_dir / "omniglot").is_dir():
        own = {"dataset": "omniglot", "data_dir": str(options.data_dir / "omniglot"), "image_size": 96}
        found["Omniglot"] = {**common, **network, **own}
    if not found:
        pixels = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "split": [0.4, 0.3, 0.3]}
        found["digits"] = {**common, **pixels, "embedding_dim": 64}
    return found


def measured(data: TrainingData, embed: Any) -> dict[str, float]:
    """ROC AUC, MAP@R and Recall@1 of the test classes."""
    rows = data.dataset.rows("test")
    return {name: epoch_metrics(embed(rows), data.dataset.labels[rows])[name] for name in SHOWN}


def trained(data: TrainingData, values: dict[str, Any], **more: Any) -> Training:
    """One training."""
    settings: TrainSettings = parse_train({**values, **more})
    return train_model(data, settings)


def measure(options: argparse.Namespace, feature_dir: Path) -> dict[str, Any]:
    """Every row of every data set."""
    rows: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    for name, values in base_settings(options, feature_dir).items():
        started = time.perf_counter()
        data = load_training_data(parse_train(values), manifest_dir=feature_dir)
        seconds[f"{name}: features"] = time.perf_counter() - started
        rows[f"{name}: frozen"] = measured(data, data.baseline)
        rows[f"{name}: half-whitened"] = measured(data, trained(data, values, epochs=0).embed)
        for head, own in HEADS.items():
            started = time.perf_counter()
            rows[f"{name}: {head}"] = measured(data, trained(data, {**values, **own}).embed)
            joined = trained(data, {**values, **own}, join="whitened")
            assert joined.join is not None
            rows[f"{name}: {head}, joined"] = {**measured(data, joined.embed), "weight": joined.join.weight}
            seconds[f"{name}: {head}, both"] = time.perf_counter() - started
            release_graphs()
        started = time.perf_counter()
        linear, deep = HEADS.values()
        units = {**linear, "dropout": deep["dropout"], "parallel_heads": [deep["intermediate_ff_block_units"]]}
        for dim in (512, 128):
            both = trained(data, {**values, **units, "embedding_dim": dim}, join="whitened")
            assert both.join is not None
            found = {**measured(data, both.embed), "weight": both.join.weight}
            rows[f"{name}: both heads, joined, {both.shape.dim} long"] = found
            release_graphs()
        seconds[f"{name}: both heads in parallel"] = time.perf_counter() - started
    return {"name": "join", "rows": rows, "ratios": ratios_of(rows), "seconds": seconds}


def ratios_of(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """MAP@R of a joined head to that of the head alone, and to that of the better baseline."""
    found = {}
    for name, joined in rows.items():
        head = name.removesuffix(", joined")
        if head == name or head not in rows:
            continue
        data = name.partition(":")[0]
        best = max(rows[f"{data}: {alone}"]["map_at_r"] for alone in ("frozen", "half-whitened"))
        found[f"{name} / alone"] = joined["map_at_r"] / rows[head]["map_at_r"]
        found[f"{name} / better baseline"] = joined["map_at_r"] / best
    return found


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="has tiny-imagenet-200 and omniglot")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2")
    parser.add_argument("--feature-dir", type=Path, help="where features are cached; by default nowhere")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, options.feature_dir or Path(folder))
    except ImagematchError as error:
        raise SystemExit(str(error)) from error
    rows = found.pop("rows")
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'':42}" + "".join(f"{name:>12}" for name in (*SHOWN, "weight")))
    for name, values in rows.items():
        weight = f"{values['weight']:>12g}" if "weight" in values else ""
        print(f"{name:42}" + "".join(f"{values[metric]:>12.4f}" for metric in SHOWN) + weight)
    for group in ("ratios", "seconds"):
        for what, value in found[group].items():
            print(f"{what:56} {value:.4g}")


if __name__ == "__main__":
    main()
