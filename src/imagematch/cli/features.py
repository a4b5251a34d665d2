"""`features list | verify | compute | merge | clear`: the feature store at a glance, and its maintenance."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show

if TYPE_CHECKING:
    from imagematch.features import EntryReport

features_app = typer.Typer(add_completion=False, rich_markup_mode=None)

StoreOption = Annotated[Path, typer.Option("--feature-dir", help="The store.")]
_STORE = Path("exp/features")


@features_app.command("list")
def list_features(feature_dir: StoreOption = _STORE, as_json: Json = False) -> None:
    """Lists what is cached, with sizes."""
    from imagematch.features import list_entries, networks_bytes

    reports, networks = list_entries(feature_dir), networks_bytes(feature_dir)
    lines = list(map(_line, reports))
    if networks:
        lines.append(f"networks  converted for OpenVINO  {networks / 1e6:,.1f} MB")
    total = sum(report.bytes for report in reports) + networks
    lines.append(f"{len(reports)} entries, {total / 1e6:,.1f} MB in {feature_dir}")
    show({"entries": list(map(asdict, reports)), "networks_bytes": networks}, lines, as_json)


@features_app.command()
def verify(feature_dir: StoreOption = _STORE, as_json: Json = False) -> None:
    """Reads every byte and compares it with its checksum; what is damaged will be computed again when needed."""
    from imagematch.errors import StudyError
    from imagematch.features import verify_features

    reports = verify_features(feature_dir)
    lines = [f"{_line(report)}  {_soundness(report)}" for report in reports]
    show({"entries": list(map(asdict, reports))}, lines, as_json)
    images = sum(report.damaged_images or 0 for report in reports)
    entries = sum(bool(report.damage) for report in reports)
    if images or entries:
        what = [f"{images:,} images have damaged features"] if images else []
        what += [f"{entries:,} of {len(reports):,} entries have a damaged index or description"] if entries else []
        do = "what is damaged will be computed again when it is needed"
        raise StudyError(" and ".join(what), where=str(feature_dir), do=do)
    if not as_json:
        print(f"{len(reports)} entries are sound in {feature_dir}")


def _soundness(report: EntryReport) -> str:
    damaged = [f"{report.damaged_images:,} damaged"] if report.damaged_images else []
    found = ", ".join([*damaged, report.damage] if report.damage else damaged) or "sound"
    if report.cut_off_rows:
        found += f" ({report.cut_off_rows:,} rows at the end belong to a block that was cut off, or is being written)"
    return found


@features_app.command()
def compute(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A train or study file, YAML.")],
    shard: Annotated[str, typer.Option(metavar="I/N", help="The I-th of N parts, one for each machine.")] = "1/1",
    feature_dir: Annotated[Path | None, typer.Option("--feature-dir", help="The store, not the file's.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Computes the features that a file's trainings need, or a part of them, and trains nothing.

    Images belong to a part by their content, so that machines need not agree on an order. Each part goes into a
    store of its own (--feature-dir), and `features merge` puts them together.
    """
    from imagematch.files import Layout
    from imagematch.pipeline import Shard, compute_features

    log = command_log(as_json, quiet, verbose, stream=sys.stderr)
    done = compute_features(config, overrides or [], Shard.of(shard), feature_dir, layout=Layout(), log=log)
    lines = (
        f"{one.extractor} {one.precision}: {one.computed:,} of {one.images:,} images computed, in {one.store}"
        for one in done
    )
    show(list(map(asdict, done)), lines, as_json)


@features_app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores whose features are copied.")],
    feature_dir: StoreOption = _STORE,
    as_json: Json = False,
) -> None:
    """Copies the features of other stores, as other machines computed them; each block is checked before."""
    from imagematch.features import merge_features

    done = {str(source): asdict(merge_features(source, feature_dir)) for source in sources}
    lines = []
    for source, one in done.items():
        damaged = f", {one['damaged']:,} damaged left out" if one["damaged"] else ""
        lines.append(f"{source}: {one['images']:,} copied, {one['known']:,} known{damaged}")
    show(done, lines, as_json)


@features_app.command()
def clear(
    name: Annotated[str | None, typer.Argument(help="An entry or an extractor, as listed; all where left out.")] = None,
    feature_dir: StoreOption = _STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Deletes cached features; they are computed again when they are needed."""
    from imagematch.cli.prompts import confirmed
    from imagematch.features import clear_features

    if yes or confirmed(f"remove {name or 'everything'} from {feature_dir}", option="--yes"):
        removed = clear_features(feature_dir, name)
        show({"bytes_removed": removed}, [f"{removed / 1e6:,.1f} MB removed"], as_json)


def _line(report: EntryReport) -> str:
    size = f"{report.bytes / 1e6:,.1f} MB"
    kind = f"{report.extractor} {report.image_size} px {report.precision}"
    return f"{report.name}  {kind}  {report.images:,} images  {size}"
