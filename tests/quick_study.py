"""A study without training, and without what comes after the search: for tests of storages, workers and kills.

`python -m tests.quick_study URL [--trials N] [--workers K] [--sampler NAME] [--pruner NAME] [--epochs N] [--reruns K]`,
in the folder where `exp/` is to be.
"""

import sys

import typer

from imagematch.cli.running import run
from imagematch.config import StudySettings, parse_study
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.interruption import stop_on_signals
from imagematch.tuning import choose_winner, open_study, run_workers, worker_process, working_on

NAME = "quick"


def settings_of(
    trials: int,
    storage: str | None = None,
    sampler: str = "tpe",
    pruner: str = "none",
    epochs: int = 3,
    reruns: int = 0,
) -> StudySettings:
    """A study of 7 x 60 configurations."""
    return parse_study(
        {
            "study_name": NAME,
            "dataset": "digits",
            "feature_extractor": "pixels",
            "dropout": 0,
            "embedding_dim_grid": [2, 4, 8, 16, 32, 64, 128],
            "learning_rate_grid": [round(0.0005 * (k + 1), 4) for k in range(60)],
            "epochs": epochs,
            "pruner": pruner,
            "sampler": sampler,
            "n_trials": trials,
            "storage": storage,
            "rerun_top_k": reruns,
            "rerun_seeds": 2,
        }
    )


def search(
    storage: str,
    trials: int = 20,
    workers: int = 1,
    sampler: str = "tpe",
    pruner: str = "none",
    epochs: int = 3,
    reruns: int = 0,
) -> None:
    """Runs it."""
    worker_process.WORKER = "tests.quick_worker"
    settings, layout = settings_of(trials, storage, sampler, pruner, epochs, reruns), Layout()
    log = RunLog(layout.study_dir(NAME) / "run.jsonl", sys.stdout)
    with stop_on_signals(patient=True) as stop:
        study = open_study(settings, layout, log=log, stop=stop)
        with working_on(study, layout, stop):
            run_workers(study, settings, layout, log=log, stop=stop, workers=workers)
            choose_winner(study, settings, log)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(search)
    run(app)
