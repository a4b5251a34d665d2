"""`test_time_flip: auto`: mirror images count where they make validation better, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from imagematch.config import parse_train
from imagematch.evaluation import epoch_metrics
from imagematch.model import flip_average
from imagematch.training import experiment, load_training_data, train_model

VALUES = {
    "experiment_name": "x",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "max_classes": 4,
    "embedding_dim": 8,
    "epochs": 1,
    "test_time_flip": "auto",
}


@pytest.mark.parametrize(
    ("objective", "plain", "flipped", "flips"),
    [
        ("val_map_at_r", 0.5, 0.6, True),
        ("val_map_at_r", 0.5, 0.5, False),
        ("val_map_at_r", 0.6, 0.5, False),
        ("val_eer", 0.2, 0.1, True),
        ("val_loss", 0.5, 0.6, True),
    ],
)
def test_mirror_images_count_where_validation_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, plain: float, flipped: float, flips: bool
) -> None:
    settings = parse_train({**VALUES, "epochs": 1, "objective": objective, "feature_dir": str(tmp_path / "features")})
    data = load_training_data(settings, manifest_dir=tmp_path)
    seen: list[np.ndarray] = []

    def scored(embeddings: np.ndarray, _labels: np.ndarray, names: list[str]) -> dict[str, float]:
        seen.append(embeddings)
        return dict.fromkeys(names, (plain, flipped)[len(seen) - 1])

    monkeypatch.setattr(experiment, "epoch_metrics", scored)
    training = train_model(data, settings)
    assert training.flip is flips
    rows = data.dataset.rows("validation")
    np.testing.assert_array_equal(training.embed(rows), seen[int(flips)])
    assert not np.allclose(seen[0], seen[1])
    mirrored = training.data.inputs[-1].mirrored
    assert mirrored is not None
    head = experiment.head_in_numpy(training.shape, training.head)
    own = head(np.asarray(data.features.array[rows], np.float32))
    np.testing.assert_allclose(seen[1], flip_average(own, head(np.asarray(mirrored[rows], np.float32))), atol=1e-5)


def test_half_whitened_features_alone_are_flipped_too(tmp_path: Path) -> None:
    settings = parse_train({**VALUES, "epochs": 0, "feature_dir": str(tmp_path / "features")})
    data = load_training_data(settings, manifest_dir=tmp_path)
    rows = data.dataset.rows("validation")
    auto, no, yes = (
        train_model(data, settings.model_copy(update={"test_time_flip": flip})) for flip in ("auto", False, True)
    )
    values = [epoch_metrics(one.embed(rows), data.dataset.labels[rows])["map_at_r"] for one in (no, yes)]
    assert (no.flip, yes.flip, auto.flip) == (False, True, values[1] > values[0])
