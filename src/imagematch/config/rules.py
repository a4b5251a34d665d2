"""What several keys of a train file must agree on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from imagematch.config.conditions import WITH_FROZEN_FEATURES, in_stages, starts_untrained
from imagematch.config.fields import Values
from imagematch.config.names import PAIR_LOSSES, PROXY_LOSSES
from imagematch.config.problems import Problem, shown
from imagematch.config.train_keys import CONDITIONS, DEFAULTS, idle_reason, stage_key
from imagematch.registry import SOURCE_REGISTRY

Rule = Callable[[Values], Iterator[Problem]]
RULES: list[tuple[Rule, tuple[str, ...]]] = []
"""Each rule of train files, with the keys that it reads."""


def _rule(*reads: str) -> Callable[[Rule], Rule]:
    """Decorates a rule of train files: values of every key -> what is wrong with them; it reads the keys `reads`."""

    def register(rule: Rule) -> Rule:
        RULES.append((rule, reads))
        return rule

    return register


@_rule("dataset", "data_dir")
def _has_data(values: Values) -> Iterator[Problem]:
    dataset = values["dataset"]
    needed = SOURCE_REGISTRY.all()[dataset].data_dir
    if needed and values["data_dir"] is None:
        yield Problem("dataset", f"dataset: {dataset} needs data_dir", f"give {needed}")


@_rule("feature_extractor", "weights", "trainable")
def _several_extractors(values: Values) -> Iterator[Problem]:
    extractors, weights = values["feature_extractor"], values["weights"]
    count = 1 if isinstance(extractors, str) else len(extractors)
    if not isinstance(weights, str) and len(weights) != count:
        what = f"weights is a list of {len(weights)}, and there {'is 1 extractor' if count == 1 else f'are {count}'}"
        yield Problem("weights", what, "give one for each, in the same order, or one for all")
    if count > 1 and values["trainable"] is not False:
        what = "trainable is for one extractor: several stand side by side frozen"
        yield Problem("trainable", what, "set trainable: false, or name one feature_extractor")


@_rule("feature_precision", *WITH_FROZEN_FEATURES.depends_on)
def _trained_in_8_bits(values: Values) -> Iterator[Problem]:
    if values["feature_precision"] == "int8" and not WITH_FROZEN_FEATURES.holds(values):
        what = "feature_precision: int8 is for a frozen extractor, and this one is trained"
        yield Problem("feature_precision", what, "leave feature_precision out")


@_rule("loss", "batch_size", "batch_images", "cross_batch_memory", "objective")
def _pairs_in_a_batch(values: Values) -> Iterator[Problem]:
    loss = values["loss"]
    if loss not in PAIR_LOSSES or values["batch_size"] is not None or values["batch_images"] != 1:
        return
    if values["cross_batch_memory"] == 0:
        what = f"{loss} compares images of one class, and batch_images: 1 has no two of them in a batch"
        yield Problem("batch_images", what, "give batch_images: 2 or more")
    if values["objective"] == "val_loss":
        what = f"val_loss of {loss} needs two images of a class in a batch: it never reads cross_batch_memory"
        yield Problem("objective", what, "give batch_images: 2 or more, or another objective, such as val_map_at_r")


@_rule("loss", "split_by", "objective")
def _proxies_of_unseen_classes(values: Values) -> Iterator[Problem]:
    loss = values["loss"]
    if values["objective"] == "val_loss" and loss in PROXY_LOSSES and values["split_by"] == "class":
        what = f"val_loss has no meaning with {loss} and split_by: class, since validation classes have no proxies"
        yield Problem("objective", what, "choose another objective, such as val_map_at_r")


@_rule("epochs", "stages", "objective", *WITH_FROZEN_FEATURES.depends_on)
def _trains_nothing(values: Values) -> Iterator[Problem]:
    if 0 not in in_stages("epochs", values):
        return
    if values["stages"] or not WITH_FROZEN_FEATURES.holds(values):
        what = "epochs: 0 trains nothing: the matcher would be half-whitened features of a frozen extractor"
        yield Problem("epochs", what, "give 1 or more, or a frozen extractor without stages")
    elif values["objective"] == "val_loss":
        what = "val_loss has no meaning with epochs: 0, where nothing is trained"
        yield Problem("objective", what, "choose another objective, such as val_map_at_r")


@_rule("epochs", "parallel_heads")
def _untrained_heads(values: Values) -> Iterator[Problem]:
    if values["parallel_heads"] and not values["epochs"]:
        yield Problem("parallel_heads", "parallel_heads are trained, and epochs: 0 trains nothing", "leave it out")


@_rule("parallel_heads", "stages")
def _parallel_heads_in_stages(values: Values) -> Iterator[Problem]:
    if values["parallel_heads"] and values["stages"]:
        yield Problem("parallel_heads", "parallel_heads do not go with stages", "leave one of them out")


@_rule("join", "objective")
def _weight_by_a_metric(values: Values) -> Iterator[Problem]:
    if values["join"] != "none" and values["join"]["weight"] == "auto" and values["objective"] == "val_loss":
        what = "join: weight: auto is chosen by the objective, and val_loss knows the head alone"
        yield Problem("objective", what, "give a weight, or another objective, such as val_map_at_r")


def broken_rules(values: Values, given: Collection[str], doubtful: AbstractSet[str] = frozenset()) -> Iterator[Problem]:
    """The rules that `values` break.

    Args:
        values: every train key, each valid on its own.
        given: the keys that the user gave.
        doubtful: the keys whose given value is wrong, so that a default stands in its place: no rule about them counts.
    """
    for key in values:
        plain = values[key] is None or values[key] == DEFAULTS.get(key)  # which may be spelt out anywhere
        if key in given and not plain and not is_doubtful(key, doubtful) and (what := idle_reason(key, values)):
            yield Problem(key, what)
    for number, stage in enumerate(values["stages"], 1):
        for problem in broken_rules({**values, **stage, "stages": ()}, stage, doubtful - stage.keys()):
            if problem.key in stage:
                yield Problem(stage_key(number, problem.key), f"stage {number}: {problem.what}", problem.do)
    if "trainable" not in doubtful:
        yield from _freezing(values["stages"], values)
    untrained = values["trainable"] is False and starts_untrained(values)
    if "trainable" in given and untrained and doubtful.isdisjoint(("feature_extractor", "weights", "trainable")):
        what = f"trainable: false has no effect with {values['feature_extractor']}, which has no published weights"
        yield Problem("trainable", what, "leave it out, and all of it is trained, or give weights: PATH")
    for rule, reads in RULES:
        if doubtful.isdisjoint(reads):
            yield from rule(values)


def is_doubtful(key: str, doubtful: AbstractSet[str]) -> bool:
    """Whether it cannot be said if a key counts, since it or what it depends on is wrong."""
    return key in doubtful or (key in CONDITIONS and not doubtful.isdisjoint(CONDITIONS[key].depends_on))


def _freezing(stages: Sequence[Mapping[str, Any]], values: Values) -> Iterator[Problem]:
    """The stages that train less of the extractor than the stage before: its training would be lost.

    Layers and blocks are compared when the network is known.
    """
    parts = [stage.get("trainable", values["trainable"]) for stage in stages]
    for number, (before, now) in enumerate(itertools.pairwise(parts), 2):
        if _comparable(before, now) and _extent(before) > _extent(now):
            first = f"stage {number} freezes what stage {number - 1} trains"
            what = f"{first}: trainable {shown(before)}, then {shown(now)}"
            yield Problem(
                stage_key(number, "trainable"), what, "let each stage train as much as the one before, or more"
            )


def _comparable(one: Any, other: Any) -> bool:
    return isinstance(one, bool) or isinstance(other, bool) or isinstance(one, dict) == isinstance(other, dict)


def _extent(trainable: Any) -> float:
    if isinstance(trainable, bool):
        return float("inf") if trainable else 0
    return float(trainable["blocks"] if isinstance(trainable, dict) else trainable)
