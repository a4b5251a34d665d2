"""Feature extraction from JPEG files through the store, against the engine alone and against Keras, in one run.

Without options: 1,500 made-up 64 px JPEGs, EfficientNetV2-B0 with random weights at 224 px; a minute on 2 cores. With
`--networks` instead the engine alone, for five networks of random weights in each precision that is there: images a
second, and their ratio to Keras in float32, in alternating rounds of one run; a quarter of an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from imagematch.data import decode, thread_count
from imagematch.errors import ImagematchError
from imagematch.extractors import (
    CalibrationImages,
    Extractor,
    lower_precisions,
    make_extractor,
    mean_cosine,
    open_engine,
    quantized,
    register_extractor,
    sample_images,
)
from imagematch.features import FeatureStore, clear_features, list_entries
from imagematch.files import digest_file

ROUNDS = 3
KERAS_IMAGES = 256
NETWORKS = ("mobilenet_v2", "efficientnet_v2_b0", "resnet50", "vit_s14", "vit_b16")
"""What `--networks` measures, at 224 px."""


def vision_transformer(image_size: int, patch: int, dim: int, heads: int) -> Any:
    """(batch, image_size, image_size, 3) -> the class token, (batch, dim): twelve blocks, as ViT has them."""
    import keras
    from keras import layers, ops

    class Tokens(keras.layers.Layer):
        """Patches behind a class token, with positions."""

        def build(self, shape: Any) -> None:
            self.start = self.add_weight(shape=(1, 1, dim), name="start")
            self.positions = self.add_weight(shape=(1, shape[1] + 1, dim), name="positions")

        def call(self, patches: Any) -> Any:
            start = ops.broadcast_to(self.start, (ops.shape(patches)[0], 1, dim))
            return ops.concatenate([start, patches], axis=1) + self.positions

    images = keras.Input((image_size, image_size, 3))
    x = layers.Reshape((-1, dim))(layers.Conv2D(dim, patch, strides=patch)(images))
    x = Tokens()(x)
    for _ in range(12):
        normed = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(heads, dim // heads)(normed, normed)
        inner = layers.Dense(4 * dim, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = x + layers.Dense(dim)(inner)
    return keras.Model(images, layers.LayerNormalization(epsilon=1e-6)(x)[:, 0])


def register_transformers() -> None:
    """ViT-S/14 (DINOv2's small one) and ViT-B/16 as extractors."""
    for name, patch, dim, heads, parameters in (
        ("vit_s14", 14, 384, 6, 21_664_896),
        ("vit_b16", 16, 768, 12, 85_798_656),
    ):

        @register_extractor(
            name,
            image_size=224,
            min_image_size=224,
            feature_dim=dim,
            preprocessing="imagenet",
            parameters=parameters,
        )
        def build(image_size: int, patch: int = patch, dim: int = dim, heads: int = heads) -> Any:
            return vision_transformer(image_size, patch, dim, heads)


def compare(name: str, images: int, cache: Path) -> dict[str, dict[str, float]]:
    """Images a second of one network in Keras and in each precision, and the ratio to Keras."""
    settings = SimpleNamespace(
        feature_extractor=name, weights="random", image_size=None, trainable=False, seed=0, training_seed=0
    )
    extractor = make_extractor(settings)
    pictures = sample_images(images, extractor.image_size)
    calibration = CalibrationImages("0" * 32, min(32, images), lambda number, _size: pictures[number])
    runs: dict[str, Any] = {}
    for precision in ("float32", *lower_precisions()):
        network = quantized(extractor, calibration) if precision == "int8" else extractor
        runs[precision] = open_engine(network, "auto", precision, cache).run
    model = extractor.build()
    runs["Keras float32"] = lambda given: model.predict(np.stack(given), batch_size=32, verbose=0)
    speeds: dict[str, list[float]] = {way: [] for way in runs}
    for number in range(ROUNDS + 1):  # the first warms up
        for way, run in runs.items():
            started = time.perf_counter()
            run(pictures)
            if number:
                speeds[way].append(len(pictures) / (time.perf_counter() - started))
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    keras_speed = medians["Keras float32"]
    return {way: {"images_a_second": speed, "to_keras": speed / keras_speed} for way, speed in medians.items()}


def print_networks(names: Sequence[str], images: int, as_json: bool) -> None:
    """Measures the networks and prints a table."""
    register_transformers()
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name in names:
            found[name] = compare(name, images, Path(folder))
            if not as_json:
                row = "".join(
                    f"{way} {one['images_a_second']:.1f} ({one['to_keras']:.2f})  " for way, one in found[name].items()
                )
                print(f"{name:20}{row}", flush=True)
    if as_json:
        ratios = {f"{name} {way}": one["to_keras"] for name, ways in found.items() for way, one in ways.items()}
        print(json.dumps({"name": "features", "ratios": ratios, "seconds": {}, "networks": found}))


class Files:
    """Image files as the store wants them."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.digests = np.array([digest_file(path) for path in paths])

    def pixels(self, row: int, max_size: int, _framing: object = None) -> np.ndarray:
        """(h, w, 3) uint8."""
        return decode(self.paths[row], max_size)


def made_up_files(folder: Path, count: int) -> list[Path]:
    """`count` JPEG files of 64 px, all different."""
    paths = []
    for row, picture in enumerate(sample_images(count, 64)):
        paths.append(folder / f"{row:06d}.jpg")
        Image.fromarray(picture).save(paths[-1], quality=90)
    return paths


def measure(extractor: Extractor, files: Files, root: Path, precision: str) -> dict[str, Any]:
    """Times the three ways; rounds alternate, so that other work on the machine meets them all."""
    store = FeatureStore(root)
    started = time.perf_counter()
    engine = open_engine(extractor, "auto", precision, store.networks)
    opened = time.perf_counter() - started
    pictures = [files.pixels(row, extractor.image_size) for row in range(len(files.paths))]
    warm_up = pictures[: 8 * engine.batch_size]
    engine.run(warm_up)
    raw, end_to_end, ratios = [], [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        features = engine.run(pictures)
        raw.append(time.perf_counter() - started)
        if list_entries(root):
            clear_features(root, extractor.name)
        started = time.perf_counter()
        kept = store.features(files, extractor, precision=precision)
        end_to_end.append(time.perf_counter() - started)
        ratios.append(raw[-1] / end_to_end[-1])
    again = store.features(files, extractor, precision=precision)
    if kept.computed != len(set(files.digests.tolist())) or again.computed:
        raise SystemExit("the store did not compute every picture exactly once")

    model = extractor.build()
    batch = np.stack([np.asarray(Image.fromarray(picture).resize((64, 64))) for picture in pictures[:KERAS_IMAGES]])
    model.predict(batch[:32], verbose=0)
    started = time.perf_counter()
    expected = model.predict(batch, batch_size=32, verbose=0)
    keras_s = (time.perf_counter() - started) / len(batch) * len(pictures)
    return {
        "name": "features",
        "ratios": {
            "end_to_end_to_engine": statistics.median(ratios),
            "end_to_end_to_keras": keras_s / statistics.median(end_to_end),
            "engine_to_keras": keras_s / statistics.median(raw),
            "cosine_with_keras": mean_cosine(engine.run(batch), expected),
        },
        "seconds": {
            "images": len(pictures),
            "open_engine": opened,
            "engine": statistics.median(raw),
            "end_to_end": statistics.median(end_to_end),
            "keras_float32": keras_s,
            "read_again": again.seconds,
        },
        "run": {
            "extractor": extractor.name,
            "image_size": extractor.image_size,
            "engine": engine.name,
            "precision": engine.precision,
            "feature_bytes": features.shape[1] * kept.array.dtype.itemsize,
            "images_per_second": len(pictures) / statistics.median(end_to_end),
            "cores": thread_count(),
        },
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, help="images to use instead of made-up ones, in any sub-folders")
    parser.add_argument("--weights", default="random", help="random, imagenet or a file")
    parser.add_argument("--extractor", default="efficientnet")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--images", type=int, help="how many images; by default 1,500, with --networks 128")
    parser.add_argument(
        "--networks", nargs="*", choices=NETWORKS, help="these, or all five, at every precision, the engine alone"
    )
    options = parser.parse_args()
    if options.networks is not None:
        print_networks(options.networks or NETWORKS, options.images or 128, options.json)
        return
    options.images = options.images or 1500
    settings = SimpleNamespace(
        feature_extractor=options.extractor, weights=options.weights, image_size=None, trainable=False, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.data_dir is None:
                (Path(folder) / "images").mkdir()
                paths = made_up_files(Path(folder) / "images", options.images)
            else:
                endings = {".jpg", ".jpeg", ".png"}
                paths = sorted(p for p in options.data_dir.rglob("*") if p.suffix.lower() in endings)[: options.images]
                if not paths:
                    raise SystemExit(f"{options.data_dir}: no images")
            found = measure(make_extractor(settings), Files(paths), Path(folder) / "features", options.precision)
        except ImagematchError as error:
            raise SystemExit(str(error)) from error
    if options.json:
        print(json.dumps(found))
        return
    for group in ("run", "ratios", "seconds"):
        for what, value in found[group].items():
            print(f"{what:24} {value:.4g}" if isinstance(value, float) else f"{what:24} {value}")


if __name__ == "__main__":
    main()
