"""`hpt`: runs a study, or shows what it would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show
from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.config import StudySettings
    from imagematch.events import RunLog

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
        bool, typer.Option("--dry-run", help="As --validate; also open the images, and estimate the time.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Searches the grids of a study file, trains and evaluates the best configuration.

    Example: imagematch hpt --hpt-config-filepath hpt_config.yaml
    """
    from imagematch.config import load_study
    from imagematch.errors import ConfigError

    if extend and fresh:
        raise ConfigError("--extend and --fresh exclude each other", do="give one of them")
    given = list(overrides or [])
    given += [f"n_trials={n_trials}"] if n_trials is not None else []
    given += [f"storage={json.dumps(storage)}"] if storage is not None else []
    study = load_study(config, given)
    log = command_log(as_json, quiet, verbose)
    if validate or dry_run:
        from imagematch.cli.dry_run import show_plan

        show_plan(study, dry_run, log, as_json)
        return
    _run(study, log, resume=resume or extend, fresh=fresh, extend=extend, workers=workers, as_json=as_json)


def _run(
    study: StudySettings, log: RunLog, *, resume: bool, fresh: bool, extend: bool, workers: int, as_json: bool
) -> None:
    from imagematch.cli.prompts import resume_or_fresh
    from imagematch.cli.summary import study_outcome
    from imagematch.config import starting_lines
    from imagematch.interruption import stop_on_signals
    from imagematch.pipeline import forget_study, run_study, training_exists
    from imagematch.tuning import extend_study, study_exists

    layout, name = Layout(), study.study_name
    exists = study_exists(study, layout)
    resumes = exists and resume_or_fresh(f"study {name}", resume=resume, fresh=fresh) == "resume"
    lines = [*study.describe(), *([] if resumes else starting_lines(study))]
    if exists and not resumes:
        forget_study(name, layout, study.storage)
    elif not exists and training_exists(layout, name):
        resume_or_fresh(f"a matcher {name}, which the study's winner would replace,", resume=resume, fresh=fresh)
    log = log.recorded_in(layout.study_dir(study.study_name) / "run.jsonl")
    for line in lines:
        log.say(line)
    if extend and exists:
        extend_study(study, layout, log)
    with stop_on_signals(patient=True) as stop:
        finished = run_study(study, layout, workers=workers, log=log, stop=stop)
    show(*study_outcome(finished, layout), as_json)
