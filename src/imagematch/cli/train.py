"""`train`: trains one configuration, or says what it would train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.config import TrainSettings


def train_command(
    config: Annotated[Path, typer.Option("--config", "--config-filepath", help="The train file, YAML.")],
    resume: Annotated[bool, typer.Option("--resume", help="Start, or go on where it was interrupted.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; the old matcher stays until then.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    validate: Annotated[bool, typer.Option("--validate", help="Only read the file and say what would run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As --validate; also open the images and count.")] = False,
) -> None:
    """Trains one configuration: a matcher, its calibrated threshold and its figures."""
    from imagematch.config import load_train

    settings = load_train(config, overrides or [])
    layout = Layout()
    if validate or dry_run:
        _tell_plan(settings, layout, dry_run)
        return
    _run(settings, layout, resume=resume, fresh=fresh)


def _tell_plan(settings: TrainSettings, layout: Layout, dry_run: bool) -> None:
    for line in settings.describe():
        print(line)
    if dry_run:
        from imagematch.cli.dry_run import check_files, print_images
        from imagematch.data import open_dataset
        from imagematch.events import console_log
        from imagematch.training import check_batch_classes

        check_files([settings.weights], [settings.feature_extractor])
        dataset = open_dataset(settings, manifest_dir=layout.manifests, log=console_log())
        check_batch_classes(settings, dataset.labels[dataset.rows("train")])
        print_images(dataset)


def _run(settings: TrainSettings, layout: Layout, *, resume: bool, fresh: bool) -> None:
    from imagematch.cli.prompts import resume_or_fresh
    from imagematch.cli.summary import print_matcher_summary
    from imagematch.events import console_log
    from imagematch.interruption import stop_on_signals
    from imagematch.pipeline import (
        finished_training,
        refuse_other_settings,
        run_training,
        training_begun,
        training_exists,
        unfinished_dir,
    )

    name = settings.experiment_name
    choice = "resume"
    if training_exists(layout, name):
        choice = resume_or_fresh(f"experiment {name}", resume=resume, fresh=fresh)
        finished = finished_training(layout, name)
        if choice == "resume" and finished is not None and not training_begun(layout, name):
            refuse_other_settings(finished, settings)
            print_matcher_summary(finished)
            return
    log = console_log(unfinished_dir(layout, name) / "run.jsonl")
    for line in settings.describe():
        log.say(line)
    with stop_on_signals() as stop:
        trained = run_training(settings, layout, fresh=choice == "fresh", log=log, stop=stop)
    print_matcher_summary(trained)
