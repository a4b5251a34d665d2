"""What a frozen network's features lose in lower precision, and how much faster they come: float32, bfloat16, int8.

MobileNetV2 on the test images of flowers, Tiny ImageNet (by class) and Omniglot, of which what `--data-dir` holds is
measured; the digits with random weights without any. Images a second are end to end, from files to stored features.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from imagematch.config import parse_train
from imagematch.errors import ImagematchError
from imagematch.evaluation import epoch_metrics
from imagematch.training import load_training_data

PRECISIONS = ("float32", "bfloat16", "int8")
SHOWN = ("roc_auc", "map_at_r", "recall_at_1")


def data_sets(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Name -> the keys of a training, for each data set that is there."""
    folder = options.data_dir
    known = {
        "flowers": {"dataset": "folder", "data_dir": str(folder / "flowers5"), "split_by": "image"},
        "Tiny ImageNet": {
            "dataset": "tiny_imagenet",
            "data_dir": str(folder / "tiny-imagenet-200"),
            "split_by": "class",
            "split": [0.4, 0.1, 0.5],
        },
        "Omniglot": {"dataset": "omniglot", "data_dir": str(folder / "omniglot"), "split_by": "class"},
    }
    there = {name: values for name, values in known.items() if Path(values["data_dir"]).is_dir()}
    network = {"feature_extractor": "mobilenet_v2", "weights": options.weights, "image_size": options.image_size}
    return {name: {**values, **network} for name, values in (there or {"digits": {"dataset": "digits"}}).items()}


def measure(values: dict[str, Any], precision: str, folder: Path) -> dict[str, float]:
    """Speed of the extraction, and the metrics of the frozen features on the test images."""
    settings = parse_train(
        {"experiment_name": "precision", **values, "feature_precision": precision, "feature_dir": str(folder)}
    )
    data = load_training_data(settings, manifest_dir=folder)
    rows = data.dataset.rows("test")
    found = epoch_metrics(data.baseline(rows), data.dataset.labels[rows])
    speed = data.features.computed / max(data.features.seconds, 1e-9)
    return {"images_a_second": speed, **{name: found[name] for name in SHOWN}}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--weights", default="random", help="of MobileNetV2: imagenet, random or a file")
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for name, values in data_sets(options).items():
        for precision in PRECISIONS:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    rows[f"{name}: {precision}"] = measure(values, precision, Path(folder))
            except ImagematchError as error:  # this machine does not have it
                print(f"{name}: {precision}: {error}")
    if options.json:
        print(json.dumps({"name": "precision", "rows": rows}))
        return
    print(f"{'':28}{'images/s':>10}" + "".join(f"{name:>13}" for name in SHOWN))
    for name, row in rows.items():
        print(f"{name:28}{row['images_a_second']:>10.0f}" + "".join(f"{row[metric]:>13.4f}" for metric in SHOWN))


if __name__ == "__main__":
    main()
