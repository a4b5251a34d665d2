"""What a cut-off study resumes: the same trials whatever prunes them, and a trial at the epoch it had reached."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from tests.fault.conftest import Start
from tests.fault.shared_studies import trials_in

from imagematch.config import parse_study
from imagematch.errors import InterruptedRunError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.training import loop
from imagematch.tuning import attributes, open_study
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.trainer import Trainer
from imagematch.tuning.worker import Worker

EPOCHS, CUT_AFTER = 8, 5
ONE_TRIAL = {
    **{"study_name": "cut", "dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "dropout": 0},
    **{"embedding_dim_grid": [4, 8], "epochs": EPOCHS, "early_stopping_patience": EPOCHS},
    **{"n_trials": 1, "rerun_top_k": 0},
}


def ends_of(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return sorted(
        (t.user_attrs[attributes.TRIAL_INDEX], str(sorted(t.params.items())), t.state.name, t.last_step, t.value)
        for t in trials
        if t.state.name != "FAIL"
    )


def test_killed_and_resumed_hyperband_prunes_as_it_would_have(tmp_path: Path, quick: Start) -> None:
    """Past the quasi-random beginning; tests/unit/tuning/test_resumption.py has every sampler and pruner."""
    options = ("--trials", "20", "--pruner", "hyperband", "--epochs", "9")
    whole, cut = (f"sqlite:///{tmp_path}/{name}.db" for name in ("whole", "cut"))
    uncut = quick(whole, *options, folder=tmp_path / "whole")
    for finished in (5, 11, 15):
        process = quick(cut, *options, trial_s=0.4, folder=tmp_path / "cut")
        assert process.stdout is not None
        while f"[{finished}/20" not in process.stdout.readline():
            assert process.poll() is None, process.communicate()
        while not any(trial.state.name == "RUNNING" for trial in trials_in(cut)):
            assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    assert quick(cut, *options, folder=tmp_path / "cut").wait(timeout=600) == 0
    assert uncut.wait(timeout=600) == 0
    assert ends_of(trials_in(cut)) == ends_of(trials_in(whole))
    assert any(t.state.name == "PRUNED" for t in trials_in(whole))
    assert any(t.state.name == "FAIL" for t in trials_in(cut))


def test_a_trial_goes_on_with_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, layout, stop = parse_study(ONE_TRIAL), Layout(tmp_path / "exp"), StopRequest()
    trained: list[int] = []
    validate = loop._Run.validate

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        record = validate(self, *arguments, **options)
        trained.append(record["epoch"])
        if len(trained) == CUT_AFTER:
            stop.ask(2)
        return record

    def work(until: StopRequest) -> list[FrozenTrial]:
        study = open_study(settings, layout)
        trainer = Trainer(settings, layout.manifests, SILENT)
        assert Worker(study, WorkerJob(settings, layout, first=len(study.trials)), trainer, stop=until).run()
        return study.trials

    monkeypatch.setattr(loop._Run, "validate", counting)
    with pytest.raises(InterruptedRunError):
        work(stop)
    assert trained == list(range(1, CUT_AFTER + 1))
    trials = work(StopRequest())
    assert trained == list(range(1, EPOCHS + 1)), "no epoch twice, none left out"
    assert [t.state.name for t in trials] == ["FAIL", "COMPLETE"]
    assert list(trials[1].intermediate_values) == list(range(1, EPOCHS + 1)), "the earlier epochs are told again"
