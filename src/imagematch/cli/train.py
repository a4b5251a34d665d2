"""`train`: trains one configuration, or says what it would train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show
from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.config import TrainSettings
    from imagematch.events import RunLog


def train_command(
    config: Annotated[Path, typer.Option("--config", "--config-filepath", help="The train file, YAML.")],
    resume: Annotated[bool, typer.Option("--resume", help="Start, or go on where it was interrupted.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; the old matcher stays until then.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    validate: Annotated[bool, typer.Option("--validate", help="Only read the file and say what would run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="As --validate; also open the images, and estimate the time.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Trains one configuration: a matcher, its calibrated threshold and its figures.

    Example: imagematch train --config configs/train/digits.yaml
    """
    from imagematch.config import load_train

    settings = load_train(config, overrides or [])
    log = command_log(as_json, quiet, verbose)
    if validate or dry_run:
        from imagematch.cli.dry_run import show_plan

        show_plan(settings, dry_run, log, as_json)
        return
    _run(settings, log, resume=resume, fresh=fresh, as_json=as_json)


def _run(settings: TrainSettings, log: RunLog, *, resume: bool, fresh: bool, as_json: bool) -> None:
    from imagematch.cli.prompts import resume_or_fresh
    from imagematch.cli.summary import matcher_outcome
    from imagematch.interruption import stop_on_signals
    from imagematch.pipeline import (
        finished_training,
        refuse_other_settings,
        run_training,
        training_begun,
        training_exists,
        unfinished_dir,
    )

    layout, name = Layout(), settings.experiment_name
    choice = "resume"
    if training_exists(layout, name):
        choice = resume_or_fresh(f"experiment {name}", resume=resume, fresh=fresh)
        finished = finished_training(layout, name)
        if choice == "resume" and finished is not None and not training_begun(layout, name):
            refuse_other_settings(finished, settings)
            show(*matcher_outcome(finished), as_json)
            return
    log = log.recorded_in(unfinished_dir(layout, name) / "run.jsonl")
    for line in settings.describe():
        log.say(line)
    with stop_on_signals() as stop:
        trained = run_training(settings, layout, fresh=choice == "fresh", log=log, stop=stop)
    show(*matcher_outcome(trained), as_json)
