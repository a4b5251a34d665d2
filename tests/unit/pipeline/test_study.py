"""What a study does between its search and its winner."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from imagematch.config import StudySettings, parse_study
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.pipeline import run_study
from imagematch.pipeline import study as pipeline
from imagematch.pipeline.train import TrainedMatcher
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan


class FakeSearch:
    """A search of one trial, whose workers are there inside its block."""

    workers = 0

    def __init__(self, study: optuna.Study, settings: StudySettings, **_: Any) -> None:
        self.plan = Plan(study, settings, SILENT)
        self._study = study

    def __enter__(self) -> "FakeSearch":
        FakeSearch.workers = 1
        return self

    def __exit__(self, *_: object) -> None:
        FakeSearch.workers = 0

    def run(self) -> None:
        choices = optuna.distributions.CategoricalDistribution((4, 8))
        trial = optuna.trial.create_trial(
            params={"embedding_dim": 4},
            distributions={"embedding_dim": choices},
            value=0.5,
            user_attrs={attributes.TRIAL_INDEX: 0},
        )
        self._study.add_trial(trial)


def test_the_workers_are_gone_when_the_winner_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would hold their memory beside the training, and as long as other processes train."""
    seen: list[int] = []

    def measured(*_: object, **__: object) -> None:
        assert FakeSearch.workers == 1

    def trained(*_: object) -> TrainedMatcher:
        seen.append(FakeSearch.workers)
        return TrainedMatcher(tmp_path, {})

    monkeypatch.setattr(pipeline, "Search", FakeSearch)
    monkeypatch.setattr(pipeline, "measure_baselines", measured)
    monkeypatch.setattr(pipeline, "_trained_winner", trained)
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0, "n_trials": 1}
    settings = parse_study({**base, "embedding_dim_grid": [4, 8]})
    finished = run_study(settings, Layout(tmp_path))
    assert finished.settings.embedding_dim == 4
    assert seen == [0]
