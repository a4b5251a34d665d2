"""The worker's loop, with trainings that take no time: what reaches the last step, and what may go wrong."""

import json
from pathlib import Path

import optuna
import pytest
from tests.quick_study import NAME, settings_of
from tests.quick_worker import value_of
from tests.unit.tuning.fakes import FakeTrainer, work

from imagematch.config import StudySettings, TrainSettings
from imagematch.errors import DataError, InterruptedRunError, StudyError, TrainingFailedError
from imagematch.events import RunLog
from imagematch.interruption import StopRequest
from imagematch.tuning import attributes, worker
from imagematch.tuning.attributes import FEATURE_PRECISIONS
from imagematch.tuning.recovery import requeue
from imagematch.tuning.samplers import longest_training, make_pruner
from imagematch.tuning.study import network_label


def study_of(settings: StudySettings) -> optuna.Study:
    pruner = make_pruner(settings.pruner, longest=longest_training(settings))
    return optuna.create_study(study_name=NAME, direction="maximize", pruner=pruner)


def quick() -> FakeTrainer:
    return FakeTrainer(lambda settings, _seed: value_of(settings))


@pytest.mark.parametrize(("pruner", "epochs"), [("asha", 20), ("hyperband", 15), ("median", 5)])
def test_a_trial_that_has_reached_its_last_step_is_a_candidate(pruner: str, epochs: int, tmp_path: Path) -> None:
    settings = settings_of(24, sampler="random", pruner=pruner, epochs=epochs)
    study = study_of(settings)
    assert work(study, settings, quick(), tmp_path)
    trained = attributes.counted(study.trials)
    reached = [t for t in trained if t.last_step == epochs]
    assert {t.number for t in attributes.best_of(trained, study.directions)} == {t.number for t in reached}
    assert {t.state.name for t in trained if t not in reached} <= {"PRUNED"}
    assert any(study.pruner.prune(study, t) for t in reached), "it would prune there"


@pytest.mark.parametrize("growth", [False, True])
def test_a_worker_asks_for_a_new_one_after_many_trials_or_much_memory(
    growth: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if growth:
        sizes = iter(range(1, 10**9, 2000))
        monkeypatch.setattr(worker, "_memory_mb", lambda: next(sizes))
        monkeypatch.setattr(worker, "RENEW_AFTER_GROWTH_MB", 3000)
    else:
        monkeypatch.setattr(worker, "RENEW_AFTER_TRIALS", 3)
    settings = settings_of(7, reruns=2)
    study = study_of(settings)
    counts = []
    while True:
        trainer = quick()
        complete = work(study, settings, trainer, tmp_path)
        counts.append(len(trainer.trained))
        if complete:
            break
    assert sum(counts) == 7 + 2 * 2
    assert max(counts) == (2 if growth else 3)


def test_a_trial_whose_end_cannot_be_written_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would stand as running for all other machines as long as this process lives."""
    settings = settings_of(3)
    study = study_of(settings)

    def full_disk(*_: object) -> None:
        raise StudyError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(worker, "store_artifacts", full_disk)
        with pytest.raises(StudyError, match="no space"):
            work(study, settings, quick(), tmp_path)
    assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]
    assert study.trials[1].user_attrs[attributes.RETRY_OF] == 0
    assert work(study, settings, quick(), tmp_path)
    assert len(attributes.counted(study.trials)) == 3


def test_every_trial_is_trained_in_the_precision_in_which_the_study_was_begun(tmp_path: Path) -> None:
    settings = settings_of(3)
    study, trainer = study_of(settings), quick()
    trained = settings.settings_for({"embedding_dim": 2, "learning_rate": 0.001})
    study.set_user_attr(FEATURE_PRECISIONS, {network_label(trained): "bfloat16"})
    work(study, settings, trainer, tmp_path)
    assert {one.feature_precision for one, _ in trainer.trained} == {"bfloat16"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingFailedError("not a number"), "not a number"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError: a defect"),
    ],
)
def test_a_training_that_fails_costs_its_trial_and_no_other(error: Exception, reason: str, tmp_path: Path) -> None:
    def value(settings: TrainSettings, _seed: int) -> float:
        if settings.embedding_dim == 16:
            raise error
        return value_of(settings)

    settings = settings_of(12, sampler="random")
    study = study_of(settings)
    assert work(study, settings, FakeTrainer(value), tmp_path)
    failed = [t for t in study.trials if t.state.name == "FAIL" and not attributes.is_duplicate(t)]
    assert failed, "the seed drew some"
    assert {t.params["embedding_dim"] for t in failed} == {16}
    assert {t.user_attrs[attributes.REASON] for t in failed} == {reason}
    assert len(attributes.counted(study.trials)) == 12


def test_a_defect_is_told_as_what_it_is_and_not_as_the_databases(tmp_path: Path) -> None:
    """An assertion and a missing module have nothing to do with a full disk or a storage URL."""
    told = {
        AssertionError("so it is not"): "no trial was finished",
        ImportError("No module named fcntl"): "a library cannot be loaded",
    }
    for error, beginning in told.items():

        def value(_settings: TrainSettings, _seed: int, error: Exception = error) -> float:
            raise error

        settings = settings_of(3)
        study = study_of(settings)
        with pytest.raises(StudyError, match=beginning) as caught:
            work(study, settings, FakeTrainer(value), tmp_path / type(error).__name__)
        assert str(error) in str(caught.value)
        assert "database" not in str(caught.value)
        assert "free some space" not in str(caught.value)


def test_images_that_are_gone_end_the_search_with_their_own_error(tmp_path: Path) -> None:
    def value(settings: TrainSettings, _seed: int) -> float:
        if len(trainer.trained) > 2:
            raise DataError("the images are gone", where="here", do="bring them back")
        return value_of(settings)

    trainer = FakeTrainer(value)
    settings = settings_of(20, sampler="random")
    study = study_of(settings)
    with pytest.raises(DataError, match="here: the images are gone; bring them back"):
        work(study, settings, trainer, tmp_path)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 2 + ["FAIL"] * 3
    trainer.trained.clear()
    assert work(study, settings, quick(), tmp_path, first=len(study.trials)), "resumed, it starts counting anew"
    assert len(attributes.counted(study.trials)) == 20


def test_after_too_many_failures_the_search_ends_with_what_it_has(tmp_path: Path) -> None:
    def value(settings: TrainSettings, _seed: int) -> float:
        if len(trainer.trained) > 1:
            raise TrainingFailedError("not a number")
        return value_of(settings)

    trainer = FakeTrainer(value)
    settings = settings_of(6, sampler="random")
    study, log = study_of(settings), RunLog(tmp_path / "run.jsonl")
    assert work(study, settings, trainer, tmp_path, log=log)
    assert len(trainer.trained) == 7
    events = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [event["message"] for event in events if event["event"] == "gave_up"] == [
        "6 trials have failed: the search ends with those that have not"
    ]


def test_a_first_request_to_stop_finishes_the_trial_and_a_second_one_queues_it_again(tmp_path: Path) -> None:
    for level, states in ((1, ["COMPLETE"]), (2, ["FAIL", "WAITING"])):
        stop = StopRequest()

        def value(settings: TrainSettings, _seed: int, stop: StopRequest = stop, level: int = level) -> float:
            stop.ask(level)
            if stop.at_next_step:
                raise InterruptedRunError("interrupted")
            return value_of(settings)

        settings = settings_of(3)
        study = study_of(settings)
        with pytest.raises(InterruptedRunError):
            work(study, settings, FakeTrainer(value), tmp_path / str(level), stop=stop)
        assert [t.state.name for t in study.trials] == states


def test_a_trial_that_others_have_re_queued_is_left_to_them(tmp_path: Path) -> None:
    """As after a long sleep of the machine, or an outage of the network."""

    def value(settings: TrainSettings, _seed: int) -> float:
        if len(trainer.trained) == 1:
            requeue(study, study.trials[0])
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return value_of(settings)

    trainer = FakeTrainer(value)
    settings = settings_of(3)
    study, log = study_of(settings), RunLog(tmp_path / "run.jsonl")
    assert work(study, settings, trainer, tmp_path, log=log)
    assert "marked stale and re-queued by another process" in (tmp_path / "run.jsonl").read_text()
    assert [t.state.name for t in study.trials] == ["FAIL"] + ["COMPLETE"] * 3
    assert trainer.trained[0] == trainer.trained[1], "the same configuration, with the same seed"


def test_another_mistake_is_not_taken_for_a_lost_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: object, **__: object) -> None:
        raise ValueError("other")

    settings = settings_of(1)
    study = study_of(settings)
    monkeypatch.setattr(optuna.Trial, "report", other)
    with pytest.raises(StudyError, match="ValueError: other"):
        work(study, settings, quick(), tmp_path)
