"""A study without training, and without what comes after the search: for tests of storages, processes and kills.

`python -m tests.quick_study URL [--trials N] [--workers K] [--sampler NAME] [--pruner NAME] [--epochs N]`, in the
folder where `exp/` is to be.
"""

import typer

from imagematch.cli.running import run
from imagematch.config import StudySettings, parse_study
from imagematch.events import console_log
from imagematch.files import Layout
from imagematch.training import stop_on_signals
from imagematch.tuning import Search, child, open_study, owned
from imagematch.tuning.refusals import storage_errors

NAME = "quick"


def settings_of(
    trials: int, storage: str | None = None, sampler: str = "tpe", pruner: str = "none", epochs: int = 3
) -> StudySettings:
    """A study of 7 x 60 points."""
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
        }
    )


def search(
    storage: str, trials: int = 20, workers: int = 1, sampler: str = "tpe", pruner: str = "none", epochs: int = 3
) -> None:
    """Runs it."""
    child.WORKER = "tests.quick_worker"
    settings, layout = settings_of(trials, storage, sampler, pruner, epochs), Layout()
    log = console_log(layout.study_dir(NAME) / "run.jsonl")
    with stop_on_signals(patient=True) as stop, storage_errors(storage):
        study = open_study(settings, layout, log=log, stop=stop)
        with (
            owned(study, layout, stop),
            Search(study, settings, layout=layout, log=log, stop=stop, workers=workers) as searching,
        ):
            searching.run()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(search)
    run(app)
