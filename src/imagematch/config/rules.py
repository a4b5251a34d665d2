"""What several fields of a train file must keep to together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from imagematch.config.conditions import refusal, starts_untrained
from imagematch.config.names import PAIR_LOSSES, PROXY_LOSSES
from imagematch.config.problems import Problem
from imagematch.config.stages import freezing, stage_key

RULE_FIELDS = (
    "stages",
    "dataset",
    "data_dir",
    "split_by",
    "feature_extractor",
    "weights",
    "trainable",
    "loss",
    "cross_batch_memory",
    "batch_images",
    "batch_size",
    "objective",
)
"""The fields that `broken_rules` reads, beside those that conditions read."""
_NEED_DATA_DIR = {"folder": "the folder that holds a folder for each class", "csv": "the table of images"}


def broken_rules(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Problem]:
    """The rules that `values` break.

    Args:
        values: every train field, each valid on its own.
        given: the fields that the user gave.
    """
    for field in values:
        if field in given and values[field] is not None and (what := refusal(field, values)):
            yield Problem(field, what)
    for number, stage in enumerate(values["stages"], 1):
        for problem in broken_rules({**values, **stage, "stages": ()}, stage):
            if problem.key in stage:
                yield Problem(stage_key(number, problem.key), f"stage {number}: {problem.what}", problem.do)
    yield from freezing(values["stages"], values)
    if "trainable" in given and values["trainable"] is False and starts_untrained(values):
        what = f"trainable: false has no effect with {values['feature_extractor']}, which has no published weights"
        yield Problem("trainable", what, "leave it out, and all of it is trained, or give weights: PATH")
    dataset, loss = values["dataset"], values["loss"]
    if dataset in _NEED_DATA_DIR and values["data_dir"] is None:
        yield Problem("dataset", f"dataset: {dataset} needs data_dir", f"give {_NEED_DATA_DIR[dataset]}")
    yield from _broken_by_several_extractors(values)
    lone = values["batch_size"] is None and values["batch_images"] == 1
    if loss in PAIR_LOSSES and lone and values["cross_batch_memory"] == 0:
        what = f"{loss} compares images of one class, and batch_images: 1 has no two of them in a batch"
        yield Problem("batch_images", what, "give batch_images: 2 or more")
    if loss in PAIR_LOSSES and lone and values["objective"] == "val_loss":
        what = f"val_loss of {loss} needs two images of a class in a batch: it never reads cross_batch_memory"
        yield Problem("objective", what, "give batch_images: 2 or more, or another objective, such as val_map_at_r")
    if values["objective"] == "val_loss" and loss in PROXY_LOSSES and values["split_by"] == "class":
        what = f"val_loss has no meaning with {loss} and split_by: class, since validation classes have no proxies"
        yield Problem("objective", what, "choose another objective, such as val_map_at_r")


def _broken_by_several_extractors(values: Mapping[str, Any]) -> Iterator[Problem]:
    extractors, weights = values["feature_extractor"], values["weights"]
    count = 1 if isinstance(extractors, str) else len(extractors)
    if not isinstance(weights, str) and len(weights) != count:
        what = f"weights is a list of {len(weights)}, and there {'is 1 extractor' if count == 1 else f'are {count}'}"
        yield Problem("weights", what, "give one for each, in the same order, or one for all")
    if count > 1 and values["trainable"] is not False:
        what = "trainable is for one extractor: several stand side by side frozen"
        yield Problem("trainable", what, "set trainable: false, or name one feature_extractor")
