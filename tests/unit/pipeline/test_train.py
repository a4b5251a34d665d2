"""What a training tells while it goes on."""

import io
from pathlib import Path

import pytest

from imagematch.config import parse_train
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.pipeline import run_training


@pytest.mark.parametrize(("batch", "times"), [({"batch_size": 3}, 1), ({"batch_classes": 3}, 0)])
def test_random_batches_without_two_images_of_a_class_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: dict[str, int], times: int
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "embedding_dim": 8, "epochs": 2}
    said = io.StringIO()
    run_training(parse_train({"experiment_name": "x", **values, **batch}), Layout(), log=RunLog(stream=said))
    lines = [line for line in said.getvalue().splitlines() if "taught nothing" in line]
    assert len(lines) == times
    assert all("triplet_semihard found nothing to compare" in line for line in lines)
