"""Measures matching: one pair on a loaded matcher, and a fresh `imagematch match` to its answer, beside Keras alone.

Without options: EfficientNetV2-B0 with random weights at 224 px behind a head of 512 units, and made-up 224 px JPEGs;
about a minute on 2 cores. A fresh process finds the converted network, as every process after the training does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from imagematch.data import DECODER_VERSION
from imagematch.errors import ImagematchError
from imagematch.extractors import choose_engine, make_extractor, sample_images
from imagematch.matching import EmbeddingCard, ImageMatcher, ThresholdCard, save_matcher
from imagematch.model import build_feature_model, build_head

PAIRS, ROUNDS, DIM = 100, 5, 128

KERAS_ALONE = """
import sys
import keras, numpy, PIL.Image
import imagematch.model.storage
model = keras.saving.load_model(sys.argv[1])
images = [numpy.asarray(PIL.Image.open(path).convert("RGB"), "float32")[None] for path in sys.argv[2:]]
first, second = (numpy.asarray(model(image, training=False)) for image in images)
print(numpy.linalg.norm(first - second))
"""


def make_matcher(root: Path, weights: str) -> Path:
    """A matcher's folder with an untrained head, its converted network kept beside it."""
    asked = SimpleNamespace(feature_extractor="efficientnet", weights=weights, image_size=None, trainable=False, seed=0)
    extractor = make_extractor(asked)
    networks = root / "exp" / "features" / "networks"
    choice = choose_engine(extractor, cache_dir=networks)
    head = build_head(extractor.feature_dim, units=[512], embedding_dim=DIM)
    card = EmbeddingCard(
        extractor=extractor.name,
        network_digest=extractor.digest,
        feature_dim=extractor.feature_dim,
        image_size=extractor.image_size,
        decoder=DECODER_VERSION,
        engine=choice.name,
        precision=choice.precision,
        whole_model=False,
        dim=DIM,
    )
    folder = root / "exp" / "saved_models" / "measured"
    save_matcher(
        folder,
        name="measured",
        model=build_feature_model(extractor.build(), head),
        config="experiment_name: measured\n",
        embedding=card,
        threshold=ThresholdCard(distance=1.0, criterion="eer", chosen_on="calibration"),
        probability=None,
        provenance={},
        network_dir=networks,
    )
    return folder


def find_images(root: Path, data_dir: Path | None) -> list[Path]:
    """Two or more image files: those of `data_dir`, else made-up ones."""
    if data_dir is not None:
        found = sorted(path for path in data_dir.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if len(found) < 2:
            raise SystemExit(f"{data_dir}: holds fewer than two JPEG or PNG files")
        return found[: 2 * PAIRS]
    paths = []
    for number, picture in enumerate(sample_images(2 * PAIRS, 224)):
        paths.append(root / f"{number:03}.jpg")
        Image.fromarray(picture).save(paths[-1], quality=90)
    return paths


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one_pair(folder: Path, images: list[Path]) -> dict[str, float]:
    """Median seconds of a pair of files on a loaded matcher, and of the feature model alone on decoded pixels."""
    loading = time.perf_counter()
    matcher = ImageMatcher.load(folder)
    load = time.perf_counter() - loading
    pairs = [(images[place % len(images)], images[(place + 1) % len(images)]) for place in range(0, 2 * PAIRS, 2)]
    matcher.match(*pairs[0])
    ours = [seconds_of(lambda pair=pair: matcher.match(*pair)) for pair in pairs]
    model = matcher.feature_model
    decoded = [matcher.card.embedding.decode(path)[None].astype(np.float32) for path in pairs[0]]
    keras_alone = [seconds_of(lambda: [model(image, training=False) for image in decoded]) for _ in range(ROUNDS + 1)]
    return {
        "load": load,
        "match": statistics.median(ours),
        "match_keras": statistics.median(keras_alone[1:]),
    }


def fresh_process(folder: Path, images: list[Path], root: Path) -> dict[str, float]:
    """Median seconds of new processes to their answer: ours, and one that opens the same model with Keras."""
    first, second = (str(path) for path in images[:2])
    model = str(folder / "feature_model.keras")
    command = [sys.executable, "-m", "imagematch", "match", "--model", str(folder), first, second]
    alone = [sys.executable, "-c", KERAS_ALONE, model, first, second]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(arguments: list[str]) -> None:
        subprocess.run(arguments, check=True, capture_output=True, cwd=root, env=environment)

    rounds = [(seconds_of(lambda: run(command)), seconds_of(lambda: run(alone))) for _ in range(ROUNDS)]
    ours, theirs = zip(*rounds, strict=True)
    return {"fresh_process": statistics.median(ours), "fresh_process_keras": statistics.median(theirs)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data-dir", type=Path, help="images to match instead of made-up ones")
    parser.add_argument("--weights", default="random", help="of EfficientNetV2-B0: random, imagenet or a file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        images = find_images(root, options.data_dir)
        folder = make_matcher(root, options.weights)
        seconds = one_pair(folder, images) | fresh_process(folder, images, root)
    ratios = {
        "match_over_keras": seconds["match_keras"] / seconds["match"],
        "fresh_process_over_keras": seconds["fresh_process_keras"] / seconds["fresh_process"],
    }
    if options.json:
        print(json.dumps({"name": "matching", "ratios": ratios, "seconds": seconds}))
        return
    print(f"a matcher is loaded in              {seconds['load']:.2f} s")
    print(f"one pair of files, median           {seconds['match'] * 1e3:.1f} ms")
    print(
        f"  Keras, eager, decoded already     {seconds['match_keras'] * 1e3:.1f} ms "
        f"({ratios['match_over_keras']:.1f} x)"
    )
    print(f"a fresh `imagematch match`, median  {seconds['fresh_process']:.2f} s")
    print(
        f"  a fresh process with Keras        {seconds['fresh_process_keras']:.2f} s "
        f"({ratios['fresh_process_over_keras']:.1f} x)"
    )


if __name__ == "__main__":
    try:
        main()
    except ImagematchError as error:
        sys.exit(f"error: {error}")
