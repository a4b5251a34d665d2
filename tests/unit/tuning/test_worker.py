"""What a worker keeps between its tasks."""

from pathlib import Path

from imagematch.config import parse_train
from imagematch.events import SILENT
from imagematch.tuning.worker import _Bench

SETTINGS = parse_train({"experiment_name": "s", "dataset": "digits", "feature_extractor": "pixels", "image_size": 8})


def test_trials_in_the_precision_that_auto_came_to_have_the_baselines_materials(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"feature_dir": str(tmp_path / "features")})
    bench = _Bench(tmp_path, SILENT)
    gathered = bench.materials(settings)
    assert bench.materials(settings.model_copy(update={"feature_precision": "float32"})) is gathered
    assert bench.materials(settings) is gathered
