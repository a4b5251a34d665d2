"""`evaluate`: measures a saved matcher on a split of its data, in one-shot trials, or on a list of pairs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagematch.cli.options import DEFAULT_FEATURE_DIR, FeatureDir, Json, Quiet, Verbose, command_log, show

if TYPE_CHECKING:
    from imagematch.evaluation import OneShot
    from imagematch.events import RunLog
    from imagematch.pipeline import PairListMetrics, PairsEvaluation

ModelOption = Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")]
OutputOption = Annotated[Path | None, typer.Option(help="A folder for metrics.json, and report.html for a split.")]


def evaluate(
    model: ModelOption,
    split: Annotated[
        str | None,
        typer.Option(help="test, validation, calibration or train; with new images in --data-dir all, unless given."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Another folder: the images moved there, or new ones.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Measure a list of pairs instead: LFW's, or path,path,same.")
    ] = None,
    one_shot: Annotated[
        int | None, typer.Option(min=2, metavar="WAYS", help="Also one-shot trials among so many classes.")
    ] = None,
    output: OutputOption = None,
    feature_dir: FeatureDir = DEFAULT_FEATURE_DIR,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measures a saved matcher at its own threshold, with intervals, beside the frozen extractor alone."""
    from imagematch.errors import ConfigError
    from imagematch.pipeline import check_output_folder

    log = command_log(as_json, quiet, verbose, stream=sys.stderr)
    if output is not None:
        check_output_folder(output, ("metrics.json", "report.html", "suspect_labels.csv"))
    if pairs is None:
        _evaluate_split(model, split, data_dir, one_shot, output, feature_dir, as_json, log)
        return
    if one_shot is not None:
        raise ConfigError("trials need a split, not a list of pairs", where="--one-shot", do="leave out --pairs")
    _evaluate_pairs(model, pairs, data_dir, output, feature_dir, as_json, log)


def _evaluate_split(
    model: Path,
    split: str | None,
    data_dir: Path | None,
    one_shot: int | None,
    output: Path | None,
    feature_dir: Path,
    as_json: bool,
    log: RunLog,
) -> None:
    from imagematch.cli.summary import metric_lines
    from imagematch.errors import DataError
    from imagematch.pipeline import evaluate_model, write_evaluation

    evaluation = evaluate_model(model, split=split, data_dir=data_dir, feature_dir=feature_dir, log=log)
    found: dict[str, Any] = dict(evaluation.metrics)
    trials, refusal = None, None
    if one_shot is not None:
        from imagematch.pipeline import one_shot_trials

        try:
            trials = one_shot_trials(evaluation, one_shot)
        except DataError as error:  # told after the figures, which are finished
            refusal = error
        found["one_shot"] = None if trials is None else {name: asdict(one) for name, one in trials.items()}
    report = None if output is None else write_evaluation(evaluation, output)
    if output is not None and one_shot is not None:
        from imagematch.files import write_json

        write_json(output / "metrics.json", found)
    lines = [*metric_lines(evaluation.metrics), *_trial_lines(trials or {})]
    show(found, [*lines, *([] if report is None else [f"report   {report}"])], as_json)
    if refusal is not None:
        raise refusal


def _trial_lines(trials: Mapping[str, OneShot]) -> Iterator[str]:
    for name, one in trials.items():
        error = "" if one.standard_error is None else f" +- {one.standard_error:.4f}"
        yield f"{one.ways}-way one-shot, {name}: error {one.error_rate:.4f}{error} ({one.trials:,} trials)"


def _evaluate_pairs(
    model: Path,
    pairs: Path,
    data_dir: Path | None,
    output: Path | None,
    feature_dir: Path,
    as_json: bool,
    log: RunLog,
) -> None:
    from imagematch.pipeline import evaluate_pairs

    found = evaluate_pairs(model, pairs, data_dir, feature_dir, log)
    if output is not None:
        from imagematch.files import make_dir, write_json

        write_json(make_dir(output) / "metrics.json", found.to_json())
    show(found.to_json(), _pairs_lines(found), as_json)


def _pairs_lines(found: PairsEvaluation) -> list[str]:
    from imagematch.cli.summary import four_digits

    left_out = f"; {found.skipped:,} left out: {len(found.unreadable):,} images cannot be used" if found.skipped else ""
    lines = [f"{found.pairs:,} pairs, {found.genuine:,} genuine{left_out}"]
    for name, figures in (("this matcher", found.matcher), ("baseline", found.baseline)):
        lines.append(f"{name:12}  ROC AUC {four_digits(figures.roc_auc)}{_certainty(figures)}")
    at = found.at_threshold
    lines.append(
        f"at the matcher's own threshold {at['distance']:.4f}: accuracy {four_digits(at['accuracy'])}, "
        f"precision {four_digits(at['precision'])}, recall {four_digits(at['recall'])}, F1 {four_digits(at['f1'])}"
    )
    return lines


def _certainty(figures: PairListMetrics) -> str:
    text = ""
    if figures.interval is not None:
        trust = "" if figures.interval.trustworthy else ", too few groups of images to trust it"
        text = f" (95 %: {figures.interval.low:.4f} to {figures.interval.high:.4f}{trust})"
    if figures.folded is not None:
        text += (
            f", accuracy {figures.folded.mean:.4f} +- {figures.folded.standard_error:.4f} (mean and standard error of "
            f"{len(figures.folded.accuracies)} folds, each at the threshold chosen on the others)"
        )
    return text
