"""`hpt`: runs a study, or shows what it would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.config import StudySettings

ConfigOption = Annotated[
    Path, typer.Option("--hpt-config-filepath", "--config", "--config-filepath", help="The study's YAML file.")
]


def hpt(
    config: ConfigOption,
    resume: Annotated[bool, typer.Option("--resume", help="Create the study, or resume it.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the study of this name first.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Resume the study in a changed search space, with its trials.")
    ] = False,
    storage: Annotated[
        str | None, typer.Option(help="Database URL instead of the file in exp/ (many machines: PostgreSQL).")
    ] = None,
    n_trials: Annotated[int | None, typer.Option(min=1, help="Total of finished trials, duplicates excluded.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes that train at a time.")] = 1,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    validate: Annotated[bool, typer.Option("--validate", help="Only read the file and show what would run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="As --validate; also open the images and count them.")
    ] = False,
) -> None:
    """Searches the grids of a study file, trains and evaluates the best configuration."""
    from imagematch.config import load_study
    from imagematch.errors import ConfigError

    if extend and fresh:
        raise ConfigError("--extend and --fresh exclude each other", do="give one of them")
    given = list(overrides or [])
    given += [f"n_trials={n_trials}"] if n_trials is not None else []
    given += [f"storage={json.dumps(storage)}"] if storage is not None else []
    study = load_study(config, given)
    layout = Layout()
    if validate or dry_run:
        _tell_plan(study, layout, dry_run)
        return
    _run(study, layout, resume=resume or extend, fresh=fresh, extend=extend, workers=workers)


def _tell_plan(study: StudySettings, layout: Layout, dry_run: bool) -> None:
    from imagematch.config import starting_lines

    for line in (*study.describe(), *starting_lines(study)):
        print(line)
    if dry_run:
        from imagematch.cli.dry_run import check_weights, print_images
        from imagematch.data import fold_datasets, open_dataset
        from imagematch.events import console_log
        from imagematch.training import check_batch_classes

        first = {field: dimension.ends[0] for field, dimension in study.space.items()}
        searched = study.space["weights"].values() if "weights" in study.space else ()
        check_weights([study.settings_for(first).weights, *searched])
        dataset = open_dataset(study.settings_for(first), manifest_dir=layout.manifests, log=console_log())
        most = {field: max(study.space[field].ends) for field in study.space if field == "batch_classes"}
        folds = fold_datasets(dataset, study.folds, study.seed) if study.folds > 1 else []
        for one in (dataset, *folds):
            check_batch_classes(study.settings_for({**first, **most}), one.labels[one.rows("train")])
        points = study.grid_points
        print(f"grid points: {'endless' if points is None else f'{points:,}'}")
        print_images(dataset)
        if folds:
            held_out = [len(one.rows("validation")) for one in folds]
            print(f"folds: {study.folds}, of {min(held_out):,} to {max(held_out):,} images")
        print(f"trials: {study.n_trials if points is None else min(study.n_trials, points):,}")


def _run(study: StudySettings, layout: Layout, *, resume: bool, fresh: bool, extend: bool, workers: int) -> None:
    from imagematch.cli.prompts import resume_or_fresh
    from imagematch.cli.summary import print_study_summary
    from imagematch.config import starting_lines
    from imagematch.events import console_log
    from imagematch.interruption import stop_on_signals
    from imagematch.pipeline import forget_study, run_study, training_exists
    from imagematch.tuning import extend_study, study_exists

    name = study.study_name
    exists = study_exists(study, layout)
    resumes = exists and resume_or_fresh(f"study {name}", resume=resume, fresh=fresh) == "resume"
    lines = [*study.describe(), *([] if resumes else starting_lines(study))]
    if exists and not resumes:
        forget_study(name, layout, study.storage)
    elif not exists and training_exists(layout, name):
        resume_or_fresh(f"a matcher {name}, which the study's winner would replace,", resume=resume, fresh=fresh)
    log = console_log(layout.study_dir(study.study_name) / "run.jsonl")
    for line in lines:
        log.say(line)
    if extend and exists:
        extend_study(study, layout, log)
    with stop_on_signals(patient=True) as stop:
        finished = run_study(study, layout, workers=workers, log=log, stop=stop)
    print_study_summary(finished, layout)
