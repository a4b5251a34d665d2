"""What a trainer keeps loaded between trials."""

from pathlib import Path

import pytest

from imagematch.config import parse_study
from imagematch.errors import StudyError
from imagematch.events import SILENT
from imagematch.tuning.trainer import Trainer

STUDY = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "dropout": 0}


def test_trials_in_the_precision_that_auto_resolved_to_have_the_baselines_training_data(tmp_path: Path) -> None:
    study = parse_study({**STUDY, "embedding_dim_grid": [4, 8], "feature_dir": str(tmp_path / "features")})
    settings, trainer = study.settings_for({"embedding_dim": 4}), Trainer(study, tmp_path, SILENT)
    loaded = trainer.training_data(settings)
    assert trainer.training_data(settings.model_copy(update={"feature_precision": "float32"})) is loaded
    assert trainer.training_data(settings) is loaded
    measured = trainer.measure_baseline(settings, loaded.dataset.digest)
    assert measured["dataset"]["digest"] == loaded.dataset.digest
    assert measured["network_parameters"] is None
    with pytest.raises(StudyError, match="not the images"):
        Trainer(study, tmp_path, SILENT).training_data(settings, "of other images")


def test_another_network_under_the_same_name_is_refused(tmp_path: Path) -> None:
    study = parse_study({**STUDY, "embedding_dim_grid": [4, 8], "feature_dir": str(tmp_path / "features")})
    settings, trainer = study.settings_for({"embedding_dim": 4}), Trainer(study, tmp_path, SILENT)
    digest = trainer.training_data(settings).extractor.digest
    assert Trainer(study, tmp_path, SILENT).training_data(settings, None, digest).extractor.digest == digest
    with pytest.raises(StudyError, match=r"pixels: this is not the network.*; give it the same file"):
        Trainer(study, tmp_path, SILENT).training_data(settings, None, "of another network")
