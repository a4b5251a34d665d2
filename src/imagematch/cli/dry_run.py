"""`--validate` and `--dry-run` of a training and of a study: what would run, and what would keep it from running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.cli.options import show
from imagematch.config import StudySettings, TrainSettings, starting_lines
from imagematch.errors import first_of
from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.events import RunLog


def show_plan(settings: TrainSettings | StudySettings, dry_run: bool, log: RunLog, as_json: bool) -> None:
    """Prints what would run; for a dry run also what the images say, and an estimate of the time.

    Raises:
        ImagematchError: everything that was found wrong, after the rest is printed.
    """
    lines = settings.describe()
    plan: dict[str, Any] = {"plan": lines}
    if not dry_run:
        lines += starting_lines(settings) if isinstance(settings, StudySettings) else []
        show(plan, lines, as_json)
        return
    from imagematch.pipeline import look_ahead

    found = look_ahead(settings, Layout(), log)
    show({**plan, **found.facts}, [*lines, *found.lines], as_json)
    if found.problems:
        raise first_of(found.problems)
