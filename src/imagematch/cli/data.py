"""`data list | check | fetch`: what can be trained on, whether it is sound, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show
from imagematch.files import Layout

if TYPE_CHECKING:
    from imagematch.config import TrainSettings
    from imagematch.data import Audit

data_app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SHOWN = 10
_SPREADS = (("per class", "images_per_class", "images"), ("widths", "widths", "px"), ("heights", "heights", "px"))


@data_app.command("list")
def list_(as_json: Json = False) -> None:
    """Lists the data sets by name, with where they are looked for."""
    from imagematch.registry import SOURCE_REGISTRY

    specs = SOURCE_REGISTRY.all()
    width = max(map(len, specs))
    rows, lines = [], []
    for name, spec in specs.items():
        folder = _folder(name)
        there = folder is not None and folder.is_dir()
        fetched = f"; imagematch data fetch {name}" if spec.download else ""
        place = f"; {folder} ({'is there' if there else 'is not there'})" if folder else "; set data_dir"
        lines.append(f"{name:{width}}  {spec.summary}{place if spec.data_dir or folder else ''}{fetched}")
        row = {"name": name, "summary": spec.summary, "folder": folder, "is_there": there}
        rows.append({**row, "can_be_fetched": bool(spec.download)})
    show(rows, lines, as_json)


def _folder(name: str) -> Path | None:
    """Where a data set is looked for without `data_dir`; None where it has no folder of its own."""
    from imagematch.config import parse_train
    from imagematch.errors import ConfigError

    try:
        return parse_train({"experiment_name": "x", "dataset": name}).data_dir
    except ConfigError:
        return None


@data_app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A train or study file, YAML.")],
    sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE.png", help="Write some images, and what is used of them."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Looks at every image before any training: counts, imbalance, sizes, corrupt files, duplicates, faces."""
    from imagematch.data import audit_data
    from imagematch.errors import ConfigError

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise ConfigError("is not the name of a PNG file", where=f"--contact-sheet {sheet}", do="name it FILE.png")
    settings = _settings(config, overrides or [])
    log = command_log(as_json, quiet, verbose)
    audit = audit_data(settings, manifest_dir=Layout().manifests, log=log)
    if sheet is not None:
        _write_sheet(audit, sheet)
    show(audit.report, report_lines(audit.report), as_json)
    if audit.problem is not None:
        raise audit.problem


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set, as `imagematch data list` names it.")],
    output: Annotated[Path, typer.Option(help="The folder it goes into.")] = Path("data"),
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Downloads a public data set from its official place, goes on where it was cut off, checks and unpacks it."""
    from imagematch.data import fetch_dataset

    folders = fetch_dataset(name, output, log=command_log(as_json, quiet, verbose))
    show({"name": name, "folders": folders}, [], as_json)


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """A check's report as lines of text: the verdict, what stands out with its remedy, then the details."""
    used, exact, near, faces = (report[key] for key in ("used", "exact_duplicates", "near_duplicates", "faces"))
    root = f" in {report['root']}" if report["root"] else ""
    lines = [f"verdict    {report['summary']}"]
    for number, finding in enumerate(report["findings"], 1):
        text = f"{finding['count']:,} {finding['what']}" if finding["count"] else finding["what"]
        example = f", as {finding['example']}" if finding["example"] else ""
        lines.append(f"{number:>9}. {text}{example}: {finding['do']}")
    lines += [f"note       {note}" for note in report["notes"]]
    lines.append(f"data set   {report['dataset']}{root}")
    lines.append(f"listed     {report['images']:,} images of {report['classes']:,} classes")
    if used is not None:
        splits = ", ".join(f"{split} {counts['images']:,}" for split, counts in used["splits"].items())
        lines.append(f"used       {used['images']:,} images of {used['classes']:,} classes: {splits}")
    for title, key, unit in _SPREADS:
        if report[key] is not None:
            low, middle, high = (report[key][name] for name in ("min", "median", "max"))
            lines.append(f"{title:10} {low:,} to {high:,} {unit}, median {middle:,.0f}")
    lines.append("modes      " + ", ".join(f"{mode} {count:,}" for mode, count in report["modes"].items()))
    if report["boxes"] is not None:
        given, cut = report["boxes"]["given"], report["boxes"]["cut_at_the_edge"]
        lines.append(f"boxes      {given:,}, {cut:,} of them cut at the edge of their image")
    if faces is not None:
        lines.append(f"faces      found in {faces['found']:,} of {faces['searched']:,} images")
    lines.append(f"corrupt    {len(report['corrupt']):,}")
    lines.append(
        f"copies     {exact['groups']:,} groups of byte-identical images, {exact['under_different_labels']:,} of them "
        f"under different labels; {exact['across_splits']:,} images left out for a copy in another split"
    )
    lines += [f"             {' = '.join(group[:_SHOWN])}" for group in exact["examples"][:_SHOWN]]
    if near is not None:
        lines.append(
            f"alike      {near['pairs']:,} pairs of near duplicates: {near['across_splits']:,} across splits, "
            f"{near['under_different_labels']:,} under different labels; {near['test_images_seen_in_training']:,} test "
            f"images have one in training{'' if near['complete'] else ' (not all candidates were compared)'}"
        )
        if near["not_compared"]:
            lines.append(
                f"           {near['not_compared']:,} images too plain, or too many of one hash, are not compared"
            )
        lines += [f"             {first} ~ {second}" for first, second in near["examples"][:_SHOWN]]
        lines.append(f"           {near['caveat']}")
    return lines


def _settings(config: Path, overrides: list[str]) -> TrainSettings:
    """The settings of a train file, or those of a study's first trial: its data are the same in all."""
    from imagematch.config import load_study, load_train, read_yaml

    if "study_name" not in read_yaml(config).values:
        return load_train(config, overrides)
    study = load_study(config, overrides)
    return study.settings_for({field: dimension.ends[0] for field, dimension in study.space.items()})


def _write_sheet(audit: Audit, path: Path) -> None:
    from imagematch.data import draw_contact_sheet
    from imagematch.files import replacing

    sheet = draw_contact_sheet(audit.scan)
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")
